"""The leaderboard as text, JSON, CSV and Markdown."""

from __future__ import annotations

import csv
import io
import json
import textwrap
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pnnbench.leaderboard.model import Table
from pnnbench.report.blocks import Block, lay_out
from pnnbench.report.formatting import escaped
from pnnbench.report.notes import footnote, heading, remarks
from pnnbench.report.tuning_text import NOTE, tuning_blocks
from pnnbench.report.visible import visible

WIDTH = 120
"""Columns that the plain table fits into, unless something else is asked for."""
NARROWEST = 40
"""The smallest width that tables are laid out for."""
LABEL = 24
"""Characters of a label that are kept before a table is set in blocks."""


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


# --- table and markdown ------------------------------------------------------------------------


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def render_table(tables: Sequence[Table], width: int = WIDTH) -> str:
    """Renders plain text in aligned columns.

    Args:
        tables: What ``ranking.build`` made.
        width: Characters per line, at least `NARROWEST`; a smaller number counts as that.

    Returns:
        The text. Where a table is too wide its labels are cut, and what still does not fit stands
        in blocks of columns below each other, each with the methods in front.
    """
    if not tables:
        return "no records\n"
    width = max(width, NARROWEST)
    texts = []
    for table in tables:
        lines = [_wrap(heading(table), width), ""]
        for block in (*lay_out(table), *tuning_blocks(table)):
            if block.title:
                lines += [_wrap(block.title, width), ""]
            for part in _parts(block, width):
                lines += [*_aligned(part, width), ""]
        notes = [*remarks(table), *([NOTE] if table.tuning else [])]
        lines.extend(_wrap(note, width) for note in notes)
        lines.append(_wrap(footnote(table), width))
        texts.append("\n".join(lines))
    return "\n\n".join(texts) + "\n"


def _widths(block: Block) -> list[int]:
    grid = [block.columns, *block.lines]
    return [max(len(line[i]) for line in grid) for i in range(len(block.columns))]


def _least(block: Block) -> list[int]:
    """Widths below which something else than a label or the name of a row would be cut."""
    least = _widths(block)
    for k, name in enumerate(block.columns):
        if k == block.method:
            least[k] = min(least[k], LABEL)
        elif name.startswith(("vs ", "time / ")):
            least[k] = max(8, max((len(line[k]) for line in block.lines), default=8))
    return least


def _parts(block: Block, width: int) -> list[Block]:
    """A block as one that fits, or as several of them, each with the methods in front."""
    widths, least = _widths(block), _least(block)
    if not block.wide and sum(least) + 2 * (len(least) - 1) <= width:
        return [block]
    label = min(widths[block.method], width // 3)
    front = block.method + 1  # what stands before the label stays with it in the first part
    before = sum(2 + w for w in least[: block.method])
    parts: list[list[int]] = [list(range(front))]
    taken = before + label
    for i in range(front, len(widths)):
        column = 2 + (widths[i] if block.wide else least[i])
        if taken + column > width and len(parts[-1]) > (front if len(parts) == 1 else 1):
            parts.append([block.method])
            taken = label
        parts[-1].append(i)
        taken += column
    return [
        replace(
            block,
            columns=[block.columns[k] for k in part],
            lines=[[line[k] for k in part] for line in block.lines],
            method=part.index(block.method),
        )
        for part in parts
    ]


def _aligned(block: Block, width: int) -> list[str]:
    """A block as lines of at most ``width`` characters: headings, then labels are cut."""
    grid, widths, least = [block.columns, *block.lines], _widths(block), _least(block)
    excess = sum(widths) + 2 * (len(widths) - 1) - width
    for cut in ((block.method,), range(len(widths))):
        for k in cut:
            if excess > 0:
                less = min(excess, widths[k] - least[k])
                widths[k] -= less
                excess -= less
    if excess > 0:
        widths[block.method] = max(8, widths[block.method] - excess)
    lines = []
    for i, line in enumerate(grid):
        cells = [
            _cut(text, size).ljust(size) if k == block.method else _cut(text, size).rjust(size)
            for k, (text, size) in enumerate(zip(line, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
        if i == 0:
            lines.append("  ".join("─" * size for size in widths))
    return lines


def _wrap(text: str, width: int) -> str:
    # A name with hyphens stays whole, so that it can be copied.
    return textwrap.fill(text, width, subsequent_indent="  ", break_on_hyphens=False)


def render_csv(tables: Sequence[Table]) -> str:
    """Renders the rows of all tables as CSV, one line per row.

    Args:
        tables: What ``ranking.build`` made.

    Returns:
        The fields of the JSON rows in columns: an interval ``robust`` as ``robust.mean``,
        ``robust.low``, ``robust.high`` and ``robust.spans``, a list with semicolons between its
        entries.
    """
    lines = [_flat(row.as_dict()) for table in tables for row in table.rows]
    columns = list(dict.fromkeys(name for line in lines for name in line))
    stream = io.StringIO()
    writer = csv.DictWriter(stream, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return stream.getvalue()


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    if isinstance(value, dict):
        found: dict[str, Any] = {}
        for key, item in value.items():
            found |= _flat(item, f"{name}.{key}" if name else key)
        return found
    if isinstance(value, (list, tuple)):
        return {name: ";".join(json.dumps(v) if isinstance(v, dict) else str(v) for v in value)}
    return {name: value}


def render_markdown(tables: Sequence[Table]) -> str:
    """Renders Markdown tables, one section per table.

    Args:
        tables: What ``ranking.build`` made.

    Returns:
        The text.
    """
    if not tables:
        return "No records.\n"
    texts = []
    for table in tables:
        lines = [f"### {escaped(heading(table))}", ""]
        for block in (*lay_out(table), *tuning_blocks(table)):
            if block.title:
                lines += [f"**{escaped(block.title)}**", ""]
            lines.append("| " + " | ".join(map(escaped, block.columns)) + " |")
            sides = [":---" if k == block.method else "---:" for k in range(len(block.columns))]
            lines.append("| " + " | ".join(sides) + " |")
            lines += ["| " + " | ".join(map(escaped, line)) + " |" for line in block.lines]
            lines.append("")
        notes = [*remarks(table), *([NOTE] if table.tuning else [])]
        lines.extend(f"- {escaped(note)}" for note in notes)
        lines.extend(["", escaped(footnote(table))])
        texts.append("\n".join(lines))
    return visible("\n\n".join(texts) + "\n")
