"""Pictures of a suite, drawn from its records alone.

The functions that make a figure are to be called inside ``style.styled()``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pnnbench.leaderboard.model import Table
from pnnbench.report import style
from pnnbench.report.also_text import also_heads
from pnnbench.report.comparing import rank, widest
from pnnbench.report.degradation import degradation
from pnnbench.report.earlier_figure import earlier
from pnnbench.report.figure_parts import (
    CHANCE,
    chance_handles,
    measured,
    remark,
    row_axis,
    sample,
)
from pnnbench.report.formatting import (
    correlation,
    correlation_ends,
    is_share,
    least_of,
    metric_head,
)
from pnnbench.report.looks import method_styles
from pnnbench.report.surface import surface
from pnnbench.report.transfer_figures import cost, transfer
from pnnbench.report.tuning_figure import tuning

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw_suite(tables: Sequence[Table], folder: Path | str) -> dict[str, Path]:
    """Draws the pictures of tables.

    ``degradation`` is there unless all groups are surfaces, with one more for each figure beside
    the metric (``degradation-kid``), ``surface`` where two fields of the
    environment vary together, ``scores`` and ``sharpness`` where the protocol ranks, ``transfer``
    and ``cost`` where the records have a training device, ``earlier`` where rows were measured
    before the end of their steps, ``tuning`` where a search of the suite is recorded.

    Args:
        tables: What ``ranking.build`` made; those without a finished job are left out.
        folder: Where the pictures go, as SVG with a PNG of the same name beside each.

    Returns:
        Name to the path of the SVG. Where the records make several boards, the names begin with
        suite, workload and tier, and with the protocol where it does not rank; where a board has
        several deployments, with the deployment.
    """
    drawn: dict[str, Path] = {}
    tables = [table for table in tables if any(row.seeds for row in table.rows)]
    several = sum(table.headline for table in tables) > 1
    with style.styled():
        for table in tables:
            prefix = ""
            words = [table.key[k] for k in ("suite", "workload", "tier")] if several else []
            words += [table.key["protocol"]] if several and not table.ranked else []
            words += [table.key["deployment"]] if len(table.deployments) > 1 else []
            if words:
                prefix = free_prefix("-".join(words), drawn)
            figures: dict[str, Figure | None] = {
                "degradation": degradation(table),
                **{f"degradation-{slug}": degradation(table, n) for n, slug in _slugs(table)},
                "surface": surface(table),
                "scores": scores(table) if table.ranked else None,
                "sharpness": sharpness(table),
                "transfer": transfer(table),
                "cost": cost(table),
                "earlier": earlier(table),
                "tuning": tuning(table),
            }
            for name, figure in figures.items():
                if figure is not None:
                    title = f"({prefix}{name}: {table.key['suite']}, {table.key['workload']})"
                    svg, _ = style.save(figure, folder, prefix + name, title=title)
                    drawn[prefix + name] = svg
    return drawn


def _slugs(table: Table) -> list[tuple[str, str]]:
    """Names of the figures beside the metric, and what stands for them in the name of a file."""
    return [(n, _plain(head).lower()) for n, head in also_heads(table).items()]


def _plain(words: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", words)


def free_prefix(words: str, drawn: Mapping[str, Path]) -> str:
    """A prefix that no picture has yet: tables may differ in nothing but their data.

    Args:
        words: What it says.
        drawn: Names of the pictures there are.

    Returns:
        The words as a file may be named, with a number where the name is taken.
    """
    start = _plain(words)
    prefix, number = f"{start}-", 2
    while any(name.startswith(prefix) for name in drawn):
        prefix, number = f"{start}-{number}-", number + 1
    return prefix


# --- sharpness ---------------------------------------------------------------------------------


def sharpness_points(table: Table) -> dict[str, list[tuple[float, float]]]:
    """Pairs the largest Hessian eigenvalue of each job with its robust score.

    Args:
        table: The table.

    Returns:
        Method to (λmax, robust score over devices), by seed, of the seeds that have both.
    """
    return {
        row.method: [
            (row.eigenvalues[seed], float(values.mean()))
            for seed, values in zip(row.scores.seeds, row.scores.values, strict=True)
            if seed in row.eigenvalues
        ]
        for row in table.rows
        if row.scores is not None and set(row.eigenvalues) & set(row.scores.seeds)
    }


def sharpness(table: Table) -> Figure | None:
    """Robust score against the largest Hessian eigenvalue, one point per job.

    Args:
        table: The table.

    Returns:
        The figure; None if no job has a robust score.
    """
    points = sharpness_points(table)
    if not points:
        return None
    looks = method_styles(row.method for row in measured(table))
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
    ax.set_ylabel(style.plain(f"robust {metric_head(table.key['metric'])}"))
    ax.grid()
    figure.legend(loc="outside right center", labelspacing=0.55)
    entry = table.correlations.get("lambda_max")
    title, said = "Robustness against sharpness", "one point per job"
    if entry is not None:
        # Signed so that + means better; the picture shows the metric itself.
        flip = 1.0 if table.rows[0].metric["higher_is_better"] else -1.0
        title += f": Spearman ρ = {correlation(flip * entry['rho'])}"
        parts = {"means of rows": entry["rows"], "within rows": entry["within"]}
        said = ", ".join(
            f"{words} {_ends(part, flip)}"
            for words, part in parts.items()
            if part["rho"] is not None
        )
    style.heading(figure, title, remark(table, said or "one point per job"))
    return figure


def _ends(entry: Mapping[str, Any], flip: float) -> str:
    if entry["low"] is None:
        return correlation(flip * entry["rho"])
    low, high = sorted((flip * entry["low"], flip * entry["high"]))
    return f"{correlation_ends(low, high)} at 95 %"


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


# --- scores ------------------------------------------------------------------------------------


def scores(table: Table) -> Figure:
    """Clean metric, robust score and worst tenth of the devices, by method in order of the score.

    Args:
        table: A table with at least one finished job.

    Returns:
        The figure.
    """
    from matplotlib.lines import Line2D

    rows = measured(table)
    looks = method_styles(row.method for row in rows)
    share = is_share(table.key["metric"])
    figure = style.new_figure(7.2, 1.75 + 0.46 * len(rows))
    ax = figure.subplots()
    shapes = {"clean": ("o", "none"), "robust score": ("o", "full"), "worst tenth": ("v", "full")}
    width = widest(rows)  # all as wide as the widest: figure spaces are as wide as digits
    ranks = [rank(row).rjust(width, "\u2007") for row in rows]
    row_axis(ax, [f"{style.plain(row.method)}   {r}" for row, r in zip(rows, ranks, strict=True)])
    for i, row in enumerate(rows):
        color = looks[row.method].color
        figures = (row.clean, row.robust, row.worst_decile)
        for k, (interval, (marker, fill)) in enumerate(zip(figures, shapes.values(), strict=True)):
            y = i + 0.24 * (k - 1)
            if interval.low is not None and interval.high is not None:
                ax.plot([interval.low, interval.high], [y, y], color=color, lw=1.5, zorder=2)
            if interval.mean is not None:
                face = "white" if fill == "none" else color
                ax.plot(interval.mean, y, ls="", marker=marker, color=color, mfc=face, zorder=3)
    ax.grid(axis="x")
    style.share_axis(ax, "x", share=share)
    ax.set_xlabel(style.plain(metric_head(table.key["metric"])))
    handles = [
        Line2D([], [], ls="", marker=m, color=style.INK, mfc="w" if f == "none" else None, label=t)
        for t, (m, f) in shapes.items()
    ]
    handles.append(Line2D([], [], color=style.INK, lw=1.5, label="95 % interval"))
    chance = rows[0].metric.get("chance")
    if chance is not None:
        ax.axvline(chance, zorder=1, **CHANCE)
    handles += chance_handles(chance)
    style.floor(ax, "x", least_of(table.key["metric"]))
    figure.legend(handles=handles, loc="outside lower center", ncols=5, columnspacing=1.4)
    style.heading(
        figure, "Scores, and the places that each row can have", remark(table, sample(table))
    )
    return figure
