"""LightningModules, one per platform/task pair: network, loss, metric, perturbations."""
