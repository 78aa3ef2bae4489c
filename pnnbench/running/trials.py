"""One trial of a search: a job, trained as any other, measured on what settings are chosen by.

Chosen by: held-out training images on validation devices. What the same network reaches on test
images and test devices is measured after that and stands apart, under a name that says so: for
the curve of score against trials, never for a choice.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from torch import Tensor

from pnnbench.errors import UserError
from pnnbench.evaluation.gaps import NotFiniteError
from pnnbench.evaluation.harness import measure_clean, measure_grid
from pnnbench.leaderboard.grid import arrange, guessing
from pnnbench.methods.base import TrainingMethod
from pnnbench.records.search_schema import TEST
from pnnbench.records.searches import TRIAL, read_sealed, write_sealed
from pnnbench.running.cases import Trained
from pnnbench.running.declared import metric_entry
from pnnbench.running.job_specs import Job
from pnnbench.running.measuring import Share, measure_training_device
from pnnbench.running.resources import clock, peak_memory, spent
from pnnbench.running.training import DivergedError
from pnnbench.seeds import validation_devices
from pnnbench.workloads.base import Workload
from pnnbench.workloads.grid import OFFSET_CALIBRATED, Cell

#: Test images of a trial, where there are so many.
TEST_IMAGES = 1000
#: What stands on disk as a result. Other failures stand once a search record has them, and are
#: tried again by a new search.
FINAL = ("ok", "diverged")


@dataclasses.dataclass(frozen=True)
class Trial(Job):
    """One trial.

    Attributes:
        devices: Validation devices.
        test_images: Test images, at most.
    """

    devices: int = 20
    test_images: int = TEST_IMAGES

    def measured(self) -> dict[str, Any]:
        """What is measured of it, for its hash."""
        return {"trial": {"validation_devices": self.devices, "test_images": self.test_images}}


def validation_cells(workload: Workload, tier: str, devices: Sequence[int]) -> list[Cell]:
    """The conditions that count in the headline, on devices that are not those of the tests.

    Args:
        workload: The workload.
        tier: Name of the tier.
        devices: Seeds of the devices.

    Returns:
        The cells, each condition on every device; where the ideal one stands for all, once.
    """
    conditions = dict.fromkeys(
        dataclasses.replace(cell, device_seed=None) for cell in counted_cells(workload, tier)
    )
    with_devices = {
        dataclasses.replace(cell, device_seed=None)
        for cell in counted_cells(workload, tier)
        if cell.device_seed is not None
    }
    return [
        dataclasses.replace(cell, device_seed=device)
        for cell in conditions
        for device in (devices if cell in with_devices else [None])
    ]


def counted_cells(workload: Workload, tier: str) -> list[Cell]:
    """The conditions that count in the headline, on the test devices.

    Args:
        workload: The workload.
        tier: Name of the tier.

    Raises:
        UserError: If none does.
    """
    found = [c for c in workload.cells(tier) if c.counts_when(workload.headline)]
    if not found:
        raise UserError(
            f"no cell of {type(workload).__name__} counts: there is no score to choose by"
        )
    return found


def scored(
    workload: Workload,
    images: Tensor,
    labels: Tensor,
    cells: Sequence[Cell],
    training: Tensor,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Robust score, mean of each axis and clean metric of a trained, calibrated workload.

    Args:
        workload: The workload.
        images: Inputs (N, ...).
        labels: Targets (N, ...).
        cells: The cells to measure, all of which count.
        training: Training images (M, ...), of which devices take their offsets again where the
            headline is that deployment.
        progress: Called after each group of cells.

    Returns:
        ``score`` as boards have it, ``axes`` and ``clean``; a cell without a value counts as
        guessing.

    Raises:
        DivergedError: If there is no score: no value, and no chance level to count instead.
        Exception: What kept a cell from being measured, other than outputs that are not finite.
    """
    clean = measure_clean(workload, images, labels)
    again = workload.headline == OFFSET_CALIBRATED
    calibration = training[: workload.offset_calibration_images] if again else None
    readings = measure_grid(
        workload, images, labels, cells, calibration=calibration, progress=progress
    )
    broken = [r.error for r in readings if r.error and not isinstance(r.error, NotFiniteError)]
    if broken:
        raise broken[0]
    guess = guessing(metric_entry(workload), [reading.value for reading in readings])
    grid = arrange(
        [
            {**cell.as_dict(), "counts": True, "value": reading.value}
            for cell, reading in zip(cells, readings, strict=True)
        ],
        guess=guess,
    )
    if grid.scores is None:
        why = next((str(r.error) for r in readings if r.error is not None), "not finite")
        raise DivergedError(f"the trained network has no score: {why}")
    axes: dict[str, list[float]] = {}
    for group, values in zip(grid.groups, grid.values, strict=True):
        axes.setdefault(group[0], []).append(float(values.mean()))
    return {
        "score": float(grid.scores.mean()),
        "axes": {axis: sum(values) / len(values) for axis, values in axes.items()},
        "clean": guess_or(clean.value, guess),
    }


def guess_or(value: float | None, guess: float) -> float | None:
    """A value; where there is none the chance level, None where there is no such level."""
    if value is not None:
        return value
    return None if math.isnan(guess) else guess


class TrialCase:
    """What is measured of a trial; see `pnnbench.running.cases.Case`."""

    def is_finished(self, folder: Path) -> bool:
        """Whether its record stands; that of a diverged trial does, and counts as guessing."""
        return read_trial(folder) is not None

    def watching(self, job: Job, method: TrainingMethod, folder: Path) -> list[pl.Callback]:
        """Nothing."""
        return []

    def measure(self, trained: Trained, say: Callable[[str], None], share: Share) -> dict[str, Any]:
        """Measures what settings are chosen by, then the same on test images and devices."""
        job, workload, data = trained.job, trained.workload, trained.data
        assert isinstance(job, Trial)  # noqa: S101 - for the type checker
        started = clock()
        images, labels = data.validation_tensors()
        if not len(images):
            raise UserError(
                f"the tier {job.tier!r} of {job.workload} holds no training images out",
                allowed="a tier with validation_images",
            )
        training, _ = data.train_tensors(slice(workload.offset_calibration_images))

        def telling(part: int) -> Callable[[int, int], None]:
            return lambda done, total: share(0.5 * (part + done / total))

        devices = workload.devices.having(validation_devices(job.devices))
        if not devices:
            raise UserError(
                f"no device of {job.workload} is there to choose settings on",
                next_step="give one or more measured devices the role 'validation'",
            )
        cells = validation_cells(workload, job.tier, devices)
        say("validation grid")
        validation = scored(workload, images, labels, cells, training, telling(0))
        own: float | None = validation["clean"]  # without errors of devices all are the ideal one
        if workload.training_point[0] > 0.0 and workload.has_training_device(job.device):
            try:
                own = measure_training_device(workload, images, labels, job.device)["value"]
            except NotFiniteError:  # as a cell of the grid: it counts as guessing
                beside = [validation["score"], validation["clean"]]
                own = guess_or(None, guessing(metric_entry(workload), beside))
        validation["own_device"] = own
        say("test grid")
        count = max(job.test_images, workload.least_images)
        images_t, labels_t = (part[:count] for part in data.test_tensors())
        cells = counted_cells(workload, job.tier)
        test = scored(workload, images_t, labels_t, cells, training, telling(1))
        return {
            "metric": metric_entry(workload),
            "validation": {**validation, "images": len(images), "devices": len(devices)},
            TEST: {**test, "images": len(images_t)},
            "cost": {
                **spent("evaluate", started, clock()),
                "peak_memory_bytes": peak_memory(),
            },
        }

    def require_measured(self, measured: dict[str, Any]) -> None:
        """Nothing: `measure` has a score or raises."""

    def write(self, folder: Path, content: dict[str, Any]) -> dict[str, Any]:
        """Writes ``trial.json``."""
        write_sealed(folder / TRIAL, content)
        return content

    def outcome(self, record: dict[str, Any]) -> str:
        """The score, or why there is none."""
        if record["status"] != "ok":
            return f"{record['status']}: {record['error']['message']}"
        found = record["validation"]
        clean = "" if found["clean"] is None else f", {found['clean']:.4f} clean"
        return f"done, {found['score']:.4f} on validation devices{clean}"


def read_trial(folder: Path) -> dict[str, Any] | None:
    """The record of a trial that stands; None where there is none, see `FINAL`."""
    path = folder / TRIAL
    if not path.is_file():
        return None
    try:
        record = read_sealed(path, "")
    except UserError:
        return None
    return record if record.get("status") in FINAL else None


def result_of(record: Mapping[str, Any], guess: float | None) -> dict[str, Any]:
    """What a search record keeps of a trial.

    Args:
        record: The trial's record.
        guess: The chance level of the metric, which a failure counts as; None if there is none.

    Returns:
        Hash, status, seconds, the validation part and, apart, the test part.

    Raises:
        UserError: If the trial failed and the metric has no chance level.
    """
    cost = record.get("cost", {})
    names = ("train_seconds", "evaluate_seconds")
    kept = {
        "hash": record["job"]["hash"],
        "status": record["status"],
        "seconds": round(sum(cost.get(name, 0.0) for name in names), 2),
    }
    if record["status"] == "ok":
        return {**kept, "validation": record["validation"], TEST: record[TEST]}
    if guess is None:
        raise UserError(
            f"trial {kept['hash']}: {record['status']}: {record['error']['message']}; the metric "
            "has no chance level, so that a failure has no score",
            next_step="narrow the law, so that no trial fails",
        )
    guessed = {"score": guess, "clean": guess}
    return {
        **kept,
        "error": record["error"],
        "validation": {**guessed, "own_device": guess},
        TEST: guessed,
    }
