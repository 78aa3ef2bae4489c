"""The harness: perturbation grids, metrics, sharpness, cost. It never runs a method."""
