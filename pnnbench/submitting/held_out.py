"""Held-out devices: the score on devices that nobody could train on.

The test devices of a board are public, so that anybody can measure. A method that was trained on
them scores better there than on any others. A maintainer keeps a secret; the devices drawn from it
are known to nobody else, and to the maintainer only after the tensors are fixed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student_t

from pnnbench.data.datamodule import DataModule
from pnnbench.evaluation.harness import Progress, measure_grid
from pnnbench.leaderboard.score import axis_weights, device_scores
from pnnbench.workloads.base import Workload
from pnnbench.workloads.grid import FROZEN, Cell

#: Devices at least: with fewer their spread is not known well enough.
LEAST_DEVICES = 20
#: Confidence of the interval of a score, and at which a difference is told.
INTERVAL, TOLD = 0.95, 0.99
#: First seed of secret devices, far from all public ones.
FIRST_SECRET = 2**40


def secret_devices(key: bytes, protocol: str, count: int) -> list[int]:
    """Seeds of devices that nobody knows without the key.

    Args:
        key: The secret.
        protocol: Name of the protocol.
        count: How many.

    Returns:
        HMAC-SHA256 of protocol, seed axis and number under the key, 56 bits of each.
    """
    digests = (
        hmac.digest(key, f"{protocol}/test_devices/{i}".encode(), hashlib.sha256)
        for i in range(count)
    )
    return [FIRST_SECRET + int.from_bytes(digest[:7], "big") for digest in digests]


def secret_cells(cells: Sequence[Cell], devices: Sequence[int]) -> list[Cell]:
    """The cells of a grid that carry weight, met on other devices.

    Args:
        cells: The grid.
        devices: Seeds of the devices that take the place of its own.

    Returns:
        Place by place; what the ideal device meets stays as it is.
    """
    places = dict.fromkeys(
        cell if cell.device_seed is None else dataclasses.replace(cell, device_seed=-1)
        for cell in cells
    )
    return [
        dataclasses.replace(place, device_seed=device)
        for place in places
        for device in (devices if place.device_seed is not None else [None])
    ]


def scores_by_device(
    cells: Sequence[Cell], values: Sequence[float | None], headline: str
) -> NDArray[np.float64] | None:
    """Robust score of each device: what the ideal device meets is in the score of each.

    Args:
        cells: The cells that were measured.
        values: The metric in each.
        headline: Which deployment they were measured in.

    Returns:
        Shape (devices,), in the order of the seeds as they first come; None where a cell that
        counts has no value, or nothing that counts has a device.
    """
    counted = [
        (cell, value)
        for cell, value in zip(cells, values, strict=True)
        if cell.counts_when("frozen" if headline == FROZEN else "offset-calibrated")
    ]
    devices = list(dict.fromkeys(c.device_seed for c, _ in counted if c.device_seed is not None))
    if not devices or any(value is None for _, value in counted):
        return None
    rows: dict[Cell, dict[int | None, float]] = {}
    for cell, value in counted:
        place = dataclasses.replace(cell, device_seed=None)
        rows.setdefault(place, {})[cell.device_seed] = float(value or 0.0)
    table = np.array(
        [[row[None] if None in row else row[device] for device in devices] for row in rows.values()]
    )
    weights = axis_weights([place.axis for place in rows], [True] * len(rows))
    return device_scores(table, weights)


def measure_secret(
    workload: Workload,
    data: DataModule,
    cells: Sequence[Cell],
    devices: Sequence[int],
    progress: Progress | None = None,
) -> NDArray[np.float64] | None:
    """Robust score of a trained workload on each of some devices.

    Args:
        workload: The trained, calibrated workload.
        data: Its data.
        cells: Its grid.
        devices: Seeds of the devices.
        progress: Called after each group of cells.

    Returns:
        Shape (devices,); None as `scores_by_device`.
    """
    headline = workload.headline
    wanted = secret_cells([cell for cell in cells if cell.counts_when(headline)], devices)
    calibration = None
    if headline != FROZEN:
        calibration = data.train_tensors(slice(workload.offset_calibration_images))[0]
    readings = measure_grid(
        workload, *data.test_tensors(), wanted, calibration=calibration, progress=progress
    )
    return scores_by_device(wanted, [reading.value for reading in readings], headline)


def compare(
    public: Sequence[NDArray[np.float64]],
    held_out: Sequence[NDArray[np.float64]],
    higher_is_better: bool,
) -> Mapping[str, Any]:
    """Compares the score on public devices with that on held-out ones.

    For whoever has never seen them, the public devices are more of the same draw: their mean lies
    in the prediction interval that the spread of the held-out ones gives. That of the public ones
    is not asked: who has trained on them has narrowed it.

    Args:
        public: For each seed the score of each public device, in one order.
        held_out: For each seed the score of each held-out device.
        higher_is_better: Direction of the metric.

    Returns:
        ``public`` and ``held_out`` (means), ``low`` and ``high`` (95 % interval of the latter),
        ``devices``, ``difference`` (public minus held-out), ``allowed`` (99 %), ``differs`` and
        ``memorised``: better on the public devices than their spread allows.
    """
    known, fresh = np.mean(public, axis=0), np.mean(held_out, axis=0)
    n, m = len(known), len(fresh)
    spread = float(fresh.std(ddof=1))
    half = float(student_t.ppf(0.5 + INTERVAL / 2, m - 1)) * spread / np.sqrt(m)
    allowed = float(student_t.ppf(0.5 + TOLD / 2, m - 1)) * spread * np.sqrt(1 / n + 1 / m)
    mean, difference = float(fresh.mean()), float(known.mean() - fresh.mean())
    return {
        "public": float(known.mean()),
        "held_out": mean,
        "low": mean - float(half),
        "high": mean + float(half),
        "devices": m,
        "difference": difference,
        "allowed": float(allowed),
        "differs": bool(abs(difference) > allowed),
        "memorised": bool((difference if higher_is_better else -difference) > allowed),
    }
