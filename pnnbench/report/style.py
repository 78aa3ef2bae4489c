"""How pictures look: one set of matplotlib settings, files that do not change.

Pictures are drawn through matplotlib's object interface on the Agg canvas: no pyplot, no window,
no state between two pictures. The user's own matplotlib settings do not enter.
"""

from __future__ import annotations

import math
import os
import textwrap
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pnnbench.report.visible import visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#222222"
"""Text, spines and ticks."""
QUIET = "#8A8A8A"
"""Reference lines and remarks."""
GRID = "#E4E4E4"
"""Grid lines."""
ACCENT = "#0072B2"
"""Data that belong to no method."""
PNG_DPI = 160

RC: dict[str, Any] = {
    "font.family": ["DejaVu Sans"],
    "font.size": 9.0,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.6,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.titlepad": 7.0,
    "axes.labelsize": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "xtick.major.size": 3.0,
    "ytick.major.size": 3.0,
    "xtick.minor.size": 1.8,
    "ytick.minor.size": 1.8,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "legend.handlelength": 2.6,
    "lines.linewidth": 1.4,
    "lines.markersize": 5.0,
    "lines.solid_capstyle": "round",
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "svg.fonttype": "path",
    "svg.hashsalt": "pnnbench",
}
"""What differs from matplotlib's defaults."""

# Settings that are not about looks, and which matplotlib does not like to be set.
_NOT_STYLE = ("backend", "interactive", "toolbar", "webagg", "tk.", "macosx", "savefig.directory")

_UNITS = {"degC": "°C", "deg": "°", "um": "µm", "ohm": "Ω"}


@contextmanager
def styled() -> Iterator[None]:
    """Context in which pictures are drawn and saved; settings of before are back afterwards."""
    import matplotlib as mpl

    settings: dict[Any, Any] = {
        key: value
        for key, value in mpl.rcParamsDefault.items()
        if not key.startswith(_NOT_STYLE) and key != "svg.id"
    }
    settings.update(RC)
    with mpl.rc_context(settings):
        yield


def new_figure(width: float, height: float) -> Figure:
    """Makes an empty figure on the Agg canvas, laid out so that nothing overlaps.

    Args:
        width: Width in inches.
        height: Height in inches.

    Returns:
        The figure; call inside `styled`.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def heading(figure: Figure, title: str, remark: str = "") -> None:
    """Writes the title of a figure, and a quieter remark below it, flush left above everything.

    Args:
        figure: A figure with constrained layout; its ``rect`` is set here.
        title: One line; it must fit.
        remark: Facts joined by `` · ``, wrapped between them to the width of the figure.
    """
    height = figure.get_figheight()
    whole = remark.replace(" · ", "\n").replace(" ", "\u00a0").replace("\n", "\u00a0· ")
    lines = textwrap.wrap(whole, int(figure.get_figwidth() / 0.068))
    figure.set_label(title)
    line = 0.17  # inches
    x, y = 0.07 / figure.get_figwidth(), 1.0 - 0.08 / height
    figure.text(x, y, title, ha="left", va="top", fontsize=11, fontweight="bold")
    for i, text in enumerate(lines):
        y = 1.0 - (0.32 + i * line) / height
        figure.text(x, y, text, ha="left", va="top", fontsize=8.5, color=QUIET)
    top = 0.36 + 0.05 * bool(lines) + line * len(lines)
    engine: Any = figure.get_layout_engine()
    engine.set(rect=(0.0, 0.0, 1.0, 1.0 - top / height))


def legend_width(labels: Iterable[str]) -> float:
    """Room in inches for a legend beside the axes with these labels."""
    return 0.75 + 0.072 * max(map(len, labels), default=0)


def color_bar(axes: Axes, shown: Any, label: str) -> Any:
    """Draws a colour bar as high as its axes, which may have an aspect of their own.

    Args:
        axes: The axes.
        shown: The image or contours in them.
        label: What the colours mean.

    Returns:
        Matplotlib's colour bar.
    """
    place = axes.inset_axes((1.035, 0.0, 0.045, 1.0))
    bar = axes.figure.colorbar(shown, cax=place)
    bar.set_label(label)
    bar.ax.minorticks_off()
    bar.outline.set_visible(False)
    return bar


def share_axis(axes: Axes, which: str, *, share: bool) -> None:
    """Sets the scale of a metric: a share spans 0 to 1, anything else what the data need.

    Args:
        axes: Where the metric is drawn.
        which: ``"x"`` or ``"y"``.
        share: Whether the metric is a share of images, such as accuracy.
    """
    if not share:
        return
    limits, ticks = (-0.02, 1.02), [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    if which == "x":
        axes.set_xlim(limits)
        axes.set_xticks(ticks)
    else:
        axes.set_ylim(limits)
        axes.set_yticks(ticks)


def floor(axes: Axes, which: str, least: float | None) -> None:
    """Ends an axis at the value below which a metric cannot be, whatever its intervals say.

    Called once all is drawn.

    Args:
        axes: The axes, or one of those that share the axis.
        which: ``"x"`` or ``"y"``.
        least: The value; None where there is none.
    """
    low, high = axes.get_xlim() if which == "x" else axes.get_ylim()
    if least is None or high <= least:
        return
    end = least - 0.02 * (high - least)
    if low < end:
        (axes.set_xlim if which == "x" else axes.set_ylim)(end, high)


def log_axis(axes: Axes, which: str, values: Iterable[float]) -> None:
    """Makes an axis logarithmic, with plain numbers at its ticks.

    Args:
        axes: The axes.
        which: ``"x"`` or ``"y"``.
        values: What is shown, all positive: over few decades also 2 and 5 get ticks.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    shown = list(values)
    decades = math.log10(max(shown) / min(shown))
    axis = axes.xaxis if which == "x" else axes.yaxis
    (axes.set_xscale if which == "x" else axes.set_yscale)("log")
    low, high = (
        min(shown) * 10 ** (-0.06 * decades - 0.05),
        max(shown) * 10 ** (0.06 * decades + 0.05),
    )
    (axes.set_xlim if which == "x" else axes.set_ylim)(low, high)
    steps: tuple[float, ...] = (1.0,)
    if decades < 0.7:
        steps = (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0)
    elif decades < 2.5:
        steps = (1.0, 2.0, 5.0)
    axis.set_major_locator(LogLocator(subs=steps))
    axis.set_major_formatter(FuncFormatter(lambda value, _: number_text(value)))
    axis.set_minor_formatter(NullFormatter())


def unit_text(unit: str) -> str:
    """Writes a unit as people do.

    Args:
        unit: Unit as the code names it, such as ``"degC"`` or ``"x measured spread"``.

    Returns:
        Such as ``"°C"`` or ``"× measured spread"``.
    """
    return _UNITS.get(unit, unit.replace("x ", "× ", 1) if unit.startswith("x ") else unit)


def number_text(value: float, *, sign: bool = False) -> str:
    """Writes a number with a true minus sign, without exponents where they can be done without.

    Args:
        value: The number.
        sign: Whether to show a plus.

    Returns:
        The text, three significant digits.
    """
    plus = "+" if sign else ""
    if value != 0 and not 1e-3 <= abs(value) < 1e5:
        mantissa, exponent = f"{value:{plus}.2e}".split("e")
        mantissa = f"{float(mantissa):{plus}g}".replace("-", "−")
        return mantissa + rf" × 10$^{{{int(exponent)}}}$"
    digits = f"{value:{plus}.3g}" if abs(value) < 999.5 else f"{value:{plus}.0f}"
    return digits.replace("-", "−")


def plain(text: str) -> str:
    """Escapes what a user wrote: ``$`` starts no formula, and every sign can be seen."""
    return visible(text).replace("$", r"\$")


def _settle(figure: Figure) -> None:
    """Lays a figure out for good, at rounded places: the solver's last digits vary.

    No engine is left, not even one that does nothing: with one, each file costs a drawing more.
    """
    figure.draw_without_rendering()
    places = {ax: ax.get_position(original=True).bounds for ax in figure.axes}
    figure.set_layout_engine(None)
    for ax, (left, bottom, width, height) in places.items():
        if ax.get_subplotspec() is not None:
            ax.set_position((round(left, 5), round(bottom, 5), round(width, 5), round(height, 5)))


def save(figure: Figure, folder: Path | str, name: str, *, title: str) -> tuple[Path, Path]:
    """Writes a figure as SVG and PNG, each to a temporary name that is then renamed.

    The SVG holds no date, no version and no random names: the same figure gives the same bytes
    with the same matplotlib. Letters are outlines, so that it looks the same everywhere.

    Args:
        figure: A figure; call inside `styled`.
        folder: Made if it is not there.
        name: File name without suffix.
        title: What is drawn, for the metadata of both files, where the heading comes first.

    Returns:
        The paths of the SVG and the PNG.
    """
    _settle(figure)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    label = str(figure.get_label())
    title = visible(f"{label} {title}" if label else title)
    paths = (folder / f"{name}.svg", folder / f"{name}.png")
    metadata: tuple[dict[str, Any], ...] = (
        {"Date": None, "Creator": None, "Title": title},
        {"Software": None, "Title": title},
    )
    for path, facts in zip(paths, metadata, strict=True):
        temporary = folder / f".{path.name}.{os.getpid()}.tmp"
        try:
            figure.savefig(temporary, format=path.suffix[1:], dpi=PNG_DPI, metadata=facts)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    return paths
