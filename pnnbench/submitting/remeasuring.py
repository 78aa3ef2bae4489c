"""Measures the grid of a finished run again and holds its record against it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pnnbench.data.datamodule import DataModule
from pnnbench.errors import UserError
from pnnbench.evaluation.harness import job_cells, measure_clean, measure_grid
from pnnbench.leaderboard.deployments import deployment_of
from pnnbench.running.deploying import measure_deployments
from pnnbench.running.measuring import Share, grid_telling, no_share
from pnnbench.submitting.differences import Agreement
from pnnbench.submitting.rounding import UNDECIDED, count_undecided, output_rounding
from pnnbench.workloads.base import Workload


def remeasure(
    record: dict[str, Any],
    workload: Workload,
    data: DataModule,
    say: Callable[[str], None],
    share: Share = no_share,
    devices: Sequence[int] | None = None,
) -> dict[str, Any]:
    """Measures clean metric and grid again, under each deployment, and compares with a record.

    Args:
        record: A record of status ok.
        workload: Its trained workload; it counts afterwards which images rounding may flip.
        data: Its data.
        say: Told about progress.
        share: Told which share of the grid is done.
        devices: Seeds of the test devices that are measured; None for all of the grid.

    Returns:
        ``clean``, ``cells`` (values, None where there is none), ``deployments`` (the steps on each
        device, with their values in the order of the cells), ``difference`` (largest over all of
        these, infinite where only one side has a value; of a metric that is no share of images
        relative to the value), ``tolerance`` (the largest that rounding allows anywhere) and
        ``within``: no value is further off than it may be, nor are all of them in one direction.

    Raises:
        UserError: If the record has other cells than the workload.
    """
    images, labels = data.test_tensors()
    rounding = output_rounding(workload, images)
    accuracy = count_undecided(workload, rounding)
    cells = job_cells(workload, record["job"]["tier"], images)
    places = [_identity(cell) for cell in record["cells"]]
    if {_identity(cell.as_dict()) for cell in cells} != set(places):
        raise UserError(
            "the record's grid is not the workload's grid at this version",
            next_step="run the suite again with this version of pnnbench",
        )
    if devices is not None:
        cells = [cell for cell in cells if cell.device_seed in (None, *devices)]
    clean = measure_clean(workload, images, labels)
    span = 0.5 if workload.offset_calibration_images else 1.0
    frozen, calibrated = (
        grid_telling(say, share, what, first, span)
        for what, first in (("grid", 0.0), ("calibrated grid", span))
    )
    readings = measure_grid(workload, images, labels, cells, progress=frozen)
    steps, _ = measure_deployments(workload, data, cells, calibrated)
    measured = [
        {**c.as_dict(), "value": r.value, "also": dict(r.also)}
        for c, r in zip(cells, readings, strict=True)
    ]
    agreement = Agreement(len(images) if accuracy else None, rounding)
    found = list(agreement.compare("clean", record["clean"], clean.value, clean.also))

    def compare(field: str, told: Sequence[float | None], own: Sequence[Any]) -> None:
        """Compares values in the order of the record with values and figures of the grid."""
        recorded = dict(zip(places, told, strict=True))
        for cell, (value, also) in zip(measured, own, strict=True):
            found.extend(agreement.compare(field, recorded[_identity(cell)], value, also))

    told = [cell["value"] for cell in record["cells"]]
    compare("cells", told, [(cell["value"], cell["also"]) for cell in measured])
    nothing = [None] * len(cells)
    again = {step["name"]: step for step in steps}
    recorded = [step["name"] for step in record.get("deployments", [])]
    for name in dict.fromkeys([*recorded, *again]):  # what only one side has differs everywhere
        step = again.get(name, {})
        also = step.get("also", [{}] * len(cells))
        own = list(zip(step.get("values", nothing), also, strict=True))
        compare(name, deployment_of(record, name).get("values", [None] * len(places)), own)
        _without_undecided(step, also)
    for cell in measured:
        cell["also"].pop(UNDECIDED, None)
        if not cell["also"]:
            del cell["also"]
    found += agreement.whole()
    return {
        "clean": clean.value,
        "cells": measured,
        **({"deployments": steps} if steps else {}),
        "difference": agreement.largest,
        "tolerance": agreement.allowed,
        "within": not found,
    }


def _without_undecided(step: dict[str, Any], also: Sequence[dict[str, float]]) -> None:
    """Leaves the images that rounding may flip out of what a deployment has beside its values."""
    for figures in also:
        figures.pop(UNDECIDED, None)
    if not any(also):
        step.pop("also", None)


def _identity(cell: dict[str, Any]) -> tuple[Any, ...]:
    environment = tuple(sorted(cell["environment"].items()))
    return (cell["axis"], cell["severity"], environment, cell["device_seed"])
