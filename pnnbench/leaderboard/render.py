"""The leaderboard as text, JSON, Markdown or one self-contained page."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pnnbench.errors import unknown_name
from pnnbench.leaderboard.formatting import NONE, count, eigenvalue, is_share, plus_minus
from pnnbench.leaderboard.model import GroupLine, Row, Table

FORMATS = ("table", "json", "markdown", "html")
WIDTH = 120
"""Columns that the plain table fits into."""


def render(
    tables: Sequence[Table], format: str = "table", *, pictures: Mapping[str, str] | None = None
) -> str:
    """Renders a leaderboard.

    Args:
        tables: What ``ranking.build`` made.
        format: ``table``, ``json``, ``markdown`` or ``html``.
        pictures: Title to SVG text, for the page only.

    Returns:
        The text, with a final newline.

    Raises:
        UserError: If the format is unknown.
    """
    if format == "html":
        from pnnbench.leaderboard.page import render_html

        return render_html(tables, pictures or {})
    writers: dict[str, Callable[[Sequence[Table]], str]] = {
        "table": render_table,
        "json": render_json,
        "markdown": render_markdown,
    }
    if format not in writers:
        raise unknown_name("format", format, FORMATS, where="--format")
    return writers[format](tables)


def as_json(tables: Sequence[Table]) -> dict[str, Any]:
    """The whole leaderboard as plain JSON types.

    Args:
        tables: What ``ranking.build`` made.

    Returns:
        ``{"rows": [...], "tables": [...]}``: the rows of all tables, best first within each, and
        per table its cell groups, correlations and provenance.
    """
    return {
        "rows": [row.as_dict() for table in tables for row in table.rows],
        "tables": [table.as_dict() for table in tables],
    }


def render_json(tables: Sequence[Table]) -> str:
    """Renders ``as_json``, indented.

    Args:
        tables: What ``ranking.build`` made.

    Returns:
        JSON text without NaN.
    """
    return json.dumps(as_json(tables), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def rank(row: Row) -> str:
    """Formats a rank, ``=`` marking that it is shared.

    Args:
        row: A row.

    Returns:
        Such as ``"3="``.
    """
    if row.rank is None:
        return NONE
    return f"{row.rank}=" if row.tied_with else f"{row.rank}"


def level(group: GroupLine, *, signed: bool) -> str:
    """Formats the level of a cell group with its unit.

    Args:
        group: The group.
        signed: Whether its axis has negative levels.

    Returns:
        Such as ``"+0.25 °C"``.
    """
    unit = {"degC": "°C", "deg": "°"}.get(group.unit, group.unit).replace("x ", "× ")
    text = f"{group.level:{'+' if signed else ''}g}".replace("-", "−")
    return f"{text} {unit}".strip()


def signed_axes(table: Table) -> set[str]:
    """Names the axes that have negative levels.

    Args:
        table: The table.

    Returns:
        Axis names.
    """
    return {group.axis for group in table.groups if group.level < 0}


def remarks(table: Table) -> list[str]:
    """What a reader must know beside the numbers: ties, missing and failed jobs.

    Args:
        table: The table.

    Returns:
        One line each.
    """
    lines = []
    for row in table.rows:
        if row.tied_with:
            lines.append(f"{rank(row)} {row.method}: tied with {'; '.join(row.tied_with)}")
    for row in table.rows:
        if row.missing:
            total = len(row.seeds) + len(row.missing)
            gone = ", ".join(map(str, row.missing))
            lines.append(
                f"incomplete: {row.method} has {len(row.seeds)} of {total} seeds (missing: {gone})"
            )
    lines.extend(
        f"failed: {row.method}, seed {failure['seed']}: {failure['status']} "
        f"({failure['type']}: {failure['message'].splitlines()[0] if failure['message'] else ''})"
        for row in table.rows
        for failure in row.failed
    )
    silent = sum(not group.informative for group in table.groups)
    if silent:
        has = "has" if silent == 1 else "have"
        total = len(table.groups)
        lines.append(f"{silent} of {total} cell groups {has} every method at chance: no weight")
    return lines


# --- table and markdown ------------------------------------------------------------------------


def _columns(table: Table) -> list[str]:
    baseline = next((row.baseline for row in table.rows if row.baseline), None)
    unit = " %" if is_share(table.key["metric"]) else ""
    return [
        "rank",
        "method",
        f"clean{unit}",
        f"robust{unit}",
        f"worst tenth{unit}",
        f"vs {baseline}" if baseline else "vs baseline",
        "λmax",
        "grad.",
    ]


def _values(row: Row) -> list[str]:
    share = is_share(row.metric)
    own = row.baseline == row.method
    return [
        rank(row),
        row.method + ("" if row.complete else " *"),
        plus_minus(row.clean, share=share),
        plus_minus(row.robust, share=share),
        plus_minus(row.worst_decile, share=share),
        "baseline" if own else plus_minus(row.difference, share=share, sign=True),
        eigenvalue(row.lambda_max),
        count(row.cost.get("gradient_evaluations")),
    ]


def heading(table: Table) -> str:
    """One line that names a table.

    Args:
        table: The table.

    Returns:
        Suite, workload, tier and protocol.
    """
    key = table.key
    return f"{key['suite']} · {key['workload']} · {key['tier']} · protocol {key['protocol']}"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def render_table(tables: Sequence[Table]) -> str:
    """Renders plain text in aligned columns of at most 120 characters.

    Args:
        tables: What ``ranking.build`` made.

    Returns:
        The text.
    """
    if not tables:
        return "no records\n"
    blocks = []
    for table in tables:
        grid = [_columns(table), *(_values(row) for row in table.rows)]
        widths = [max(len(line[i]) for line in grid) for i in range(len(grid[0]))]
        excess = sum(widths) + 2 * (len(widths) - 1) - WIDTH
        if excess > 0:
            widths[1] = max(8, widths[1] - excess)
            widths[5] = max(
                8, min(widths[5], max(len(line[5]) for line in grid[1:]) if grid[1:] else 8)
            )
        lines = [heading(table), ""]
        for i, line in enumerate(grid):
            cells = [
                _cut(text, width).ljust(width) if k == 1 else _cut(text, width).rjust(width)
                for k, (text, width) in enumerate(zip(line, widths, strict=True))
            ]
            lines.append("  ".join(cells).rstrip())
            if i == 0:
                lines.append("  ".join("─" * width for width in widths))
        lines.append("")
        lines.extend(_wrap(remark) for remark in remarks(table))
        lines.append(_wrap(footnote(table)))
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks) + "\n"


def footnote(table: Table) -> str:
    """Says what the intervals span.

    Args:
        table: The table.

    Returns:
        One sentence.
    """
    spans = next((row.robust.spans for row in table.rows if row.robust.spans), ())
    seeds_used = max((len(row.seeds) for row in table.rows), default=0)
    devices = max((len([d for d in row.devices if d is not None]) for row in table.rows), default=0)
    size = f"{seeds_used} seeds, {devices} devices"
    over = " and ".join(spans) if spans else "nothing (one seed, one device)"
    return (
        f"± is half a 95 % interval: robust and differences over {over}, clean, worst tenth and "
        f"λmax over seeds; {size}. Methods that share = are not told apart. "
        "grad. is gradient evaluations."
    )


def _wrap(text: str) -> str:
    return textwrap.fill(text, WIDTH, subsequent_indent="  ")


def render_markdown(tables: Sequence[Table]) -> str:
    """Renders Markdown tables, one section per table.

    Args:
        tables: What ``ranking.build`` made.

    Returns:
        The text.
    """
    if not tables:
        return "No records.\n"
    blocks = []
    for table in tables:
        lines = [f"### {_escape(heading(table))}", ""]
        lines.append("| " + " | ".join(map(_escape, _columns(table))) + " |")
        lines.append("| ---: | :--- |" + " ---: |" * (len(_columns(table)) - 2))
        for row in table.rows:
            lines.append("| " + " | ".join(map(_escape, _values(row))) + " |")
        lines.append("")
        lines.extend(f"- {_escape(remark)}" for remark in remarks(table))
        lines.extend(["", _escape(footnote(table))])
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks) + "\n"


def _escape(text: str) -> str:
    text = text.replace("\\", "\\\\").replace("\n", " ")
    for mark in "|*_<>`[]":
        text = text.replace(mark, "\\" + mark)
    return text
