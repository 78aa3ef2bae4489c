"""The base class of training methods: Lightning callbacks that give a surrogate loss."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from pnnbench.errors import UserError, check_range
from pnnbench.platforms.base import derive_seed
from pnnbench.workloads.base import Access, Batch, Workload
from pnnbench.workloads.hardware import Hardware


class TrainingMethod(pl.Callback):
    """A way to find the control parameters.

    A subclass gives `loss`, the surrogate whose gradient the optimiser follows. Everything else,
    such as clipping, accumulation, mixed precision and resuming, then works as for any Lightning
    module. The optimiser is Adam with a cosine decay to zero for all methods of the fair protocol.

    Args:
        lr: Peak learning rate of the controls, in their unit per step (mA for rings), > 0.
        lr_digital: Peak learning rate of the digital parameters, > 0. Default: Adam's usual 1e-3.
        optimizer: ``"adam"``, or ``"sgd"`` with momentum 0.5 as in the published baselines.

    Attributes:
        access: What the method may touch.
        source: Where the method comes from.
        seed: Seed of the method's own random draws.
        calls: Number of losses computed so far; part of the checkpoint.
        schedule: ``"cosine"`` decay to zero; ``"constant"`` or ``"step"``, halved after every fifth
            of the steps, for published protocols.
    """

    access: ClassVar[Access] = "in_silico"
    source: ClassVar[str] = ""

    def __init__(self, lr: float, lr_digital: float = 1e-3, optimizer: str = "adam") -> None:
        self.lr = check_range("lr", lr, low=0.0, high=100.0, low_open=True)
        self.lr_digital = check_range("lr_digital", lr_digital, low=0.0, high=100.0, low_open=True)
        if optimizer not in ("adam", "sgd"):
            raise UserError(f"optimizer is {optimizer!r}", allowed="adam, sgd")
        self.optimizer = optimizer
        self.seed = 0
        self.calls = 0
        self.schedule = "cosine"
        self._hardware: Hardware | None = None

    @property
    def hardware(self) -> Hardware:
        """The device that this method trains on, as a black box.

        Raises:
            UserError: If the method is in silico, or not attached to a workload yet.
        """
        if self._hardware is None:
            name = type(self).__name__
            if self.access == "in_silico":
                raise UserError(
                    f"{name} is in silico: it has no hardware to measure on",
                    next_step="declare access = 'in_situ' on its class",
                )
            raise UserError(f"{name} has no hardware before it is attached to a workload")
        return self._hardware

    @classmethod
    def supports(cls, workload: Workload) -> bool:
        """Whether the method can train a workload; all of them unless a subclass says else."""
        return True

    def loss(self, workload: Workload, batch: Batch) -> Tensor:
        """Returns the loss to back-propagate (a scalar).

        Args:
            workload: The workload, in training mode.
            batch: Inputs (B, ...) and targets (B, ...).
        """
        raise NotImplementedError

    def generator(self) -> torch.Generator:
        """A fresh generator for this call of `loss`: a function of the seed and the call's number.

        Random draws made with it come out the same after a resume.
        """
        return torch.Generator().manual_seed(derive_seed("method", self.seed, self.calls))

    def trained_parameters(self, workload: Workload) -> list[nn.Parameter]:
        """Parameters that take the place of the controls in the optimiser: the controls."""
        return list(workload.controls().values())

    def configure_optimizers(self, workload: Workload) -> dict[str, Any]:
        """Optimiser over controls and digital parameters, and its schedule."""
        groups = [
            {"params": self.trained_parameters(workload), "lr": self.lr},
            {"params": list(workload.digital_parameters().values()), "lr": self.lr_digital},
        ]
        optimizer: torch.optim.Optimizer = (
            torch.optim.Adam(groups)
            if self.optimizer == "adam"
            else torch.optim.SGD(groups, momentum=0.5)
        )
        steps = int(workload.trainer.estimated_stepping_batches)
        schedule = LambdaLR(optimizer, lambda step: self.decay(step / steps))
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def decay(self, progress: float) -> float:
        """Learning rate at a share of all steps in [0, 1], as a multiple of the peak."""
        if self.schedule == "constant":
            return 1.0
        if self.schedule == "step":
            return 0.5 ** math.floor(5.0 * progress)
        return 0.5 * (1.0 + math.cos(math.pi * progress))

    def after_step(self, workload: Workload) -> None:
        """Runs after each optimiser step: puts the controls back into their range."""
        workload.project_controls()

    def attach(self, workload: Workload) -> None:
        """Makes this the workload's training method.

        Raises:
            UserError: If the workload has another one.
        """
        if workload.method is not None and workload.method is not self:
            raise UserError(
                f"two training methods in one Trainer: {type(workload.method).__name__} and "
                f"{type(self).__name__}",
                next_step="keep one of them in Trainer(callbacks=[...])",
            )
        if not self.supports(workload):
            raise UserError(
                f"{type(self).__name__} cannot train {type(workload).__name__}",
                next_step="see what its docstring says it needs",
            )
        workload.method = self
        if self.access != "in_silico" and self._hardware is None:
            device = workload.training_device(self.seed)
            self._hardware = workload.hardware(device, seed=self.seed)

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Attaches the method to the workload."""
        if not isinstance(pl_module, Workload):
            raise UserError(
                f"{type(self).__name__} trains workloads, not {type(pl_module).__name__}",
                allowed="a subclass of pnnbench.workloads.base.Workload",
            )
        self.attach(pl_module)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Counts the calls of `loss`; the noise of the hardware follows the count."""
        self.calls += 1
        if self._hardware is not None:
            self._hardware.start_step(self.calls)

    def state_dict(self) -> dict[str, Any]:
        """State of the method for the checkpoint: tensors and plain values only."""
        return {"calls": self.calls}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restores `state_dict`."""
        self.calls = int(state_dict["calls"])
