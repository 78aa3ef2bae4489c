"""The leaderboard as text, JSON and Markdown."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pnnbench.leaderboard.model import Table
from pnnbench.report.blocks import Block, lay_out, rank, training_severity

NOT_RANKED = (
    "not ranked: protocol published repeats what the authors did and feeds no ranking; rows stand "
    "by name"
)
"""What a table of the published protocol says of itself."""
WIDTH = 120
"""Columns that the plain table fits into."""


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


def remarks(table: Table) -> list[str]:
    """What a reader must know beside the numbers: ties, missing, failed, undefined, older jobs.

    Args:
        table: The table.

    Returns:
        One line each.
    """
    lines = []
    if not table.ranked:
        lines.append(NOT_RANKED)
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
    lines.extend(
        f"undefined: {row.method} has no score at {_seeds(row.undefined)}: a condition that counts "
        "has no value there"
        for row in table.rows
        if row.undefined
    )
    lines.extend(
        f"older: {job['method']}, seed {job['seed']}: job {job['hash']} ({job['status']}, "
        f"{job['finished'][:19]}) has a newer one in its place"
        for job in table.older
    )
    silent = sum(not group.counted for group in table.groups) if table.ranked else 0
    if silent:
        verb = "carries" if silent == 1 else "carry"
        lines.append(
            f"{silent} of {len(table.groups)} cell groups {verb} no weight in the score, as the "
            "workload declares"
        )
    return lines


def _seeds(numbers: Sequence[int]) -> str:
    return f"seed{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"


# --- table and markdown ------------------------------------------------------------------------


def heading(table: Table) -> str:
    """One line that names a table.

    Args:
        table: The table.

    Returns:
        Suite, workload, tier and protocol.
    """
    key = table.key
    text = f"{key['suite']} · {key['workload']} · {key['tier']} · protocol {key['protocol']}"
    return text if table.ranked else f"{text} · not ranked"


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
    texts = []
    for table in tables:
        lines = [heading(table), ""]
        for block in lay_out(table):
            if block.title:
                lines += [_wrap(block.title), ""]
            for part in _parts(block):
                lines += [*_aligned(part), ""]
        lines.extend(_wrap(remark) for remark in remarks(table))
        lines.append(_wrap(footnote(table)))
        texts.append("\n".join(lines))
    return "\n\n".join(texts) + "\n"


def _widths(block: Block) -> list[int]:
    grid = [block.columns, *block.lines]
    return [max(len(line[i]) for line in grid) for i in range(len(block.columns))]


def _parts(block: Block) -> list[Block]:
    """A block of many columns as several that fit, each with the methods in front."""
    widths = _widths(block)
    if not block.wide:
        return [block]
    label = min(widths[0], WIDTH // 3)
    parts: list[list[int]] = [[0]]
    for i in range(1, len(widths)):
        taken = label + sum(2 + widths[k] for k in [*parts[-1][1:], i])
        if taken > WIDTH and len(parts[-1]) > 1:
            parts.append([0])
        parts[-1].append(i)
    return [
        replace(
            block,
            columns=[block.columns[k] for k in part],
            lines=[[line[k] for k in part] for line in block.lines],
        )
        for part in parts
    ]


def _aligned(block: Block) -> list[str]:
    """A block as lines of at most ``WIDTH`` characters: labels, then headings are cut."""
    grid, widths = [block.columns, *block.lines], _widths(block)
    excess = sum(widths) + 2 * (len(widths) - 1) - WIDTH
    if excess > 0:
        widths[block.method] = max(8, widths[block.method] - excess)
        for k, name in enumerate(block.columns):
            if name.startswith(("vs ", "time / ")):
                content = max((len(line[k]) for line in block.lines), default=8)
                widths[k] = max(8, min(widths[k], content))
    lines = []
    for i, line in enumerate(grid):
        cells = [
            _cut(text, width).ljust(width) if k == block.method else _cut(text, width).rjust(width)
            for k, (text, width) in enumerate(zip(line, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
        if i == 0:
            lines.append("  ".join("─" * width for width in widths))
    return lines


def footnote(table: Table) -> str:
    """Says what the intervals span.

    Args:
        table: The table.

    Returns:
        One sentence.
    """
    measured = [row.robust for row in table.rows]
    if not table.ranked:
        measured = [interval for group in table.groups for interval in group.methods.values()]
    spans = next((interval.spans for interval in measured if interval.spans), ())
    seeds_used = max((len(row.seeds) for row in table.rows), default=0)
    devices = max((len([d for d in row.devices if d is not None]) for row in table.rows), default=0)
    size = f"{seeds_used} seeds, {devices} devices"
    over = " and ".join(spans) if spans else "nothing (one seed, one device)"
    more = ""
    if table.training is not None:
        more += (
            f" Training device: the one that in-situ methods train on, another at each seed, "
            f"severity {training_severity(table)}; over seeds. Fresh devices: the test devices at "
            f"that severity; transfer: fresh minus training device, paired; both over {over}."
        )
    if table.reference is not None:
        more += (
            f" Gradients: gradient evaluations; queries: hardware queries; time / "
            f"{table.reference}: training seconds relative to {table.reference}, paired by seed, "
            "geometric mean."
        )
    if not table.ranked:
        return (
            f"± is half a 95 % interval: conditions over {over}, clean and λmax over seeds; "
            f"{size}.{more}"
        )
    return (
        f"± is half a 95 % interval: robust and differences over {over}, clean, worst tenth and "
        f"λmax over seeds; {size}. Methods that share = are not told apart. "
        f"grad. is gradient evaluations.{more}"
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
    texts = []
    for table in tables:
        lines = [f"### {_escape(heading(table))}", ""]
        for block in lay_out(table):
            if block.title:
                lines += [f"**{_escape(block.title)}**", ""]
            lines.append("| " + " | ".join(map(_escape, block.columns)) + " |")
            sides = [":---" if k == block.method else "---:" for k in range(len(block.columns))]
            lines.append("| " + " | ".join(sides) + " |")
            lines += ["| " + " | ".join(map(_escape, line)) + " |" for line in block.lines]
            lines.append("")
        lines.extend(f"- {_escape(remark)}" for remark in remarks(table))
        lines.extend(["", _escape(footnote(table))])
        texts.append("\n".join(lines))
    return "\n\n".join(texts) + "\n"


def _escape(text: str) -> str:
    text = text.replace("\\", "\\\\").replace("\n", " ")
    for mark in "|*_<>`[]":
        text = text.replace(mark, "\\" + mark)
    return text
