"""The picture of the test score against the number of trials of the search.

`tuning` is to be called inside ``style.styled()``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pnnbench.leaderboard.model import Table
from pnnbench.report import style
from pnnbench.report.figure_parts import CHANCE, chance_handles, measured, method_handles, remark
from pnnbench.report.formatting import is_share, metric_head
from pnnbench.report.looks import method_styles
from pnnbench.report.tuning_text import trial_tiers

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def tuning(table: Table) -> Figure | None:
    """Expected test score of the chosen setting against trials, a line and a band per method.

    Args:
        table: A table with at least one finished job.

    Returns:
        The figure; None where no row has a curve.
    """
    rows = [row for row in table.tuning if len(row.curve) > 1]
    if not rows:
        return None
    labels = [row.method for row in measured(table)]
    looks = method_styles([*labels, *(r.method for r in rows if r.method not in labels)])
    metric, share = metric_head(table.key["metric"]), is_share(table.key["metric"])
    legend = style.legend_width([row.method for row in rows])
    figure = style.new_figure(5.2 + legend, max(4.2, 1.7 + 0.2 * len(rows)))
    ax = figure.subplots()
    ends: set[int] = set()
    for row in reversed(rows):
        look, at = looks[row.method], [point.trials for point in row.curve]
        ends.update(at)
        low, high = [p.low for p in row.curve], [p.high for p in row.curve]
        ax.fill_between(at, low, high, color=look.color, alpha=0.1, lw=0, zorder=1)
        ax.plot(at, [point.mean for point in row.curve], zorder=3, **look.line())
    ax.set_xscale("log", base=2)
    ax.set_xticks(sorted(ends), [str(count) for count in sorted(ends)])
    ax.minorticks_off()
    ax.set_xlabel("trials of the search, the defaults first")
    ax.set_ylabel(style.plain(f"robust {metric} on test devices"))
    ax.grid(axis="y")
    style.share_axis(ax, "y", share=share)
    handles = method_handles([row.method for row in rows], looks)
    chance = table.rows[0].metric.get("chance")
    if chance is not None:
        ax.axhline(chance, zorder=1, **CHANCE)
    handles += chance_handles(chance)
    figure.legend(handles=handles, loc="outside right center", labelspacing=0.55)
    what = "setting that validation chooses, one seed a trial; bands: 10 to 90 % of the orders"
    if others := trial_tiers(table):
        what += f"; at the tier {', '.join(others)}"
    style.heading(figure, "How much does tuning give?", remark(table, what))
    return figure
