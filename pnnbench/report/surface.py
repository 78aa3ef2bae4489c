"""The picture of a suite in which two conditions change together: one heat map per method.

`surface` is to be called inside ``style.styled()``.
"""

from __future__ import annotations

import math
import textwrap
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pnnbench.leaderboard.model import GroupLine, Table
from pnnbench.report import style
from pnnbench.report.figure_parts import (
    is_surface,
    measured,
    quantity_text,
    remark,
    split_words,
)
from pnnbench.report.formatting import is_share, metric_head, metric_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Heat maps in a row at most, and the least width of one, in inches.
_IN_ROW, _LEAST = 4, 1.7
#: Side of a cell in inches, and up to how many along a side have room for text.
_CELL, _MOST_CELLS = 0.4, 8
#: A share's colours span at least this much, so that small differences look small.
_LEAST_SPAN = 0.2
#: Units that names of environment fields end with.
_UNITS = {"degc": "degC", "deg": "deg", "px": "px", "nm": "nm", "ma": "mA", "rad": "rad"}

Place = tuple[float, float]
"""Values of the two fields."""


@dataclass(frozen=True)
class Surface:
    """The metric over two fields of the environment, all else at nominal.

    Attributes:
        fields: Names of the field that the rows have and of the field that the columns have.
        severity: Severity of the device errors.
        rows: Values of the first field, ascending.
        columns: Values of the second field, ascending.
        values: Method to the mean of the metric per row and column; None where nobody measured.
    """

    fields: tuple[str, str]
    severity: float
    rows: tuple[float, ...]
    columns: tuple[float, ...]
    values: dict[str, list[list[float | None]]]


def surface_of(table: Table) -> Surface | None:
    """Collects the first surface of a table that varies exactly two fields of the environment.

    Groups of other axes count where they have the same severity, both fields at values of the
    surface or nominal, and all other fields as in the surface. At nominal of both fields the ideal
    device has the clean metric, unless a group measured it.

    Args:
        table: A table with at least one finished job.

    Returns:
        The surface, with the fields in the order of their names; None if the table has none.
    """
    panels: dict[tuple[str, float], list[GroupLine]] = {}
    for group in table.groups:
        panels.setdefault((group.axis, group.severity), []).append(group)
    for (axis, severity), groups in panels.items():
        seen = {
            name: {group.environment.get(name) for group in groups}
            for name in groups[0].environment
        }
        varied = [name for name in sorted(seen) if len(seen[name]) > 1]
        if is_surface(groups) and len(varied) == 2:
            others = [group for group in table.groups if group.axis != axis]
            return _collect(table, (varied[0], varied[1]), severity, groups, others)
    return None


def _collect(
    table: Table,
    fields: tuple[str, str],
    severity: float,
    groups: list[GroupLine],
    others: list[GroupLine],
) -> Surface:
    fixed = {k: v for k, v in groups[0].environment.items() if k not in fields}

    def place(group: GroupLine) -> Place:
        return group.environment[fields[0]], group.environment[fields[1]]

    near = [
        group
        for group in [*groups, *others]
        if fixed.items() <= group.environment.items() and set(fields) <= group.environment.keys()
    ]
    joint = {place(group) for group in groups}
    nominal = _nominal(fields, others)
    at = [{values[k] for values in {*joint, *nominal}} for k in (0, 1)]
    found: dict[Place, GroupLine] = {}
    for group in near:
        y, x = place(group)
        if group.severity == severity and y in at[0] and x in at[1]:
            found.setdefault((y, x), group)
    shown = {*found, *(nominal if severity == 0 else ())}
    rows, columns = (tuple(sorted({values[k] for values in shown})) for k in (0, 1))
    means: dict[str, list[list[float | None]]] = {}
    for row in measured(table):
        known = {values: group.methods[row.method].mean for values, group in found.items()}
        if severity == 0:
            known = {**dict.fromkeys(nominal, row.clean.mean), **known}
        means[row.method] = [[known.get((y, x)) for x in columns] for y in rows]
    return Surface(fields, severity, rows, columns, means)


def _nominal(fields: tuple[str, str], others: list[GroupLine]) -> list[Place]:
    """The values that most groups of other axes have, as they vary other things; empty if none."""
    kept = [group.environment for group in others if set(fields) <= group.environment.keys()]
    if not kept:
        return []
    first, second = (Counter(e[name] for e in kept).most_common(1)[0][0] for name in fields)
    return [(first, second)]


def field_text(name: str) -> str:
    """Names a field of an environment with its unit.

    Args:
        name: Such as ``"shift_y_px"``.

    Returns:
        Such as ``"shift along y (px)"``.
    """
    words = split_words(name)
    unit = _UNITS.get(words[-1]) if len(words) > 1 else None
    if unit is None:
        return " ".join(words)
    given = words[:-1]
    text = quantity_text(given)
    text = text if len(given) == 1 or " along " in text else " ".join(given)
    return f"{text} ({style.unit_text(unit)})"


def surface(table: Table) -> Figure | None:
    """Heat maps of the metric over two fields of the environment, one per method, one scale.

    Args:
        table: A table with at least one finished job.

    Returns:
        The figure; None if no axis of the table varies exactly two fields.
    """
    shown = surface_of(table)
    if shown is None:
        return None
    share = is_share(table.key["metric"])
    count, size = len(shown.values), (len(shown.rows), len(shown.columns))
    across = min(count, _IN_ROW)
    down = -(-count // across)
    width = max(_LEAST, _CELL * size[1])
    height = max(0.7 * width, _CELL * size[0])
    titles = {m: "\n".join(textwrap.wrap(m, int(width / 0.08))) for m in shown.values}
    lines = max(title.count("\n") + 1 for title in titles.values())
    names = [field_text(name).split(" (")[0] for name in shown.fields]
    words = f"{metric_title(table.key['metric'])} under {names[0]} and {names[1]} together"
    figure = style.new_figure(
        max(1.55 + (width + 0.15) * across, 0.3 + 0.09 * len(words)),
        1.05 + (height + 0.22 + 0.16 * lines) * down,
    )
    places = list(figure.subplots(down, across, squeeze=False).flat)
    low, high = _limits(shown, share=share)
    # Light is good.
    colors = "viridis" if table.rows[0].metric["higher_is_better"] else "viridis_r"
    for i, (ax, (method, values)) in enumerate(zip(places, shown.values.items(), strict=False)):
        grid = [[math.nan if value is None else value for value in line] for line in values]
        image = ax.imshow(grid, cmap=colors, vmin=low, vmax=high, aspect="auto")
        ax.set_title(style.plain(titles[method]))
        if max(size) <= _MOST_CELLS:
            _write(ax, values, image, share=share)
        _axes_of(ax, shown, left=i % across == 0, lowest=i + across >= count)
        if i == across - 1:
            style.color_bar(ax, image, style.plain(metric_head(table.key["metric"])))
    for empty in places[count:]:
        empty.remove()
    numbers = sorted({len(row.seeds) for row in measured(table)})
    facts = [
        f"{'–'.join(map(str, numbers))} seed{'' if numbers == [1] else 's'}",
        f"severity {shown.severity:g}" if shown.severity else "ideal device",
        "numbers in %" if share and max(size) <= _MOST_CELLS else "",
    ]
    style.heading(figure, style.plain(words), remark(table, *facts))
    return figure


def _limits(shown: Surface, *, share: bool) -> tuple[float, float]:
    """Ends of the colour scale: tenths around the values of a share, otherwise the values."""
    every = [v for lines in shown.values.values() for line in lines for v in line if v is not None]
    low, high = min(every), max(every)
    if not share:
        return (low, high) if high > low else (low - 0.5, high + 0.5)
    low, high = math.floor(10 * low + 1e-9) / 10, math.ceil(10 * high - 1e-9) / 10
    if high - low < _LEAST_SPAN:
        low = max(0.0, high - _LEAST_SPAN)
        high = max(high, low + _LEAST_SPAN)
    return low, high


def _write(ax: Axes, values: list[list[float | None]], image: Any, *, share: bool) -> None:
    for i, line in enumerate(values):
        for j, value in enumerate(line):
            if value is None:
                continue
            red, green, blue, _ = image.cmap(image.norm(value))
            dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.5
            text = f"{100 * value:.0f}" if share else style.number_text(value)
            color = "white" if dark else style.INK
            ax.text(j, i, text, ha="center", va="center", fontsize=7.5, color=color)


def _axes_of(ax: Axes, shown: Surface, *, left: bool, lowest: bool) -> None:
    rows, columns = (
        [style.number_text(v, sign=v != 0 and min(values) < 0) for v in values]
        for values in (shown.rows, shown.columns)
    )
    ax.set_yticks(range(len(rows)), rows if left else [""] * len(rows))
    ax.set_xticks(range(len(columns)), columns if lowest else [""] * len(columns))
    ax.tick_params(length=0)
    ax.invert_yaxis()
    ax.spines[["left", "bottom"]].set_visible(False)
    if left:
        ax.set_ylabel(style.plain(field_text(shown.fields[0])))
    if lowest:
        ax.set_xlabel(style.plain(field_text(shown.fields[1])))
