"""The base class of training methods: Lightning callbacks that give a loss, or take the step."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import lightning.pytorch as pl
import torch
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from pnnbench.errors import UserError, check_range
from pnnbench.methods.adam import Adam
from pnnbench.methods.checkpoints import KEY, check_resumed, described
from pnnbench.methods.laws import LawOf, Rule, digital_step_law, step_law
from pnnbench.methods.trainer_options import check_options, total_steps
from pnnbench.platforms.base import derive_seed
from pnnbench.workloads.amounts import Amount as Amount  # for the authors of methods
from pnnbench.workloads.amounts import Scale, absolute
from pnnbench.workloads.amounts import check_amount as check_amount
from pnnbench.workloads.base import Access, Batch, Workload
from pnnbench.workloads.hardware import Hardware

#: What a method can be told of the tests besides data and digital model: that controls are met with
#: Gaussian errors, the law of the environments on the grid, or one device to measure on.
Knowledge = Literal["gaussian on controls", "tested law", "one device"]


class NoHardwareError(UserError, AttributeError):
    """There is no hardware to measure on; to `hasattr` the attribute does not exist."""


class TrainingMethod(pl.Callback):
    """A way to find the control parameters.

    A subclass gives `loss`, the surrogate whose gradient the optimiser follows. Everything else,
    such as clipping, accumulation, mixed precision and resuming, then works as for any Lightning
    module. The optimiser is Adam with a cosine decay to zero for all methods of the fair protocol.

    A subclass that sets the parameters itself, by search, several optimisers or a closure, gives
    ``step(workload, batch)`` instead and returns the loss of the batch, a number, which is what is
    logged. ``workload.optimizers()`` are what `configure_optimizers` made. Each batch is one step
    of the Trainer and of the schedules, followed by `after_step`. Accumulation and clipping of
    gradients and the scaling of float16 are Lightning's alone and refused.

    Steps and strengths are amounts: a plain number counts multiples of what the workload states as
    its scale, so that one default serves currents, phases and modulations; a text with a unit, such
    as ``"0.043 mA"``, is absolute. A subclass names its own in `amounts` and reads them with
    `amount`.

    Args:
        lr: Peak learning rate of the controls, > 0: with Adam the step in multiples of
            `Workload.control_scale`, or absolute (``"0.043 mA"``). With SGD, whose step is the
            gradient times the rate, in multiples of the scale's square (``"3 rad^2"``).
        lr_digital: Peak learning rate of the digital parameters, > 0. Default: Adam's usual 1e-3.
        optimizer: ``"adam"``, or ``"sgd"`` with momentum 0.5 as in the published baselines.

    Attributes:
        access: What the method may touch.
        source: Where the method comes from.
        amounts: Names of the hyper-parameters that are amounts.
        per_parameter: Names of the hyper-parameters that are a number, or a mapping from names of
            the environment's parameters to numbers.
        knows: What its law of training draws on, besides the device that `access` gives; see
            `told`.
        laws: Name of a hyper-parameter -> the range in which ``pnnbench tune`` searches it. A
            subclass names its own; those of its bases stand. See `pnnbench.methods.laws`.
        chosen_by: The rule by which ``pnnbench tune`` chooses: the robust score, or for methods
            made for one device the metric on that device.
        train_device: Number of the device that a method in situ trains on; None for its seed.
        calls: Number of losses or steps since training started; part of the checkpoint.
        schedule: ``"cosine"`` decay to zero; ``"constant"`` or ``"step"``, halved after every fifth
            of the steps, for published protocols.
    """

    access: ClassVar[Access] = "in_silico"
    source: ClassVar[str] = ""
    amounts: ClassVar[tuple[str, ...]] = ("lr",)
    per_parameter: ClassVar[tuple[str, ...]] = ()
    knows: ClassVar[tuple[Knowledge, ...]] = ()
    laws: ClassVar[Mapping[str, LawOf]] = MappingProxyType(
        {"lr": step_law, "lr_digital": digital_step_law}
    )
    chosen_by: ClassVar[Rule] = "robust score"

    def __init__(self, lr: Amount, lr_digital: float = 1e-3, optimizer: str = "adam") -> None:
        self.lr = check_amount("lr", lr, low_open=True)
        self.lr_digital = check_range("lr_digital", lr_digital, low=0.0, high=100.0, low_open=True)
        if optimizer not in ("adam", "sgd"):
            raise UserError(f"optimizer is {optimizer!r}", allowed="adam, sgd")
        self.optimizer = optimizer
        self._hardware: Hardware | None = None
        self._seed = 0
        self.train_device: int | None = None
        self.calls = 0
        self._looked = False
        self.schedule = "cosine"

    @property
    def seed(self) -> int:
        """Seed of the method's own random draws.

        Raises:
            UserError: If it is changed while the method trains on a device.
        """
        return self._seed

    @seed.setter
    def seed(self, seed: int) -> None:
        if self._hardware is not None and seed != self._seed:
            raise UserError(
                f"seed is set to {seed} when the device of seed {self._seed} is drawn already",
                next_step="set it before the method is attached to a workload",
            )
        self._seed = seed

    @property
    def hardware(self) -> Hardware:
        """The device that this method trains on, as a black box.

        Raises:
            NoHardwareError: If the method is in silico, or not attached to a workload.
        """
        if self._hardware is None:
            name = type(self).__name__
            if self.access == "in_silico":
                raise NoHardwareError(
                    f"{name} is in silico: it has no hardware to measure on",
                    next_step="declare access = 'in_situ' on its class",
                )
            raise NoHardwareError(
                f"{name} has no hardware before it is attached to a workload, nor after training"
            )
        return self._hardware

    @classmethod
    def told(cls) -> tuple[Knowledge, ...]:
        """What the class knows of the tests, computed: `knows`, and a device if it is in situ.

        Returns:
            Empty for a method that knows nothing. Whether it queries the device is that it has one.
        """
        if cls.access == "in_silico":
            return cls.knows
        return (*(item for item in cls.knows if item != "one device"), "one device")

    @classmethod
    def takes_steps(cls) -> bool:
        """Whether the class sets the parameters itself: it has ``step``."""
        return callable(getattr(cls, "step", None))

    @classmethod
    def supports(cls, workload: Workload) -> bool:
        """Whether the method can train a workload; all of them unless a subclass says else."""
        return True

    def scale(self, name: str, workload: Workload) -> Scale:
        """What the number 1 of an amount stands for on a workload.

        Args:
            name: One of `amounts`.
            workload: The workload.

        Returns:
            The scale and its unit: that of the controls, for ``lr`` that of the trained parameters
            (with SGD its square). Subclasses add their own.
        """
        if name == "lr":
            one = self.trained_scale(workload)
            return one if self.optimizer == "adam" else one.times(one.value, f"{one.unit}^2")
        return workload.control_scale

    def trained_scale(self, workload: Workload) -> Scale:
        """The scale of `trained_parameters`: that of the controls."""
        return workload.control_scale

    def amount(self, name: str, workload: Workload) -> float:
        """An amount in the workload's own unit.

        Args:
            name: One of `amounts`, an attribute of this method.
            workload: The workload.

        Returns:
            The number of units.

        Raises:
            UserError: If it was given in another unit.
        """
        where = getattr(type(workload), "name", type(workload).__name__)
        return absolute(name, getattr(self, name), self.scale(name, workload), where)

    def check(self, workload: Workload) -> None:
        """Checks that the method can train a workload, before any work is done.

        Raises:
            UserError: If it cannot, if an amount has another unit than the workload, if two layers
                share a control, or if there is nothing to train.
        """
        if not self.supports(workload):
            raise UserError(
                f"{type(self).__name__} cannot train {type(workload).__name__}",
                next_step="see what its docstring says it needs",
            )
        for name in self.amounts:
            self.amount(name, workload)
        controls = workload.controls()
        last = {id(p): name for name, p in controls.items()}
        tied = [f"{n} and {last[id(p)]}" for n, p in controls.items() if last[id(p)] != n]
        if tied:
            raise UserError(
                f"{'; '.join(tied)} are one parameter: it would be counted and moved twice",
                allowed="controls of their own in each layer, or one layer that is used twice",
            )
        if not any(p.requires_grad for p in workload.network.parameters()):
            raise UserError(
                f"every parameter of {type(workload).__name__} is frozen: nothing to train",
                next_step="set requires_grad on what the method may train",
            )

    def loss(self, workload: Workload, batch: Batch) -> Tensor:
        """Returns the loss to back-propagate (a scalar).

        Args:
            workload: The workload, in training mode.
            batch: Inputs (B, ...) and targets (B, ...).
        """
        raise NotImplementedError

    def generator(self) -> torch.Generator:
        """A fresh generator for this batch: a function of the seed and the number of the call.

        Random draws made with it come out the same after a resume.
        """
        return torch.Generator().manual_seed(derive_seed("method", self.seed, self.calls))

    def trained_parameters(self, workload: Workload) -> list[nn.Parameter]:
        """What takes the place of the controls in the optimiser: the trainable ones themselves."""
        return list(workload.controls(trainable=True).values())

    def configure_optimizers(self, workload: Workload) -> dict[str, Any]:
        """Optimiser over what is trainable of controls and digital parameters, and its schedule.

        Raises:
            UserError: If the schedule needs the number of steps and the Trainer does not know it.
        """
        digital = list(workload.digital_parameters(trainable=True).values())
        groups = [
            {"params": self.trained_parameters(workload), "lr": self.amount("lr", workload)},
            {"params": digital, "lr": self.lr_digital},
        ]
        optimizer = self.make_optimizer(groups)
        why = f"the schedule {self.schedule!r} of the learning rate"
        steps = None if self.schedule == "constant" else self.total_steps(workload, why)
        schedule = LambdaLR(optimizer, lambda step: self.decay(step / steps if steps else 0.0))
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def make_optimizer(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        """The optimiser that `optimizer` names.

        Args:
            groups: Parameters and rate of the controls, or what takes their place, and of what is
                digital.
        """
        if self.optimizer == "adam":
            return Adam(groups)
        return torch.optim.SGD(groups, momentum=0.5)

    def total_steps(self, workload: Workload, why: str) -> int:
        """Number of optimiser steps of the whole training; see `trainer_options.total_steps`."""
        return total_steps(workload, why)

    def decay(self, progress: float) -> float:
        """Learning rate at a share of all steps in [0, 1], as a multiple of the peak."""
        if self.schedule == "constant":
            return 1.0
        if self.schedule == "step":
            return 0.5 ** math.floor(5.0 * progress)
        return 0.5 * (1.0 + math.cos(math.pi * progress))

    def deploy(self, workload: Workload) -> None:
        """Puts what has been trained so far into the controls; nothing where they are trained."""

    def after_step(self, workload: Workload) -> None:
        """Runs after each optimiser step: puts the controls back into their range."""
        workload.project_controls()

    def attach(self, workload: Workload) -> None:
        """Makes this the workload's training method, and starts it anew.

        What a method keeps from one training, such as counters, hardware and networks of its own,
        is made here, so that one object can train several times.

        Raises:
            UserError: If the workload has another one, or see `check`.
        """
        if workload.method is not None and workload.method is not self:
            raise UserError(
                f"two training methods in one Trainer: {type(workload.method).__name__} and "
                f"{type(self).__name__}",
                next_step="keep one of them in Trainer(callbacks=[...])",
            )
        self.check(workload)
        workload.method = self
        self.calls = 0
        self._looked = False
        self._hardware = None
        if self.access != "in_silico":
            number = self.seed if self.train_device is None else self.train_device
            self._hardware = workload.hardware(workload.training_device(number), seed=self.seed)

    def detach(self, workload: Workload) -> None:
        """Lets go of a workload, if this is its method: another one may train it now."""
        if workload.method is self:
            workload.method = None
            self._hardware = None

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Attaches the method to the workload when training starts.

        Raises:
            UserError: If it is no workload, the Trainer has an option that cannot work (see
                `pnnbench.methods.trainer_options`), or see `attach`.
        """
        if not isinstance(pl_module, Workload):
            raise UserError(
                f"{type(self).__name__} trains workloads, not {type(pl_module).__name__}",
                allowed="a subclass of pnnbench.workloads.base.Workload",
            )
        if stage == "fit":
            check_options(trainer, type(self).__name__, takes_steps=self.takes_steps())
            if trainer.precision == "64-true":  # before a checkpoint is read, not after it
                pl_module.double()
            self.attach(pl_module)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Lets go of the workload when training has ended."""
        if isinstance(pl_module, Workload):
            self.detach(pl_module)

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Keeps what is trained, and lets go of the workload, when training stops or fails."""
        if isinstance(pl_module, Workload):
            if pl_module.method is self:
                with suppress(UserError, RuntimeError):  # what stopped the training is told
                    self.deploy(pl_module)
            self.detach(pl_module)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Lets a resumed run go on in the middle of an epoch.

        The number of steps, which schedules need, makes Lightning set up its loaders before it has
        read where they were.
        """
        trainer.fit_loop._load_combined_loader_states()

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Counts the calls of `loss` or ``step``; the noise of the hardware follows the count.

        Raises:
            UserError: If devices would change nothing of what a physical layer does.
        """
        if not self._looked and isinstance(pl_module, Workload):
            pl_module.check_reached(batch[0])
            self._looked = True
        self.calls += 1
        if self._hardware is not None:
            self._hardware.start_step(self.calls)

    def figures(self) -> dict[str, float]:
        """What the method found out while it trained, name -> finite number; for the record."""
        return {}

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Notes in the checkpoint which method writes it."""
        checkpoint[KEY] = described(self)

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Refuses to go on from another method's; see `pnnbench.methods.checkpoints`."""
        if trainer.state.fn == TrainerFn.FITTING:
            check_resumed(self, checkpoint)

    def state_dict(self) -> dict[str, Any]:
        """State of the method for the checkpoint: tensors and plain values only."""
        return {"calls": self.calls}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restores `state_dict`."""
        self.calls = int(state_dict["calls"])
