"""Pictures of one trained workload: controls, loss landscape, confusion, training curve.

The functions that make a figure are to be called inside ``style.styled()``; `draw_run` does all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pnnbench.evaluation.cell_outputs import confusion_matrix, shifted_cell
from pnnbench.evaluation.gaps import Gaps
from pnnbench.evaluation.hessian import deployed
from pnnbench.evaluation.landscape import Landscape, measure_landscape
from pnnbench.evaluation.outputs import classifies
from pnnbench.platforms.base import Device, PhysicalLayer
from pnnbench.platforms.mrr import MRRWeightBank, RingCalibration
from pnnbench.records.index import workload_of
from pnnbench.report import style
from pnnbench.report.confusion_pictures import confusion
from pnnbench.report.galleries import Trained, gallery_figures
from pnnbench.report.looks import method_styles
from pnnbench.report.optics_pictures import optics_figures
from pnnbench.report.picture_parts import Record, remark
from pnnbench.workloads.base import Workload

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Layers that get a histogram each; more are put together in one.
MOST_LAYERS = 8


def draw_run(
    workload: Workload,
    record: Record,
    train: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    folder: Path | str,
    say: Callable[[str], None] | None = None,
    device: Device | None = None,
) -> dict[str, Path]:
    """Draws ``controls``, ``landscape``, ``confusion`` (of a classifier) and ``curve``.

    Networks that make images get ``images``, and ``features`` where their metric takes some;
    free-space and diffractive networks also get what `optics_figures` draws. A picture that cannot
    be drawn takes no other with it.

    Args:
        workload: A trained workload; afterwards it is what it was, to the bit.
        record: Its record.
        train: Training images (N, ...) and targets (N, ...).
        test: Test images (N, ...) and targets (N, ...).
        folder: Where the pictures go, as SVG and PNG.
        say: Told why a picture is left out.
        device: The device that the controls were trained on; None, the ideal one, for methods in
            silico. The landscape is there.

    Returns:
        Name to the path of the PNG; the SVG of the same name is beside it.
    """
    drawn: dict[str, Path] = {}
    with style.styled():
        gaps = Gaps()
        figures: dict[str, Figure] = {}
        with gaps.part("controls"):
            figures["controls"] = controls(workload, record)
        with gaps.part("landscape"):
            measured = measure_landscape(workload, *train, device=device)
            figures["landscape"] = landscape(measured, workload, record)
        with gaps.part("curve"):
            figures["curve"] = curve(record)
        with gaps.part("optics"):
            figures |= optics_figures(workload, record, *test, gaps)
        with gaps.part("gallery"):
            mine = Trained(record["job"]["method"]["label"], record, workload)
            made, failed = gallery_figures([mine], train, test, ("images", "features"))
            figures |= made
            gaps.found += failed
        with gaps.part("confusion"):
            if _classifies(workload, *test):
                cell = shifted_cell(workload.cells(record["job"]["tier"]))
                counts = confusion_matrix(workload, *test, cell)
                figures["confusion"] = confusion(counts, cell, record)
        for gap in gaps.found:
            if say is not None:
                say(f"no picture {gap.part}: {gap.message}")
        for name, figure in sorted(figures.items()):
            job = record["job"]
            row = f"{job['method']['label']}, seed {job['seed']}"
            title = f"({name}: {workload_of(job)}, {row})"
            _, drawn[name] = style.save(figure, folder, name, title=title)
    return drawn


def _classifies(workload: Workload, images: Tensor, labels: Tensor) -> bool:
    with torch.no_grad(), deployed(workload):
        return classifies(workload(images[:1]), labels)


# --- controls ----------------------------------------------------------------------------------


def controls(workload: Workload, record: Record, bins: int = 60) -> Figure:
    """Histograms of the control parameters, layer by layer, under the tuning curve of the rings.

    Args:
        workload: A trained workload.
        record: Its record.
        bins: Bars over the common range.

    Returns:
        The figure: the ideal tuning curve on top where the layers are rings, its dip marked in
        every panel. Each histogram shows the share of its layer's controls per bar.
    """
    layers = workload.layers()
    groups = _control_groups(layers)
    calibrations = _calibrations(layers)
    low, high = _control_range(layers, torch.cat(list(groups.values())))
    edges = torch.linspace(low, high, bins + 1, dtype=torch.float64)
    unit = style.unit_text(next(iter(layers.values())).control_unit)
    ratios = [1.9] * bool(calibrations) + [1.0] * len(groups)
    figure = style.new_figure(6.4, 1.35 + 0.78 * sum(ratios))
    axes: list[Axes] = list(
        figure.subplots(len(ratios), 1, sharex=True, squeeze=False, height_ratios=ratios)[:, 0]
    )
    if calibrations:
        _tuning_curve(axes[0], calibrations, edges)
    for ax, (name, values) in zip(axes[bool(calibrations) :], groups.items(), strict=True):
        share = torch.histogram(values, edges).hist / len(values)
        ax.stairs(share.tolist(), edges.tolist(), fill=True, color=style.ACCENT, lw=0)
        ax.set_yticks([])
        ax.spines["left"].set_visible(False)
        text = f"{name}\n{len(values):,}"
        ax.set_ylabel(
            style.plain(text), rotation=0, ha="right", va="center", multialignment="right"
        )
        ax.set_ylim(0.0, 1.08 * float(share.max()))
    for ax in axes:
        for calibration in calibrations:
            ax.axvline(_dip(calibration), color=style.QUIET, lw=0.9, ls=(0, (4, 2)), zorder=5)
    axes[-1].set_xlim(low, high)
    name = " and ".join(sorted({n for layer in layers.values() for n in layer.control_names}))
    axes[-1].set_xlabel(f"{style.plain(name)} ({unit})")
    total = sum(len(values) for values in groups.values())
    power = record.get("extra", {}).get("control_power_mw")
    facts = [f"{total:,} controls"]
    if power is not None:
        facts.append(f"{power / 1000:.3g} W" if power >= 1000 else f"{power:.3g} mW")
    style.heading(figure, "Control parameters by layer", remark(record, *facts))
    return figure


def _control_groups(layers: dict[str, PhysicalLayer]) -> dict[str, Tensor]:
    flat = {
        layer: torch.cat([getattr(m, n).detach().flatten().double() for n in m.control_names]).cpu()
        for layer, m in layers.items()
    }
    return flat if len(flat) <= MOST_LAYERS else {"all layers": torch.cat(list(flat.values()))}


def _calibrations(layers: dict[str, PhysicalLayer]) -> list[RingCalibration]:
    rings = [m.calibration for m in layers.values() if isinstance(m, MRRWeightBank)]
    return list(dict.fromkeys(rings))


def _control_range(layers: dict[str, PhysicalLayer], values: Tensor) -> tuple[float, float]:
    """The range of the driver where it is finite, otherwise that of the values and the dips."""
    calibrations = _calibrations(layers)
    limits = [(c.min_current, c.max_current) for c in calibrations]
    if limits and all(math.isfinite(high - low) for low, high in limits):
        return min(low for low, _ in limits), max(high for _, high in limits)
    shown = [float(values.min()), float(values.max()), *map(_dip, calibrations)]
    margin = 0.03 * max(max(shown) - min(shown), 1e-9)
    return min(shown) - margin, max(shown) + margin


def _dip(calibration: RingCalibration) -> float:
    """Current in mA of the least weight."""
    return float(calibration.current(torch.tensor(-math.inf, dtype=torch.float64)))


def _tuning_curve(ax: Axes, calibrations: Sequence[RingCalibration], edges: Tensor) -> None:
    at = torch.linspace(float(edges[0]), float(edges[-1]), 801, dtype=torch.float64)
    for calibration in calibrations:
        ax.plot(at.tolist(), calibration.weight(at).tolist(), color=style.INK, lw=1.3)
    ax.axhline(0.0, color=style.GRID, lw=0.6, zorder=0)
    ax.set_ylabel("ideal weight w")
    dip = _dip(calibrations[0])
    ax.annotate(
        f"dip at {dip:.2f} mA",
        (dip, 1.0),
        xycoords=("data", "axes fraction"),
        xytext=(-4, -3),
        textcoords="offset points",
        fontsize=8,
        color=style.QUIET,
        ha="right",
        va="top",
    )


# --- loss landscape ----------------------------------------------------------------------------


def landscape(measured: Landscape, workload: Workload, record: Record) -> Figure:
    """Filled contours of the loss over the plane; logarithmic where it spans a decade.

    Args:
        measured: What `measure_landscape` gave.
        workload: The workload it was measured on.
        record: Its record.

    Returns:
        The figure.
    """
    from matplotlib.ticker import FuncFormatter

    unit = style.unit_text(next(iter(workload.layers().values())).control_unit)
    per_control = math.sqrt(measured.directions.shape[1])
    at = (measured.steps / per_control).numpy()
    losses = measured.losses.numpy()
    levels, norm = _loss_levels(float(losses.min()), float(losses.max()))
    figure = style.new_figure(5.5, 4.9)
    ax = figure.subplots()
    filled = ax.contourf(at, at, losses, levels=levels, norm=norm, cmap="viridis")
    ax.contour(at, at, losses, levels=levels, colors="white", linewidths=0.35, alpha=0.6)
    ax.plot(0.0, 0.0, marker="+", ms=9, mew=1.4, color="white")
    ax.set_aspect("equal")
    ax.spines[["left", "bottom"]].set_visible(False)
    for k, axis in enumerate((ax.xaxis, ax.yaxis), start=1):
        axis.set_label_text(rf"along $v_{k}$ ({unit} RMS per control)")
        axis.set_major_formatter(FuncFormatter(lambda v, _: style.number_text(v) if v else "0"))
        axis.set_ticks([0.5 * k * float(at[-1]) for k in range(-2, 3)])
    bar = style.color_bar(ax, filled, "training loss")
    marked = levels[::2]
    bar.set_ticks(marked, labels=[style.number_text(v) for v in marked])
    first, second = (style.number_text(float(v)) for v in measured.eigenvalues)
    per = f"({unit})" if " " in unit else unit
    title = rf"Loss landscape: $λ_1$ = {first}, $λ_2$ = {second} /{per}²"
    facts = [f"{measured.images:,} training images"]
    sample = record.get("sharpness", {})
    if sample.get("n_images", 0) > measured.images and "lambda_max" in sample:
        most = style.number_text(sample["lambda_max"])
        facts.append(rf"on {sample['n_images']:,} of them $λ_\mathrm{{max}}$ = {most}")
    style.heading(figure, title, remark(record, *facts))
    return figure


def _loss_levels(low: float, high: float) -> tuple[list[float], Any]:
    """Round levels from below the least to above the largest loss, and their colour scale."""
    from matplotlib.colors import LogNorm, Normalize
    from matplotlib.ticker import MaxNLocator

    if low > 0 and high > 10 * low:
        steps = (1.0, 1.5, 2.0, 3.0, 5.0, 7.0) if high < 300 * low else (1.0, 2.0, 5.0)
        decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        levels = [step * 10.0**decade for decade in decades for step in steps]
        first = max(i for i, level in enumerate(levels) if level <= low)
        last = min(i for i, level in enumerate(levels) if level >= high)
        levels = levels[first : last + 1]
        return levels, LogNorm(levels[0], levels[-1])
    if high <= low:
        high = low + max(1e-12, 1e-6 * abs(low))
    levels = [float(level) for level in MaxNLocator(14).tick_values(low, high)]
    return levels, Normalize(levels[0], levels[-1])


# --- training curve ----------------------------------------------------------------------------


def curve(record: Record) -> Figure:
    """Mean training loss of each epoch, as the method minimised it.

    Args:
        record: A finished record.

    Returns:
        The figure; the scale is logarithmic where the loss falls by a decade.
    """
    from matplotlib.ticker import MaxNLocator

    losses = record["curves"]["train_loss"]
    epochs = [epoch + 1 for epoch in record["curves"]["epoch"]]
    figure = style.new_figure(5.6, 3.5)
    ax = figure.subplots()
    label = record["job"]["method"]["label"]
    ax.plot(epochs, losses, clip_on=False, zorder=3, **method_styles([label])[label].line())
    if min(losses) > 0 and max(losses) > 10 * min(losses):
        style.log_axis(ax, "y", losses)
    elif min(losses) >= 0:
        ax.set_ylim(0.0, 1.05 * max(max(losses), 1e-12))
    ax.set_xlim(min(0.5, epochs[0] - 0.5), epochs[-1] + 0.5)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlabel("epoch")
    ax.set_ylabel("training loss")
    ax.grid(axis="y")
    style.heading(figure, "Training loss", remark(record, f"last {style.number_text(losses[-1])}"))
    return figure
