"""The picture of a suite: metric against perturbation.

`degradation` is to be called inside ``style.styled()``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pnnbench.leaderboard.grid import SHOT_AXIS
from pnnbench.leaderboard.model import GroupLine, Row, Table
from pnnbench.leaderboard.statistics import Interval
from pnnbench.report import style
from pnnbench.report.also_text import also_heads
from pnnbench.report.figure_parts import (
    BAND,
    CHANCE,
    OTHERS,
    chance_handles,
    ends,
    in_front,
    is_surface,
    measured,
    method_handles,
    other_handles,
    quantity_text,
    remark,
    sample,
    split_words,
)
from pnnbench.report.formatting import is_share, least_of, metric_head, metric_title
from pnnbench.report.looks import MethodStyle, method_styles

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SILENT: dict[str, Any] = {"facecolor": "white", "edgecolor": "#C4C4C4", "hatch": "/////", "lw": 0}
#: Width of a panel of the degradation picture, beside others and alone, and of one letter of a tick
#: label, in inches.
_PANEL, _ALONE, _LETTER = 2.75, 6.6, 0.08
#: Panels in a row at most, and the height of each further row in inches.
_IN_ROW, _ROW = 3, 3.05
#: Share of the distance of two levels over which methods are spread in a picture of one axis.
_SPREAD = 0.6
#: Up to so many methods beside the first they keep one distance.
_FEW = 6

Curve = dict[float, Interval]
"""Level along an axis to the metric of one method there."""


def _panels(table: Table) -> dict[tuple[str, float | None], list[GroupLine]]:
    """Groups by axis and, where the axis is not the severity itself, by severity.

    Surfaces are left out: they have a picture of their own. So is the ideal device with the noise
    of the read-out, which is a point on the others.
    """
    severity_axes = {
        axis
        for axis in {group.axis for group in table.groups}
        if all(g.level == g.severity for g in table.groups if g.axis == axis)
    }
    panels: dict[tuple[str, float | None], list[GroupLine]] = {}
    for group in table.groups:
        if group.axis == SHOT_AXIS:
            continue
        severity = None if group.axis in severity_axes else group.severity
        panels.setdefault((group.axis, severity), []).append(group)
    return {key: groups for key, groups in panels.items() if not is_surface(groups)}


def _measured(table: Table, also: str | None) -> list[Row]:
    """Rows that have the metric, or a figure beside it."""
    return [row for row in measured(table) if also is None or also in row.also]


def _in(group: GroupLine, also: str | None) -> Mapping[str, Interval]:
    return group.methods if also is None else group.also[also]


def curves(
    table: Table, also: str | None = None
) -> dict[tuple[str, float | None], dict[str, Curve]]:
    """Collects what the degradation picture shows.

    At its nominal level, 0 unless it says another, an axis of severities has the ideal device: with
    the noise of the read-out where the axis ``shot`` has it, else the clean metric. An axis of
    environments has what the same devices measured in the nominal environment; the ideal device
    only if nobody did. A nominal level may be infinite, such as that of bits.

    Args:
        table: The table.
        also: Name of a figure beside the metric; None for the metric.

    Returns:
        (axis, severity held; None for an axis of severities) to method to its curve.
    """
    panels = _panels(table)
    nominal = {
        group.severity: group
        for (_, severity), groups in panels.items()
        if severity is None
        for group in groups
    }
    noisy = [group for group in table.groups if group.axis == SHOT_AXIS]
    result: dict[tuple[str, float | None], dict[str, Curve]] = {}
    for (axis, severity), groups in panels.items():
        lines: dict[str, Curve] = {}
        for row in _measured(table, also):
            curve, at = {g.level: _in(g, also)[row.method] for g in groups}, groups[0].nominal
            if severity is not None and severity in nominal:
                curve.setdefault(at, _in(nominal[severity], also)[row.method])
            clean = row.clean if also is None else row.also[also].clean
            curve.setdefault(at, _in(noisy[0], also)[row.method] if noisy else clean)
            lines[row.method] = dict(sorted(curve.items()))
        result[axis, severity] = lines
    return result


def _axis_texts(groups: Sequence[GroupLine], axis: str, severity: float | None) -> tuple[str, str]:
    unit = style.unit_text(groups[0].unit)
    words = split_words(axis)
    if severity is None:
        # Severities in a physical unit are the standard deviation of the errors, losses the mean.
        name = "severity" if groups[0].unit.startswith("x ") else "standard deviation s"
        name = "mean" if groups[0].unit == "dB" else name
        return f"{words[0].capitalize()} errors", f"{name} ({unit})"
    title = ", ".join([words[0].capitalize(), *words[1:]])
    signed = any(group.level < 0 for group in groups)
    quantity = quantity_text(words, offset=signed)
    return title, f"{quantity} ({unit})" if unit else quantity


def degradation(table: Table, also: str | None = None) -> Figure | None:
    """Metric against perturbation, one panel per axis, all methods, 95 % intervals.

    Intervals are bands; in a picture of one axis, bars, with the methods side by side. Of many rows
    those in no claim are grey and have none. An axis with several groups at one level is left out,
    as `surface` draws it.

    Args:
        table: A table with at least one finished job.
        also: Name of a figure beside the metric; None for the metric.

    Returns:
        The figure; None if every axis is left out.
    """
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    every = _measured(table, also)
    rows = in_front(table, every)
    behind = [row for row in every if row not in rows]
    looks = method_styles(row.method for row in measured(table))
    panels, shown = _panels(table), curves(table, also)
    if not panels:
        return None
    share = also is None and is_share(table.key["metric"])
    chance = every[0].metric.get("chance") if also is None else None
    alone = len(panels) == 1
    down = -(-len(panels) // _IN_ROW)
    height = max(4.8 if alone else 3.9 + _ROW * (down - 1), 1.5 + 0.2 * len(rows))
    legend = style.legend_width([*(row.method for row in rows), "95 % interval of the mean"])
    panel = _ALONE if alone else _PANEL
    across = min(len(panels), _IN_ROW)
    figure = style.new_figure(panel * across + legend, height)
    places = list(figure.subplots(down, across, sharey=True, squeeze=False).flat)
    axes: list[Axes] = places[: len(panels)]
    for empty in places[len(panels) :]:
        empty.remove()
    silent, alpha = False, max(0.07, 0.2 - 0.02 * len(rows))
    for ax, ((axis, severity), groups) in zip(axes, panels.items(), strict=True):
        names, levels = _places({level for c in shown[axis, severity].values() for level in c})
        lines = {
            method: {levels[names.index(level)]: y for level, y in curve.items()}
            for method, curve in shown[axis, severity].items()
        }
        for group in groups:
            if table.ranked and not group.counted:
                silent = True
                half = 0.02 * float(levels[-1] - levels[0])
                ax.axvspan(group.level - half, group.level + half, **_SILENT, zorder=0)
        shift = 0.0
        if alone and min(len(rows), len(levels)) > 1:
            shift = _SPREAD * float(np.diff(levels).min()) / max(len(rows) - 1, _FEW)
            width = shift * (len(rows) - 1)
            for x in levels:
                ax.axvspan(x - 0.55 * width, x + 0.55 * width, color=BAND, lw=0, zorder=0)
        for row in behind:
            known = {x: y.mean for x, y in lines[row.method].items() if y.mean is not None}
            ax.plot(list(known), list(known.values()), zorder=1, **OTHERS)
        for i, row in reversed(list(enumerate(rows))):
            if alone:
                beside = shift * (i - (len(rows) - 1) / 2)
                _bars(ax, lines[row.method], looks[row.method], beside)
            else:
                _curve(ax, lines[row.method], looks[row.method], alpha)
        title, label = _axis_texts(groups, axis, severity)
        ax.set_title(style.plain(title))
        if severity is not None:
            held = f"severity {severity:g}" if severity else "ideal device"
            ax.set_title(held, loc="right", fontsize=8, color=style.QUIET)
        ax.set_xlabel(style.plain(label))
        _level_ticks(ax, names, levels, panel)
        ax.grid(axis="y")
        if chance is not None:
            ax.axhline(chance, **CHANCE)
        style.share_axis(ax, "y", share=share)
        ax.tick_params(axis="y", length=0)
        ax.spines["left"].set_visible(False)
    style.floor(axes[0], "y", least_of(table.key["metric"] if also is None else also))
    name = metric_head(table.key["metric"]) if also is None else also_heads(table)[also]
    for ax in axes[::across]:
        ax.set_ylabel(style.plain(name))
    handles = method_handles([row.method for row in rows], looks) + other_handles(len(behind))
    interval = "95 % interval of the mean"
    if alone:
        upright: dict[str, Any] = {"ls": "", "marker": "|", "ms": 11, "mew": 1.2}
        handles.append(Line2D([], [], color=style.INK, label=interval, **upright))
    else:
        handles.append(Patch(facecolor=style.INK, alpha=0.16, lw=0, label=interval))
    handles += chance_handles(chance)
    if silent:
        handles.append(Patch(label="no weight in the score", **_SILENT))
    figure.legend(handles=handles, loc="outside right center", labelspacing=0.55)
    words = metric_title(table.key["metric"]) if also is None else name[:1].upper() + name[1:]
    apart = "points of one level stand side by side" if alone and len(rows) > 1 else ""
    style.heading(
        figure, f"{style.plain(words)} under perturbation", remark(table, sample(table), apart)
    )
    return figure


def _places(found: set[float]) -> tuple[list[float], np.ndarray]:
    """Levels in order, and where they stand: an infinite one a step beyond the last."""
    names = sorted(found)
    finite = [level for level in names if math.isfinite(level)]
    step = (finite[-1] - finite[0]) / max(len(finite) - 1, 1) or 1.0
    ends = {-math.inf: finite[0] - step, math.inf: finite[-1] + step}
    return names, np.array([ends.get(level, level) for level in names])


def _level_ticks(ax: Axes, names: Sequence[float], levels: np.ndarray, panel: float) -> None:
    """Ticks at the measured levels; labels at the ends, at 0 and where there is room."""
    signed = any(x < 0 for x in names)
    texts = [
        f"{x:{'+' if signed and x else ''}g}".replace("-", "−").replace("inf", "∞") for x in names
    ]
    inches = (levels - levels[0]) / max(float(np.ptp(levels)), 1e-12) * 0.78 * panel
    half = [0.5 * _LETTER * (len(text) + 1) for text in texts]
    order = sorted(range(len(levels)), key=lambda i: (levels[i] != 0, -abs(levels[i])))
    kept: list[int] = []
    for i in order:
        if all(abs(inches[i] - inches[j]) >= half[i] + half[j] for j in kept):
            kept.append(i)
    ax.set_xticks(levels[kept], [texts[i] for i in kept])
    ax.set_xticks(levels, minor=True)


def _curve(ax: Axes, curve: Curve, look: MethodStyle, alpha: float) -> None:
    known = [(x, y.mean) for x, y in curve.items() if y.mean is not None]
    ax.plot([x for x, _ in known], [mean for _, mean in known], zorder=3, **look.line())
    ends = [
        (x, y.low, y.high)
        for x, y in curve.items()
        if y.mean is not None and y.low is not None and y.high is not None
    ]
    ax.fill_between(
        [x for x, _, _ in ends],
        [low for _, low, _ in ends],
        [high for _, _, high in ends],
        color=look.color,
        alpha=alpha,
        lw=0,
        zorder=2,
    )


def _bars(ax: Axes, curve: Curve, look: MethodStyle, beside: float) -> None:
    known = [(x + beside, y.mean) for x, y in curve.items() if y.mean is not None]
    line = {**look.line(), "lw": 0.9}
    ax.plot([x for x, _ in known], [mean for _, mean in known], zorder=3, **line)
    for x, interval in curve.items():
        span = ends(interval)
        if span is not None:
            ax.plot([x + beside, x + beside], span, color=look.color, lw=1.2, zorder=2)
