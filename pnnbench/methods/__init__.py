"""Training methods: Lightning callbacks that own the optimisation step. One file, one method."""
