"""The perturbation grid of one job and the figures taken from it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pnnbench.errors import UserError
from pnnbench.leaderboard.deployments import FROZEN, deployment_of
from pnnbench.leaderboard.score import axis_weights, device_scores, equal_weights
from pnnbench.leaderboard.statistics import Array
from pnnbench.records.cell_checks import Group, groups_of

Record = dict[str, Any]
Cell = Mapping[str, Any]

DEVICE_AXIS = "device"
"""Axis that varies the severity of the device errors at nominal conditions."""
SHOT_AXIS = "shot"
"""Axis of the ideal device under nominal conditions with the noise of the read-out alone."""
LAST_REVISION = 3
"""Revision of the protocol that new jobs are scored under."""
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


def places_of(cells: Sequence[Cell]) -> list[tuple[Group, int | None]]:
    """Where each cell stands: its group and its device, None for the ideal one."""
    devices = (cell["device_seed"] for cell in cells)
    return list(zip(groups_of(cells), devices, strict=True))


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
        nominal: Axis -> level at which nothing is off; may be infinite. 0 for axes that say none.
    """

    groups: tuple[Group, ...]
    devices: tuple[int | None, ...]
    values: Array
    levels: dict[Group, tuple[float, str]]
    shared: tuple[bool, ...]
    weights: tuple[float, ...]
    worst_weights: tuple[float, ...]
    nominal: Mapping[str, float] = field(default_factory=dict)

    def nominal_of(self, axis: str) -> float:
        """Level of an axis at which nothing is off; infinite where it has no end there."""
        return self.nominal.get(axis, 0.0)

    @property
    def counted(self) -> tuple[bool, ...]:
        """Per group whether it carries weight in the score."""
        return tuple(weight > 0.0 for weight in self.weights)

    @property
    def scores(self) -> Array | None:
        """Robust score per device, shape (n_devices,); see `device_scores`."""
        return device_scores(self.values, self.weights)

    @property
    def worst_scores(self) -> Array | None:
        """Scores of which `worst_mean` takes the worst, shape (n_devices,).

        They are `scores`; on boards of the first revision, without what all devices share.
        """
        return device_scores(self.values, self.worst_weights)


def revision_of(record: Record) -> int:
    """Revision of the protocol that a job was run under; records that name none are of the first.

    Args:
        record: A record.

    Returns:
        The revision, at least 1.
    """
    return int(record["job"].get("revision", 1))


def guessing(metric: Mapping[str, Any], beside: Iterable[float | None] = ()) -> float:
    """What a missing value counts as: guessing, the chance level.

    A metric of which less is better has no worst value. There it is the worst of the chance level
    and of the values beside, so that outputs that are not finite are no better than large errors.

    Args:
        metric: The metric of a record.
        beside: Values of the same record or row; None and what is not finite are left out.

    Returns:
        The level, in the unit of the metric; not a number for a metric that has none.
    """
    level = float(metric.get("chance", math.nan))
    if metric.get("higher_is_better", True) or math.isnan(level):
        return level
    return max([level, *(v for v in beside if v is not None and math.isfinite(v))])


def is_share(metric: Mapping[str, Any] | str) -> bool:
    """Whether a metric is a share of images, shown in percent.

    Args:
        metric: The metric or its name.

    Returns:
        True for accuracy.
    """
    return (metric if isinstance(metric, str) else metric["name"]) == "accuracy"


@dataclass(frozen=True)
class _Fact:
    """What the cells of a group say of it."""

    level: float
    unit: str
    nominal: float
    counts: bool


def _facts(cells: Sequence[Cell], groups: Sequence[Group], where: str) -> dict[Group, _Fact]:
    """What is said of each group; raises UserError where its cells, or an axis, disagree."""
    said = {
        (group, cell["level"], cell["unit"], cell.get("nominal", 0.0), cell["counts"]): None
        for group, cell in zip(groups, cells, strict=True)
    }
    nominal: dict[str, float] = {}
    facts: dict[Group, _Fact] = {}
    for group, level, unit, given, counts in said:
        at = float(given)
        if nominal.setdefault(group[0], at) != at:
            raise UserError(
                f"{where}: the axis {group[0]!r} is nominal at {nominal[group[0]]:g} and at {at:g}",
                allowed="one nominal level for an axis",
            )
        if facts.setdefault(group, _Fact(level, unit, at, counts)).counts != counts:
            raise UserError(
                f"{where}: only some cells of {group} count",
                allowed="all or none of a condition's devices",
            )
    return facts


def arrange(
    cells: Sequence[Cell],
    *,
    guess: float = math.nan,
    revision: int = LAST_REVISION,
    where: str = "the grid",
) -> Grid:
    """Arranges cells by group and device, with the weights of the robust score.

    A cell without a device (a condition met by the ideal device) counts for every device. A cell
    without a value counts as guessing.

    Args:
        cells: Cells as records have them: axis, level, unit, severity, environment, device_seed,
            value (None where it is undefined) and whether it ``counts``.
        guess: What guessing gives, in the unit of the metric; not a number where there is no such
            level.
        revision: Revision of the protocol. From the second on, axes weigh equally and in each the
            groups that count; in the first, all groups that count weigh the same, and the worst
            devices are found without the groups that all of them share.
        where: What the cells are, for messages.

    Returns:
        The grid; not a number where a cell has no value and there is no chance level.

    Raises:
        UserError: If a device lacks a cell that another device has, cells of one group differ in
            whether they count, or cells of one axis in where its nominal point is.
    """
    of_cell = groups_of(cells)
    facts = _facts(cells, of_cell, where)
    groups = tuple(sorted(facts, key=lambda g: (g[0], facts[g].level, g[1], g[2])))
    seeds = [cell["device_seed"] for cell in cells]
    real = sorted({device for device in seeds if device is not None})
    row = {group: i for i, group in enumerate(groups)}
    column = {**{device: i for i, device in enumerate(real)}, None: len(real)}
    at = [row[group] for group in of_cell], [column[device] for device in seeds]
    whole, found = np.empty((len(groups), len(column))), np.zeros((len(groups), len(column)), bool)
    given = [cell["value"] for cell in cells]
    whole[at] = [guess if value is None else value for value in given]
    found[at] = True
    ideal = found[:, -1]
    missing = np.argwhere(~(found[:, :-1] | ideal[:, None]))
    if len(missing):
        i, j = missing[0]
        raise UserError(
            f"{where}: device {real[j]} lacks the cell {groups[i]}",
            next_step="evaluate the job again; every device meets the whole grid",
        )
    devices: tuple[int | None, ...] = tuple(real) if real else (None,)
    values = np.where(found, whole, whole[:, -1:])[:, :-1] if real else whole
    on_ideal = tuple(map(bool, ideal))
    count = [facts[group].counts for group in groups]
    if revision > 1:
        weights = worst = axis_weights([group[0] for group in groups], count)
    else:  # groups that all devices share tell none of them apart
        weights = equal_weights(count)
        worst = equal_weights([c and not s for c, s in zip(count, on_ideal, strict=True)])
    nominal = {group[0]: fact.nominal for group, fact in facts.items()}
    levels = {group: (fact.level, fact.unit) for group, fact in facts.items()}
    return Grid(groups, devices, values, levels, on_ideal, weights, worst, nominal)


def counted_cells(record: Record) -> list[dict[str, Any]]:
    """The cells of a record, each with whether it ``counts``.

    Args:
        record: A finished record.

    Returns:
        The cells in the order of the record, not to be written to; older records say for whole
        axes what counts.
    """
    silent = _SILENT_BEFORE_SCHEMA_2.get(record["job"]["workload"], ())
    return [
        cell
        if "counts" in cell
        else {**cell, "counts": record["schema"] > 1 or cell["axis"] not in silent}
        for cell in record["cells"]
    ]


def read_grid(record: Record, deployment: str = FROZEN) -> Grid:
    """Arranges the cells of a record, see `arrange`.

    Args:
        record: A finished record.
        deployment: Which values: those of the network as trained, or of a deployment that the
            record has.

    Returns:
        The grid. Of a deployment, cells that do not count and have no value are not a number.

    Raises:
        UserError: As `arrange`, or if the deployment has not one value for each cell.
    """
    cells = counted_cells(record)
    if deployment != FROZEN:
        step = deployment_of(record, deployment)
        values = step["values"]
        if len(values) != len(cells):
            raise UserError(
                f"job {record['job']['hash']}: {len(values)} values of the deployment "
                f"{deployment!r} for {len(cells)} cells",
                next_step="evaluate the job again",
            )
        counts = step.get("counts", [cell["counts"] for cell in cells])
        cells = [
            {**cell, "counts": c, "value": math.nan if value is None and not c else value}
            for cell, value, c in zip(cells, values, counts, strict=True)
        ]
    guess = guessing(record["metric"], [cell["value"] for cell in cells])
    return arrange(
        cells, guess=guess, revision=revision_of(record), where=f"job {record['job']['hash']}"
    )


def curve_areas(grid: Grid, clean: float) -> dict[str, Array]:
    """Area under the degradation curve per axis, by trapezoids, divided by the span of levels.

    Levels are signed (a temperature below the training point is negative), so both branches
    count by their length. Where an axis has no group at its nominal level, 0 unless it says
    another, the devices of its severity at nominal conditions stand there (the point of the device
    axis); where there are none, the ideal device with the noise of the read-out (the cells of the
    axis ``shot``), or else the clean value. An axis without an end at nominal (bits) has the area
    over its measured levels.

    Args:
        grid: The grid of one job.
        clean: The metric on the ideal device without noise.

    Returns:
        Per axis shape (n_devices,), in the unit of the metric.
    """
    curves: dict[str, dict[float, list[int]]] = {}
    noisy = [i for i, group in enumerate(grid.groups) if group[0] == SHOT_AXIS]
    ideal = grid.values[noisy].mean(axis=0) if noisy else np.full(len(grid.devices), clean)
    for i, group in enumerate(grid.groups):
        if group[0] == SHOT_AXIS:
            continue
        curves.setdefault(group[0], {}).setdefault(grid.levels[group][0], []).append(i)
    result = {}
    for axis, points in curves.items():
        curve = {level: grid.values[index].mean(axis=0) for level, index in points.items()}
        severities = {grid.groups[i][1] for index in points.values() for i in index}
        nominal = [
            i
            for i, group in enumerate(grid.groups)
            if axis != DEVICE_AXIS and group[0] == DEVICE_AXIS and {group[1]} == severities
        ]
        at = grid.nominal_of(axis)
        if math.isfinite(at):
            curve.setdefault(at, grid.values[nominal[0]] if nominal else ideal)
        x = np.array(sorted(curve))
        if len(x) < 2:
            continue
        y = np.stack([curve[level] for level in x.tolist()])
        steps = np.diff(x)[:, None]
        result[axis] = ((y[1:] + y[:-1]) / 2 * steps).sum(axis=0) / float(x[-1] - x[0])
    return result
