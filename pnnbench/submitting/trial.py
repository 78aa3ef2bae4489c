"""What the checks of training methods look at: a method trained on a small slice of the data."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import random
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor

from pnnbench.data import DataModule, resolve_data
from pnnbench.data.digits import Digits
from pnnbench.methods.base import TrainingMethod
from pnnbench.running.training import Report, TrainingData, fit, quiet
from pnnbench.submitting.checks import CheckResult as CheckResult
from pnnbench.submitting.checks import Checks
from pnnbench.submitting.checks import FaultError as FaultError
from pnnbench.submitting.watched import Passes, counted_passes, watched_devices, watched_test_data
from pnnbench.workloads.base import Workload
from pnnbench.workloads.diffractive import DiffractiveDigits
from pnnbench.workloads.freespace import FreeSpaceDigits
from pnnbench.workloads.mrr import MRRDigits
from pnnbench.workloads.mrr_images import MRRDigitsAutoencoder, MRRDigitsGAN, MRRDigitsResNet
from pnnbench.workloads.mzi import MZIDigits

#: The slice of the training images on which methods are checked.
IMAGES, BATCH_SIZE, EPOCHS, SEED = 64, 16, 2, 0


class Watch(pl.Callback):
    """Notes what a method finds and leaves behind at each batch."""

    def __init__(self) -> None:
        self.start: dict[str, Tensor] = {}
        self.images: list[Tensor] = []
        self.losses: list[float] = []
        self.left: list[str] = []

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Notes the batch, and the network before the first one."""
        if not self.images:
            self.start = state_of(pl_module)
        self.images.append(batch[0])

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Notes the loss, and what is still set on the network after the step."""
        self.losses.append(float(outputs["loss"]))
        for name, layer in pl_module.layers().items():
            if layer.weight_override is not None:
                self.left.append(f"a weight override on layer {name}")
            if layer.operation is not None:
                self.left.append(f"a device or environment on layer {name}")
        if not pl_module.network.training:
            self.left.append("evaluation mode")
        frozen = [n for n, p in pl_module.network.named_parameters() if not p.requires_grad]
        self.left += [f"requires_grad=False on {name}" for name in frozen]


def state_of(workload: Any) -> dict[str, Tensor]:
    """Copies all tensors of a workload's network, by name."""
    return {k: v.detach().clone() for k, v in workload.network.state_dict().items()}


def differing(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> list[str]:
    """Names of the tensors that differ in a bit, or that only one side has."""
    return [k for k in {**a, **b} if k not in a or k not in b or not torch.equal(a[k], b[k])]


@dataclasses.dataclass
class Trained:
    """A finished training run.

    Attributes:
        workload: The trained workload.
        method: The method that trained it.
        watch: What was seen on the way.
        passes: Passes through the physical part that were not made on hardware.
        looked_into: Seeds of devices that stand for hardware and whose errors were read.
        test_data: What was read of the test data.
    """

    workload: Workload
    method: TrainingMethod
    watch: Watch
    passes: Passes = dataclasses.field(default_factory=Passes)
    looked_into: list[int] = dataclasses.field(default_factory=list)
    test_data: list[str] = dataclasses.field(default_factory=list)


#: Workloads on the embedded digits, in the order in which a method's first is looked for.
WORKLOADS: tuple[type[Workload], ...] = (
    MRRDigits,
    MZIDigits,
    FreeSpaceDigits,
    DiffractiveDigits,
)
#: More workloads on the embedded digits.
IMAGE_WORKLOADS: tuple[type[Workload], ...] = (MRRDigitsResNet, MRRDigitsAutoencoder, MRRDigitsGAN)


def on_digits(workload: type[Workload]) -> bool:
    """Whether a workload is on the embedded digits, be they its inputs or its targets."""
    return resolve_data(workload.data).source() is Digits


def _first_supported(cls: type[Any]) -> type[Workload]:
    supports = getattr(cls, "supports", None)
    if supports is not None:
        for workload in WORKLOADS:
            if supports(workload(SEED)):
                return workload
    return WORKLOADS[0]


class Trial:
    """One method under check; what several checks need is trained once.

    Args:
        cls: The class.
        params: Hyper-parameters that differ from the defaults.
        workload: Workload; None takes the first on the digits that the method supports.
    """

    def __init__(
        self, cls: type[Any], params: Mapping[str, Any], workload: type[Workload] | None = None
    ) -> None:
        self.cls = cls
        self.params = dict(params)
        self.workload_class = workload or _first_supported(cls)

    def workload(self, seed: int = SEED) -> Workload:
        """Builds a fresh workload."""
        return self.workload_class(seed)

    @functools.cached_property
    def hyper(self) -> dict[str, Any]:
        """Hyper-parameters and their defaults."""
        kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        parameters = inspect.signature(self.cls).parameters.values()
        return {p.name: p.default for p in parameters if p.kind in kinds}

    def method(self, seed: int = SEED) -> TrainingMethod:
        """Builds a fresh method."""
        method = self.cls(**self.params)
        method.seed = seed
        return method

    def data(self) -> DataModule:
        """Builds a fresh data module on the workload's own data."""
        data = self.workload_class.data
        return DataModule(data, batch_size=BATCH_SIZE, seed=SEED, limit_train=IMAGES)

    def train(
        self,
        seed: int = SEED,
        others: tuple[pl.Callback, ...] = (),
        *,
        workload: Workload | None = None,
        method: TrainingMethod | None = None,
        **flags: Any,
    ) -> Trained:
        """Trains a method on a workload, fresh ones if none are given.

        Args:
            seed: Seed of a fresh method.
            others: More callbacks.
            workload: The workload.
            method: The method.
            **flags: More flags of the Trainer.

        Returns:
            The finished run.
        """
        scramble(SEED)
        run = Trained(workload or self.workload(), method or self.method(seed), Watch())
        with quiet():
            trainer = pl.Trainer(
                max_epochs=EPOCHS,
                callbacks=[*others, run.watch, run.method],
                accelerator="cpu",
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                deterministic=True,
                **flags,
            )
            with (
                counted_passes(run.workload) as run.passes,
                watched_devices(run.workload) as run.looked_into,
                watched_test_data() as run.test_data,
            ):
                trainer.fit(run.workload, datamodule=TrainingData(self.data()))
        return run

    @functools.cached_property
    def run(self) -> Trained:
        """The run that most checks look at."""
        return self.train()


class _StoppedError(Exception):
    pass


def resumed(trial: Trial) -> Workload:
    """Trains a fresh workload, interrupts it after its last epoch but one, and goes on.

    Args:
        trial: What is trained.

    Returns:
        The workload of the run that went on.
    """

    def stop(done: int, total: int, loss: float) -> None:
        if done == total:
            raise _StoppedError

    with tempfile.TemporaryDirectory() as folder:
        parts: tuple[Report | None, ...] = (stop, None)
        for seed, report in enumerate(parts, SEED):
            scramble(seed)
            workload = trial.workload()
            with suppress(_StoppedError):
                fit(
                    workload,
                    trial.method(),
                    trial.data(),
                    epochs=EPOCHS,
                    folder=Path(folder),
                    report=report,
                )
    return workload


def freeze_some(workload: Workload) -> dict[str, Tensor]:
    """Freezes one digital parameter and some controls, never all: a whole layer if there are more.

    Args:
        workload: The workload.

    Returns:
        Copies of what is frozen, by name.
    """
    controls, digital = workload.controls(), workload.digital_parameters()
    first, *others = workload.layers().values()
    own = {id(getattr(first, name)) for name in first.control_names}
    chosen = [name for name, p in controls.items() if id(p) in own]
    chosen = chosen if others else chosen[: len(chosen) - 1][:1]
    chosen += list(digital)[:1]
    frozen = {name: {**controls, **digital}[name] for name in chosen}
    for p in frozen.values():
        p.requires_grad_(False)
    return {name: p.detach().clone() for name, p in frozen.items()}


def scramble(torch_seed: int) -> None:
    """Seeds torch's global generator, as a job does, and puts the others anywhere."""
    torch.manual_seed(torch_seed)
    random.seed()
    np.random.seed()  # noqa: NPY002 - third parties' draws


#: The checks of training methods.
CHECKS: Checks[Trial] = Checks()
check = CHECKS.check


def kind_of(cls: type[Any]) -> str:
    """Whether a method gives a ``"loss"``, or takes a ``"step"`` itself."""
    return "step" if callable(getattr(cls, "step", None)) else "loss"
