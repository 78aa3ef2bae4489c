"""The leaderboard as text, JSON, CSV and Markdown."""

from __future__ import annotations

import csv
import io
import json
import textwrap
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pnnbench.leaderboard.deployments import FROZEN
from pnnbench.leaderboard.model import Table
from pnnbench.report.blocks import Block, lay_out, order_text, rank, training_severity

NOT_RANKED = (
    "not ranked: protocol published repeats what the authors did and feeds no ranking; rows stand "
    "by name"
)
"""What a table of the published protocol says of itself."""
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
    lines.extend(f"{note[0].lower()}{note[1:]}" for note in table_notes(table))
    lines.extend(notes(table))
    silent = sum(not group.counted for group in table.groups) if table.ranked else 0
    if silent:
        verb = "carries" if silent == 1 else "carry"
        lines.append(
            f"{silent} of {len(table.groups)} cell groups {verb} no weight in the score, as the "
            "workload declares"
        )
    return lines


def table_notes(table: Table) -> list[str]:
    """What the table is among others: its deployment, rows left out, whether the order stood.

    Args:
        table: The table.

    Returns:
        Sentences without a full stop.
    """
    lines = []
    if table.key["deployment"] != FROZEN:
        lines.append(calibration_text(table))
    if table.left_out:
        lines.append(
            f"Left out, as they know {_known(table.without)}: {'; '.join(table.left_out)}; ranks "
            "are among the rows shown"
        )
    unknown = [row.method for row in table.rows if row.knows is None]
    if table.without and unknown:
        lines.append(f"Records do not say what these rows know: {'; '.join(unknown)}")
    order = order_text(table)
    return [*lines, order] if order else lines


def _known(names: Sequence[str]) -> str:
    words = {"gaussian on controls": "a Gaussian on the controls", "tested law": "the tested law"}
    return " or ".join(words.get(name, name) for name in names)


def calibration_text(table: Table) -> str:
    """Says what the deployment of a table takes on each device.

    Args:
        table: A table of another deployment than the network as trained.

    Returns:
        A sentence without a full stop.
    """
    text = f"Deployment {table.key['deployment']}: a step on each test device before the tests"
    parts = []
    for name, words in (("images", "images"), ("queries", "hardware queries")):
        found = sorted({row.calibration[name] for row in table.rows if name in row.calibration})
        if found:
            parts.append(f"{' to '.join(f'{n:g}' for n in {found[0]: 0, found[-1]: 0})} {words}")
    return f"{text}, with {' and '.join(parts)} a device" if parts else text


def notes(table: Table) -> list[str]:
    """What has no value, and which jobs are older ones.

    Args:
        table: The table.

    Returns:
        One line each.
    """
    lines: list[str] = []
    lines.extend(
        f"without a value: {row.without_value} cells of {row.method}; they count as guessing"
        for row in table.rows
        if row.without_value and not row.undefined
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
    if key.get("revision", "1") != "1":
        text += f", revision {key['revision']}"
    if len(table.deployments) > 1:
        text += f" · {deployment_text(table)}"
    return text if table.ranked else f"{text} · not ranked"


def deployment_text(table: Table) -> str:
    """Names the deployment of a table.

    Args:
        table: The table.

    Returns:
        Such as ``"frozen (headline)"``.
    """
    return table.key["deployment"] + (" (headline)" if table.headline else "")


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
        for block in lay_out(table):
            if block.title:
                lines += [_wrap(block.title, width), ""]
            for part in _parts(block, width):
                lines += [*_aligned(part, width), ""]
        lines.extend(_wrap(remark, width) for remark in remarks(table))
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
    more += " Gradients: gradient evaluations; queries: hardware queries in training"
    if table.reference is not None:
        more += (
            f"; time / {table.reference}: training seconds relative to {table.reference}, paired "
            "by seed, geometric mean"
        )
    more += (
        ". Knows: what a method is told of the tests: a Gaussian on the controls, the tested law, "
        "one device to measure on."
    )
    if not table.ranked:
        return (
            f"± is half a 95 % interval: conditions over {over}, clean and λmax over seeds; "
            f"{size}.{more}"
        )
    return (
        f"± is half a 95 % interval: robust and differences over {over}, clean, worst tenth and "
        f"λmax over seeds; {size}. Methods that share = are not told apart. {worst_text(table)}"
        f"{more}"
    )


def worst_text(table: Table) -> str:
    """Says what the worst tenth of a table is.

    Args:
        table: The table.

    Returns:
        One sentence.
    """
    if table.key["revision"] == "1":
        return (
            "Worst tenth: mean over the worst tenth of the devices of each device's score over the "
            "conditions that devices do not share; it can lie above robust."
        )
    return (
        "Worst tenth: mean over the worst tenth of the devices of each device's robust score, over "
        "all conditions that count."
    )


def _wrap(text: str, width: int) -> str:
    return textwrap.fill(text, width, subsequent_indent="  ")


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
