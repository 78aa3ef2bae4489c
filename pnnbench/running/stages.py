"""Measures every row after shares of its steps, so that readers see whether the order stands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from safetensors import safe_open

from pnnbench.data.datamodule import ImageDataModule
from pnnbench.evaluation.gaps import Gaps
from pnnbench.evaluation.harness import measure_clean, measure_grid
from pnnbench.running.watching import SHARES, stage_file
from pnnbench.workloads.base import Workload
from pnnbench.workloads.grid import Cell, part_of_grid

#: One seed in so many is measured at its stages.
EVERY = 3


def measure_stages(
    folder: Path,
    data: ImageDataModule,
    cells: Sequence[Cell],
    fresh: Callable[[], Workload],
    calibrate: Callable[[Workload], None],
    gaps: Gaps,
) -> list[dict[str, Any]]:
    """Measures a run after shares of its steps on a small part of the cells, as trained.

    The learning rate was still on its way down then: a stage is no shorter run.

    Args:
        folder: Where `EarlyStages` has put the parameters.
        data: The job's data.
        cells: The job's grid; see `pnnbench.workloads.grid.part_of_grid`.
        fresh: Makes the job's workload.
        calibrate: Calibrates it as the trained one.
        gaps: Takes what could not be measured, under ``earlier``.

    Returns:
        For each share that was kept: ``share``, ``steps``, ``clean``, and ``cells`` with a value
        each, None where there is none.
    """
    chosen = part_of_grid(cells)
    found = []
    for share in SHARES:
        path = stage_file(folder, share)
        if not path.is_file():
            continue
        with gaps.part(f"earlier.{share:g}"):
            workload = fresh()
            with safe_open(path, framework="pt") as kept:
                steps = int((kept.metadata() or {})["steps"])
                workload.network.load_state_dict({k: kept.get_tensor(k) for k in kept.keys()})  # noqa: SIM118 - no mapping
            workload.project_controls()
            calibrate(workload)
            tests = data.test_tensors()
            readings = measure_grid(workload, *tests, chosen)
            found.append(
                {
                    "share": share,
                    "steps": steps,
                    "clean": measure_clean(workload, *tests).value,
                    "cells": [
                        {**cell.as_dict(), "value": reading.value}
                        for cell, reading in zip(chosen, readings, strict=True)
                    ],
                }
            )
    return found
