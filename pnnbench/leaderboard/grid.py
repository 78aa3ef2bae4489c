"""The perturbation grid of one job and the figures taken from it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pnnbench.errors import UserError
from pnnbench.leaderboard.statistics import Array

Record = dict[str, Any]
Group = tuple[str, float, tuple[tuple[str, float], ...]]
"""A cell group: axis, severity, environment. Its cells differ only in the device."""

DEVICE_AXIS = "device"
"""Axis that varies the severity of the device errors at nominal conditions."""
SHOT_AXIS = "shot"
"""Axis of the one cell with the noise of the read-out and nothing else."""
WORST_FRACTION = 0.10
"""Share of the devices that count as the worst ones."""
_SILENT_BEFORE_SCHEMA_2 = {"mrr-mnist": ("temperature_wide",), "mrr-digits": ("temperature_wide",)}
"""Axes without weight on boards whose records do not say themselves which cells count."""


def require_equal(what: str, records: Sequence[Record], values: Sequence[Any]) -> None:
    """Refuses records of one table that differ where they must not.

    Args:
        what: What must be the same, for the message.
        records: The records.
        values: What each of them has.

    Raises:
        UserError: If a value differs from the first.
    """
    for record, value in zip(records, values, strict=True):
        if value != values[0]:
            raise UserError(
                f"jobs {records[0]['job']['hash']} and {record['job']['hash']} of one table "
                f"differ in their {what}",
                allowed=f"one {what} for every method and seed of a table",
                next_step="rank them as separate suites, or run the older job again",
            )


def group_of(cell: dict[str, Any]) -> Group:
    """The group that a cell belongs to.

    Args:
        cell: A cell of a record.

    Returns:
        Axis, severity and environment, hashable.
    """
    return (cell["axis"], cell["severity"], tuple(sorted(cell["environment"].items())))


@dataclass(frozen=True)
class Grid:
    """The grid of one job.

    Attributes:
        groups: By axis, then level.
        devices: Device seeds, sorted; ``(None,)`` where only the ideal device was measured.
        values: The metric, shape (n_groups, n_devices).
        levels: Level along the axis and its unit, per group.
        shared: Per group whether it has one value for all devices, that of the ideal one.
        weights: Per group its weight in the score; they sum to 1, or are all 0.
        worst_weights: Per group its weight in the score of the worst devices.
    """

    groups: tuple[Group, ...]
    devices: tuple[int | None, ...]
    values: Array
    levels: dict[Group, tuple[float, str]]
    shared: tuple[bool, ...]
    weights: tuple[float, ...]
    worst_weights: tuple[float, ...]

    @property
    def counted(self) -> tuple[bool, ...]:
        """Per group whether it carries weight in the score."""
        return tuple(weight > 0.0 for weight in self.weights)


def revision_of(record: Record) -> int:
    """Revision of the protocol that a job was run under; records that name none are of the first.

    Args:
        record: A record.

    Returns:
        The revision, at least 1.
    """
    return int(record["job"].get("revision", 1))


def axis_weights(groups: Sequence[Group], counted: Sequence[bool]) -> tuple[float, ...]:
    """Weights of cell groups: axes weigh equally, and in each axis the groups that count.

    Args:
        groups: The groups of a grid.
        counted: Per group whether it counts.

    Returns:
        Per group its weight; they sum to 1 unless no group counts.
    """
    sizes: dict[str, int] = {}
    for group, counts in zip(groups, counted, strict=True):
        if counts:
            sizes[group[0]] = sizes.get(group[0], 0) + 1
    return tuple(
        1.0 / (len(sizes) * sizes[group[0]]) if counts else 0.0
        for group, counts in zip(groups, counted, strict=True)
    )


def _equal_weights(counted: Sequence[bool]) -> tuple[float, ...]:
    total = sum(counted)
    return tuple(1.0 / total if counts else 0.0 for counts in counted)


def guessing(metric: Mapping[str, Any]) -> float:
    """What guessing gives: the chance level; not a number for a metric that has none.

    Args:
        metric: The metric of a record.

    Returns:
        The level, in the unit of the metric.
    """
    return float(metric.get("chance", math.nan))


def read_grid(record: Record) -> Grid:
    """Arranges the cells of a record by group and device.

    A cell without a device (an environment met by the ideal device) counts for every device. A
    cell whose metric is undefined counts as guessing.

    Args:
        record: A finished record.

    Returns:
        The grid; not a number where a cell is undefined and the metric has no chance level.

    Raises:
        UserError: If a device lacks a cell that another device has, or cells of one group differ
            in whether they count.
    """
    guess = guessing(record["metric"])
    silent = _SILENT_BEFORE_SCHEMA_2.get(record["job"]["workload"], ())
    counted: dict[Group, bool] = {}
    levels: dict[Group, tuple[float, str]] = {}
    cells: dict[tuple[Group, int | None], float] = {}
    for cell in record["cells"]:
        group = group_of(cell)
        levels.setdefault(group, (cell["level"], cell["unit"]))
        value = cell["value"]
        cells[group, cell["device_seed"]] = guess if value is None else value
        counts = cell.get("counts", record["schema"] > 1 or cell["axis"] not in silent)
        if counted.setdefault(group, counts) != counts:
            raise UserError(
                f"job {record['job']['hash']}: only some cells of {group} count",
                allowed="all or none of a condition's devices",
            )
    real = sorted({device for _, device in cells if device is not None})
    devices: tuple[int | None, ...] = tuple(real) if real else (None,)
    groups = tuple(sorted(levels, key=lambda g: (g[0], levels[g][0], g[1], g[2])))
    values = np.empty((len(groups), len(devices)))
    for i, group in enumerate(groups):
        shared = cells.get((group, None))
        for j, device in enumerate(devices):
            value = cells.get((group, device), shared)
            if value is None:
                raise UserError(
                    f"job {record['job']['hash']}: device {device} lacks the cell {group}",
                    next_step="evaluate the job again; every device meets the whole grid",
                )
            values[i, j] = value
    on_ideal = tuple((group, None) in cells for group in groups)
    count = [counted[group] for group in groups]
    if revision_of(record) > 1:
        weights = worst = axis_weights(groups, count)
    else:  # groups weighed equally, and groups that all devices share told none of them apart
        weights = _equal_weights(count)
        worst = _equal_weights([c and not s for c, s in zip(count, on_ideal, strict=True)])
    return Grid(groups, devices, values, levels, on_ideal, weights, worst)


def device_scores(values: Array, weights: Sequence[float]) -> Array | None:
    """Robust score per device: weighted mean over the cell groups.

    Args:
        values: Shape (n_groups, n_devices).
        weights: Per group, at least 0; need not sum to 1.

    Returns:
        Shape (n_devices,), in the unit of the metric; None if no group has weight or a group that
        has is undefined.
    """
    factors = np.array(weights, dtype=np.float64)
    if not factors.any():
        return None
    heavy = factors > 0.0
    own = factors[heavy]
    scores: Array = (
        values[heavy].mean(axis=0)  # to the last digit whatever the number of groups
        if bool((own == own[0]).all())
        else own @ values[heavy] / own.sum()
    )
    return scores if bool(np.isfinite(scores).all()) else None


def curve_areas(grid: Grid, clean: float) -> dict[str, Array]:
    """Area under the degradation curve per axis, by trapezoids, divided by the span of levels.

    Levels are signed (a temperature below the training point is negative), so both branches
    count by their length. Where an axis has no group at level 0, the devices of its severity at
    nominal conditions stand there (the point of the device axis), or else the ideal device, read
    out with noise as all cells are; its clean value where that was not measured.

    Args:
        grid: The grid of one job.
        clean: The metric on the ideal device.

    Returns:
        Per axis shape (n_devices,), in the unit of the metric.
    """
    curves: dict[str, dict[float, list[int]]] = {}
    for i, group in enumerate(grid.groups):
        curves.setdefault(group[0], {}).setdefault(grid.levels[group][0], []).append(i)
    ideal = curves.pop(SHOT_AXIS, {}).get(0.0)
    noisy = np.full(len(grid.devices), clean) if ideal is None else grid.values[ideal].mean(axis=0)
    result = {}
    for axis, points in curves.items():
        curve = {level: grid.values[index].mean(axis=0) for level, index in points.items()}
        severities = {grid.groups[i][1] for index in points.values() for i in index}
        nominal = [
            i
            for i, group in enumerate(grid.groups)
            if axis != DEVICE_AXIS and group[0] == DEVICE_AXIS and {group[1]} == severities
        ]
        curve.setdefault(0.0, grid.values[nominal[0]] if nominal else noisy)
        x = np.array(sorted(curve))
        if len(x) < 2:
            continue
        y = np.stack([curve[level] for level in x.tolist()])
        steps = np.diff(x)[:, None]
        result[axis] = ((y[1:] + y[:-1]) / 2 * steps).sum(axis=0) / float(x[-1] - x[0])
    return result


def worst_mean(scores: Array, higher_is_better: bool) -> float:
    """Mean score of the worst tenth of the devices, one device at least.

    Args:
        scores: Robust score per device, shape (n_devices,).
        higher_is_better: Direction of the metric.

    Returns:
        The mean, in the unit of the metric.
    """
    count = max(1, int(WORST_FRACTION * len(scores) + 1e-9))
    ordered = np.sort(scores)
    return float((ordered[:count] if higher_is_better else ordered[-count:]).mean())
