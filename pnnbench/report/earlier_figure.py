"""The picture of rows after shares of their steps: does the order of a board stand.

`earlier` is to be called inside ``style.styled()``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pnnbench.leaderboard.model import Row, Table
from pnnbench.report import style
from pnnbench.report.blocks import order_texts, shares
from pnnbench.report.figure_parts import (
    BAND,
    CHANCE,
    OTHERS,
    chance_handles,
    ends,
    in_front,
    measured,
    method_handles,
    other_handles,
    remark,
)
from pnnbench.report.formatting import is_share, least_of, metric_head
from pnnbench.report.looks import method_styles

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Distance of the outermost methods from their share, where shares are 1 apart.
_BESIDE = 0.26


def earlier(table: Table) -> Figure | None:
    """Robust score on the small part of the cells after shares of the steps, a line per method.

    Args:
        table: A table with at least one finished job.

    Returns:
        The figure; None where no row was measured before its end.
    """
    from matplotlib.lines import Line2D

    places = shares(table)
    every = [row for row in measured(table) if _points(row)]
    if not every or table.small_part is None:
        return None
    rows = in_front(table, every)
    behind = [row for row in every if row not in rows]
    looks = method_styles(row.method for row in measured(table))
    metric, share = metric_head(table.key["metric"]), is_share(table.key["metric"])
    spread = any(ends(score) for row in rows for score in _points(row).values())
    intervals = ["95 % interval"] * spread
    legend = style.legend_width([*(row.method for row in rows), *intervals])
    figure = style.new_figure(5.2 + legend, max(4.2, 1.7 + 0.2 * len(rows)))
    ax = figure.subplots()
    step = 2 * _BESIDE / max(len(rows) - 1, 1)
    for place in range(len(places)):
        ax.axvspan(place - _BESIDE - 0.06, place + _BESIDE + 0.06, color=BAND, lw=0, zorder=0)
    for row in behind:
        known = {places.index(at): score.mean for at, score in _points(row).items()}
        ax.plot(list(known), list(known.values()), zorder=1, **OTHERS)
    for i, row in reversed(list(enumerate(rows))):
        look = looks[row.method]
        beside = step * (i - (len(rows) - 1) / 2)
        points = {places.index(at) + beside: score for at, score in _points(row).items()}
        line = {**look.line(), "lw": 0.9}
        ax.plot(list(points), [score.mean for score in points.values()], zorder=3, **line)
        for x, score in points.items():
            span = ends(score)
            if span is not None:
                ax.plot([x, x], span, color=look.color, lw=1.2, zorder=2)
    ax.set_xticks(range(len(places)), [f"{100 * at:g} %" for at in places])
    ax.set_xlim(-0.45, len(places) - 0.55)
    ax.set_xlabel("share of the steps of the run")
    ax.set_ylabel(style.plain(f"{metric} on a part of the cells"))
    ax.grid(axis="y")
    style.share_axis(ax, "y", share=share)
    handles = method_handles([row.method for row in rows], looks) + other_handles(len(behind))
    upright: dict[str, Any] = {"ls": "", "marker": "|", "ms": 11, "mew": 1.2}
    handles += [Line2D([], [], color=style.INK, label=text, **upright) for text in intervals]
    chance = rows[0].metric.get("chance")
    if chance is not None:
        ax.axhline(chance, zorder=1, **CHANCE)
    handles += chance_handles(chance)
    style.floor(ax, "y", least_of(table.key["metric"]))
    figure.legend(handles=handles, loc="outside right center", labelspacing=0.55)
    part = table.small_part
    seeds = f"{len(part['seeds'])} seed{'' if len(part['seeds']) == 1 else 's'}"
    size = f"{part['cells']} cells that count, {seeds}"
    style.heading(
        figure, "Does the order stand before the end?", remark(table, size, *order_texts(table))
    )
    return figure


def _points(row: Row) -> dict[float, Any]:
    """Share of the steps to the score there, where there is one."""
    found = {stage.share: stage.score for stage in row.earlier if stage.score.mean is not None}
    return found if len(found) > 1 else {}
