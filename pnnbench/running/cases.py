"""What is measured of a trained job and where that is written: one mechanism, two cases.

The job of a board is measured on its whole grid, after shares of its steps and in its sharpness
(`BoardCase`); the trial of a search on what settings are chosen by (`pnnbench.running.trials`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import lightning.pytorch as pl

from pnnbench.data.datamodule import DataModule
from pnnbench.evaluation.gaps import Gaps
from pnnbench.methods.base import TrainingMethod
from pnnbench.platforms.base import Device
from pnnbench.records.store import is_finished, read_record, write_record
from pnnbench.running.job_specs import Job
from pnnbench.running.measuring import Share, calibrate, measure, require_measured
from pnnbench.running.stages import EVERY, measure_stages
from pnnbench.running.watching import EarlyStages
from pnnbench.workloads.base import Workload
from pnnbench.workloads.grid import Cell


@dataclasses.dataclass(frozen=True)
class Trained:
    """A job after its training.

    Attributes:
        job: The job.
        workload: Its workload, trained and calibrated.
        data: Its data.
        method: Its method.
        folder: Its folder.
        fresh: Makes the workload anew.
        device: The device that a method in situ has trained on; None is the ideal one.
    """

    job: Job
    workload: Workload
    data: DataModule
    method: TrainingMethod
    folder: Path
    fresh: Callable[[], Workload]
    device: Device | None


class Case(Protocol):
    """What is measured of jobs, and how their records are written."""

    def is_finished(self, folder: Path) -> bool:
        """Whether the job of a folder is done."""
        ...

    def watching(self, job: Job, method: TrainingMethod, folder: Path) -> list[pl.Callback]:
        """Callbacks that watch the training and change nothing of it."""
        ...

    def measure(self, trained: Trained, say: Callable[[str], None], share: Share) -> dict[str, Any]:
        """Measures a trained job: the measured part of its record, its ``cost`` among it."""
        ...

    def require_measured(self, measured: dict[str, Any]) -> None:
        """Refuses a measurement that has nothing to show; see `measuring.require_measured`."""
        ...

    def write(self, folder: Path, content: dict[str, Any]) -> dict[str, Any]:
        """Writes the record; returns it sealed."""
        ...

    def outcome(self, record: dict[str, Any]) -> str:
        """Says in a line what came out."""
        ...


class BoardCase:
    """The whole measurement: what a board shows."""

    def is_finished(self, folder: Path) -> bool:
        """Whether there is a whole record of status ``"ok"``."""
        return is_finished(folder / "record.json")

    def watching(self, job: Job, method: TrainingMethod, folder: Path) -> list[pl.Callback]:
        """Keeps the tensors after shares of the steps, of some of the seeds."""
        return [EarlyStages(folder / "stages", method)] if job.seed % EVERY == 0 else []

    def measure(self, trained: Trained, say: Callable[[str], None], share: Share) -> dict[str, Any]:
        """Grid, training device, stages and sharpness; see `measuring.measure`."""
        job, data = trained.job, trained.data

        def calibrated(workload: Workload) -> None:
            calibrate(job, workload, data, trained.device)

        def earlier(cells: Sequence[Cell], gaps: Gaps) -> list[dict[str, Any]]:
            stages = trained.folder / "stages"
            return measure_stages(stages, data, job.tier, cells, trained.fresh, calibrated, gaps)

        return measure(
            job,
            trained.workload,
            data,
            say,
            share,
            trained.method.figures,
            trained.folder,
            earlier if job.seed % EVERY == 0 else None,
            trained.device,
        )

    def require_measured(self, measured: dict[str, Any]) -> None:
        """As `measuring.require_measured`."""
        require_measured(measured)

    def write(self, folder: Path, content: dict[str, Any]) -> dict[str, Any]:
        """Writes ``record.json``; instead of a failure a finished one stays, and comes back."""
        path = folder / "record.json"
        if content["status"] != "ok" and is_finished(path):  # another process was faster
            return read_record(path)
        return write_record(path, content)

    def outcome(self, record: dict[str, Any]) -> str:
        """Clean metric, sharpness and what is missing."""
        if record["status"] != "ok":
            return f"{record['status']}: {record['error']['message']}"
        figures = {
            f"{record['metric']['name']} {{:.4f}} clean": record["clean"],
            "lambda_max {:.3g}": record["sharpness"].get("lambda_max"),
        }
        words = [form.format(value) for form, value in figures.items() if value is not None]
        missing = [gap["part"] for gap in record.get("gaps", []) if gap["type"] != "left-out"]
        if missing:
            words.append(f"{len(missing)} parts missing, the first {missing[0]}")
        return ", ".join(["done", *words])


#: The case of boards.
BOARD = BoardCase()
