"""What the pictures of a suite have in common."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pnnbench.leaderboard.model import GroupLine, Row, Table
from pnnbench.leaderboard.statistics import Interval
from pnnbench.report import style
from pnnbench.report.looks import MethodStyle

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CHANCE: dict[str, Any] = {"color": style.QUIET, "lw": 1.0, "ls": (0, (1, 2))}
"""Look of the line at the chance level."""
MOST = 12
"""So many lines can be told apart in one picture."""
OTHERS: dict[str, Any] = {"color": "#BDBDBD", "lw": 0.8}
"""Look of the lines of the other rows."""
BAND = "#F7F7F7"
"""Ground of what belongs together: every other row, the points of one level."""


_COORDINATES = ("x", "y", "z")
# Quantities that are measured from the aligned position: their value is the offset.
_DISPLACEMENTS = ("rotation", "shift", "tilt")


def split_words(name: str) -> list[str]:
    """The words of a name such as ``"temperature-fine"``; at least one."""
    return re.split(r"[_\s-]+", name.strip("_- ")) or [name]


def quantity_text(words: Sequence[str], *, offset: bool = False) -> str:
    """Names what an axis varies, as stands below it.

    Args:
        words: Quantity, and perhaps a coordinate along which it is measured.
        offset: Whether levels are differences from the nominal value.

    Returns:
        Such as ``"temperature offset"``, ``"rotation"`` or ``"shift along x"``.
    """
    along = f" along {words[1]}" if len(words) > 1 and words[1] in _COORDINATES else ""
    return words[0] + " offset" * (offset and words[0] not in _DISPLACEMENTS) + along


def is_surface(groups: Sequence[GroupLine]) -> bool:
    """Whether groups of one axis and severity are a surface: several of them have one level.

    Args:
        groups: The groups.

    Returns:
        True where no line can be drawn through them.
    """
    return len({group.level for group in groups}) < len(groups)


def remark(table: Table, *more: str) -> str:
    """The line below a title: what the table is, and facts of the picture.

    Args:
        table: The table.
        more: Further facts; empty ones are left out.

    Returns:
        Facts joined as `style.heading` wants them.
    """
    key = table.key
    protocol = key["protocol"] if table.ranked else f"{key['protocol']} (not ranked)"
    deployment = key["deployment"] if len(table.deployments) > 1 else ""
    words = [key["suite"], key["workload"], protocol, f"{key['tier']} tier", deployment, *more]
    return style.plain(" · ".join(word for word in words if word))


def sample(table: Table) -> str:
    """How many seeds and devices the rows of a table have.

    Args:
        table: A table with at least one finished job.

    Returns:
        Such as ``"3 seeds × 20 devices"``.
    """
    rows = measured(table)
    seeds = sorted({len(row.seeds) for row in rows})
    devices = len([device for device in rows[0].devices if device is not None])
    text = f"{seeds[0]} seed" if seeds == [1] else f"{'–'.join(map(str, seeds))} seeds"
    return text + (f" × {devices} device{'s' if devices != 1 else ''}" if devices else "")


def measured(table: Table) -> list[Row]:
    """The rows of a table that have a finished job.

    Args:
        table: The table.

    Returns:
        The rows, in order.
    """
    return [row for row in table.rows if row.seeds]


def in_front(table: Table, rows: Sequence[Row]) -> list[Row]:
    """The rows that a picture of many lines tells apart; the others stay grey.

    Args:
        table: The table.
        rows: Rows that the picture shows.

    Returns:
        All of them up to `MOST`; else those that the suite's claims name, or the first ones where
        it has none; in the order of ``rows``.
    """
    if len(rows) <= MOST:
        return list(rows)
    named = {label for claim in table.claimed for label in (claim.better, claim.than)}
    return [row for row in rows if row.method in named] or list(rows[:MOST])


def other_handles(count: int) -> list[Any]:
    """The entry of a legend for so many rows that are grey; none for 0."""
    from matplotlib.lines import Line2D

    if not count:
        return []
    return [Line2D([], [], label=f"{count} other row{'s' if count > 1 else ''}", **OTHERS)]


def method_handles(labels: Sequence[str], looks: Mapping[str, MethodStyle]) -> list[Any]:
    """Entries of a legend for methods that are lines.

    Args:
        labels: Their labels, in order.
        looks: Label to look.
    """
    from matplotlib.lines import Line2D

    return [Line2D([], [], label=style.plain(label), **looks[label].line()) for label in labels]


def chance_handles(chance: float | None) -> list[Any]:
    """The entry of a legend for the line at the chance level; none where there is no such level."""
    from matplotlib.lines import Line2D

    return [] if chance is None else [Line2D([], [], label=f"chance ({chance:.3g})", **CHANCE)]


def row_axis(axes: Axes, labels: Sequence[str]) -> None:
    """Makes the y axis one of rows from above, every other one on a grey ground.

    Args:
        axes: The axes.
        labels: What stands beside the rows.
    """
    for i in range(0, len(labels), 2):
        axes.axhspan(i - 0.5, i + 0.5, color=BAND, lw=0, zorder=0)
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def ends(interval: Interval) -> tuple[float, float] | None:
    """Both ends of an interval, or None where it has none."""
    if interval.low is None or interval.high is None:
        return None
    return interval.low, interval.high
