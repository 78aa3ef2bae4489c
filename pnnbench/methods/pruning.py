"""Optical pruning: a penalty on how steeply the transfer answers to an offset."""

from __future__ import annotations

import torch
from torch import Tensor

from pnnbench.errors import check_range
from pnnbench.methods.base import TrainingMethod
from pnnbench.workloads.base import Batch, Workload


class OpticalPruning(TrainingMethod):
    """Optical pruning: L(Θ) + strength · Σ_layers ‖dw/du‖₂.

    The derivative is that of the ideal transfer with respect to an offset u (detuning in HWHM for
    rings); the penalty drives rings to where their weight is flat.

    Args:
        strength: Weight of the penalty, per `offset_unit`, >= 0. The published code has 0.01 on a
            slope that is half the true one and per 0.15 HWHM.
        lr: Peak learning rate of the control parameters, in their unit per step.
        lr_digital: Peak learning rate of the digital parameters.
        optimizer: ``"adam"`` or ``"sgd"``.
    """

    source = "optical pruning baseline of the sharpness-aware-training paper"

    def __init__(
        self,
        strength: float = 0.001,
        lr: float = 0.1,
        lr_digital: float = 1e-3,
        optimizer: str = "adam",
    ) -> None:
        super().__init__(lr, lr_digital, optimizer)
        self.strength = check_range("strength", strength, low=0.0, high=1e6)

    @classmethod
    def supports(cls, workload: Workload) -> bool:
        """Whether some layer's sensitivity depends on its controls: else nothing can be pruned."""
        return any(layer.sensitivity().requires_grad for layer in workload.layers().values())

    def loss(self, workload: Workload, batch: Batch) -> Tensor:
        """Task loss on the ideal device plus the penalty."""
        slopes = [torch.linalg.vector_norm(m.sensitivity()) for m in workload.layers().values()]
        penalty = torch.stack(slopes).sum()
        return workload.loss(workload(batch[0]), batch) + self.strength * penalty
