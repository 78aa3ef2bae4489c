"""Measures a trained job: clean metric, grid, training device and sharpness, with what is missing.

Each part may fail by itself: what cannot be measured is a typed gap beside what can.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pnnbench.accelerator import device_of
from pnnbench.data.datamodule import DataModule
from pnnbench.data.order import permutation
from pnnbench.errors import UserError
from pnnbench.evaluation.gaps import Gap, Gaps
from pnnbench.evaluation.harness import job_cells, measure_clean, measure_grid
from pnnbench.evaluation.readings import Reading
from pnnbench.evaluation.sharpness import Figures, measure_sharpness
from pnnbench.evaluation.spectrum import control_spectrum
from pnnbench.platforms.base import Device, derive_seed
from pnnbench.records.outcomes import write_outcomes
from pnnbench.running.declared import check_storable, metric_entry, own_figures
from pnnbench.running.deploying import measure_deployments
from pnnbench.running.job_specs import Job
from pnnbench.running.resources import clock, peak_memory, spent
from pnnbench.running.training import DivergedError
from pnnbench.seeds import training_device_seed, validation_devices
from pnnbench.workloads.base import Workload
from pnnbench.workloads.grid import Cell

#: Devices of the error model behind the sharpness figure ``device_increase``. They are validation
#: devices, so that the figure is not correlated with a score on the same devices. With ten the
#: mean of a row is off by 15 to 30 %, with fifty by half of that.
SHARPNESS_DEVICES = 50
#: PyHessian checks one seed in so many.
CHECK_EVERY = 3
#: Called with the share of something that is done, in [0, 1].
Share = Callable[[float], None]
#: Share of the measuring at which the grid ends; the sharpness comes last.
_GRID = 0.67


class NothingMeasuredError(Exception):
    """Neither the clean metric nor any cell of the grid could be measured."""


def sharpness_sample(data: DataModule, count: int) -> tuple[Tensor, Tensor]:
    """The fixed sample of training images on which sharpness is measured, the same for all jobs."""
    return data.train_tensors(permutation(data.n_train, derive_seed("sharpness"), 0)[:count])


def measure_job_sharpness(
    workload: Workload,
    data: DataModule,
    config: Mapping[str, Any],
    gaps: Gaps | None = None,
    *,
    seed: int = 0,
    device: Device | None = None,
) -> Figures:
    """Measures the sharpness figures of a trained workload under a job's configuration.

    Args:
        workload: The trained workload.
        data: Its data.
        config: The job's configuration.
        gaps: Takes what could not be measured; None lets the first error through.
        seed: The job's seed: one in `CHECK_EVERY` is checked by PyHessian.
        device: The device that the controls were trained on; None is the ideal one.

    Returns:
        The figures that `measure_sharpness` gives.
    """
    gaps = Gaps(strict=True) if gaps is None else gaps
    sample = sharpness_sample(data, config["tier"]["sharpness_images"])
    devices: list[Device] = []
    # A grid without devices is that of a workload whose hardware has no errors to draw.
    seeds = workload.devices.having(validation_devices(SHARPNESS_DEVICES))
    severity, _ = workload.sharpness_point
    with gaps.part("sharpness.device_increase"):
        if config["test_devices"]:
            devices = [workload.draw_device(severity, drawn) for drawn in seeds]
    return measure_sharpness(
        workload,
        *sample,
        seed=0,
        device=device,
        held_out=data.validation_tensors(),
        check=seed % CHECK_EVERY == 0,
        devices=devices,
        gaps=gaps,
    )


def measure_job_spectrum(
    workload: Workload, data: DataModule, config: Mapping[str, Any], device: Device | None = None
) -> dict[str, Any]:
    """The spectral density of the Hessian whose largest eigenvalue is the job's λmax.

    Args:
        workload: The trained workload.
        data: Its data.
        config: The job's configuration.
        device: The device that the controls were trained on; None is the ideal one.

    Returns:
        As `SpectralDensity.as_dict`.
    """
    sample = sharpness_sample(data, config["tier"]["sharpness_images"])
    return control_spectrum(workload, *sample, seed=0, device=device).as_dict()


def measure_training_device(
    workload: Workload, images: Tensor, labels: Tensor, number: int
) -> dict[str, Any]:
    """Measures a trained workload on a device that in-situ methods train on."""
    severity, unit = workload.training_point
    seed = training_device_seed(number)
    cell = Cell("training_device", severity, unit, severity, seed, workload.nominal_environment())
    (reading,) = measure_grid(workload, images, labels, [cell])
    if reading.error is not None:
        raise reading.error
    return {"seed": number, "severity": severity, "unit": unit, **reading.as_dict()}


def outcomes_of(readings: Sequence[Reading], images: int, metric: str) -> NDArray[np.bool_] | None:
    """Which images are right in some readings.

    Args:
        readings: The readings.
        images: Number of images of each.
        metric: Name of the metric.

    Returns:
        Booleans (readings, images), none right where a reading has none; None for tasks without
        right and wrong.

    Raises:
        UserError: If an accuracy is another than the share of images that are right.
        Exception: What kept the workload from telling right and wrong.
    """
    for reading in readings:
        if reading.right_error is not None:
            raise reading.right_error
    if all(reading.right is None for reading in readings):
        return None
    right = np.zeros((len(readings), images), dtype=np.bool_)
    for row, reading in zip(right, readings, strict=True):
        if reading.right is not None:
            row[:] = reading.right.numpy()
        found, told = int(np.count_nonzero(row)), reading.value
        if metric == "accuracy" and told is not None and abs(told * images - found) >= 0.5:
            raise UserError(
                f"outcomes() of the workload says {found} of {images} right, its metric {told}",
                next_step="change outcomes() together with metric()",
            )
    return right


def calibrate(job: Job, workload: Workload, data: DataModule, device: Device | None = None) -> None:
    """Gathers a trained workload's batch-norm statistics and full scales from training images.

    Args:
        job: The job.
        workload: Its trained workload.
        data: Its data.
        device: The device that a method in situ has trained on; None is the ideal one.
    """
    chosen, _ = data.train_tensors(slice(job.config["tier"]["calibration_images"]))
    if device is None:
        workload.calibrate(chosen)
    else:
        workload.calibrate(chosen, device=device)


def no_share(share: float) -> None:
    """Tells nobody."""


def grid_telling(
    say: Callable[[str], None], share: Share, what: str, first: float, span: float
) -> Callable[[int, int], None]:
    """Makes what tells about each tenth of a grid's cells, and which share of all is done.

    Args:
        say: Told in lines.
        share: Told which share of the measuring is done.
        what: Name of the grid.
        first: Share that is done before it.
        span: Share that it is.

    Returns:
        Called with cells done and cells in all.
    """
    told = 0

    def progress(done: int, total: int) -> None:
        nonlocal told
        if done - told >= max(1, total // 10) or done == total:
            told = done
            say(f"{what} {done}/{total} cells")
        share(first + span * done / total)

    return progress


def measure(
    job: Job,
    workload: Workload,
    data: DataModule,
    say: Callable[[str], None],
    share: Share = no_share,
    figures: Callable[[], Mapping[str, float]] = dict,
    folder: Path | None = None,
    earlier: Callable[[Sequence[Cell], Gaps], list[dict[str, Any]]] | None = None,
    device: Device | None = None,
    devices: Sequence[int] | None = None,
    sharp: bool = True,
) -> dict[str, Any]:
    """Measures clean metric, grid and sharpness of a trained, calibrated workload.

    What cannot be measured is a gap under ``"gaps"``; the other parts stand.

    Args:
        job: The job.
        workload: Its trained workload.
        data: Its data.
        say: Told about progress.
        share: Told which share of the measuring is done.
        figures: Gives what the method says of its training; see `TrainingMethod.figures`.
        folder: The job's folder, where the outcomes go; None leaves them out.
        earlier: Measures the run after shares of its steps; see `stages.measure_stages`.
        device: The device that a method in situ has trained on, where the sharpness is taken; None
            is the ideal one.
        devices: Seeds of the test devices that are measured; None for all of the grid.
        sharp: Whether the sharpness is measured; else it is a gap, left out.

    Returns:
        The measured part of the record.
    """
    gaps = Gaps()
    images, labels = data.test_tensors()
    started = clock()
    clean = measure_clean(workload, images, labels)
    cells = job_cells(workload, job.tier, images)
    if devices is not None:
        cells = [cell for cell in cells if cell.device_seed in (None, *devices)]
    passes = 2 if workload.offset_calibration_images else 1
    shares = [(_GRID * i / passes, _GRID / passes) for i in range(passes)]
    readings = measure_grid(
        workload, images, labels, cells, progress=grid_telling(say, share, "grid", *shares[0])
    )
    parts = {"clean": clean, **{f"cells[{i}]": reading for i, reading in enumerate(readings)}}
    gaps.found += [Gap.of(part, r.error) for part, r in parts.items() if r.error is not None]
    outcomes = {}
    with gaps.part("outcomes"):
        right = outcomes_of([clean, *readings], len(images), workload.metric_name)
        if right is not None and folder is not None:
            outcomes = {"outcomes": write_outcomes(folder, right)}
    deployments: list[dict[str, Any]] = []
    with gaps.part("deployments"):
        telling = grid_telling(say, share, "calibrated grid", *shares[-1])
        deployments, missing = measure_deployments(workload, data, cells, telling)
        gaps.found += missing
    training_device = {}
    if workload.training_point[0] > 0.0 and workload.has_training_device(job.device):
        with gaps.part("training_device"):
            found = measure_training_device(workload, images, labels, job.device)
            training_device = {"training_device": found}
    stages = [] if earlier is None else earlier(cells, gaps)
    evaluated = clock()
    sharpness: Figures = {}
    if sharp:
        say("sharpness")
        with gaps.part("sharpness"):
            sharpness = measure_job_sharpness(
                workload, data, job.config, gaps, seed=job.seed, device=device
            )
    else:
        gaps.found.append(Gap("sharpness", "left-out", "it was not asked for"))
    extra: dict[str, Any] = {}
    with gaps.part("extra.control_power_mw"):
        powers = [layer.power_mw() for layer in workload.layers().values()]
        known = [float(power) for power in powers if power is not None]
        if len(known) == len(powers):
            check_storable({"control_power_mw": sum(known)})
            extra["control_power_mw"] = sum(known)
    with gaps.part("extra.method"):
        told = {str(name): float(value) for name, value in figures().items()}
        check_storable(told)
        if told:
            extra["method"] = told
    with gaps.part("extra.figures"):
        place = device_of(workload.network)
        extra.update(own_figures(workload.figures(images.to(place), labels.to(place))))
    return {
        "data": {
            "name": data.arrays.name,
            "fingerprint": job.fingerprint,
            "n_train": data.n_train,
            "n_test": len(images),
        },
        "metric": metric_entry(workload),
        **clean.as_dict("clean"),
        "cells": [
            {**cell.as_dict(), **reading.as_dict(), "counts": cell.counts}
            for cell, reading in zip(cells, readings, strict=True)
        ],
        **outcomes,
        **({"deployments": deployments, "headline": workload.headline} if deployments else {}),
        **training_device,
        "sharpness": sharpness,
        **({"extra": extra} if extra else {}),
        **({"gaps": [gap.as_dict() for gap in gaps.found]} if gaps.found else {}),
        **({"earlier": stages} if stages else {}),
        "cost": {
            **spent("evaluate", started, evaluated),
            **spent("sharpness", evaluated, clock()),
            "peak_memory_bytes": peak_memory(),
        },
    }


def require_measured(measured: Mapping[str, Any]) -> None:
    """Refuses a measurement that has nothing to show.

    Args:
        measured: What `measure` gives.

    Raises:
        DivergedError: If no output of any image is finite, clean or in any cell, or no metric is.
        NothingMeasuredError: If there is no value for another reason.
    """
    places = [measured, *measured["cells"]]
    if all(place.get("not_finite", 0) >= measured["data"]["n_test"] for place in places):
        raise DivergedError("no output of the trained network is finite, whatever the conditions")
    if all(place.get("value", place.get("clean")) is None for place in places):
        gap = measured["gaps"][0]
        words = f"nothing could be measured; {gap['part']}: {gap['message']}"
        measuring = [g for g in measured["gaps"] if g["part"].startswith(("clean", "cells"))]
        if all(g["type"] == "not-finite" for g in measuring):
            raise DivergedError(words)
        raise NothingMeasuredError(words)
