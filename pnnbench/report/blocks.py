"""What the plain and the Markdown leaderboard show: blocks of columns, already as text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pnnbench.leaderboard.deployments import FROZEN
from pnnbench.leaderboard.earlier import WHOLE
from pnnbench.leaderboard.knowledge import knowledge_text
from pnnbench.leaderboard.model import EXTRAS, GroupLine, Row, Table
from pnnbench.leaderboard.statistics import NOTHING
from pnnbench.report.also_text import also_columns, also_title
from pnnbench.report.comparing import CLAIMS_TITLE, beats, claim_lines, rank
from pnnbench.report.formatting import (
    NONE,
    count,
    eigenvalue,
    further,
    is_share,
    metric_title,
    number,
    plus_minus,
)

Column = tuple[str, Callable[[Row], str]]
"""Heading and what stands below it for a row."""


@dataclass(frozen=True)
class Block:
    """One table of text.

    Attributes:
        title: Line above it; empty for the first block of a leaderboard table.
        columns: Headings.
        lines: One list of texts per row.
        method: Index of the column of method labels, which is cut where room is short.
        wide: Whether its columns may stand in several parts below each other.
    """

    title: str
    columns: list[str]
    lines: list[list[str]]
    method: int
    wide: bool


def level(group: GroupLine, *, signed: bool) -> str:
    """Formats the level of a cell group with its unit.

    Args:
        group: The group.
        signed: Whether its axis has negative levels.

    Returns:
        Such as ``"+0.25 °C"``.
    """
    text = f"{group.level:{'+' if signed else ''}g}".replace("-", "−")
    return f"{text} {unit_text(group.unit)}".strip()


def unit_text(unit: str) -> str:
    """Writes a unit as people do.

    Args:
        unit: Unit as the records name it.

    Returns:
        Such as ``"°C"`` or ``"× measured spread"``.
    """
    return {"degC": "°C", "deg": "°"}.get(unit, unit).replace("x ", "× ")


def training_severity(table: Table) -> str:
    """Formats the severity of the training devices.

    Args:
        table: The table.

    Returns:
        Such as ``"0.15 rad"``; empty where none was measured.
    """
    if table.training is None:
        return ""
    return f"{table.training['severity']:g} {unit_text(table.training['unit'])}".strip()


def signed_axes(table: Table) -> set[str]:
    """Names the axes that have negative levels.

    Args:
        table: The table.

    Returns:
        Axis names.
    """
    return {group.axis for group in table.groups if group.level < 0}


def has_forward(table: Table) -> bool:
    """Whether any row counts passes without a gradient.

    Args:
        table: The table.

    Returns:
        True if a column for them has something to show.
    """
    return any(row.cost.get("forward_evaluations") is not None for row in table.rows)


def cost_title(table: Table) -> str:
    """Names what stands beside the scores of a table.

    Args:
        table: The table.

    Returns:
        Such as ``"Training device, fresh devices of the same severity (0.15 rad), cost"``.
    """
    parts = []
    if table.training is not None:
        severity = training_severity(table)
        parts.append(f"training device, fresh devices of the same severity ({severity})")
    parts.append("training cost")
    if table.key["deployment"] != FROZEN:
        parts.append("queries of the deployment per device and environment")
    parts += [EXTRA_WORDS[name] for name in extras(table)]
    words = ", ".join(parts)
    return words[0].upper() + words[1:]


EXTRA_WORDS = {
    "light_on_detectors": "light on the detectors",
    "accuracy_without_absorbers": "accuracy without absorbers",
    "control_power_mw": "power of the controls",
}
"""Names of `EXTRAS` as headings."""


def extras(table: Table) -> list[str]:
    """Names the further figures that some row of a table has.

    Args:
        table: The table.

    Returns:
        Among `EXTRAS`.
    """
    return [name for name in EXTRAS if any(name in row.extra for row in table.rows)]


def knowledge(row: Row) -> str:
    """Writes what a row knows of the tests.

    Args:
        row: The row.

    Returns:
        Such as ``"one device"``; a dash where its records do not say.
    """
    return knowledge_text(row.knows, NONE)


def shares(table: Table) -> list[float]:
    """The shares of the steps at which the rows of a table were measured, the end included.

    Args:
        table: The table.

    Returns:
        Ascending; empty where no row was measured earlier.
    """
    return [*table.small_part["shares"], WHOLE] if table.small_part else []


def earlier_title(table: Table) -> str:
    """Names the block of scores after shares of the steps.

    Args:
        table: A table with `Table.small_part`.

    Returns:
        Such as ``"Score after a share of the steps, on 40 cells that count, seeds 0, 3"``.
    """
    part = table.small_part or {"cells": 0, "seeds": []}
    seeds = ", ".join(map(str, part["seeds"]))
    return (
        f"Score after a share of the steps, on {part['cells']} cells that count, "
        f"seed{'' if len(part['seeds']) == 1 else 's'} {seeds}"
    )


def order_texts(table: Table) -> list[str]:
    """Says whether the order of the rows stood before the end of the steps.

    Args:
        table: The table.

    Returns:
        Per share, the latest first, a sentence without a full stop; none where no two rows were
        measured earlier.
    """
    return [
        f"{changed} of {pairs} pairs of rows change{'s' if changed == 1 else ''} order between "
        f"{share_text(share)} and all of the steps"
        for share, (changed, pairs) in sorted(table.order_changes.items(), reverse=True)
        if pairs
    ]


def share_text(share: float) -> str:
    """Writes a share of the steps in words where there are any.

    Args:
        share: In (0, 1].

    Returns:
        Such as ``"half"`` or ``"30 %"``.
    """
    return {0.25: "a quarter", 0.5: "half", WHOLE: "all"}.get(share, f"{100 * share:g} %")


def lay_out(table: Table) -> list[Block]:
    """Lays out a table.

    Args:
        table: The table.

    Returns:
        Scores in order, figures beside the metric and claims of the suite where there are any, each
        row against the baseline, the training device where the records have it, cost, and scores
        after shares of the steps where rows have them. Without ranks: the figures of each row, then
        what each measured over the grid.
    """
    devices, cost = _device_columns(table), _cost_columns(table)
    if not table.ranked:
        own = [_METHOD, _KNOWS, _clean(table), *devices, _LAMBDA, *cost]
        return [_block(table, "", own, wide=True), *_also(table), _grid(table)]
    made = [_block(table, "", _score_columns(table)), *_also(table)]
    if table.claims:
        made.append(Block(CLAIMS_TITLE, *claim_lines(table), method=0, wide=True))
    baseline = _baseline(table)
    if baseline is not None and len(table.rows) > 1:
        title = f"Against {baseline}, each row by itself; beats: on a fresh seed and device"
        made.append(_block(table, title, [_METHOD, *_against(table)], wide=True))
    made.append(_block(table, cost_title(table), [_METHOD, *devices, *cost], wide=True))
    if shares(table):
        columns = [_METHOD, *(_stage_column(table, share) for share in shares(table))]
        made.append(_block(table, earlier_title(table), columns, wide=True))
    return made


def _block(table: Table, title: str, columns: list[Column], *, wide: bool = False) -> Block:
    headings = [heading for heading, _ in columns]
    lines = [[show(row) for _, show in columns] for row in table.rows]
    return Block(title, headings, lines, headings.index("method"), wide)


def _also(table: Table) -> list[Block]:
    """Figures beside the metric; none where no row has any."""
    if not table.also:
        return []
    return [_block(table, also_title(table), [_METHOD, *also_columns(table)], wide=True)]


def _label(row: Row) -> str:
    return row.method + ("" if row.complete else " *")


_METHOD: Column = ("method", _label)
_KNOWS: Column = ("knows", knowledge)
_LAMBDA: Column = ("λmax", lambda row: eigenvalue(row.lambda_max))


def _unit(table: Table) -> str:
    return " %" if is_share(table.key["metric"]) else ""


def _clean(table: Table) -> Column:
    share = is_share(table.key["metric"])
    return (f"clean{_unit(table)}", lambda row: plus_minus(row.clean, share=share))


def _score_columns(table: Table) -> list[Column]:
    baseline = _baseline(table)
    unit, share = _unit(table), is_share(table.key["metric"])

    def difference(row: Row) -> str:
        if row.baseline == row.method:
            return "baseline"
        found = row.difference if row.simultaneous.mean is None else row.simultaneous
        if found is row.difference:  # of an incomplete row: no interval holds beside the others'
            return number(found.mean, share=share, sign=True)
        return plus_minus(found, share=share, sign=True)

    return [
        ("rank", rank),
        _METHOD,
        _KNOWS,
        _clean(table),
        (f"robust{unit}", lambda row: plus_minus(row.robust, share=share)),
        (f"worst tenth{unit}", lambda row: plus_minus(row.worst_decile, share=share)),
        (f"vs {baseline}" if baseline else "vs baseline", difference),
        _LAMBDA,
    ]


def _baseline(table: Table) -> str | None:
    return next((row.baseline for row in table.rows if row.baseline), None)


def _against(table: Table) -> list[Column]:
    """The plain interval of the difference to the baseline, and how often a row beats it."""
    share = is_share(table.key["metric"])

    def difference(row: Row) -> str:
        if row.baseline == row.method:
            return "baseline"
        return plus_minus(row.difference, share=share, sign=True)

    return [
        (f"difference{_unit(table)}", difference),
        (f"beats {_baseline(table)} %", lambda row: beats(row.superiority)),
    ]


def _device_columns(table: Table) -> list[Column]:
    if table.training is None:
        return []
    unit, share = _unit(table), is_share(table.key["metric"])
    return [
        (f"training device{unit}", lambda row: plus_minus(row.training_device, share=share)),
        (f"fresh devices{unit}", lambda row: plus_minus(row.fresh_devices, share=share)),
        ("transfer", lambda row: plus_minus(row.transfer, share=share, sign=True)),
    ]


def _cost_columns(table: Table) -> list[Column]:
    def counted(name: str) -> Callable[[Row], str]:
        return lambda row: count(row.cost.get(name))

    columns: list[Column] = [("gradients", counted("gradient_evaluations"))]
    if has_forward(table):
        columns.append(("forward", counted("forward_evaluations")))
    columns.append(("queries", counted("hardware_queries")))
    if table.reference is not None:
        columns.append((f"time / {table.reference}", lambda row: eigenvalue(row.time_ratio)))
    if table.key["deployment"] != FROZEN:
        columns.append(("queries/device", lambda row: count(row.calibration.get("queries"))))
    columns += [_extra_column(name) for name in extras(table)]
    return columns


def _extra_column(name: str) -> Column:
    heading = {
        "light_on_detectors": "light %",
        "accuracy_without_absorbers": "linear %",
        "control_power_mw": "power W",
    }[name]
    return heading, lambda row: further(name, row.extra.get(name, NOTHING))


def _stage_column(table: Table, share: float) -> Column:
    whole = is_share(table.key["metric"])

    def show(row: Row) -> str:
        found = (stage.score for stage in row.earlier if stage.share == share)
        return plus_minus(next(found, NOTHING), share=whole)

    return f"{share_text(share)}{_unit(table)}", show


def _grid(table: Table) -> Block:
    share, signed = is_share(table.key["metric"]), signed_axes(table)
    several = len({group.axis for group in table.groups}) > 1
    columns: list[Column] = [_METHOD]
    for group in table.groups:
        heading = level(group, signed=group.axis in signed)
        if several:
            heading = f"{group.axis} {heading}"
        columns.append((heading, _in_group(group, share)))
    title = f"{metric_title(table.key['metric'])}{_unit(table)} by condition"
    return _block(table, title, columns, wide=True)


def _in_group(group: GroupLine, share: bool) -> Callable[[Row], str]:
    def show(row: Row) -> str:
        return plus_minus(group.methods[row.method], share=share) if row.seeds else NONE

    return show
