"""Back-propagation on weights, programmed into the hardware afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from pnnbench.errors import UserError
from pnnbench.methods.base import TrainingMethod
from pnnbench.platforms.base import PhysicalLayer
from pnnbench.workloads.amounts import Amount, Scale
from pnnbench.workloads.base import Batch, Workload


class BPWeights(TrainingMethod):
    """Back-propagation on digital weights; the inverse transfer then gives the controls.

    The published baseline ("BP") with ``optimizer="sgd"``. Weights are clamped to what the hardware
    can reach after each step, so programming loses nothing on the ideal device. A layer whose
    controls are all frozen keeps its transfer.

    Args:
        lr: Peak learning rate of the weights, > 0: multiples of `Workload.weight_scale`, or
            absolute (``"0.067 weight"``); see TrainingMethod.
        lr_digital: Peak learning rate of the digital parameters.
        optimizer: ``"adam"`` or ``"sgd"``.

    Attributes:
        weights: Layer name -> trained weight; empty until attached to a workload.
    """

    source = "BP baseline of the sharpness-aware-training paper"

    def __init__(self, lr: Amount = 0.1, lr_digital: float = 1e-3, optimizer: str = "adam") -> None:
        super().__init__(lr, lr_digital, optimizer)
        self.weights: dict[str, nn.Parameter] = {}

    def trained_scale(self, workload: Workload) -> Scale:
        """The scale of the weights."""
        return workload.weight_scale

    def check(self, workload: Workload) -> None:
        """Checks too that every layer can be programmed, or is frozen as a whole.

        Raises:
            UserError: If only some of what programming sets in a layer is frozen; see also the base
                class.
        """
        super().check(workload)
        for name, layer in workload.layers().items():
            names = (*layer.control_names, *layer.programmed_too)
            frozen = [n for n in names if not getattr(layer, n).requires_grad]
            if frozen and any(getattr(layer, n).requires_grad for n in layer.control_names):
                raise UserError(
                    f"layer {name!r} cannot be programmed with {', '.join(frozen)} frozen",
                    allowed=f"all of {', '.join(names)} frozen, or none",
                    next_step="take a method that trains the controls themselves, such as bp",
                )

    @staticmethod
    def trained_layers(workload: Workload) -> dict[str, PhysicalLayer]:
        """Layers whose controls can be set, by name."""
        return {
            name: layer
            for name, layer in workload.layers().items()
            if all(getattr(layer, n).requires_grad for n in layer.control_names)
        }

    def attach(self, workload: Workload) -> None:
        """Takes the weights that the workload's present controls give."""
        super().attach(workload)
        self.weights = {
            name: nn.Parameter(layer.ideal_weight().detach().clone())
            for name, layer in self.trained_layers(workload).items()
        }

    def trained_parameters(self, workload: Workload) -> list[nn.Parameter]:
        """The weights, in the place of the controls."""
        return list(self.weights.values())

    def configure_optimizers(self, workload: Workload) -> dict[str, Any]:
        """Optimiser of the weights, where the Trainer has put the network and in its precision.

        Raises:
            UserError: If gradients of complex weights are to be clipped by value, or scaled.
        """
        layers, trainer = workload.layers(), workload.trainer
        by_value = trainer.gradient_clip_algorithm == "value"
        complex_ = any(w.is_complex() for w in self.weights.values())
        if complex_ and trainer.precision == "16-mixed":  # not implemented in torch
            raise UserError(
                "gradients of complex weights cannot be scaled, as 16-mixed does",
                allowed="32-true or bf16-mixed",
                next_step="--precision bf16-mixed",
            )
        if by_value and trainer.gradient_clip_val and complex_:
            raise UserError(
                "gradients of complex weights cannot be clipped by value",
                next_step="Trainer(gradient_clip_algorithm='norm')",
            )
        self.weights = {
            name: nn.Parameter(weight.detach().to(layers[name].ideal_weight().detach()))
            for name, weight in self.weights.items()
        }
        return super().configure_optimizers(workload)

    @contextmanager
    def overriding(self, workload: Workload) -> Iterator[None]:
        """Context in which the network computes with the trained weights."""
        layers = workload.layers()
        try:
            for name, weight in self.weights.items():
                layers[name].override_weight(weight)
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
        layers = workload.layers()
        for name, weight in self.weights.items():
            weight.copy_(layers[name].project_weight(weight))

    def deploy(self, workload: Workload) -> None:
        """Programs the weights into the workload's controls."""
        layers = workload.layers()
        for name, weight in self.weights.items():
            layers[name].program(weight.detach())

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Programs the hardware with the weights reached so far."""
        assert isinstance(pl_module, Workload)  # noqa: S101 - for the type checker
        self.deploy(pl_module)

    def state_dict(self) -> dict[str, Any]:
        """Adds the weights to the state."""
        weights = {name: w.detach().clone() for name, w in self.weights.items()}
        return {**super().state_dict(), "weights": weights}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restores the weights in place, so that the optimiser keeps its parameters."""
        super().load_state_dict(state_dict)
        with torch.no_grad():
            for name, weight in self.weights.items():  # none where nothing is trained
                weight.copy_(state_dict["weights"][name])
