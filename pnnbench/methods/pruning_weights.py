"""Optical pruning in its published form: on weights, programmed into the hardware afterwards."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from pnnbench.methods.bp_weights import BPWeights
from pnnbench.methods.pruning import slope_norms, strength_scale
from pnnbench.platforms.base import PhysicalLayer
from pnnbench.workloads.amounts import Amount, Scale, check_amount
from pnnbench.workloads.base import Batch, Workload


class OpticalPruningWeights(BPWeights):
    """Optical pruning on weights: L(w) + strength · Σ_layers ‖dw/du‖₂, the slope that w has.

    The published form, with ``optimizer="sgd"``. A weight has the slope of the branch on which it
    is programmed. Layers that are frozen have a constant penalty.

    Args:
        strength: Weight of the penalty, >= 0; see `pnnbench.methods.pruning.OpticalPruning`. The
            published one is `pnnbench.methods.pruning.PUBLISHED_STRENGTH`.
        lr: Peak learning rate of the weights; see `BPWeights`.
        lr_digital: Peak learning rate of the digital parameters.
        optimizer: ``"adam"`` or ``"sgd"``.
    """

    amounts: ClassVar[tuple[str, ...]] = ("lr", "strength")
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
        """Adds the scale of the strength."""
        return strength_scale(workload) if name == "strength" else super().scale(name, workload)

    @classmethod
    def supports(cls, workload: Workload) -> bool:
        """Whether each weight of every layer has a slope of its own, as on rings."""
        general = PhysicalLayer.sensitivity_of_weight
        return all(
            type(layer).sensitivity_of_weight is not general for layer in workload.layers().values()
        )

    def loss(self, workload: Workload, batch: Batch) -> Tensor:
        """Task loss of the network with digital weights plus the penalty."""
        layers = workload.layers()
        slopes = slope_norms(
            layers[name].sensitivity_of_weight(weight) for name, weight in self.weights.items()
        )
        return super().loss(workload, batch) + self.amount("strength", workload) * slopes
