"""The leaderboard in any of its formats."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from pnnbench.errors import unknown_name
from pnnbench.leaderboard.model import Table
from pnnbench.report.text import WIDTH, render_csv, render_json, render_markdown, render_table

FORMATS = ("table", "json", "csv", "markdown", "html")


def render(
    tables: Sequence[Table],
    format: str = "table",
    *,
    pictures: Mapping[str, str] | None = None,
    width: int = WIDTH,
) -> str:
    """Renders a leaderboard.

    Args:
        tables: What ``ranking.build`` made.
        format: ``table``, ``json``, ``csv``, ``markdown`` or ``html``.
        pictures: Title to SVG text, for the page only.
        width: Characters per line, for the table only.

    Returns:
        The text, with a final newline.

    Raises:
        UserError: If the format is unknown.
    """
    if format == "html":
        from pnnbench.report.page import render_html

        return render_html(tables, pictures or {})
    writers: dict[str, Callable[[Sequence[Table]], str]] = {
        "table": partial(render_table, width=width),
        "json": render_json,
        "csv": render_csv,
        "markdown": render_markdown,
    }
    if format not in writers:
        raise unknown_name("format", format, FORMATS, where="--format")
    return writers[format](tables)
