"""Confusion matrices, of one run or of all rows of a board side by side.

The functions that make a figure are to be called inside ``style.styled()``.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor

from pnnbench.report import style
from pnnbench.report.picture_parts import Record, place_texts, remark
from pnnbench.workloads.grid import Cell

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Most classes whose shares and names are written.
_WRITTEN = 12
#: Matrices in a row, and the side of one in inches.
_IN_ROW, _SIDE = 2, 2.95
#: Letters of a row's label in one line beside its accuracy.
_LETTERS = 28


def confusion(counts: Tensor, cell: Cell, record: Record) -> Figure:
    """Confusion matrix with rows normalised to 1, in percent where there is room.

    Args:
        counts: What `confusion_matrix` gave.
        cell: The cell it was measured in.
        record: The record of the workload.

    Returns:
        The figure; the accuracy is in its title.
    """
    figure = style.new_figure(5.6, 5.3)
    ax = figure.subplots()
    image = _draw(ax, counts, 7.5)
    ax.set_xlabel("predicted class")
    ax.set_ylabel("true class")
    style.color_bar(ax, image, "share of the true class")
    facts = place_texts(cell)
    style.heading(
        figure, f"Confusion under a shift: accuracy {_accuracy(counts):.4f}", remark(record, *facts)
    )
    return figure


def confusions(counts: Mapping[str, Tensor], cell: Cell, *facts: str) -> Figure:
    """Confusion matrices of several rows in one cell, on one scale.

    Args:
        counts: Label of each row to what `confusion_matrix` gave.
        cell: The cell they were measured in.
        facts: What the picture is of, for the line below the title.

    Returns:
        The figure; the accuracy of each row stands above its matrix.
    """
    across = min(len(counts), _IN_ROW)
    down = -(-len(counts) // across)
    figure = style.new_figure(0.9 + _SIDE * across, 1.0 + (_SIDE + 0.15) * down)
    places = list(figure.subplots(down, across, squeeze=False).flat)
    image: Any = None
    for i, (ax, (label, mine)) in enumerate(zip(places, counts.items(), strict=False)):
        image = _draw(ax, mine, 5.5)
        title = "\n".join(textwrap.wrap(label, _LETTERS))
        ax.set_title(style.plain(title), fontsize=8.5)
        ax.set_title(f"{100 * _accuracy(mine):.1f} %", loc="right", fontsize=8.5)
        if i % across == 0:
            ax.set_ylabel("true class")
        if i + across >= len(counts):
            ax.set_xlabel("predicted class")
        if i == across - 1:
            style.color_bar(ax, image, "share of the true class")
    for empty in places[len(counts) :]:
        empty.remove()
    where = style.plain(" · ".join([*facts, *place_texts(cell)]))
    style.heading(figure, "Which classes are taken for which", where)
    return figure


def _draw(ax: Axes, counts: Tensor, size: float) -> Any:
    classes = len(counts)
    shares = (counts / counts.sum(1, keepdim=True).clamp(min=1)).tolist()
    image = ax.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
    if classes <= _WRITTEN:
        for i, row in enumerate(shares):
            for j, value in enumerate(row):
                if counts[i, j]:
                    text = f"{100 * value:.0f}" if value >= 0.005 else "<1"
                    color = "white" if value > 0.55 else style.INK
                    ax.text(j, i, text, ha="center", va="center", fontsize=size, color=color)
        ax.set_xticks(range(classes))
        ax.set_yticks(range(classes))
    ax.tick_params(length=0)
    ax.spines[["left", "bottom"]].set_visible(False)
    return image


def _accuracy(counts: Tensor) -> float:
    return float(counts.diagonal().sum() / counts.sum())
