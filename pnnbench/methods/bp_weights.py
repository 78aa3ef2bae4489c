"""Back-propagation on weights, programmed into the hardware afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from pnnbench.methods.base import TrainingMethod
from pnnbench.workloads.base import Batch, Workload


class BPWeights(TrainingMethod):
    """Back-propagation on digital weights; the inverse transfer then gives the controls.

    The published baseline ("BP") with ``optimizer="sgd"``. Weights are clamped to what the hardware
    can reach after each step, so programming loses nothing on the ideal device.

    Args:
        lr: Peak learning rate of the weights (dimensionless) per step.
        lr_digital: Peak learning rate of the digital parameters.
        optimizer: ``"adam"`` or ``"sgd"``.

    Attributes:
        weights: Layer name -> trained weight; empty until attached to a workload.
    """

    source = "BP baseline of the sharpness-aware-training paper"

    def __init__(self, lr: float = 0.8, lr_digital: float = 1e-3, optimizer: str = "adam") -> None:
        super().__init__(lr, lr_digital, optimizer)
        self.weights: dict[str, nn.Parameter] = {}

    def attach(self, workload: Workload) -> None:
        """Takes the weights that the workload's initial controls give."""
        super().attach(workload)
        if not self.weights:
            self.weights = {
                name: nn.Parameter(layer.ideal_weight().detach().clone())
                for name, layer in workload.layers().items()
            }

    def trained_parameters(self, workload: Workload) -> list[nn.Parameter]:
        """The weights, in the place of the controls."""
        return list(self.weights.values())

    @contextmanager
    def overriding(self, workload: Workload) -> Iterator[None]:
        """Context in which the network computes with the trained weights."""
        layers = workload.layers()
        try:
            for name, layer in layers.items():
                layer.override_weight(self.weights[name])
            yield
        finally:
            for layer in layers.values():
                layer.override_weight(None)

    def loss(self, workload: Workload, batch: Batch) -> Tensor:
        """Task loss of the network with digital weights."""
        with self.overriding(workload):
            return workload.loss(workload(batch[0]), batch)

    @torch.no_grad()
    def after_step(self, workload: Workload) -> None:
        """Puts the weights to the nearest that can be programmed."""
        for name, layer in workload.layers().items():
            self.weights[name].copy_(layer.project_weight(self.weights[name]))

    def program(self, workload: Workload) -> None:
        """Programs the weights into the workload's controls."""
        for name, layer in workload.layers().items():
            layer.program(self.weights[name].detach())

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Programs the hardware with the weights reached so far."""
        assert isinstance(pl_module, Workload)  # noqa: S101 - for the type checker
        self.program(pl_module)

    def state_dict(self) -> dict[str, Any]:
        """Adds the weights to the state."""
        weights = {name: w.detach().clone() for name, w in self.weights.items()}
        return {**super().state_dict(), "weights": weights}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restores the weights in place, so that the optimiser keeps its parameters."""
        super().load_state_dict(state_dict)
        with torch.no_grad():
            for name, value in state_dict["weights"].items():
                self.weights[name].copy_(value)
