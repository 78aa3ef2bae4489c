"""Optical pruning in its published form: on weights, programmed into the hardware afterwards."""

from __future__ import annotations

from torch import Tensor

from pnnbench.methods.bp_weights import BPWeights
from pnnbench.methods.pruning import SlopePenalty
from pnnbench.platforms.base import PhysicalLayer
from pnnbench.workloads.base import Batch, Workload


class OpticalPruningWeights(SlopePenalty, BPWeights):
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
        slopes = [layers[n].sensitivity_of_weight(w) for n, w in self.weights.items()]
        return super().loss(workload, batch) + self.penalty(workload, slopes)
