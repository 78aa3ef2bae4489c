"""Rows of boards as a table of HTML for notebooks: no script, every text escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from pnnbench.report.formatting import is_share, plus_minus

if TYPE_CHECKING:
    from pnnbench.leaderboard.model import Row, Table

_LEFT, _RIGHT = "text-align:left", "text-align:right"


def rows_table(tables: Sequence[Table]) -> str:
    """The rows of some boards, the headline deployment of each.

    Args:
        tables: Tables of a leaderboard.

    Returns:
        HTML that stands alone: of each board a heading and a table with rank, row, seeds, clean and
        robust score with their intervals.
    """
    parts = [_board(table) for table in tables if table.headline]
    return f"<div>{''.join(parts) or '<p>no records</p>'}</div>"


def _board(table: Table) -> str:
    share = is_share(table.key["metric"])
    unit = " %" if share else ""
    words = " · ".join(table.key[k] for k in ("suite", "workload", "tier", "protocol"))
    if len(table.deployments) > 1:
        words += f" · {table.key['deployment']}"
    names = [
        "rank",
        "row",
        "seeds",
        f"clean{unit}",
        f"robust{unit}",
        f"vs {_baseline(table)}{unit}",
    ]
    head = "".join(_cell("th", name, left=name == "row") for name in names)
    body = "".join(f"<tr>{_line(row, share)}</tr>" for row in table.rows)
    return (
        f"<p><b>{escape(words)}</b>, {escape(table.key['metric'])}, 95 % intervals</p>"
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    )


def _baseline(table: Table) -> str:
    return next((row.baseline for row in table.rows if row.baseline is not None), "baseline")


def _line(row: Row, share: bool) -> str:
    ends = dict.fromkeys(end for end in (row.rank_low, row.rank_high) if end is not None)
    rank = "–".join(map(str, ends)) or "–"
    seeds = str(len(row.seeds))
    asked = len({*row.seeds, *row.missing, *(failure["seed"] for failure in row.failed)})
    if asked > len(row.seeds):
        seeds += f" of {asked}"
    figures = [plus_minus(i, share=share) for i in (row.clean, row.robust)]
    against = plus_minus(row.difference, share=share, sign=True)
    if row.baseline == row.method:
        against = "baseline"
    cells = [rank, row.method, seeds, *figures, against]
    return "".join(_cell("td", text, left=i == 1) for i, text in enumerate(cells))


def _cell(tag: str, text: str, *, left: bool) -> str:
    return f'<{tag} style="{_LEFT if left else _RIGHT}">{escape(text)}</{tag}>'
