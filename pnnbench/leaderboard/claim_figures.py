"""What a claim compares, taken from the records of a board: one value per seed and device."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from pnnbench.leaderboard.claims import RATIOS, Comparison
from pnnbench.leaderboard.deployments import FROZEN
from pnnbench.leaderboard.grid import DEVICE_AXIS, Grid, Record, is_share, read_grid
from pnnbench.leaderboard.model import Row, Table
from pnnbench.leaderboard.statistics import Array


class NotMeasuredError(Exception):
    """A row, a seed, a level or a figure that a claim needs is not there; says which."""


def row_of(table: Table, label: str) -> Row:
    """A row of a board with all of its seeds.

    Args:
        table: The board.
        label: Label of the row.

    Returns:
        The row.

    Raises:
        NotMeasuredError: If it is not there, incomplete, or lacks a seed that another row has.
    """
    board = table.key["suite"]
    row = next((row for row in table.rows if row.method == label), None)
    if row is None:
        raise NotMeasuredError(f"{board} has no row {label!r}")
    every = {seed for other in table.rows for seed in (*other.seeds, *other.missing)}
    failed = {int(failure["seed"]) for failure in row.failed}
    lacking = sorted((every - set(row.seeds)) | failed | set(row.undefined))
    if lacking or not row.complete:
        raise NotMeasuredError(
            f"row {label!r} of {board} is incomplete: seeds {', '.join(map(str, lacking))}"
        )
    return row


def values_of(table: Table, test: Comparison, label: str) -> Array:
    """A figure of one row.

    Args:
        table: The board, in its headline deployment.
        test: What is compared.
        label: Label of the row.

    Returns:
        Shape (n_seeds, n_devices), or (n_seeds, 1) for a figure without devices, by seed; shares
        in percent or points, ratios as natural logarithms.

    Raises:
        NotMeasuredError: If the row is not whole or lacks the figure.
    """
    row = row_of(table, label)
    records = table.chosen.finished[label]
    if test.figure in RATIOS:
        return np.log(_column(records, _positive(test.figure), label, test.figure))
    unit = 100.0 if is_share(row.metric) else 1.0
    return unit * _share(table, test, row, records)


def _share(table: Table, test: Comparison, row: Row, records: Sequence[Record]) -> Array:
    label = row.method
    if test.figure == "robust":
        if row.scores is None:
            raise NotMeasuredError(f"row {label!r} has no robust score")
        return row.scores.values
    clean = _column(records, lambda record: record["clean"], label, "clean metric")
    if test.figure == "clean":
        return clean
    if test.figure in ("cells", "drop"):
        deployment = table.key["deployment"]
        found = np.stack([_cells(read_grid(record, deployment), test) for record in records])
        if not bool(np.isfinite(found).all()):
            raise NotMeasuredError(f"row {label!r} has cells without a value that it needs")
        return found - clean if test.figure == "drop" else found
    own = _column(records, lambda r: r["training_device"]["value"], label, "training device")
    if test.figure == "training_device":
        return own
    fresh = np.stack([_fresh(record, label) for record in records])
    return fresh - own if test.figure == "transfer" else fresh


def _column(
    records: Sequence[Record], get: Callable[[Record], float | None], label: str, what: str
) -> Array:
    """One number per record, shape (n_seeds, 1)."""
    found = []
    for record in records:
        try:
            value = get(record)
        except KeyError:
            value = None
        if value is None or not math.isfinite(value):
            seed = record["job"]["seed"]
            raise NotMeasuredError(f"row {label!r} has no {what.replace('_', ' ')} at seed {seed}")
        found.append([value])
    return np.array(found, dtype=np.float64)


def _positive(figure: str) -> Callable[[Record], float | None]:
    """Reads a figure that has a logarithm; None where it has none or says nothing."""

    def get(record: Record) -> float | None:
        if figure == "lambda_max":
            sharpness = record["sharpness"]
            # A network that learnt nothing is flat, and that says nothing.
            value = None if sharpness.get("at_guessing") else sharpness["lambda_max"]
        else:
            value = record["cost"][figure]
        return float(value) if value is not None and value > 0 else None

    return get


def _cells(grid: Grid, test: Comparison) -> Array:
    """Mean over axes of the mean over their levels, shape (n_devices,)."""
    means = []
    for axis in test.axes:
        mine = [i for i, group in enumerate(grid.groups) if group[0] == axis]
        levels = {i: grid.levels[grid.groups[i]][0] for i in mine}
        if test.levels:
            chosen = [i for i in mine if any(_same(levels[i], want) for want in test.levels)]
            lacking = [w for w in test.levels if not any(_same(levels[i], w) for i in mine)]
        else:
            chosen, lacking = [i for i in mine if grid.counted[i]], []
        if lacking or not chosen:
            there = ", ".join(f"{level:g}" for level in sorted(set(levels.values()))) or "none"
            what = (
                f"level {', '.join(f'{w:g}' for w in lacking)}" if lacking else "level that counts"
            )
            raise NotMeasuredError(f"the grid has no {what} on axis {axis!r}; it has {there}")
        means.append(grid.values[chosen].mean(axis=0))
    return np.asarray(np.mean(means, axis=0), dtype=np.float64)


def _same(a: float, b: float) -> bool:
    return math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-12)


def _fresh(record: Record, label: str) -> Array:
    """The metric on test devices of the training device's severity, shape (n_devices,)."""
    grid, own = read_grid(record, FROZEN), record["training_device"]
    for i, group in enumerate(grid.groups):
        unit = grid.levels[group][1]
        if group[0] == DEVICE_AXIS and _same(group[1], own["severity"]) and unit == own["unit"]:
            return grid.values[i]
    raise NotMeasuredError(
        f"row {label!r} has no test devices of its training device's severity, {own['severity']:g}"
    )
