"""Submissions: a record and tensors, re-evaluated without any code of the submitter."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pnnbench.data.datamodule import DataModule
from pnnbench.errors import UserError
from pnnbench.evaluation.harness import job_cells, measure_clean, measure_grid
from pnnbench.records.store import read_record
from pnnbench.registry import registered
from pnnbench.running.jobs import data_of, load_trained, own_device
from pnnbench.workloads.base import Workload

#: Allowed difference between machines of a metric that is no share of images, relative to it.
RELATIVE = 0.002


def tolerance(n_images: int) -> float:
    """Allowed difference of an accuracy between machines: rounding may flip 2 images in 1000."""
    return max(2, 0.002 * n_images) / n_images


def remeasure(
    record: dict[str, Any],
    workload: Workload,
    data: DataModule,
    say: Callable[[str], None],
    share: Callable[[float], None] | None = None,
) -> dict[str, Any]:
    """Measures clean metric and grid again and compares with a record.

    Args:
        record: A record of status ok.
        workload: Its trained workload.
        data: Its data.
        say: Told about progress.
        share: Told which share of the grid is done.

    Returns:
        ``clean``, ``cells`` (values, None where there is none), ``difference`` (largest over clean
        and cells, infinite where only one side has a value; of a metric that is no share of images
        relative to the record's value), ``tolerance`` and ``within``.
    """
    images, labels = data.test_tensors()
    cells = job_cells(workload, record["job"]["tier"], images)
    clean = measure_clean(workload, images, labels).value

    def progress(done: int, total: int) -> None:
        if done % 50 == 0 or done == total:
            say(f"grid {done}/{total} cells")
        if share is not None:
            share(done / total)

    readings = measure_grid(workload, images, labels, cells, progress=progress)
    measured = [{**c.as_dict(), "value": r.value} for c, r in zip(cells, readings, strict=True)]
    recorded = {_identity(cell): cell["value"] for cell in record["cells"]}
    if {_identity(c) for c in measured} != recorded.keys():
        raise UserError(
            "the record's grid is not the workload's grid at this version",
            next_step="run the suite again with this version of pnnbench",
        )
    pairs = [(clean, record["clean"]), *((c["value"], recorded[_identity(c)]) for c in measured)]
    share = record["metric"]["name"] == "accuracy"
    difference = max(_difference(*pair, relative=not share) for pair in pairs)
    allowed = tolerance(len(images)) if share else RELATIVE
    return {
        "clean": clean,
        "cells": measured,
        "difference": difference,
        "tolerance": allowed,
        "within": difference <= allowed,
    }


def _difference(measured: float | None, recorded: float | None, *, relative: bool) -> float:
    """How far two values are apart; where only one is missing, infinitely."""
    if measured is None or recorded is None:
        return 0.0 if measured is recorded else math.inf
    apart = abs(measured - recorded)
    return apart / max(abs(recorded), 1e-12) if relative and apart else apart


def _identity(cell: dict[str, Any]) -> tuple[Any, ...]:
    environment = tuple(sorted(cell["environment"].items()))
    return (cell["axis"], cell["severity"], environment, cell["device_seed"])


def pack(run: Path, record: dict[str, Any], out: Path) -> Path:
    """Packs a finished run: its record and parameters, nothing executable.

    Args:
        run: The run's folder.
        record: Its record.
        out: Folder of submissions.

    Returns:
        The submission's folder.
    """
    job = record["job"]
    load_trained(run, record)  # refuses missing or changed parameters
    target = out / f"{job['suite']}-{job['hash']}"
    partial = target.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    files = [record[part]["file"] for part in ("parameters", "devices") if part in record]
    for name in ("record.json", *files):
        shutil.copyfile(run / name, partial / name)
    if target.exists():
        shutil.rmtree(target)
    partial.rename(target)
    return target


def verify(
    submission: Path,
    say: Callable[[str], None],
    root: str | None = None,
    share: Callable[[float], None] | None = None,
) -> dict[str, Any]:
    """Re-evaluates a submission from its tensors on a registered workload.

    Args:
        submission: The submission's folder.
        say: Told about progress.
        root: Data folder; None for the default place.
        share: Told which share of the grid is done.

    Returns:
        What `remeasure` returns.

    Raises:
        UserError: If workload or data set is not a registered one, the data differ, the tensors do
            not fit, or a control is outside of its limits.
    """
    record = read_record(submission / "record.json")
    if record["status"] != "ok":
        raise UserError(f"{submission} is a failed run: {record['status']}")
    name = record["job"]["workload"]
    if name not in registered("workloads"):
        raise UserError(
            f"{submission} ran on {name!r}, which is not registered",
            allowed=", ".join(registered("workloads")),
        )
    brought = record["job"].get("data", {"set": ""})["set"].partition(":")[0]
    if brought and brought not in registered("data"):
        raise UserError(
            f"{submission} ran on the data set {brought!r}, which is not registered",
            allowed=", ".join(registered("data")),
        )
    workload = load_trained(submission, record)
    tier = record["config"]["tier"]
    data = data_of(record, root)
    if data.arrays.fingerprint != record["data"]["fingerprint"]:
        raise UserError(
            f"{submission} was measured on other data: {record['data']['fingerprint']}",
            allowed=data.arrays.fingerprint,
        )
    before = {name: p.detach().clone() for name, p in workload.controls().items()}
    workload.project_controls()
    for name, p in workload.controls().items():
        if not p.isfinite().all() or not p.equal(before[name]):
            raise UserError(f"{submission}: {name} is outside of what the hardware can be set to")
    # Statistics and full scales are derived here, not taken from the submitter.
    images, _ = data.train_tensors(slice(tier["calibration_images"]))
    workload.calibrate(images, device=own_device(record, workload))
    return remeasure(record, workload, data, say, share)
