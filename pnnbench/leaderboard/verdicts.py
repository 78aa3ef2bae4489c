"""Verdicts on the published claims, from the records of boards, by the rules of the claims' file.

The intervals of all tests of the file hold together (Bonferroni): a test that is not measured stays
in the family, so that no verdict comes out better because a row is missing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pnnbench.leaderboard import statistics as st
from pnnbench.leaderboard.claim_figures import (
    NotComparableError,
    NotMeasuredError,
    guessing_of,
    row_of,
    start_of,
    values_of,
)
from pnnbench.leaderboard.claims import (
    CORRELATION,
    COUNTS,
    ON_AXES,
    SHARES,
    Claim,
    Claims,
    Comparison,
    Found,
)
from pnnbench.leaderboard.model import Table
from pnnbench.leaderboard.simultaneous import Bounds, correlation_bounds, mean_bounds
from pnnbench.leaderboard.statistics import Array

HOLDS = "holds"
IN_PART = "holds in part"
NOT_SHOWN = "not shown"
DOES_NOT_HOLD = "does not hold"
NOT_MEASURED = "not measured yet"
NOT_TESTABLE = "not testable here"
VERDICTS = (HOLDS, IN_PART, NOT_SHOWN, DOES_NOT_HOLD, NOT_MEASURED, NOT_TESTABLE)
"""All verdicts."""


@dataclass(frozen=True)
class Outcome:
    """One comparison of a claim, made.

    Attributes:
        test: The comparison.
        verdict: Among `VERDICTS`.
        reason: What is missing; empty where it was measured.
        values: Mean of the row and of what it is held against: percent or the unit of the metric,
            geometric means of ratios; None where there is none.
        bounds: Difference in points or that unit, ratio, or correlation, with the simultaneous
            interval; the smallest difference likewise, the smallest ratio as a factor above 1.
        plain: The same with the interval of this comparison alone.
        seeds: Number of training seeds.
        devices: Number of devices; 0 where the figure has none.
        reproduced: Values of the authors' files; None where there are none.
        revision: Revision of the protocol; empty where nothing was measured.
        deployment: How the devices were deployed whose cells are compared, on a board of several
            deployments; else empty.
        excluded: Whether the interval excludes half of the published effect, so that it is known to
            be smaller; False where none was printed.
        by_guessing: Whether a figure keeps within a margin that guessing is within as well, so that
            nothing is shown by it.
    """

    test: Comparison
    verdict: str
    reason: str = ""
    values: tuple[float | None, float | None] = (None, None)
    bounds: Bounds | None = None
    plain: st.Interval = st.NOTHING
    seeds: int = 0
    devices: int = 0
    reproduced: tuple[float | None, float | None] = (None, None)
    revision: str = ""
    deployment: str = ""
    excluded: bool = False
    by_guessing: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Returns the comparison as plain JSON types."""
        test, bounds = self.test, self.bounds
        return {
            "board": test.board,
            "row": test.row or None,
            "against": test.against,
            "rows": list(test.rows),
            "figure": test.figure,
            "metric": test.metric if test.figure in SHARES else None,
            "with": test.other or None,
            "axes": list(test.axes),
            "levels": list(test.levels),
            "rule": test.rule,
            "margin": test.margin or None,
            "tolerance": test.tolerance if test.rule == "at_most" else None,
            "decides": not test.beside,
            "published": None if test.published is None else list(test.published),
            "reproduced": list(self.reproduced),
            "measured": list(self.values),
            "scale": "correlation" if test.figure == CORRELATION
            else "ratio" if test.ratio else "points" if test.percent else "difference",
            "difference": None
            if bounds is None
            else {"mean": bounds.mean, "low": bounds.low, "high": bounds.high},
            "plain": self.plain.as_dict(),
            "smallest_seen": None if bounds is None else bounds.seen,
            "half_of_published_excluded": self.excluded,
            "kept_by_guessing": self.by_guessing,
            "seeds": self.seeds,
            "devices": self.devices,
            "revision": self.revision or None,
            "deployment": self.deployment or None,
            "verdict": self.verdict,
            "reason": self.reason or None,
        }  # fmt: skip


@dataclass(frozen=True)
class Decided:
    """A claim with its verdict.

    Attributes:
        claim: The claim.
        verdict: Among `VERDICTS`.
        reason: Why there is none yet; empty otherwise.
        outcomes: Its comparisons, those that stand beside included.
    """

    claim: Claim
    verdict: str
    reason: str = ""
    outcomes: tuple[Outcome, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Returns the claim as plain JSON types."""
        return {
            "number": self.claim.number,
            "claim": self.claim.claim,
            "published": self.claim.published,
            "decides": self.claim.decides or None,
            "verdict": self.verdict,
            "reason": self.reason or None,
            "tests": [outcome.as_dict() for outcome in self.outcomes],
        }


def decide(claims: Claims, tables: Sequence[Table], found: Found) -> tuple[Decided, ...]:
    """Gives each claim its verdict.

    Args:
        claims: The claims.
        tables: What `ranking.build` made of the records of any boards.
        found: What the authors' files gave.

    Returns:
        One entry per claim, in order.
    """
    return tuple(_decide(claim, claims, tables, found) for claim in claims.claims)


def _decide(claim: Claim, claims: Claims, tables: Sequence[Table], found: Found) -> Decided:
    if claim.not_testable:
        return Decided(claim, NOT_TESTABLE, claim.not_testable)
    if claim.waits_for:
        return Decided(claim, NOT_MEASURED, claim.waits_for)
    outcomes = tuple(_judge(test, claims, tables, found) for test in claim.tests)
    deciding = [outcome for outcome in outcomes if not outcome.test.beside]
    reasons = dict.fromkeys(outcome.reason for outcome in deciding if outcome.reason)
    return Decided(claim, combined([o.verdict for o in deciding]), "; ".join(reasons), outcomes)


def combined(verdicts: Sequence[str]) -> str:
    """The verdict on a claim from those of its tests.

    Args:
        verdicts: At least one.

    Returns:
        No verdict while a test has none. All must hold for the claim to hold; some that hold, or
        hold in part, make it hold in part; without any it does not hold if one goes the other way.
        Of tests that cannot be made none holds; if there is no other, neither can the claim.
    """
    kinds = set(verdicts)
    if NOT_MEASURED in kinds:
        return NOT_MEASURED
    if len(kinds) == 1:
        return kinds.pop()
    if kinds & {HOLDS, IN_PART}:
        return IN_PART
    return DOES_NOT_HOLD if DOES_NOT_HOLD in kinds else NOT_SHOWN


def _judge(test: Comparison, claims: Claims, tables: Sequence[Table], found: Found) -> Outcome:
    reproduced = found.pair(test.reproduced)
    try:
        table = _table_of(test.board, claims, tables)
        if test.figure == CORRELATION:
            return _correlation(test, table, claims.level, reproduced)
        return _difference(test, table, claims.level, reproduced)
    except NotMeasuredError as missing:
        return Outcome(test, NOT_MEASURED, str(missing), reproduced=reproduced)
    except NotComparableError as reason:
        return Outcome(test, NOT_TESTABLE, str(reason), reproduced=reproduced)


def _table_of(board: str, claims: Claims, tables: Sequence[Table]) -> Table:
    """The board of a suite under its newest revision, in its headline deployment."""
    mine = [
        table
        for table in tables
        if table.headline
        and (table.key["suite"], table.key["protocol"]) == (board, claims.protocol)
        and table.key["tier"] == claims.tier
    ]
    newest = max((int(table.key["revision"]) for table in mine), default=0)
    mine = [table for table in mine if int(table.key["revision"]) == newest]
    if not mine:
        raise NotMeasuredError(f"no board {board} of {claims.protocol}: pnnbench run {board}")
    if len(mine) > 1:
        raise NotMeasuredError(f"{len(mine)} boards {board} of one revision: give one of them")
    return mine[0]


def _difference(
    test: Comparison,
    table: Table,
    level: float,
    reproduced: tuple[float | None, float | None],
) -> Outcome:
    row = values_of(table, test, test.row)
    against = None if test.against is None else values_of(table, test, test.against)
    values = row if against is None else row - against
    bounds = mean_bounds(values, level)
    if bounds is None:
        raise NotMeasuredError(f"{test.board} has one seed, which says nothing of others")
    if test.figure not in COUNTS and not st.spreads(values):
        raise NotMeasuredError(
            f"all seeds of {test.board} have the very same difference, which says nothing of "
            "others: run more of them"
        )
    deployment = table.key["deployment"] if len(table.deployments) > 1 else ""
    verdict, excluded = _verdict(test, bounds), _excludes_half(test, bounds)
    by_guessing = verdict == HOLDS and _guessing_keeps(test, table, against)
    plain = st.crossed(values)
    means = [float(row.mean()), None if against is None else float(against.mean())]
    if test.ratio:
        means = [None if mean is None else st.exponential(mean) for mean in means]
        bounds = Bounds(
            *(st.exponential(x) for x in (bounds.mean, bounds.low, bounds.high, bounds.seen or 0.0))
        )
        ends = [
            None if x is None else st.exponential(x) for x in (plain.mean, plain.low, plain.high)
        ]
        plain = st.Interval(ends[0], ends[1], ends[2], plain.spans)
    return Outcome(
        test,
        NOT_SHOWN if by_guessing else verdict,
        values=(means[0], means[1]),
        bounds=bounds,
        plain=plain,
        seeds=values.shape[0],
        devices=values.shape[1] if values.shape[1] > 1 else 0,
        reproduced=reproduced,
        revision=table.key["revision"],
        deployment=deployment if test.figure in ("robust", *ON_AXES) else "",
        excluded=excluded,
        by_guessing=by_guessing,
    )


def _guessing_keeps(test: Comparison, table: Table, against: Array | None) -> bool:
    """Whether a row that fell to guessing would keep within the margin as well."""
    if test.rule != "keeps":
        return False
    guess = guessing_of(table, test, test.row)
    if guess is None:
        return False
    start = start_of(table, test, test.row) if against is None else float(against.mean())
    margin = math.log(test.margin) if test.ratio else test.margin
    return bool(test.better * (guess - start) >= -margin)


def _effect(test: Comparison) -> float | None:
    """The published effect in points or as a logarithm; None where none was printed."""
    if test.published is None:
        return None
    first, second = test.published
    return math.log(first / second) if test.ratio else first - second


def _excludes_half(test: Comparison, bounds: Bounds) -> bool:
    """Whether an interval lies below half of the effect that was printed."""
    effect = _effect(test)
    if effect is None or test.rule not in ("higher", "lower"):
        return False
    sign = 1.0 if test.rule == "higher" else -1.0
    return max(sign * bounds.low, sign * bounds.high) < abs(effect) / 2.0


def _verdict(test: Comparison, bounds: Bounds) -> str:
    """The rule of one test; points, the metric's unit, or natural logarithms of ratios."""
    if test.rule == "keeps":
        worst, best = sorted((test.better * bounds.low, test.better * bounds.high))
        margin = math.log(test.margin) if test.ratio else test.margin
        if worst >= -margin:
            return HOLDS
        return DOES_NOT_HOLD if best < -margin else NOT_SHOWN
    effect = _effect(test)
    if test.rule == "at_most":
        limit = (effect or 0.0) + math.log(test.tolerance)
        if bounds.high <= limit:
            return HOLDS
        return DOES_NOT_HOLD if bounds.low > limit else NOT_SHOWN
    sign = 1.0 if test.rule == "higher" else -1.0
    nearest, farthest = sorted((sign * bounds.low, sign * bounds.high))
    if farthest < 0.0:
        return DOES_NOT_HOLD
    if nearest <= 0.0:
        return NOT_SHOWN
    if effect is not None and sign * bounds.mean < abs(effect) / 2.0:
        return IN_PART
    return HOLDS


def _correlation(
    test: Comparison,
    table: Table,
    level: float,
    reproduced: tuple[float | None, float | None],
) -> Outcome:
    """Rank correlation of λmax over rows, one point each: runs of one row are no new evidence."""
    points = []
    for label in test.rows:
        row = row_of(table, label)
        other = row.robust if test.other == "robust" else row.fresh_devices
        if other.mean is None:
            raise NotMeasuredError(f"row {label!r} has no {test.other.replace('_', ' ')}")
        found = list(row.eigenvalues.values())
        if not found or min(found) <= 0.0:
            raise NotMeasuredError(f"row {label!r} has no λmax that may be compared")
        points.append((float(np.mean(np.log(found))), other.mean))
    rho = st.spearman([x for x, _ in points], [y for _, y in points])
    bounds = None if rho is None else correlation_bounds(rho, len(points), level)
    if bounds is None:
        raise NotMeasuredError(f"all rows of {test.board} have one {test.other}, or one λmax")
    alone = correlation_bounds(bounds.mean, len(points), st.CONFIDENCE) or bounds
    return Outcome(
        test,
        _verdict(test, bounds),
        bounds=bounds,
        plain=st.Interval(alone.mean, alone.low, alone.high, ("rows",)),
        seeds=len(row_of(table, test.rows[0]).seeds),
        reproduced=reproduced,
        revision=table.key["revision"],
    )
