"""Training one job: a Trainer around workload and method, resumable to the same bits."""

from __future__ import annotations

import io
import logging
import math
import random
import signal
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, cast

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins import TorchCheckpointIO
from lightning.pytorch.profilers import PassThroughProfiler
from lightning.pytorch.strategies import SingleDeviceStrategy
from torch import Tensor

from pnnbench.accelerator import SINGLE, synchronised
from pnnbench.data.datamodule import DataModule
from pnnbench.methods.base import TrainingMethod
from pnnbench.platforms.base import derive_seed
from pnnbench.records.store import write_whole
from pnnbench.running.lean import make_lean
from pnnbench.running.resources import clock, peak_memory
from pnnbench.workloads.base import Workload

#: Called with (epochs done, epochs in all, mean training loss of the epoch).
Report = Callable[[int, int, float], None]


class DivergedError(Exception):
    """The training loss is no longer a finite number."""


def generator_state() -> dict[str, Any]:
    """State of the global generators of torch, Python and NumPy, as tensors and plain values."""
    version, internal, gauss = random.getstate()
    numpy_state: Any = np.random.get_state(legacy=False)  # noqa: NPY002 - third parties' draws
    return {
        "torch": torch.get_rng_state(),
        **({"cuda": torch.cuda.get_rng_state()} if torch.cuda.is_initialized() else {}),
        "python": [version, list(internal), gauss],
        "numpy": {
            "key": torch.from_numpy(numpy_state["state"]["key"].astype(np.int64)),
            "pos": int(numpy_state["state"]["pos"]),
            "has_gauss": int(numpy_state["has_gauss"]),
            "gauss": float(numpy_state["gauss"]),
        },
    }


def restore_generators(state: Mapping[str, Any]) -> None:
    """Puts the global generators where they were at `generator_state`."""
    torch.set_rng_state(state["torch"])
    if "cuda" in state and torch.cuda.is_initialized():
        torch.cuda.set_rng_state(state["cuda"])
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    kept = state["numpy"]
    np.random.set_state(  # noqa: NPY002
        (
            "MT19937",
            kept["key"].numpy().astype(np.uint32),
            kept["pos"],
            kept["has_gauss"],
            kept["gauss"],
        )
    )


def seed_generators(seed: int) -> None:
    """Seeds the global generators, for methods that draw from them; ours have their own seeds.

    Args:
        seed: Seed of the job.
    """
    derived = derive_seed("global", seed)
    torch.manual_seed(derived)
    random.seed(derived)
    np.random.seed(derived % 2**32)  # noqa: NPY002


def deployed(workload: Workload, fresh: Workload) -> Workload:
    """Puts what was trained into a workload that no method has touched.

    Only tensors go on to the evaluation: nothing that a method left on its object survives.

    Args:
        workload: The workload after its training.
        fresh: The same as it was built; changed in place.

    Returns:
        ``fresh`` with the trained tensors, its controls in their range.
    """
    fresh.load_tensors(workload.tensors())
    fresh.project_controls()
    return fresh


class RunState(pl.Callback):
    """Keeps what a run has produced so far, across interruptions: curves, counters, RNG state.

    Args:
        report: Called after each epoch.
        part: Plain facts about this part of the run, such as its commit, for `parts`.

    Attributes:
        epochs: Numbers of the finished epochs, from 0.
        losses: Mean training loss of each finished epoch.
        seconds: Training time over all parts of the run, in s.
        cpu_seconds: CPU time over all parts of the run, in s.
        peak_memory_bytes: The most memory of all parts of the run; see `peak_memory`.
        parts: What each part of the run was that finished an epoch: `part`, and under ``"epochs"``
            its first and its last epoch. A run that was never interrupted has one.
        gradient_evaluations: Passes recorded for differentiation over all parts of the run.
        forward_evaluations: Passes that were not, neither on hardware; None where a part of the run
            was made by a version that did not count them.
        hardware_queries: Inputs measured on hardware over all parts of the run.
    """

    def __init__(self, report: Report | None = None, part: Mapping[str, Any] | None = None) -> None:
        self.report = report
        self.part = dict(part or {})
        self.epochs: list[int] = []
        self.losses: list[float] = []
        self.seconds = 0.0
        self.cpu_seconds = 0.0
        self.peak_memory_bytes = 0
        self.parts: list[dict[str, Any]] = []
        self.gradient_evaluations = 0
        self.forward_evaluations: int | None = 0
        self.hardware_queries = 0
        self._sum: Tensor | None = None
        self._batches = 0
        self._started = (0.0, 0.0)
        self._before = (0, 0, 0)
        self._earlier = 0  # parts before this one

    @staticmethod
    def _counters(pl_module: pl.LightningModule) -> tuple[int, int, int]:
        workload = cast(Workload, pl_module)
        counts = workload.gradient_evaluations, workload.forward_evaluations
        return *counts, workload.hardware_queries

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Starts the clock and an empty sum."""
        self._sum, self._batches, self._started = None, 0, clock()
        self._before = self._counters(pl_module)

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Adds the batch's loss."""
        loss = outputs["loss"].detach() * trainer.accumulate_grad_batches
        self._sum = loss if self._sum is None else self._sum + loss
        self._batches += 1

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Notes the epoch.

        Raises:
            DivergedError: If the mean loss is not finite.
        """
        synchronised(pl_module.device)
        ended = clock()
        self.seconds += ended[0] - self._started[0]
        self.cpu_seconds += ended[1] - self._started[1]
        self.peak_memory_bytes = max(self.peak_memory_bytes, peak_memory())
        gradients, forward, queries = self._counters(pl_module)
        self.gradient_evaluations += gradients - self._before[0]
        if self.forward_evaluations is not None:
            self.forward_evaluations += forward - self._before[1]
        self.hardware_queries += queries - self._before[2]
        mean = float(self._sum) / self._batches if self._sum is not None else math.nan
        if not math.isfinite(mean):
            raise DivergedError(f"the training loss of epoch {trainer.current_epoch} is {mean}")
        self.epochs.append(trainer.current_epoch)
        self.losses.append(mean)
        if len(self.parts) == self._earlier:
            self.parts.append({**self.part, "epochs": [trainer.current_epoch] * 2})
        self.parts[-1]["epochs"] = [self.parts[-1]["epochs"][0], trainer.current_epoch]
        if self.report is not None:
            self.report(len(self.epochs), int(trainer.max_epochs or 0), mean)

    def state_dict(self) -> dict[str, Any]:
        """Curves, counters and the state of the global generators, as tensors and plain values."""
        return {
            "epochs": list(self.epochs),
            "losses": list(self.losses),
            "seconds": self.seconds,
            "cpu_seconds": self.cpu_seconds,
            "peak_memory_bytes": self.peak_memory_bytes,
            "parts": [dict(part) for part in self.parts],
            "gradient_evaluations": self.gradient_evaluations,
            "forward_evaluations": self.forward_evaluations,
            "hardware_queries": self.hardware_queries,
            **generator_state(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restores `state_dict`, the global generators included."""
        self.epochs = list(state_dict["epochs"])
        self.losses = list(state_dict["losses"])
        self.seconds = float(state_dict["seconds"])
        self.cpu_seconds = float(state_dict["cpu_seconds"])
        self.peak_memory_bytes = int(state_dict.get("peak_memory_bytes", 0))
        self.parts = [dict(part) for part in state_dict["parts"]]
        self._earlier = len(self.parts)
        self.gradient_evaluations = int(state_dict["gradient_evaluations"])
        self.forward_evaluations = state_dict.get("forward_evaluations")
        self.hardware_queries = int(state_dict["hardware_queries"])
        restore_generators(state_dict)


class EpochCheckpoint(Checkpoint):
    """Writes ``last.ckpt`` after each epoch, after the last one when the training has ended.

    A training that is gone on with past its last epoch runs no hook any more, so that what a method
    does in ``on_train_end`` has to stand in the checkpoint.

    Args:
        folder: Where it goes.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "last.ckpt"

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Saves; Lightning runs checkpoint callbacks after all others."""
        if trainer.current_epoch + 1 != trainer.max_epochs:
            trainer.save_checkpoint(self.path)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Saves what all epochs and the methods' last hooks have made."""
        trainer.save_checkpoint(self.path)


class WholeCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint in one step: the file is whole or what it was before."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        """Saves; raises a `DiskFullError` if there is no room."""
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        write_whole(path, buffer.getvalue())


@contextmanager
def quiet() -> Iterator[None]:
    """Silences what Lightning says about every Trainer; errors still come through."""
    loggers = [
        logging.getLogger(n) for n in ("lightning.pytorch", "lightning.pytorch.utilities.rank_zero")
    ]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning")
            warnings.filterwarnings("ignore", message=".*lr_scheduler.step.*")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


class Unprofiled(PassThroughProfiler):
    """Times nothing, at no cost: Lightning asks some sixty times a step."""

    _nothing = nullcontext()

    def profile(self, action_name: str) -> AbstractContextManager[None]:  # type: ignore[override]
        """Context in which nothing is timed."""
        return self._nothing


#: Hooks of Lightning that change a batch on its way to the device.
_ON_THE_WAY = ("transfer_batch_to_device", "on_after_batch_transfer")


class OnTheSpot(SingleDeviceStrategy):
    """One device. The batches come on the CPU: a pair of tensors, that and no more, goes over."""

    def batch_to_device(
        self, batch: Any, device: torch.device | None = None, dataloader_idx: int = 0
    ) -> Any:
        """The batch on the device, without Lightning's ways where the workload leaves it so."""
        cls = type(self.lightning_module)
        plain = all(getattr(cls, name) is getattr(pl.LightningModule, name) for name in _ON_THE_WAY)
        if plain and self.root_device.type == "cpu":
            return batch
        if plain and type(batch) is tuple and all(isinstance(part, Tensor) for part in batch):
            return tuple(part.to(self.root_device, non_blocking=True) for part in batch)
        return super().batch_to_device(batch, device, dataloader_idx)


class TrainingData(pl.LightningDataModule):
    """The training side of a data module: the Trainer runs no validation or test loop.

    Args:
        data: Gives the training loader.
    """

    def __init__(self, data: DataModule) -> None:
        super().__init__()
        self.data = data

    def train_dataloader(self) -> Any:
        """The training loader, in the reproducible order."""
        self.data.trainer = self.trainer
        return self.data.train_dataloader()

    def state_dict(self) -> dict[str, Any]:
        """What the data and their order depend on, for the resume checkpoint."""
        return self.data.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Checks that a resumed run has the data and the order of the interrupted one.

        Raises:
            UserError: If something differs.
        """
        self.data.load_state_dict(state_dict)


def fit(
    workload: Workload,
    method: TrainingMethod,
    data: DataModule,
    *,
    epochs: int,
    folder: Path | None = None,
    report: Report | None = None,
    watching: Sequence[pl.Callback] = (),
    state: RunState | None = None,
    device: torch.device | None = None,
    precision: str = SINGLE,
) -> RunState:
    """Trains a workload with a method; goes on from ``folder/last.ckpt`` if it is there.

    Callbacks that other packages load into Lightning are left out.

    Args:
        workload: The workload, changed in place.
        method: The training method.
        data: Training images and their order.
        epochs: Passes over the training images, at least 1.
        folder: Where the resume checkpoint lives; None for no checkpoint.
        report: Called after each epoch.
        watching: Callbacks that change nothing of the training, after the method's.
        state: Takes curves and counters, so that they are there when the run fails; None for one
            that calls ``report``.
        device: Where it is trained, as `pnnbench.accelerator.choose` gives it; None for the CPU.
            The workload is on the CPU afterwards.
        precision: One of `pnnbench.accelerator.PRECISIONS`.

    Returns:
        The state: curves and counters of the whole run.

    Raises:
        DiskFullError: If there is no room for a checkpoint.
        DivergedError: If the training loss is no longer finite.
        UserError: If devices would change nothing of what a physical layer does.
        KeyboardInterrupt: If the user interrupts; Lightning alone would end the process.
    """
    workload.train()  # a calibrated workload comes in evaluation mode, which Lightning would keep
    state = RunState(report) if state is None else state
    # A diverged run ends before the method's hooks.
    callbacks: list[pl.Callback] = [state, method, *watching]
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        callbacks.append(EpochCheckpoint(folder))
    # No operation here reads memory that it has not written: to fill it first costs a tenth of a
    # pass, in training and, since the Trainer leaves `deterministic` on, in evaluation.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    place = torch.device("cpu") if device is None else device
    with quiet():
        trainer = pl.Trainer(
            max_epochs=epochs,
            callbacks=list(callbacks),
            strategy=OnTheSpot(place),
            accelerator=place.type,
            devices=1,
            precision=cast(Any, precision),
            profiler=Unprofiled(),
            logger=False,
            enable_checkpointing=folder is not None,
            enable_progress_bar=False,
            enable_model_summary=False,
            # Some operations have no deterministic form on a GPU, and say so.
            deterministic=True if place.type == "cpu" else "warn",
            plugins=[WholeCheckpointIO()],
        )
        make_lean(trainer)
        trainer.callbacks = callbacks  # type: ignore[attr-defined]
        last = folder / "last.ckpt" if folder is not None else None
        resume = str(last) if last is not None and last.exists() else None
        interrupt = signal.getsignal(signal.SIGINT)
        try:
            trainer.fit(
                workload, datamodule=TrainingData(data), ckpt_path=resume, weights_only=True
            )
        except SystemExit as error:
            # Lightning turns an interrupt into an exit and leaves the signal ignored.
            signal.signal(signal.SIGINT, interrupt)
            raise KeyboardInterrupt from error
    return state
