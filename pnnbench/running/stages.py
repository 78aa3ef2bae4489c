"""Measures every row after shares of its steps, so that readers see whether the order stands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from safetensors import safe_open

from pnnbench.data.datamodule import DataModule
from pnnbench.errors import UserError
from pnnbench.evaluation.gaps import Gap, Gaps
from pnnbench.evaluation.harness import measure_clean, measure_grid
from pnnbench.running.watching import SHARES, stage_file
from pnnbench.workloads.base import Workload
from pnnbench.workloads.grid import Cell

#: One seed in so many is measured at its stages.
EVERY = 3


def measure_stages(
    folder: Path,
    data: DataModule,
    tier: str,
    cells: Sequence[Cell],
    fresh: Callable[[], Workload],
    calibrate: Callable[[Workload], None],
    gaps: Gaps,
) -> list[dict[str, Any]]:
    """Measures a run after shares of its steps on a small part of the cells, as trained.

    The cosine of the learning rate was not at its end then: a stage is no shorter run.

    Args:
        folder: Where `EarlyStages` has put the parameters.
        data: The job's data.
        tier: The job's tier, for `Workload.part_of_grid`.
        cells: The job's grid.
        fresh: Makes the job's workload.
        calibrate: Calibrates it as the trained one.
        gaps: Takes what could not be measured, under ``earlier``.

    Returns:
        For each share that could be measured: ``share``, ``steps``, ``clean``, and ``cells`` with a
        value each, None where there is none.
    """
    chosen: list[Cell] = []
    with gaps.part("earlier"):
        chosen = _chosen(fresh(), tier, cells)
    found: list[dict[str, Any]] = []
    for share in SHARES if chosen else ():
        with gaps.part(f"earlier.{share:g}"):
            workload, steps = _trained_until(stage_file(folder, share), fresh())
            workload.project_controls()
            calibrate(workload)
            clean = measure_clean(workload, *data.test_tensors())
            readings = measure_grid(workload, *data.test_tensors(), chosen)
            parts = {"clean": clean, **{f"cells[{i}]": r for i, r in enumerate(readings)}}
            gaps.found += [
                Gap.of(f"earlier.{share:g}.{name}", reading.error)
                for name, reading in parts.items()
                if reading.error is not None
            ]
            found.append(
                {
                    "share": share,
                    "steps": steps,
                    **clean.as_dict("clean"),
                    "cells": [
                        {**cell.as_dict(), **reading.as_dict()}
                        for cell, reading in zip(chosen, readings, strict=True)
                    ],
                }
            )
    return found


def _chosen(workload: Workload, tier: str, cells: Sequence[Cell]) -> list[Cell]:
    """The cells that the workload has chosen; refuses what no board could compare."""
    chosen = workload.part_of_grid(tier)
    strange = [cell for cell in chosen if not (cell.counts and cell in cells)]
    if strange:
        raise UserError(
            f"part_of_grid of the workload has {strange[0]}",
            allowed="cells of the grid that carry weight",
        )
    return chosen


def _trained_until(path: Path, workload: Workload) -> tuple[Workload, int]:
    """The workload with the tensors of a stage, and after how many steps that was."""
    if not path.is_file():
        raise UserError("the tensors of the network were not kept", next_step="run the job again")
    with safe_open(path, framework="pt") as kept:
        tensors = {name: kept.get_tensor(name) for name in kept.keys()}  # noqa: SIM118 - no mapping
        steps = int((kept.metadata() or {})["steps"])
    workload.load_tensors(tensors)
    return workload, steps
