"""What a claim compares, taken from the records of a board: one value per seed and device."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from pnnbench.leaderboard.beside import as_metric
from pnnbench.leaderboard.claims import ALONE, ON_AXES, RATIOS, Comparison
from pnnbench.leaderboard.deployments import FROZEN
from pnnbench.leaderboard.grid import DEVICE_AXIS, Grid, Record, read_grid
from pnnbench.leaderboard.model import Row, Table
from pnnbench.leaderboard.statistics import Array
from pnnbench.leaderboard.transfer import training_seconds
from pnnbench.records.figure_names import parsed


class NotMeasuredError(Exception):
    """A row, a seed, a level or a figure that a claim needs is not there; says which."""


class NotComparableError(Exception):
    """A figure that is there and is not to be held against others; says why."""


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
        Shape (n_seeds, n_devices), or (n_seeds, 1) for a figure without devices, and for cells of
        the ideal device, by seed; shares
        in percent or points, other metrics in their own unit, ratios as natural logarithms.

    Raises:
        NotMeasuredError: If the row is not whole or lacks the figure.
        NotComparableError: If the figure is λmax where it says little.
    """
    row = row_of(table, label)
    if test.figure == "lambda_max" and row.marks:
        why = Counter(row.marks.values())
        places = " and ".join(f"{reason} at {n}" for reason, n in why.items())
        raise NotComparableError(
            f"λmax of {label!r} is {places} of {len(row.seeds)} seeds, where it says little"
        )
    if test.figure in RATIOS:
        finished = table.chosen.finished[label]
        return np.log(_column(finished, _positive(test.figure), label, test.figure))
    return _share(table, test, row, _seen_as(table, test, label), _scaling(test, label))


def start_of(table: Table, test: Comparison, label: str) -> float:
    """Mean of what a figure of one row that is a difference is taken from.

    Args:
        table: The board, in its headline deployment.
        test: What is compared, with a figure among `ALONE`.
        label: Label of the row.

    Returns:
        Its mean over seeds and devices, in the unit of `values_of`.

    Raises:
        NotMeasuredError: If the row lacks it.
    """
    records = _seen_as(table, test, label)
    start = _start(table, test, records, label)
    return float(_scaling(test, label)(start).mean())


def guessing_of(table: Table, test: Comparison, label: str) -> float | None:
    """What guessing reaches of the metric of a test.

    Args:
        table: The board.
        test: What is compared, with a figure among `SHARES`.
        label: Label of a row that is there.

    Returns:
        In the unit of `values_of`; 0 for shares of images of which the board has no level, None for
        other metrics without one.
    """
    records = _seen_as(table, test, label)
    level = records[0]["metric"].get("chance", 0.0 if test.percent else None)
    return None if level is None else float(_scaling(test, label)(np.array([level]))[0])


def _seen_as(table: Table, test: Comparison, label: str) -> Sequence[Record]:
    """Records of a row whose metric is that of a test."""
    records = table.chosen.finished[label]
    name = _named(table, test.metric)
    return (
        records if name == table.key["metric"] else [as_metric(record, name) for record in records]
    )


def _scaling(test: Comparison, label: str) -> Callable[[Array], Array]:
    """Brings values of a metric to the unit of `values_of`."""

    def scaled(values: Array) -> Array:
        if not bool(np.isfinite(values).all()):
            raise NotMeasuredError(f"row {label!r} has cells without a value that it needs")
        if not test.ratio:
            return 100.0 * values if test.percent else values
        if values.min() <= 0.0:
            raise NotMeasuredError(
                f"row {label!r} has the {test.metric} {values.min():.3g}, of which there is no "
                "ratio"
            )
        return np.log(values)

    return scaled


def _named(table: Table, kind: str) -> str:
    """The one figure of a kind on a board."""
    every = (table.key["metric"], *table.also)
    found = [name for name in every if parsed(name).kind == kind]
    if len(found) != 1:
        board = table.key["suite"]
        raise NotMeasuredError(
            f"{board} has the figures {', '.join(found)}" if found else f"{board} has no {kind}"
        )
    return found[0]


def _share(
    table: Table,
    test: Comparison,
    row: Row,
    records: Sequence[Record],
    scaled: Callable[[Array], Array],
) -> Array:
    label = row.method
    if test.figure == "robust":
        scores = [grid.scores for grid in _grids(table, label, records)]
        if any(score is None for score in scores):
            raise NotMeasuredError(f"row {label!r} has no robust score")
        return scaled(np.stack([score for score in scores if score is not None]))
    if test.figure == "clean":
        return scaled(_column(records, lambda record: record["clean"], label, "clean metric"))
    if test.figure in ON_AXES:
        grids = _grids(table, label, records)
        found = scaled(np.stack([_cells(grid, test, test.levels) for grid in grids]))
    elif test.figure == "training_device":
        return scaled(_on_own(records, label))
    else:
        found = scaled(np.stack([_fresh(record, label) for record in records]))
    if test.figure not in ALONE:
        return found
    return found - scaled(_start(table, test, records, label))


def _grids(table: Table, label: str, records: Sequence[Record]) -> Sequence[Grid]:
    """The grids of some records: those that the board has read already where it is of the same."""
    if records is table.chosen.finished[label] and label in table.grids:
        return table.grids[label]
    return [read_grid(record, table.key["deployment"]) for record in records]


def _start(table: Table, test: Comparison, records: Sequence[Record], label: str) -> Array:
    """What a figure among `ALONE` is taken from: the nominal, the ideal or the own device."""
    if test.figure == "change":
        grids = _grids(table, label, records)
        return np.stack([_cells(grid, test, None) for grid in grids])
    if test.figure == "drop":
        return _column(records, lambda record: record["clean"], label, "clean metric")
    return _on_own(records, label)


def _on_own(records: Sequence[Record], label: str) -> Array:
    """The metric on the training device, shape (n_seeds, 1)."""
    return _column(records, lambda r: r["training_device"]["value"], label, "training device")


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
    """Reads a figure that has a logarithm; None where it has none."""

    def get(record: Record) -> float | None:
        if figure == "lambda_max":
            value = record["sharpness"]["lambda_max"]
        elif figure == "train_seconds":
            value = training_seconds(record)
        else:
            value = record["cost"][figure]
        return float(value) if value is not None and value > 0 else None

    return get


def _cells(grid: Grid, test: Comparison, wanted: Sequence[float] | None) -> Array:
    """Mean over axes of the mean over levels, shape (n_devices,); of the nominal ones for None.

    Without levels those that count. Shape (1,) where the ideal device alone is met.
    """
    means: list[Array] = []
    for axis in test.axes:
        asked = (grid.nominal_of(axis),) if wanted is None else wanted
        mine = [i for i, group in enumerate(grid.groups) if group[0] == axis]
        levels = {i: grid.levels[grid.groups[i]][0] for i in mine}
        if asked:
            chosen = [i for i in mine if any(_same(levels[i], want) for want in asked)]
            lacking = [w for w in asked if not any(_same(levels[i], w) for i in mine)]
        else:
            chosen, lacking = [i for i in mine if grid.counted[i]], []
        if lacking or not chosen:
            there = ", ".join(f"{level:g}" for level in sorted(set(levels.values()))) or "none"
            what = (
                f"level {', '.join(f'{w:g}' for w in lacking)}" if lacking else "level that counts"
            )
            raise NotMeasuredError(f"the grid has no {what} on axis {axis!r}; it has {there}")
        mean = grid.values[chosen].mean(axis=0)
        means.append(mean[:1] if all(grid.shared[i] for i in chosen) else mean)
    return np.asarray(sum(means) / len(means), dtype=np.float64)


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
