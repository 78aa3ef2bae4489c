"""What must be the same after a measurement as before it."""

from __future__ import annotations

import torch

from pnnbench.workloads.base import Workload


def state(workload: Workload) -> dict[str, object]:
    """Everything of a workload, and the random state."""
    tensors = {k: v.clone() for k, v in workload.state_dict().items()}
    return {
        "tensors": tensors,
        "modes": [m.training for m in workload.modules()],
        "flags": [p.requires_grad for p in workload.parameters()],
        "grads": [p.grad is None for p in workload.parameters()],
        "operations": [layer.operation for layer in workload.layers().values()],
        "overrides": [layer.weight_override for layer in workload.layers().values()],
        "gradients": workload.gradient_evaluations,
        "random": torch.get_rng_state(),
    }


def same(a: dict[str, object], b: dict[str, object]) -> None:
    """Asserts that two states are equal, to the bit."""
    for key in a:
        if key == "tensors":
            assert all(torch.equal(v, b[key][k]) for k, v in a[key].items())
        elif key == "random":
            assert torch.equal(a[key], b[key])
        else:
            assert a[key] == b[key], key
