"""The physics: layers that turn control parameters, a device and an environment into a transfer."""
