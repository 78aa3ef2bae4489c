"""Measures how a trained workload does after what is done to each device before it is used."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pnnbench.data.datamodule import DataModule
from pnnbench.evaluation.gaps import Gap
from pnnbench.evaluation.harness import measure_grid
from pnnbench.workloads.base import Workload
from pnnbench.workloads.grid import OFFSET_CALIBRATED, Cell


def measure_deployments(
    workload: Workload,
    data: DataModule,
    cells: Sequence[Cell],
    progress: Callable[[int, int], None] | None = None,
) -> tuple[list[dict[str, Any]], list[Gap]]:
    """Measures the grid of a trained workload once for each deployment step that it declares.

    Offset calibration: every device, in each environment, measures the first
    `Workload.offset_calibration_images` training images, without their labels, and takes its
    batch-norm statistics from them.

    Args:
        workload: The trained, calibrated workload.
        data: Its data.
        cells: Its grid.
        progress: Called after each group of cells.

    Returns:
        For each step its name, its images, the queries (inputs that a device measures in one
        environment) and for each cell its value, None where there is none, and whether it counts;
        and why there is no value.
    """
    count = workload.offset_calibration_images
    if not count:
        return [], []
    chosen, _ = data.train_tensors(slice(count))
    readings = measure_grid(
        workload, *data.test_tensors(), cells, calibration=chosen, progress=progress
    )
    name = f"deployments.{OFFSET_CALIBRATED}"
    gaps = [Gap.of(f"{name}[{i}]", r.error) for i, r in enumerate(readings) if r.error is not None]
    step = {
        "name": OFFSET_CALIBRATED,
        "images": len(chosen),
        "queries": max(reading.queries for reading in readings),
        "values": [reading.value for reading in readings],
        **({"also": [dict(r.also) for r in readings]} if any(r.also for r in readings) else {}),
        "counts": [cell.counts_when(OFFSET_CALIBRATED) for cell in cells],
    }
    return [step], gaps
