"""Pictures of a suite, drawn from its records alone.

The functions that make a figure are to be called inside ``style.styled()``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pnnbench import style
from pnnbench.leaderboard.formatting import is_share
from pnnbench.leaderboard.grid import Record
from pnnbench.leaderboard.model import GroupLine, Row, Table
from pnnbench.leaderboard.ranking import build
from pnnbench.leaderboard.render import rank
from pnnbench.leaderboard.statistics import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_CHANCE: dict[str, Any] = {"color": style.QUIET, "lw": 1.0, "ls": (0, (1, 2))}
_SILENT: dict[str, Any] = {"facecolor": "white", "edgecolor": "#C4C4C4", "hatch": "/////", "lw": 0}
#: Width of a panel of the degradation picture and of one letter of a tick label, in inches.
_PANEL, _LETTER = 2.75, 0.08

Curve = dict[float, Interval]
"""Level along an axis to the metric of one method there."""


def draw_suite(records: Sequence[Record], folder: Path | str) -> dict[str, Path]:
    """Draws ``degradation``, ``sharpness`` and ``scores`` of every table of a set of records.

    Args:
        records: Records as ``read_records`` returns them; failures are left out.
        folder: Where the pictures go, as SVG with a PNG of the same name beside each.

    Returns:
        Name to the path of the SVG. Where the records make several tables, the names begin with
        suite, workload and tier.

    Raises:
        UserError: If the records do not make tables.
    """
    drawn: dict[str, Path] = {}
    tables = [table for table in build(records) if any(row.seeds for row in table.rows)]
    with style.styled():
        for table in tables:
            prefix = ""
            if len(tables) > 1:
                prefix = _free("-".join(table.key[k] for k in ("suite", "workload", "tier")), drawn)
            figures = {
                "degradation": degradation(table),
                "scores": scores(table),
                "sharpness": sharpness(table, records),
            }
            for name, figure in figures.items():
                if figure is not None:
                    title = f"{name}: {table.key['suite']}, {table.key['workload']}"
                    svg, _ = style.save(figure, folder, prefix + name, title=title)
                    drawn[prefix + name] = svg
    return drawn


def _free(words: str, drawn: dict[str, Path]) -> str:
    """A prefix that no picture has yet: tables may differ in nothing but their data."""
    start = re.sub(r"[^A-Za-z0-9_.-]+", "-", words)
    prefix, number = f"{start}-", 2
    while any(name.startswith(prefix) for name in drawn):
        prefix, number = f"{start}-{number}-", number + 1
    return prefix


def _remark(table: Table, *more: str) -> str:
    key = table.key
    words = [key["suite"], key["workload"], key["protocol"], f"{key['tier']} tier", *more]
    return style.plain(" · ".join(word for word in words if word))


def _sample(table: Table) -> str:
    rows = [row for row in table.rows if row.seeds]
    seeds = sorted({len(row.seeds) for row in rows})
    devices = len([device for device in rows[0].devices if device is not None])
    text = f"{seeds[0]} seed" if seeds == [1] else f"{'–'.join(map(str, seeds))} seeds"
    return text + (f" × {devices} device{'s' if devices != 1 else ''}" if devices else "")


def _measured(table: Table) -> list[Row]:
    return [row for row in table.rows if row.seeds]


# --- degradation -------------------------------------------------------------------------------


def _panels(table: Table) -> dict[tuple[str, float | None], list[GroupLine]]:
    """Groups by axis and, where the axis is not the severity itself, by severity."""
    severity_axes = {
        axis
        for axis in {group.axis for group in table.groups}
        if all(g.level == g.severity for g in table.groups if g.axis == axis)
    }
    panels: dict[tuple[str, float | None], list[GroupLine]] = {}
    for group in table.groups:
        severity = None if group.axis in severity_axes else group.severity
        panels.setdefault((group.axis, severity), []).append(group)
    return panels


def curves(table: Table) -> dict[tuple[str, float | None], dict[str, Curve]]:
    """Collects what the degradation picture shows.

    At level 0 an axis of severities has the clean metric. An axis of environments has what the
    same devices measured in the nominal environment; the clean metric only if nobody did.

    Args:
        table: The table.

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
    result: dict[tuple[str, float | None], dict[str, Curve]] = {}
    for (axis, severity), groups in panels.items():
        lines: dict[str, Curve] = {}
        for row in _measured(table):
            curve = {group.level: group.methods[row.method] for group in groups}
            if severity is not None and severity in nominal:
                curve.setdefault(0.0, nominal[severity].methods[row.method])
            curve.setdefault(0.0, row.clean)
            lines[row.method] = dict(sorted(curve.items()))
        result[axis, severity] = lines
    return result


def _axis_texts(groups: Sequence[GroupLine], axis: str, severity: float | None) -> tuple[str, str]:
    unit = style.unit_text(groups[0].unit)
    words = re.split(r"[_\s-]+", axis.strip("_- ")) or [axis]
    if severity is None:
        return f"{words[0].capitalize()} errors", f"severity ({unit})"
    title = ", ".join([words[0].capitalize(), *words[1:]])
    offset = " offset" if any(group.level < 0 for group in groups) else ""
    return title, f"{words[0]}{offset} ({unit})"


def degradation(table: Table) -> Figure:
    """Metric against perturbation, one panel per axis, all methods, 95 % bands.

    Args:
        table: A table with at least one finished job.

    Returns:
        The figure.
    """
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    rows = _measured(table)
    looks = style.method_styles(row.method for row in rows)
    panels, shown = _panels(table), curves(table)
    share = is_share(table.key["metric"])
    chance = rows[0].metric.get("chance")
    height = max(3.9, 1.5 + 0.2 * len(rows))
    legend = style.legend_width([*looks, "95 % interval of the mean"])
    figure = style.new_figure(_PANEL * len(panels) + legend, height)
    axes: list[Axes] = list(figure.subplots(1, len(panels), sharey=True, squeeze=False)[0])
    silent, alpha = False, max(0.07, 0.2 - 0.02 * len(rows))
    for ax, ((axis, severity), groups) in zip(axes, panels.items(), strict=True):
        lines = shown[axis, severity]
        levels = np.array(sorted({level for curve in lines.values() for level in curve}))
        for group in groups:
            if not group.informative:
                silent = True
                half = 0.02 * float(levels[-1] - levels[0])
                ax.axvspan(group.level - half, group.level + half, **_SILENT, zorder=0)
        for row in reversed(rows):
            _curve(ax, lines[row.method], looks[row.method], alpha)
        title, label = _axis_texts(groups, axis, severity)
        ax.set_title(style.plain(title))
        if severity is not None:
            held = f"severity {severity:g}"
            ax.set_title(held, loc="right", fontsize=8, color=style.QUIET)
        ax.set_xlabel(style.plain(label))
        _level_ticks(ax, levels)
        ax.grid(axis="y")
        if chance is not None:
            ax.axhline(chance, **_CHANCE)
        style.share_axis(ax, "y", share=share)
        ax.tick_params(axis="y", length=0)
        ax.spines["left"].set_visible(False)
    axes[0].set_ylabel(style.plain(table.key["metric"]))
    handles: list[Any] = [
        Line2D([], [], label=style.plain(row.method), **looks[row.method].line()) for row in rows
    ]
    handles.append(Patch(facecolor=style.INK, alpha=0.16, lw=0, label="95 % interval of the mean"))
    if chance is not None:
        handles.append(Line2D([], [], label=f"chance ({chance:g})", **_CHANCE))
    if silent:
        handles.append(Patch(label="all at chance: no weight", **_SILENT))
    figure.legend(handles=handles, loc="outside right center", labelspacing=0.55)
    words = table.key["metric"].capitalize()
    style.heading(
        figure, f"{style.plain(words)} under perturbation", _remark(table, _sample(table))
    )
    return figure


def _level_ticks(ax: Axes, levels: np.ndarray) -> None:
    """Ticks at the measured levels; labels at the ends, at 0 and where there is room."""
    signed = bool((levels < 0).any())
    texts = [f"{x:{'+' if signed and x else ''}g}".replace("-", "−") for x in levels]
    inches = (levels - levels[0]) / max(float(np.ptp(levels)), 1e-12) * 0.78 * _PANEL
    half = [0.5 * _LETTER * (len(text) + 1) for text in texts]
    order = sorted(range(len(levels)), key=lambda i: (levels[i] != 0, -abs(levels[i])))
    kept: list[int] = []
    for i in order:
        if all(abs(inches[i] - inches[j]) >= half[i] + half[j] for j in kept):
            kept.append(i)
    ax.set_xticks(levels[kept], [texts[i] for i in kept])
    ax.set_xticks(levels, minor=True)


def _curve(ax: Axes, curve: Curve, look: style.MethodStyle, alpha: float) -> None:
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


# --- sharpness ---------------------------------------------------------------------------------


def sharpness_points(
    table: Table, records: Sequence[Record]
) -> dict[str, list[tuple[float, float]]]:
    """Pairs the largest Hessian eigenvalue of each job with its robust score.

    Args:
        table: The table.
        records: The records that it was made from; others are left out.

    Returns:
        Method to (λmax, robust score over devices), by seed.
    """
    key = table.key
    eigenvalues = {
        (record["job"]["method"]["label"], record["job"]["seed"]): record["sharpness"]["lambda_max"]
        for record in records
        if record["status"] == "ok"
        and record["protocol"] == key["protocol"]
        and all(record["job"][k] == key[k] for k in ("suite", "workload", "tier"))
        and record["data"]["fingerprint"] == key["fingerprint"]
        and record["metric"]["name"] == key["metric"]
    }
    return {
        row.method: [
            (float(eigenvalues[row.method, seed]), float(values.mean()))
            for seed, values in zip(row.scores.seeds, row.scores.values, strict=True)
        ]
        for row in table.rows
        if row.scores is not None
    }


def sharpness(table: Table, records: Sequence[Record]) -> Figure | None:
    """Robust score against the largest Hessian eigenvalue, one point per job.

    Args:
        table: The table.
        records: The records that it was made from.

    Returns:
        The figure; None if no job has a robust score.
    """
    points = sharpness_points(table, records)
    if not points:
        return None
    looks = style.method_styles(row.method for row in _measured(table))
    width = 5.2 + style.legend_width(points)
    figure = style.new_figure(width, max(3.9, 1.5 + 0.2 * len(points)))
    ax = figure.subplots()
    for method, pairs in points.items():
        x, y = zip(*pairs, strict=True)
        ax.plot(x, y, ls="", label=style.plain(method), clip_on=False, **looks[method].marks())
    every = [pair for pairs in points.values() for pair in pairs]
    if all(x > 0 for x, _ in every):
        style.log_axis(ax, "x", [x for x, _ in every])
    if is_share(table.key["metric"]):
        _widen(ax, [y for _, y in every])
    ax.set_xlabel(r"largest Hessian eigenvalue $λ_\mathrm{max}$ (loss per squared control unit)")
    ax.set_ylabel(style.plain(f"robust {table.key['metric']}"))
    ax.grid()
    figure.legend(loc="outside right center", labelspacing=0.55)
    entry = table.correlations.get("lambda_max")
    title, interval = "Robustness against sharpness", "one point per job"
    if entry is not None:
        # Signed so that + means better; the picture shows the metric itself.
        flip = 1.0 if table.rows[0].metric["higher_is_better"] else -1.0
        title += f": Spearman ρ = {_rho(flip * entry['rho'])}"
        if entry["low"] is not None:
            low, high = sorted((flip * entry["low"], flip * entry["high"]))
            interval = f"{_rho(low)} to {_rho(high)} at 95 %, {entry['n_jobs']} jobs"
    style.heading(figure, title, _remark(table, interval))
    return figure


def _widen(ax: Axes, values: Sequence[float], least: float = 0.2) -> None:
    """Shows a fifth of the scale at least, so that small differences look small."""
    low, high = min(values), max(values)
    margin = max(0.08 * (high - low), 0.5 * (least - (high - low)))
    low, high = low - margin, high + margin
    if high > 1.02:
        low, high = min(low, 1.02 - least), 1.02
    elif low < -0.02:
        low, high = -0.02, max(high, least - 0.02)
    ax.set_ylim(low, high)


def _rho(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−")


# --- scores ------------------------------------------------------------------------------------


def _rank(row: Row) -> str:
    """The rank, as wide with a tie mark as without."""
    text = rank(row)
    return text if text.endswith("=") else text + "\u2007"


def scores(table: Table) -> Figure:
    """Clean metric, robust score and worst tenth of the devices, by method in order of rank.

    Args:
        table: A table with at least one finished job.

    Returns:
        The figure.
    """
    from matplotlib.lines import Line2D

    rows = _measured(table)
    looks = style.method_styles(row.method for row in rows)
    share = is_share(table.key["metric"])
    figure = style.new_figure(7.2, 1.75 + 0.46 * len(rows))
    ax = figure.subplots()
    shapes = {"clean": ("o", "none"), "robust score": ("o", "full"), "worst tenth": ("v", "full")}
    for i, row in enumerate(rows):
        color = looks[row.method].color
        if i % 2 == 0:
            ax.axhspan(i - 0.5, i + 0.5, color="#F7F7F7", lw=0, zorder=0)
        figures = (row.clean, row.robust, row.worst_decile)
        for k, (interval, (marker, fill)) in enumerate(zip(figures, shapes.values(), strict=True)):
            y = i + 0.24 * (k - 1)
            if interval.low is not None and interval.high is not None:
                ax.plot([interval.low, interval.high], [y, y], color=color, lw=1.5, zorder=2)
            if interval.mean is not None:
                face = "white" if fill == "none" else color
                ax.plot(interval.mean, y, ls="", marker=marker, color=color, mfc=face, zorder=3)
    ax.set_yticks(range(len(rows)), [f"{style.plain(row.method)}   {_rank(row)}" for row in rows])
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.grid(axis="x")
    style.share_axis(ax, "x", share=share)
    ax.set_xlabel(style.plain(table.key["metric"]))
    handles = [
        Line2D([], [], ls="", marker=m, color=style.INK, mfc="w" if f == "none" else None, label=t)
        for t, (m, f) in shapes.items()
    ]
    handles.append(Line2D([], [], color=style.INK, lw=1.5, label="95 % interval"))
    chance = rows[0].metric.get("chance")
    if chance is not None:
        ax.axvline(chance, zorder=1, **_CHANCE)
        handles.append(Line2D([], [], label=f"chance ({chance:g})", **_CHANCE))
    figure.legend(handles=handles, loc="outside lower center", ncols=5, columnspacing=1.4)
    style.heading(figure, "Scores in order of rank", _remark(table, _sample(table)))
    return figure
