"""Pictures of training devices and cost: does a method transfer, and what does it ask for.

The functions are to be called inside ``style.styled()``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pnnbench.leaderboard.model import Row, Table
from pnnbench.leaderboard.statistics import Interval
from pnnbench.report import style
from pnnbench.report.blocks import training_severity
from pnnbench.report.figure_parts import CHANCE, ends, measured, remark, row_axis, sample
from pnnbench.report.formatting import is_share, metric_head, metric_title
from pnnbench.report.looks import MethodStyle, method_styles
from pnnbench.report.notes import places_texts

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ROW = 0.3
"""Height of a row in inches."""
_LINEAR = 30.0
"""Largest ratio of training times that is shown on a linear axis."""


def transferred(table: Table) -> list[Row]:
    """The rows that were measured on the training device and on fresh ones of its severity.

    Args:
        table: The table.

    Returns:
        The rows, in order.
    """
    return [
        row
        for row in measured(table)
        if row.training_device.mean is not None and row.fresh_devices.mean is not None
    ]


def transfer(table: Table) -> Figure | None:
    """Metric on fresh devices against the metric on the training device, and their difference.

    Args:
        table: The table.

    Returns:
        The figure; None where no row has both.
    """
    from matplotlib.ticker import MaxNLocator

    rows = transferred(table)
    if not rows:
        return None
    looks = method_styles(row.method for row in measured(table))
    name, metric = table.key["metric"], metric_head(table.key["metric"])
    side = max(3.5, _ROW * len(rows) + 0.9)
    labels = [style.plain(row.method) for row in rows]
    figure = style.new_figure(side + 0.6 + style.legend_width(labels) + 2.9, side + 1.0)
    left, right = figure.subplots(1, 2, width_ratios=[side, 2.9])
    both = [x for row in rows for x in _reach(row.training_device, row.fresh_devices)]
    low, high = _limits(both, share=is_share(name))
    left.plot([low, high], [low, high], zorder=1, **CHANCE)
    for row in reversed(rows):
        look = looks[row.method]
        x, y = row.training_device, row.fresh_devices
        for across, up in ((ends(x), (y.mean, y.mean)), ((x.mean, x.mean), ends(y))):
            if across is not None and up is not None:
                left.plot(across, up, color=look.color, lw=0.9, zorder=2)
        label = style.plain(row.method)
        left.plot([x.mean], [y.mean], ls="", zorder=3, label=label, **look.marks())
    left.set_xlim(low, high)
    left.set_ylim(low, high)
    left.set_aspect("equal")
    left.grid()
    left.set_xlabel(style.plain(f"{metric} on the training device"))
    left.set_ylabel(style.plain(f"{metric} on fresh devices"))
    left.set_title(style.plain(metric_title(name)))
    left.set_title("dotted: equal on both", loc="right", fontsize=8, color=style.QUIET)
    row_axis(right, labels)
    right.axvline(0.0, zorder=1, **CHANCE)
    for i, row in enumerate(rows):
        look = looks[row.method]
        span = ends(row.transfer)
        if span is not None:
            right.plot(span, [i, i], color=look.color, lw=1.5, zorder=2)
        right.plot([row.transfer.mean], [i], ls="", zorder=3, **look.marks())
    right.grid(axis="x")
    for axis, ticks in ((left.xaxis, 6), (left.yaxis, 6), (right.xaxis, 5)):
        axis.set_major_locator(MaxNLocator(ticks, steps=[1, 2, 5, 10]))
    right.set_xlabel("fresh minus training device")
    right.set_title("Change on transfer")
    style.heading(
        figure,
        "Training device against fresh devices",
        remark(
            table,
            sample(table),
            f"all devices at severity {training_severity(table)}",
            "lines: 95 % intervals over seeds and, on fresh devices, over devices",
        ),
    )
    return figure


def _reach(*intervals: Interval) -> list[float]:
    found = []
    for interval in intervals:
        found += [x for x in (interval.low, interval.mean, interval.high) if x is not None]
    return found


def _limits(values: Sequence[float], *, share: bool) -> tuple[float, float]:
    """Common limits of both axes; those of a share stay inside 0 to 1."""
    low, high = min(values), max(values)
    if share:
        low, high = max(low, 0.0), min(high, 1.0)
    margin = max(0.04 * (high - low), 0.02 * abs(high), 1e-6)
    low, high = low - margin, high + margin
    return (max(low, -0.02), min(high, 1.02)) if share else (low, high)


def cost(table: Table) -> Figure | None:
    """Error rate, training time and largest eigenvalue of every method, in three panels.

    Args:
        table: The table.

    Returns:
        The figure; None where no job measured its training device.
    """
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    if table.training is None or table.reference is None:
        return None
    rows = measured(table)
    looks = method_styles(row.method for row in rows)
    labels = [style.plain(row.method) for row in rows]
    names = style.legend_width(labels) - 0.5
    figure = style.new_figure(names + 8.1, 2.0 + 0.36 * len(rows))
    axes: list[Axes] = list(figure.subplots(1, 3, sharey=True, width_ratios=[3.2, 2.3, 2.6]))
    row_axis(axes[0], labels)
    for ax in axes[1:]:
        row_axis(ax, labels)
    for ax in axes:
        ax.grid(axis="x")
    share = is_share(table.key["metric"])
    metric = style.plain(metric_head(table.key["metric"]))
    _errors(axes[0], rows, looks, share=share)
    axes[0].set_title("Error rate" if share else metric_title(table.key["metric"]))
    axes[0].set_xlabel(f"1 − {metric}" if share else metric)
    _ratios(axes[1], rows, looks)
    reference = style.plain(table.reference)
    axes[1].set_title("Training time")
    axes[1].set_xlabel(f"time relative to {reference}")
    _eigenvalues(axes[2], rows, looks)
    axes[2].set_title(r"Sharpness $λ_\mathrm{max}$")
    axes[2].set_xlabel("loss per squared control unit")
    handles: list[Any] = [
        Patch(facecolor=style.INK, lw=0, label="training device"),
        Patch(facecolor="white", edgecolor=style.INK, lw=1.0, label="fresh devices, same severity"),
        Line2D([], [], color=style.INK, lw=1.1, marker="|", ms=4, mew=1.1, label="95 % interval"),
        Line2D([], [], label=f"training time of {reference}", **CHANCE),
    ]
    figure.legend(
        handles=handles, loc="outside lower center", ncols=4, columnspacing=1.6, numpoints=2
    )
    times = (row.cost["train_seconds"] for row in rows if row.method == table.reference)
    seconds = next(times, None)  # the reference may be left out of the table
    style.heading(
        figure,
        "Error, training time and sharpness",
        remark(
            table,
            sample(table),
            f"devices at severity {training_severity(table)}",
            f"{table.reference} trains in {seconds:.3g} s, CPU time on a CPU" if seconds else "",
            "times of several devices, no comparison of methods" if places_texts(table) else "",
        ),
    )
    return figure


def _bar(
    axes: Axes,
    y: float,
    height: float,
    interval: Interval,
    look: MethodStyle,
    *,
    start: float = 0.0,
    hollow: bool = False,
) -> None:
    if interval.mean is None:
        return
    face = "white" if hollow else _paler(look.color)
    width = interval.mean - start
    axes.barh(y, width, height, left=start, zorder=2, lw=1.0, facecolor=face, edgecolor=look.color)
    span = ends(interval)
    if span is not None:
        axes.plot(span, [y, y], color=style.INK, lw=1.1, marker="|", ms=4, mew=1.1, zorder=5)


def _paler(color: str) -> str:
    """A colour on which the line of an interval shows: 60 % of it on white."""
    parts = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(0.6 * part + 0.4 * 255):02X}" for part in parts)


def _errors(axes: Axes, rows: Sequence[Row], looks: dict[str, MethodStyle], *, share: bool) -> None:
    reach = []
    for i, row in enumerate(rows):
        for k, interval in enumerate((row.training_device, row.fresh_devices)):
            shown = _error(interval) if share else interval
            y = i + (-0.2, 0.2)[k]
            _bar(axes, y, 0.34, shown, looks[row.method], hollow=k == 1)
            reach += _reach(shown)
    _from_zero(axes, reach, cap=1.0 if share else None)


def _error(interval: Interval) -> Interval:
    """One minus a share."""
    mean, span = interval.mean, ends(interval)
    if mean is None or span is None:
        return Interval(None if mean is None else 1.0 - mean)
    return Interval(1.0 - mean, 1.0 - span[1], 1.0 - span[0], interval.spans)


def _from_zero(axes: Axes, values: Sequence[float], *, cap: float | None = None) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    high = 1.05 * max([*values, 1e-9])
    axes.set_xlim(0.0, high if cap is None else min(high, cap))


def _ratios(axes: Axes, rows: Sequence[Row], looks: dict[str, MethodStyle]) -> None:
    reach = [x for row in rows for x in _reach(row.time_ratio)]
    wide = bool(reach) and min(reach) > 0.0 and max(reach) > _LINEAR
    start = 0.0
    if wide:
        style.log_axis(axes, "x", reach)
        start = axes.get_xlim()[0]
    else:
        _from_zero(axes, reach)
    for i, row in enumerate(rows):
        _bar(axes, i, 0.6, row.time_ratio, looks[row.method], start=start)
    axes.axvline(1.0, zorder=4, **CHANCE)


def _eigenvalues(axes: Axes, rows: Sequence[Row], looks: dict[str, MethodStyle]) -> None:
    reach = [x for row in rows for x in _reach(row.lambda_max)]
    start = 0.0
    if reach and min(reach) > 0.0:
        style.log_axis(axes, "x", reach)
        start = axes.get_xlim()[0]
    for i, row in enumerate(rows):
        _bar(axes, i, 0.6, row.lambda_max, looks[row.method], start=start)
