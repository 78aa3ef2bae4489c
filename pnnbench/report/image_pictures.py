"""Pictures of what networks make: reconstructed and generated images, and their features.

The functions that make a figure are to be called inside ``style.styled()``.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pnnbench.report import style
from pnnbench.report.looks import method_styles
from pnnbench.report.picture_parts import device_text, level_text
from pnnbench.workloads.grid import Cell

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COUNT = 4
"""Images of a row at each level."""
_TILE = 0.37
#: Room in inches for the labels of the rows, and below each row for its figures.
_LABEL, _BELOW = 0.9, 0.22
#: Letters in a line of a label.
_LETTERS = 11
#: Least pixels of an image in a picture: a browser smooths what it enlarges.
_PIXELS = 96
#: Side of a panel of features in inches.
_PANEL = 1.62


def images_in_rows(
    title: str,
    originals: Tensor,
    made: Mapping[str, Sequence[Tensor]],
    cells: Sequence[Cell],
    below: Mapping[str, Sequence[str]],
    *facts: str,
    first: str = "original",
) -> Figure:
    """Images of several networks at several levels, side by side, the originals in the first row.

    Args:
        title: Title of the picture.
        originals: What they are held against (N, C, H, W), values in [0, 1].
        made: Label of each row to its images (N, C, H, W) at each level, clipped to [0, 1].
        cells: The cells, one for each level.
        below: Label of each row to what stands below its images at each level.
        facts: What the picture is of, for the line below the title.
        first: Label of the originals.

    Returns:
        The figure.
    """
    rows = 1 + len(made)
    count = min(COUNT, len(originals))
    wide = _TILE * count + 0.12
    height = 1.05 + rows * (_TILE + 0.1) + len(made) * _BELOW
    figure = style.new_figure(_LABEL + wide * len(cells), height)
    axes = figure.subplots(rows, len(cells), squeeze=False)
    for ax, cell in zip(axes[0], cells, strict=True):
        _tiles(ax, originals[:count])
        ax.set_title(level_text(cell), fontsize=8.5)
    for line, (label, parts) in zip(axes[1:], made.items(), strict=True):
        for ax, part, text in zip(line, parts, below[label], strict=True):
            _tiles(ax, part[:count])
            ax.set_xlabel(text, fontsize=8, color=style.QUIET, labelpad=2.0)
    for ax, label in zip(axes[:, 0], (first, *made), strict=True):
        _name(ax, label)
    what = [*facts, device_text(cells[0]), "values clipped to 0 to 1"]
    style.heading(figure, title, style.plain(" · ".join(what)))
    return figure


def _name(ax: Axes, label: str) -> None:
    ax.set_ylabel(
        _lines(label), rotation=0, ha="right", va="center", multialignment="right", fontsize=8.5
    )


def _lines(label: str) -> str:
    return style.plain("\n".join(textwrap.wrap(label, _LETTERS)))


def _tiles(ax: Axes, images: Tensor) -> None:
    """Images (N, C, H, W) in one row with a gap between."""
    shown = images.detach().float().cpu().clamp(0.0, 1.0)
    times = max(1, -(-_PIXELS // shown.shape[-1]))
    shown = shown.repeat_interleave(times, 2).repeat_interleave(times, 3)
    gap = torch.ones(*shown.shape[1:3], max(2, shown.shape[-1] // 16))
    parts = [part for image in shown for part in (image, gap)][:-1]
    strip = torch.cat(parts, dim=2)
    grey: dict[str, Any] = {"cmap": "gray", "vmin": 0.0, "vmax": 1.0} if len(strip) == 1 else {}
    pixels = strip[0] if len(strip) == 1 else strip.permute(1, 2, 0)
    ax.imshow(pixels.numpy(), interpolation="nearest", **grey)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set_visible(False)


def features_in_panels(
    real: Tensor,
    made: Mapping[str, Sequence[Tensor]],
    cells: Sequence[Cell],
    above: Mapping[str, Sequence[str]],
    *facts: str,
) -> Figure:
    """Places of generated among real images, a panel for each network and level.

    Args:
        real: Places of the real images (N, 2).
        made: Label of each row to the places of its images (M, 2) at each level.
        cells: The cells, one for each level.
        above: Label of each row to the numbers above its panel at each level.
        facts: What the picture is of, for the line below the title.

    Returns:
        The figure.
    """
    from matplotlib.lines import Line2D

    looks = method_styles(made)
    figure = style.new_figure(0.6 + _PANEL * len(cells), 1.6 + (_PANEL + 0.4) * len(made))
    axes = figure.subplots(len(made), len(cells), squeeze=False, sharex=True, sharey=True)
    dots: dict[str, Any] = {"ls": "", "marker": "o", "mew": 0.0}
    ground: dict[str, Any] = {**dots, "color": "#C9C9C9", "ms": 3.2}
    for line, (label, parts) in zip(axes, made.items(), strict=True):
        color = looks[label].color
        for ax, part, text in zip(line, parts, above[label], strict=True):
            ax.plot(*real.T.tolist(), **ground, zorder=1)
            ax.plot(*part.T.tolist(), color=color, ms=2.4, alpha=0.75, zorder=2, **dots)
            ax.set_title(text, fontsize=8, color=style.QUIET, loc="center", pad=3.0)
            ax.set_xticks([])
            ax.set_yticks([])
            ax.spines[:].set_visible(True)
            ax.spines[:].set_color(style.GRID)
            ax.set_box_aspect(1.0)
        line[0].set_ylabel(style.plain(label), fontsize=8.5)
    for ax, cell in zip(axes[-1], cells, strict=True):
        ax.set_xlabel(level_text(cell), fontsize=8.5)
    handles = [
        Line2D([], [], label="real", **ground),
        Line2D([], [], label="generated", color=style.INK, ms=2.4, **dots),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    what = [*facts, device_text(cells[0])]
    style.heading(
        figure, "Generated among real images: t-SNE of features", style.plain(" · ".join(what))
    )
    return figure
