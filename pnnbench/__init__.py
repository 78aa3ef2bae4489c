"""Benchmark suite for training methods of physical neural networks."""

__version__ = "0.1.0"
