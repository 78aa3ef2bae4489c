"""Measures a trained job: clean metric, grid, training device and sharpness, with what is missing.

Each part may fail by itself: what cannot be measured is a typed gap beside what can.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from pnnbench.data.datamodule import ImageDataModule
from pnnbench.data.order import permutation
from pnnbench.evaluation.gaps import Gap, Gaps, check_finite
from pnnbench.evaluation.harness import Reading, measure_clean, measure_grid
from pnnbench.evaluation.sharpness import Figures, measure_sharpness
from pnnbench.platforms.base import Device, derive_seed
from pnnbench.running.suites import Job
from pnnbench.running.training import DivergedError
from pnnbench.workloads.base import Workload
from pnnbench.workloads.grid import Cell

#: Test devices of the error model behind the sharpness figure ``device_increase``.
SHARPNESS_DEVICES = 10
#: Called with the share of something that is done, in [0, 1].
Share = Callable[[float], None]
#: Share of the measuring at which the grid ends; the sharpness comes last.
_GRID = 0.67


class NothingMeasuredError(Exception):
    """Neither the clean metric nor any cell of the grid could be measured."""


def sharpness_sample(data: ImageDataModule, count: int) -> tuple[Tensor, Tensor]:
    """The fixed sample of training images on which sharpness is measured, the same for all jobs."""
    images, labels = data.train_tensors()
    chosen = permutation(len(labels), derive_seed("sharpness"), 0)[:count]
    return images[chosen], labels[chosen]


def measure_job_sharpness(
    workload: Workload,
    data: ImageDataModule,
    config: Mapping[str, Any],
    gaps: Gaps | None = None,
) -> Figures:
    """Measures the sharpness figures of a trained workload under a job's configuration.

    Args:
        workload: The trained workload.
        data: Its data.
        config: The job's configuration.
        gaps: Takes what could not be measured; None lets the first error through.

    Returns:
        The figures that `measure_sharpness` gives.
    """
    gaps = Gaps(strict=True) if gaps is None else gaps
    sample = sharpness_sample(data, config["tier"]["sharpness_images"])
    devices: list[Device] = []
    with gaps.part("sharpness.device_increase"):
        devices = [
            workload.draw_device(workload.sharpness_severity, seed)
            for seed in config["test_devices"][:SHARPNESS_DEVICES]
        ]
    return measure_sharpness(workload, *sample, seed=0, devices=devices, gaps=gaps)


def measure_training_device(
    workload: Workload, images: Tensor, labels: Tensor, seed: int
) -> dict[str, Any]:
    """Measures a trained workload on the device that in-situ methods train on at a seed."""
    severity, unit = workload.training_severity, workload.severity_unit
    cell = Cell("training_device", severity, unit, severity, seed, workload.nominal_environment())
    (reading,) = measure_grid(workload, images, labels, [cell])
    if reading.error is not None:
        raise reading.error
    return {"seed": seed, "severity": severity, "unit": unit, **_value(reading)}


def _value(reading: Reading, name: str = "value") -> dict[str, Any]:
    """A reading as a record holds it."""
    dark = {"not_finite": reading.not_finite} if reading.not_finite else {}
    return {name: reading.value, **dark}


def calibrate(job: Job, workload: Workload, data: ImageDataModule) -> None:
    """Gathers a trained workload's batch-norm statistics and full scales from training images."""
    images, _ = data.train_tensors()
    workload.calibrate(images[: job.config["tier"]["calibration_images"]])


def no_share(share: float) -> None:
    """Tells nobody."""


def measure(
    job: Job,
    workload: Workload,
    data: ImageDataModule,
    say: Callable[[str], None],
    share: Share = no_share,
    figures: Callable[[], Mapping[str, float]] = dict,
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

    Returns:
        The measured part of the record.
    """
    gaps = Gaps()
    images, labels = data.test_tensors()
    started = time.perf_counter()
    clean = measure_clean(workload, images, labels)
    cells = workload.perturbation_grid(job.tier)
    tenth = max(1, len(cells) // 10)
    state = {"told": 0}

    def progress(done: int, total: int) -> None:
        if done - state["told"] >= tenth or done == total:
            state["told"] = done
            say(f"grid {done}/{total} cells")
        share(_GRID * done / total)

    readings = measure_grid(workload, images, labels, cells, progress=progress)
    parts = {"clean": clean, **{f"cells[{i}]": reading for i, reading in enumerate(readings)}}
    gaps.found += [Gap.of(part, r.error) for part, r in parts.items() if r.error is not None]
    training_device = {}
    if workload.training_severity > 0.0:
        with gaps.part("training_device"):
            found = measure_training_device(workload, images, labels, job.seed)
            training_device = {"training_device": found}
    evaluated = time.perf_counter()
    say("sharpness")
    sharpness: Figures = {}
    with gaps.part("sharpness"):
        sharpness = measure_job_sharpness(workload, data, job.config, gaps)
    extra: dict[str, Any] = {}
    with gaps.part("extra.control_power_mw"):
        powers = [layer.power_mw() for layer in workload.layers().values()]
        known = [float(power) for power in powers if power is not None]
        if len(known) == len(powers):
            check_finite({"control_power_mw": sum(known)})
            extra["control_power_mw"] = sum(known)
    with gaps.part("extra.method"):
        told = {str(name): float(value) for name, value in figures().items()}
        check_finite(told)
        if told:
            extra["method"] = told
    with gaps.part("extra.figures"):
        own = workload.figures(images, labels)
        check_finite(own)
        extra.update(own)
    return {
        "data": {
            "name": workload.data,
            "fingerprint": job.fingerprint,
            "n_train": len(data.train_tensors()[1]),
            "n_test": len(images),
        },
        "metric": {
            "name": workload.metric_name,
            "higher_is_better": workload.higher_is_better,
            **({} if workload.chance is None else {"chance": workload.chance}),
        },
        **_value(clean, "clean"),
        "cells": [
            {**cell.as_dict(), **_value(reading), "counts": cell.counts}
            for cell, reading in zip(cells, readings, strict=True)
        ],
        **training_device,
        "sharpness": sharpness,
        **({"extra": extra} if extra else {}),
        **({"gaps": [gap.as_dict() for gap in gaps.found]} if gaps.found else {}),
        "_seconds": (evaluated - started, time.perf_counter() - evaluated),
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
