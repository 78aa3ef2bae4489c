"""Measures the grid of a finished run again and holds its record against it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pnnbench.data.datamodule import DataModule
from pnnbench.errors import UserError
from pnnbench.evaluation.harness import job_cells, measure_clean, measure_grid
from pnnbench.submitting.differences import Agreement
from pnnbench.submitting.rounding import UNDECIDED, count_undecided, output_rounding
from pnnbench.workloads.base import Workload


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
        workload: Its trained workload; it counts afterwards which images rounding may flip.
        data: Its data.
        say: Told about progress.
        share: Told which share of the grid is done.

    Returns:
        ``clean``, ``cells`` (values, None where there is none), ``difference`` (largest over clean
        and cells, infinite where only one side has a value; of a metric that is no share of images
        relative to the value), ``tolerance`` (the largest that rounding allows anywhere) and
        ``within``: no value is further off than it may be, nor are all of them in one direction.

    Raises:
        UserError: If the record has other cells than the workload.
    """
    images, labels = data.test_tensors()
    rounding = output_rounding(workload, images)
    accuracy = count_undecided(workload, rounding)
    cells = job_cells(workload, record["job"]["tier"], images)
    recorded = {_identity(cell): cell["value"] for cell in record["cells"]}
    if {_identity(cell.as_dict()) for cell in cells} != recorded.keys():
        raise UserError(
            "the record's grid is not the workload's grid at this version",
            next_step="run the suite again with this version of pnnbench",
        )
    clean = measure_clean(workload, images, labels)

    def progress(done: int, total: int) -> None:
        if done % 50 == 0 or done == total:
            say(f"grid {done}/{total} cells")
        if share is not None:
            share(done / total)

    readings = measure_grid(workload, images, labels, cells, progress=progress)
    measured = [
        {**c.as_dict(), "value": r.value, "also": dict(r.also)}
        for c, r in zip(cells, readings, strict=True)
    ]
    agreement = Agreement(len(images) if accuracy else None, rounding)
    found = list(agreement.compare("clean", record["clean"], clean.value, clean.also))
    for cell in measured:
        also = cell["also"]
        found += agreement.compare("cells", recorded[_identity(cell)], cell["value"], also)
        also.pop(UNDECIDED, None)
        if not also:
            del cell["also"]
    found += agreement.whole()
    return {
        "clean": clean.value,
        "cells": measured,
        "difference": agreement.largest,
        "tolerance": agreement.allowed,
        "within": not found,
    }


def _identity(cell: dict[str, Any]) -> tuple[Any, ...]:
    environment = tuple(sorted(cell["environment"].items()))
    return (cell["axis"], cell["severity"], environment, cell["device_seed"])
