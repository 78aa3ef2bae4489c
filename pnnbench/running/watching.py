"""What is seen of a training while it runs and changes nothing of it: validation, early stages."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

import lightning.pytorch as pl
import torch
from safetensors.torch import save as to_safetensors
from torch import Tensor

from pnnbench.errors import DiskFullError, check_count
from pnnbench.methods.base import TrainingMethod
from pnnbench.records.checks import LARGEST
from pnnbench.records.store import write_whole
from pnnbench.running.training import generator_state, restore_generators
from pnnbench.workloads.base import Workload
from pnnbench.workloads.handing import Handing
from pnnbench.workloads.networks import modes_kept

#: Images of the validation curve, at most.
CURVE_IMAGES = 500
#: Shares of the steps after which every row is measured on a small part of the cells.
SHARES = (0.25, 0.5)


@contextmanager
def untouched(workload: Workload) -> Iterator[None]:
    """Context of a look at a network in training, in evaluation mode and without gradients.

    Modes, buffers, counters and the global generators are afterwards what they were.

    Args:
        workload: The workload, in a Trainer.
    """
    names = ("gradient_evaluations", "forward_evaluations", "hardware_queries")
    counters = {name: getattr(workload, name) for name in names}
    generators = generator_state()
    try:
        with modes_kept(workload), workload.extra_pass(), torch.no_grad():
            workload.eval()
            yield
    finally:
        for name, count in counters.items():
            setattr(workload, name, count)
        restore_generators(generators)


class ValidationCurve(pl.Callback):
    """Loss and metric of the ideal device on held-out images after each epoch.

    In evaluation mode, with the running statistics of the batch norms and without noise. What is
    trained stays the same to the bit with and without it.

    Args:
        images: Held-out images (N, ...), of which the first `CURVE_IMAGES` are taken.
        labels: Their targets (N, ...).
        batch_size: Images per pass.
        least: Images that the metric needs: so many are taken if they are more.

    Attributes:
        losses: Mean loss after each epoch; None where it is not finite, or larger than a record
            holds.
        metrics: The metric, likewise.
    """

    def __init__(
        self, images: Tensor, labels: Tensor, batch_size: int = 250, least: int = 1
    ) -> None:
        count = max(CURVE_IMAGES, least)
        self.images, self.labels = images[:count], labels[:count]
        self.batch_size = check_count("batch_size", batch_size)
        self.losses: list[float | None] = []
        self.metrics: list[float | None] = []

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Measures what the epoch has reached."""
        if not len(self.images):
            return
        workload = cast(Workload, pl_module)
        loss = metric = math.nan
        # What cannot be measured here is told when the trained network is measured.
        with untouched(workload), suppress(Exception):
            loss, metric = self._measured(workload)
        self.losses.append(loss if abs(loss) <= LARGEST else None)
        self.metrics.append(metric if abs(metric) <= LARGEST else None)

    def _measured(self, workload: Workload) -> tuple[float, float]:
        device = next(workload.network.parameters()).device
        metric, total = Handing(workload.metric().to(device), workload.metric_name), 0.0
        parts = zip(
            self.images.split(self.batch_size), self.labels.split(self.batch_size), strict=True
        )
        for part in parts:
            x, y = (tensor.to(device) for tensor in part)
            outputs = workload(x)
            total += float(workload.loss(outputs, (x, y))) * len(x)
            metric.update(outputs, y, x)
        return total / len(self.images), metric.compute()

    def as_dict(self) -> dict[str, list[float | None]]:
        """The curve as records have it; empty without held-out images."""
        if not len(self.images):
            return {}
        return {"validation_loss": self.losses, "validation_metric": self.metrics}

    def state_dict(self) -> dict[str, Any]:
        """The curve so far."""
        return {"losses": list(self.losses), "metrics": list(self.metrics)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restores `state_dict`."""
        self.losses, self.metrics = list(state_dict["losses"]), list(state_dict["metrics"])


def stage_file(folder: Path, share: float) -> Path:
    """Where the parameters after a share of the steps are."""
    return folder / f"parameters-{share:g}.safetensors"


class EarlyStages(pl.Callback):
    """Keeps the network's tensors after shares of all steps, each file whole or not at all.

    A run that goes on from a checkpoint takes the same steps again and writes the same bits. Where
    the number of steps is not known beforehand nothing is kept, nor where the method cannot put
    what it has trained into the controls: the training goes on. The cosine of the learning rate is
    not at its end then: an early stage is no shorter run.

    Args:
        folder: Where the files go, see `stage_file`.
        method: The training method, which puts what it has trained into the controls.
    """

    def __init__(self, folder: Path, method: TrainingMethod) -> None:
        self.folder = folder
        self.method = method
        self.steps: dict[float, int] = {}
        self._seen = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Finds the steps after which it keeps the tensors."""
        total = float(trainer.estimated_stepping_batches)
        if math.isfinite(total):
            self.steps = stage_steps(int(total))

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Writes a file if this is one of the steps."""
        step = trainer.global_step
        if step == self._seen:  # gradients are accumulated over several batches
            return
        self._seen = step
        for share, last in self.steps.items():
            if step == last:
                self._keep(cast(Workload, pl_module), stage_file(self.folder, share), step)

    def _keep(self, workload: Workload, path: Path, step: int) -> None:
        try:
            path.unlink(missing_ok=True)  # what an older attempt has left there
            self.method.deploy(workload)
            tensors = {k: v.contiguous() for k, v in workload.tensors().items()}
            self.folder.mkdir(parents=True, exist_ok=True)
            write_whole(path, to_safetensors(tensors, metadata={"steps": str(step)}))
        except DiskFullError:
            raise
        except Exception:
            return  # a gap, told where the stages are measured


def stage_steps(total: int) -> dict[float, int]:
    """Share of the steps of a training -> how many they are, at least one."""
    return {share: max(1, round(share * total)) for share in SHARES}
