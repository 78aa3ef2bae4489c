"""The points of a search: scrambled Sobol points over the laws of a row, its defaults first."""

from __future__ import annotations

import dataclasses
import hashlib
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from pnnbench.errors import UserError
from pnnbench.methods.laws import Law, laws_of
from pnnbench.platforms.base import derive_seed
from pnnbench.records.store import canonical
from pnnbench.registry import method_class
from pnnbench.running.entries import MethodEntry

#: Values of what is searched, by name: plain numbers.
Point = dict[str, float]
#: Share of a range at each of its ends in which a winner is on the edge.
EDGE = 0.1


def space_of(entry: MethodEntry) -> dict[str, Law]:
    """The laws of what is searched of a row, by name, in one order."""
    cls = method_class(entry.name)
    laws = laws_of(cls, entry.with_settings({}).params)
    return {name: laws[name] for name in entry.tune}


def laws_in_words(cls: type[Any], params: Mapping[str, Any]) -> dict[str, str]:
    """The laws of a method in words, by name.

    Args:
        cls: The class of the method.
        params: All hyper-parameters, on which a law may depend.
    """
    return {
        name: f"{law}, on request" if law.on_request else str(law)
        for name, law in laws_of(cls, params).items()
    }


def defaults_of(entry: MethodEntry) -> Point:
    """What the row has where nothing is searched.

    Raises:
        UserError: If a default is an amount with a unit, which no law can place.
    """
    full = entry.with_settings({}).params
    for name in entry.tune:
        if isinstance(full[name], bool) or not isinstance(full[name], (int, float)):
            raise UserError(
                f"{entry.label}: the default of {name} is {full[name]!r}",
                allowed="a plain number where a law is searched",
                next_step="state the default in multiples of the workload's scale",
            )
    return {name: float(full[name]) for name in entry.tune}


def draw_points(entry: MethodEntry, protocol: str, count: int) -> list[Point]:
    """The points of a row: its defaults, then scrambled Sobol points.

    They follow from protocol, method and the names of what is searched, so that rows of one method
    meet the same points, whatever they are called.

    Args:
        entry: The row.
        protocol: Name of the protocol.
        count: How many, at least 1.

    Returns:
        The points, each with a value for every name.
    """
    laws = space_of(entry)
    places = _sobol(len(laws), count, "points", protocol, entry.name, *laws)
    drawn = [_point(laws, row) for row in places]
    return [defaults_of(entry), *drawn[1:]]


def draw_beyond(
    entry: MethodEntry,
    protocol: str,
    winner: Point,
    ends: Mapping[str, Literal["low", "high"]],
    count: int,
) -> list[Point]:
    """More points where a winner is on the edge: in the new halves of the ranges that are doubled.

    Args:
        entry: The row.
        protocol: Name of the protocol.
        winner: The winner, whose values stand where it is not on the edge.
        ends: Name -> the end at which it is, of ranges that can be doubled there.
        count: How many.

    Returns:
        The points.
    """
    laws = space_of(entry)
    parts = {name: law for name, end in ends.items() if (law := laws[name].beyond(end))}
    words = [f"{name} {ends[name]}" for name in parts]
    places = _sobol(len(parts), count, "beyond", protocol, entry.name, *words)
    return [{**winner, **_point(parts, row)} for row in places]


def edges_of(
    laws: Mapping[str, Law], point: Mapping[str, float]
) -> dict[str, Literal["low", "high"]]:
    """Where a point is within a tenth of an end of its range, on the law's scale, or outside of it.

    An end that is a limit of what there is, such as 0 or a share of 1, is no edge.
    """
    found: dict[str, Literal["low", "high"]] = {}
    for name, law in laws.items():
        place = law.place(point[name])
        if place <= EDGE and law.low > law.least:
            found[name] = "low"
        elif place >= 1.0 - EDGE and law.high < law.most:
            found[name] = "high"
    return found


def doubled(laws: Mapping[str, Law], ends: Mapping[str, Literal["low", "high"]]) -> dict[str, Law]:
    """The laws with the ranges doubled at some ends."""
    found = dict(laws)
    for name, end in ends.items():
        new = laws[name].beyond(end)
        if new is not None:
            old = laws[name]
            low, high = min(old.low, new.low), max(old.high, new.high)
            found[name] = dataclasses.replace(old, low=low, high=high)
    return found


def points_hash(points: Sequence[Mapping[str, Any]]) -> str:
    """SHA-256 of some points, 64 hexadecimal digits."""
    return hashlib.sha256(canonical([dict(point) for point in points])).hexdigest()


def _point(laws: Mapping[str, Law], places: Sequence[float]) -> Point:
    return {name: law.at(float(u)) for (name, law), u in zip(laws.items(), places, strict=True)}


def _sobol(dimensions: int, count: int, *words: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    from scipy.stats import qmc

    generator = np.random.default_rng(derive_seed("tuning", *words))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The balance properties of Sobol")
        places: np.ndarray[Any, np.dtype[np.float64]] = qmc.Sobol(
            dimensions, scramble=True, seed=generator
        ).random(count)
    return places
