"""The cells of a record: what each may hold, and where they stand.

A grid has hundreds of them. They are looked through column by column, and one by one only to name
what is wrong.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any

from pnnbench.errors import UserError
from pnnbench.records import checks
from pnnbench.records.checks import LARGEST, Check, fail, open_shape, shape

Group = tuple[str, float, tuple[tuple[str, float], ...]]
"""A cell group: axis, severity, environment. Its cells differ only in the device."""

_PLACE = itemgetter("axis", "severity", "environment")
#: Kinds of values of which equal ones are the same.
_PLAIN = frozenset((str, int, float, bool, type(None)))
#: Axes of an environment, at most.
_MOST_AXES = 100

#: Figures beside the metric, by name.
figures = open_shape({}, checks.number)


def _environment(where: str, value: Any) -> None:
    checks.mapping(where, value)
    if len(value) > _MOST_AXES:
        raise fail(where, value, f"{_MOST_AXES} axes at most")
    for key, item in value.items():
        checks.number(f"{where}.{key}", item)


_NEEDED: dict[str, Check] = {
    "axis": checks.text,
    "level": checks.number,
    "unit": checks.unit,
    "severity": checks.not_negative,
    "environment": _environment,
    "device_seed": checks.seed_or_none,
    "value": checks.number_or_gap,
}
_OPTIONAL: dict[str, Check] = {
    "counts": checks.boolean,  # whether the cell carries weight
    "nominal": checks.level,  # level at which nothing is off along the axis; 0 if not there
    "source": checks.text,  # where its device comes from; drawn if not there
    "not_finite": checks.count,  # images whose outputs are not finite
    "also": figures,
}
_KNOWN = {**_NEEDED, **_OPTIONAL}
_CELL = shape(_NEEDED, _OPTIONAL)


def cells(where: str, value: Any) -> None:
    """Cells, each with its condition, its device and what was measured there."""
    if not isinstance(value, list):
        raise fail(where, value, "a list")
    if not _all_sound(value):
        for i, cell in enumerate(value):
            _CELL(f"{where}[{i}]", cell)


def some_cells(where: str, value: Any) -> None:
    """As `cells`, at least one."""
    if value == []:
        raise fail(where, value, "a list with at least one entry")
    cells(where, value)


def groups_of(found: Sequence[Mapping[str, Any]]) -> list[Group]:
    """The group that each cell belongs to.

    Args:
        found: Cells that `cells` has passed. Those of a group that stand side by side and share the
            very environment are looked at once.

    Returns:
        For each cell axis, severity and environment, hashable.
    """
    groups: list[Group] = []
    known: dict[Group, Group] = {}
    before: Any = (None, None, None)
    for at in map(_PLACE, found):  # identity alone: `id` is slow once a process has an audit hook
        if at[2] is not before[2] or at[:2] != before[:2]:
            axis, severity, values = before = at
            own = (axis, severity, tuple(sorted(values.items())))
            own = known.setdefault(own, own)
        groups.append(own)
    return groups


def places_of(where: str, found: Sequence[dict[str, Any]]) -> set[tuple[Any, ...]]:
    """Where some cells stand: axis, severity, environment and device.

    Args:
        where: What the cells are, for the message.
        found: Cells that `cells` has passed.

    Raises:
        UserError: If two stand at one place.
    """
    devices = (cell["device_seed"] for cell in found)
    places = [(*group, device) for group, device in zip(groups_of(found), devices, strict=True)]
    seen: set[tuple[Any, ...]] = set(places)
    if len(seen) < len(places):
        first: dict[tuple[Any, ...], int] = {}
        i = next(i for i, place in enumerate(places) if first.setdefault(place, i) != i)
        raise UserError(f"record: {where}[{i}] repeats the cell {places[i]}")
    return seen


def _all_sound(found: list[Any]) -> bool:
    """Whether all cells are known to be as they may; a cell that is may still not be known."""
    if not set(map(type, found)) <= {dict}:
        return False
    keys_of = list(map(tuple, found))
    for keys in set(keys_of):
        if not _NEEDED.keys() <= set(keys) <= _KNOWN.keys():
            return False
        members = [cell for cell, own in zip(found, keys_of, strict=True) if own == keys]
        for key in keys:
            column = list(map(itemgetter(key), members))
            if key == "value":
                sound = _plain_figures(value for value in column if value is not None)
            elif key == "also":
                sound = set(map(type, column)) <= {dict} and _plain_figures(
                    chain.from_iterable(map(dict.values, column))
                )
            else:
                sound = _passes(_KNOWN[key], column)
            if not sound:
                return False
    return True


def _plain_figures(values: Iterable[Any]) -> bool:
    """Whether values are floats of the size that figures may be."""
    column = list(values)
    if not set(map(type, column)) <= {float}:
        return False
    return all(map(math.isfinite, column)) and max(map(abs, column), default=0.0) <= LARGEST


def _passes(check: Check, column: Sequence[Any]) -> bool:
    """Whether a check passes a column; what stands there again and again is seen once."""
    try:
        for value in _distinct(column):
            check("", value)
    except UserError:
        return False
    return True


def _distinct(column: Sequence[Any]) -> Iterable[Any]:
    """The values of a column without most of what is there twice."""
    kinds = set(map(type, column))
    if kinds <= _PLAIN:  # of one kind at a time: True is equal to 1
        return chain.from_iterable({v for v in column if type(v) is kind} for kind in kinds)
    before = chain((_PLAIN,), column)  # what cells of a group share stands side by side
    return [value for value, last in zip(column, before, strict=False) if value is not last]
