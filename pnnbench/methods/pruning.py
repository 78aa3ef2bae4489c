"""Optical pruning: a penalty on how steeply the transfer answers to an offset."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import ClassVar

import torch
from torch import Tensor

from pnnbench.methods.base import TrainingMethod
from pnnbench.methods.laws import Law, LawOf
from pnnbench.workloads.amounts import Amount, Scale, check_amount
from pnnbench.workloads.base import Batch, Workload

#: Strength of the published code, per HWHM: 0.01 on half of the true slope per unit of its
#: normalised current x = 0.15 u, 0.01 * 0.5 / 0.15.
PUBLISHED_STRENGTH = "0.0333 HWHM"


class SlopePenalty(TrainingMethod):
    """What the forms of optical pruning share: a strength, and the scale in which it is stated.

    Args:
        strength: Weight of the penalty, >= 0; see `OpticalPruning`.
        lr: Peak learning rate of what is trained; see TrainingMethod.
        lr_digital: Peak learning rate of the digital parameters.
        optimizer: ``"adam"`` or ``"sgd"``.
    """

    amounts: ClassVar[tuple[str, ...]] = ("lr", "strength")
    # Best so far on rings: 0.4; the published 0.0333 HWHM is 12 on the network of MNIST.
    laws: ClassVar[Mapping[str, LawOf]] = MappingProxyType({"strength": Law(0.003, 30.0)})
    source = "optical pruning baseline of the sharpness-aware-training paper"

    def __init__(
        self,
        strength: Amount = 0.2,
        lr: Amount = 0.1,
        lr_digital: float = 1e-3,
        optimizer: str = "adam",
    ) -> None:
        super().__init__(lr, lr_digital, optimizer)
        self.strength = check_amount("strength", strength)

    def scale(self, name: str, workload: Workload) -> Scale:
        """Adds the scale of the strength: that of offsets over the root of the elements."""
        if name != "strength":
            return super().scale(name, workload)
        elements = sum(layer.sensitivity().numel() for layer in workload.layers().values())
        return workload.offset_scale.times(1.0 / math.sqrt(elements))

    def penalty(self, workload: Workload, slopes: Iterable[Tensor]) -> Tensor:
        """Strength times the sum over layers of the Euclidean norm of their slopes, a scalar."""
        norms = torch.stack([torch.linalg.vector_norm(s) for s in slopes])
        return self.amount("strength", workload) * norms.sum()


class OpticalPruning(SlopePenalty):
    """Optical pruning: L(Θ) + strength · Σ_layers ‖dw/du‖₂, u the offset.

    The derivative is that of the ideal transfer with respect to an offset (detuning in HWHM for
    rings); the penalty drives rings to where their weight is flat. Layers that are frozen have a
    constant penalty.

    Args:
        strength: Weight of the penalty, >= 0. A plain number weighs the root mean square of the
            slopes per `Workload.offset_scale`, whatever their number N: it is divided by sqrt(N).
            A text is the published absolute weight (``"0.001 HWHM"``), which pulls harder the more
            elements there are. See `PUBLISHED_STRENGTH`.
        lr: Peak learning rate of the control parameters; see TrainingMethod.
        lr_digital: Peak learning rate of the digital parameters.
        optimizer: ``"adam"`` or ``"sgd"``.
    """

    @classmethod
    def supports(cls, workload: Workload) -> bool:
        """Whether some layer's sensitivity depends on its controls: else nothing can be pruned."""
        return any(layer.sensitivity().requires_grad for layer in workload.layers().values())

    def loss(self, workload: Workload, batch: Batch) -> Tensor:
        """Task loss on the ideal device plus the penalty."""
        slopes = [layer.sensitivity() for layer in workload.layers().values()]
        return workload.loss(workload(batch[0]), batch) + self.penalty(workload, slopes)
