"""What `import pnnbench` offers, and what the command line shares with it."""
