"""How good a row's settings are after a number of trials: what searches choose, and the curve.

Trials are ordered by what they have on validation images and devices, ties by the earlier one. The
curve is the test score of the setting that validation would choose after so many trials: exact, by
order statistics over all orders in which the drawn trials can come. The defaults come first.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pnnbench.records.search_schema import TEST, settings_tried

Search = dict[str, Any]
"""The record of a search, as `pnnbench.records.searches` reads it."""
COUNTS = (1, 2, 4, 8, 16)
"""Numbers of trials at which the curve is taken."""
BAND = (0.1, 0.9)
"""Quantiles over the orders of the trials between which the band lies."""


def order(values: Sequence[float], higher_is_better: bool = True) -> list[int]:
    """Indices of some trials, the best first; of equal ones the earlier first.

    Args:
        values: What they have on validation images and devices.
        higher_is_better: Direction of the metric.
    """
    sign = -1.0 if higher_is_better else 1.0
    return sorted(range(len(values)), key=lambda i: (sign * values[i], i))


def chances(ranked: Sequence[int], count: int) -> list[float]:
    """Chance of each trial to be the best of the first so many.

    Trial 0, the defaults, is always the first; the others come in a random order.

    Args:
        ranked: All trials, the best first, as `order` gives them.
        count: How many are run, from 1 to all.

    Returns:
        By trial; they sum to 1.
    """
    total, drawn = len(ranked) - 1, count - 1
    ways = math.comb(total, drawn)
    found = [0.0] * len(ranked)
    for better, trial in enumerate(ranked):  # so many drawn trials are better than this one
        if trial == 0:
            found[0] = math.comb(total - better, drawn) / ways
            break  # what is worse than the defaults is never chosen
        if drawn:
            found[trial] = math.comb(total - 1 - better, drawn - 1) / ways
    return found


@dataclass(frozen=True)
class CurvePoint:
    """The curve at one number of trials.

    Attributes:
        trials: The number.
        mean: Expected test score of the chosen setting, in the unit of the metric.
        low: Lower end of the band: the 10 % quantile over the orders of the trials.
        high: Upper end: the 90 % quantile.
    """

    trials: int
    mean: float
    low: float
    high: float

    def as_dict(self) -> dict[str, float]:
        """Plain JSON types."""
        return {"trials": self.trials, "mean": self.mean, "low": self.low, "high": self.high}


def curve(
    validation: Sequence[float], test: Sequence[float], *, higher_is_better: bool = True
) -> tuple[CurvePoint, ...]:
    """Expected test score of the setting that validation chooses, against the number of trials.

    Args:
        validation: Per trial what settings are chosen by, the defaults first.
        test: Per trial its test score.
        higher_is_better: Direction of the metric.

    Returns:
        The curve at those of `COUNTS` that there are trials for, and at all of them.
    """
    ranked = order(validation, higher_is_better)
    counts = [count for count in COUNTS if count < len(ranked)] + [len(ranked)]
    found = []
    for count in counts:
        weights = chances(ranked, count)
        mean = math.fsum(w * t for w, t in zip(weights, test, strict=True))
        low, high = (_quantile(test, weights, share) for share in BAND)
        found.append(CurvePoint(count, mean, low, high))
    return tuple(found)


def _quantile(values: Sequence[float], weights: Sequence[float], share: float) -> float:
    """The smallest value with at least that share of the weights at or below it."""
    total = 0.0
    ordered = sorted((v, w) for v, w in zip(values, weights, strict=True) if w > 0.0)
    for value, weight in ordered:
        total += weight
        if total >= share - 1e-12:
            return value
    return ordered[-1][0]


@dataclass(frozen=True)
class RowTuning:
    """What a search says of one row of a board.

    Attributes:
        method: Label of the row.
        tried: Number of settings that were ever tried for it, earlier searches included; of a row
            that is like another one, those of that row; 0 where the row is not tuned.
        like: Label of the row whose settings it has.
        curve: Test score against trials; empty where the row is not tuned or its trials are not
            complete.
        chosen: The settings, by name; empty before the search has chosen.
        rule: The rule by which they were chosen.
        edge: Names of those that lie on the edge of what was searched, although the range was
            doubled there -> ``"low"`` or ``"high"``.
        deviates: Whether the search had another budget or length than the protocol's.
        tier: Tier of its trials; empty where the row is not tuned.
        devices: Validation devices that settings were chosen on; 0 where the row is not tuned.
        applied: Whether the row was run as it was searched: the method, its choices, its length
            and the settings that were chosen. A row that is like another one may fix some itself.
        own: Names of the settings that a row that is like another one has of its own.
    """

    method: str
    tried: int = 0
    like: str | None = None
    curve: tuple[CurvePoint, ...] = ()
    chosen: Mapping[str, float] = field(default_factory=dict)
    rule: str = ""
    edge: Mapping[str, str] = field(default_factory=dict)
    deviates: bool = False
    applied: bool = True
    tier: str = ""
    devices: int = 0
    own: tuple[str, ...] = ()

    @property
    def tuned(self) -> bool:
        """Whether the row has the settings that a search chose."""
        return bool(self.chosen) and self.applied

    def after(self, count: int) -> CurvePoint | None:
        """The curve at a number of trials; None where there were fewer."""
        return next((point for point in self.curve if point.trials == count), None)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            "method": self.method,
            "tuned": self.tuned,
            "settings_tried": self.tried,
            **({"like": self.like} if self.like is not None else {}),
            **({"chosen": dict(self.chosen), "rule": self.rule} if self.chosen else {}),
            **({"own": list(self.own)} if self.own else {}),
            **({} if self.applied else {"applied": False}),
            **({"edge": dict(self.edge)} if self.edge else {}),
            **(
                {"deviates": True, "tier": self.tier, "devices": self.devices}
                if self.deviates
                else {}
            ),
            "curve": [point.as_dict() for point in self.curve],
        }


@dataclass(frozen=True)
class Ran:
    """How a row of a board was run.

    Attributes:
        name: Its method.
        params: All hyper-parameters.
        epochs_factor: Its length, in multiples of the tier's.
    """

    name: str
    params: Mapping[str, Any]
    epochs_factor: float = 1.0

    def searched(self, definition: Mapping[str, Any], settings: Mapping[str, float]) -> bool:
        """Whether this is what a search tried: its definition at some settings."""
        asked = {**definition["fixed"], **settings}
        return (
            self.name == definition["method"]
            and self.epochs_factor == definition["epochs_factor"]
            and all(name in self.params and self.params[name] == asked[name] for name in asked)
        )


def row_tuning(searches: Sequence[Search], rows: Mapping[str, Ran | None]) -> tuple[RowTuning, ...]:
    """What searches say of the rows of a board.

    Args:
        searches: Their records, one for each suite that the board is of.
        rows: Label of each row -> how it was run, None where that does not matter. A row of a
            board of several suites may have the name of its suite behind its label.

    Returns:
        One entry a row, also of those that are not tuned.
    """
    return tuple(_of_row(searches, label, params) for label, params in rows.items())


def _of_row(searches: Sequence[Search], label: str, ran: Ran | None) -> RowTuning:
    for search in searches:
        own = label.removesuffix(f" ({search['suite']})")
        if own in search["rows"] or own in search["like"]:
            return _found(search, label, own, ran)
    return RowTuning(label)


def _found(search: Search, label: str, own: str, ran: Ran | None) -> RowTuning:
    like = search["like"].get(own)
    row = search["rows"].get(own if like is None else like)
    if row is None:
        return RowTuning(label, like=like)
    first = first_trials(row)
    found: tuple[CurvePoint, ...] = ()
    # The trials of another row say what that row reaches, not this one.
    if like is None and first is not None:
        better = search["metric"]["higher_is_better"]
        failed = [trial["status"] != "ok" for trial in first]
        found = curve(
            worth([trial["value"] for trial in first], failed, higher_is_better=better),
            worth([trial[TEST]["score"] for trial in first], failed, higher_is_better=better),
            higher_is_better=better,
        )
    chosen = row.get("chosen", {})
    settings = chosen.get("params", {})
    mine: tuple[str, ...] = ()
    applied = True
    if ran is not None and like is None:
        applied = ran.searched(row["definition"], settings)
    elif ran is not None:
        taken = [name for name in settings if name in ran.params]
        mine = tuple(name for name in taken if ran.params[name] != settings[name])
        applied = not taken or len(mine) < len(taken)
    return RowTuning(
        label,
        settings_tried(row),
        like,
        found,
        settings,
        row["definition"]["rule"],
        chosen.get("edge", {}),
        search["deviates"],
        applied,
        search["tier"],
        search["budget"]["devices"],
        mine,
    )


def worth(
    values: Sequence[float], failed: Sequence[bool], *, higher_is_better: bool
) -> list[float]:
    """What trials count as: a failure as guessing, and of an error as the worst of the others.

    Guessing is no worst value of an error, so that a failure would be better than trials that came
    to their end.

    Args:
        values: Values of the trials of a row, guessing for those that failed.
        failed: Which ones failed.
        higher_is_better: Whether more is better.
    """
    if higher_is_better:
        return list(values)
    worst = max((v for v, bad in zip(values, failed, strict=True) if not bad), default=-math.inf)
    return [max(v, worst) if bad else v for v, bad in zip(values, failed, strict=True)]


def first_trials(row: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """The first trial of each point of a row, by point; None where one is missing."""
    by_point = {trial["point"]: trial for trial in row["trials"] if trial["round"] == "first"}
    wanted = range(len(row["points"]))
    return [by_point[i] for i in wanted] if all(i in by_point for i in wanted) else None
