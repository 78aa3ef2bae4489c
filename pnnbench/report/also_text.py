"""Which figures a board shows, in words: its metric, and the figures beside it with their names."""

from __future__ import annotations

from collections.abc import Callable

from pnnbench.leaderboard.model import Row, Table
from pnnbench.records.figure_names import FigureName, heads, parsed
from pnnbench.report.formatting import NONE, is_share, metric_head, number, plus_minus

_DIRECTIONS = {True: ", higher is better", False: ", lower is better", None: ""}


def also_heads(table: Table) -> dict[str, str]:
    """Headings of the figures beside the metric.

    Args:
        table: The table.

    Returns:
        Name to heading, in order; no two headings are alike.
    """
    return heads(table.also)


def also_title(table: Table) -> str:
    """Names the block of figures beside the metric.

    Args:
        table: A table with such figures.

    Returns:
        Such as ``"Beside MSE: PSNR dB, SSIM; they order nothing"``.
    """
    shown = ", ".join(also_heads(table).values())
    return f"Beside {metric_head(table.key['metric'])}: {shown}; they order nothing"


def also_columns(table: Table) -> list[tuple[str, Callable[[Row], str]]]:
    """Columns of the figures beside the metric: on the ideal device, and over what counts.

    Args:
        table: The table.

    Returns:
        Heading and what stands below it for a row, two for each figure.
    """

    def shown(name: str, part: str) -> Callable[[Row], str]:
        return lambda row: plus_minus(getattr(row.also[name], part)) if name in row.also else NONE

    return [
        (f"{head} {part}", shown(name, part))
        for name, head in also_heads(table).items()
        for part in ("clean", "robust")
    ]


def figure_texts(table: Table) -> list[str]:
    """Says what the figures of a table are, each with its full name, and which way they point.

    Args:
        table: The table.

    Returns:
        Sentences without a full stop; none for an accuracy with nothing beside it.
    """
    name = table.key["metric"]
    if (is_share(name) and not table.also) or not any(row.seeds for row in table.rows):
        return []
    metric = table.rows[0].metric
    own = _text(metric_head(name), parsed(name), bool(metric["higher_is_better"]))
    lines = [f"metric: {own}"]
    if metric.get("chance") is not None and not is_share(name):
        worse = "" if metric["higher_is_better"] else ", or the worst value beside them"
        lines[0] += (
            f"; guessing has {number(metric['chance'])}, and failed seeds and cells without a "
            f"value count as that{worse}"
        )
    parts = {other: parsed(other) for other in table.also}
    lines += [
        _text(head, parts[other], parts[other].higher_is_better)
        for other, head in also_heads(table).items()
    ]
    sources = dict.fromkeys(part.source for part in (parsed(name), *parts.values()) if part.source)
    lines += [f"extractor: {source}" for source in sources]
    lines += [
        f"{head} of {row.method} is over {_of(row, other)}: the others lack it in a condition that "
        "counts"
        for row in table.rows
        for other, head in also_heads(table).items()
        if other in row.also and len(row.also[other].seeds) < len(row.seeds)
    ]
    if table.also and any(row.failed for row in table.rows):
        lines.append("figures beside the metric are over the seeds that finished")
    return lines


def _of(row: Row, name: str) -> str:
    return f"{len(row.also[name].seeds)} of {len(row.seeds)} seeds"


def _text(head: str, part: FigureName, higher: bool | None) -> str:
    text = head + _DIRECTIONS[higher]
    if part.words:
        text += f": {part.words}"
    return f"{text} ({part.name})" if part.source else text
