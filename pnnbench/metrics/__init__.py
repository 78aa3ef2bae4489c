"""Metrics of reconstructed and generated images, and the networks that see features in them."""
