"""Where the rows of a table stand: scores, rank ranges, comparisons, claims of its suite.

Nothing here enters a figure that a row has of its own.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pnnbench.leaderboard import comparisons as cmp
from pnnbench.leaderboard import statistics as st
from pnnbench.leaderboard.grid import is_share
from pnnbench.leaderboard.model import ClaimLine, Comparison, Row
from pnnbench.leaderboard.resolution import Resolution, resolution, smallest
from pnnbench.leaderboard.transfer import REFERENCE_LABEL
from pnnbench.records.index import Claim

BASELINE = "bp"
"""Method that the others are compared with; of several, the one labelled ``BP``."""

Above = NDArray[np.bool_]
"""[i, j]: whether complete row i is told to be above complete row j."""
Scored = tuple[Row, st.Scores]
"""A row with its scores."""


@dataclass(frozen=True)
class Placed:
    """The rows of a table in their order.

    Attributes:
        rows: By score, incomplete ones last, with rank ranges, ties and differences to the
            baseline.
        comparisons: All pairs of complete rows, the one above first.
        resolution: What the table could have seen; None with fewer than two complete rows.
    """

    rows: tuple[Row, ...]
    comparisons: tuple[Comparison, ...] = ()
    resolution: Resolution | None = None


def in_order(made: Sequence[Row], higher_is_better: bool) -> Placed:
    """Puts rows in order and says which of them can be told apart.

    Args:
        made: The rows of a table that ranks.
        higher_is_better: Direction of the metric.

    Returns:
        The rows in order.
    """
    sign = 1.0 if higher_is_better else -1.0
    # By score, never by how many others are worse: a third row would turn the order of two.
    rows = sorted(
        made,
        key=lambda row: (
            not row.complete,
            row.robust.mean is None,
            -sign * (row.robust.mean or 0.0),
            row.method,
        ),
    )
    whole = [(row, row.scores) for row in rows if row.complete and row.scores is not None]
    pairs = list(itertools.combinations(whole, 2))
    found = cmp.effects([(a[1], b[1]) for a, b in pairs])
    compared, above = _compared(whole, pairs, found, sign)
    rows = _with_ranks(rows, whole, above)
    rows, to_baseline = _with_differences(rows, sign)
    if not pairs:
        return Placed(tuple(rows))
    real = [device for device in whole[0][0].devices if device is not None]
    share = is_share(rows[0].metric)
    seen = resolution(found, to_baseline, devices=len(real), share=share)
    return Placed(tuple(rows), compared, seen)


def _compared(
    whole: Sequence[Scored],
    pairs: Sequence[tuple[Scored, Scored]],
    found: cmp.Effects,
    sign: float,
) -> tuple[tuple[Comparison, ...], Above]:
    """The comparisons of all pairs, and who is told to be above whom."""
    n = len(whole)
    direct = cmp.step_down(cmp.p_values(found), cmp.attainable(n)) if pairs else np.empty(0)
    # Rows with other seeds may differ the other way than their scores do.
    down = sign * found.mean >= 0.0
    places = list(itertools.combinations(range(n), 2))
    adjusted = np.ones((n, n))
    for (i, j), p, along in zip(places, direct, down, strict=True):
        adjusted[i, j] = p if along else 1.0
    adjusted = cmp.closed(adjusted)
    above = adjusted <= cmp.FAMILY
    for (i, j), p, along in zip(places, direct, down, strict=True):
        if not along:
            adjusted[i, j] = p
            above[j, i] = p <= cmp.FAMILY
    level = cmp.FAMILY / max(len(pairs), 1)
    halves, plains = cmp.half_widths(found, level), cmp.plain_widths(found)
    wins = cmp.superiority([(a[1], b[1]) for a, b in pairs], sign)
    made = []
    for k, ((i, j), (a, b)) in enumerate(zip(places, pairs, strict=True)):
        known = bool(found.known[k])
        if known:
            spans = ("seeds",) if None in a[1].devices else ("seeds", "devices")
            plain = cmp.interval(found, k, plains, spans)
        else:
            plain = st.paired_difference(a[1], b[1])
        made.append(
            Comparison(
                a=a[0].method,
                b=b[0].method,
                difference=plain,
                simultaneous=cmp.interval(found, k, halves, plain.spans),
                p=float(adjusted[i, j]) if known or adjusted[i, j] < 1.0 else None,
                separated=bool(above[i, j] or above[j, i]),
                superiority=wins[k],
            )
        )
    return tuple(made), above


def _with_ranks(rows: Sequence[Row], whole: Sequence[Scored], above: Above) -> list[Row]:
    """Rank ranges of the complete rows, and those that each cannot be told from."""
    labels = [row.method for row, _ in whole]
    places = {label: i for i, label in enumerate(labels)}
    result = []
    for row in rows:
        i = places.get(row.method)
        if i is None:
            result.append(row)
            continue
        apart = above[i] | above[:, i]
        result.append(
            replace(
                row,
                rank_low=1 + int(above[:, i].sum()),
                rank_high=len(labels) - int(above[i].sum()),
                tied_with=tuple(other for j, other in enumerate(labels) if j != i and not apart[j]),
            )
        )
    return result


def _baseline(rows: Sequence[Row]) -> Row | None:
    candidates = [
        row for row in rows if row.name == BASELINE and row.epochs_factor == 1.0 and row.scores
    ]
    if len(candidates) > 1:
        candidates = [row for row in candidates if row.method == REFERENCE_LABEL]
    return candidates[0] if candidates else None


def _with_differences(rows: Sequence[Row], sign: float) -> tuple[list[Row], cmp.Effects | None]:
    """Differences to the baseline: plain for all rows, for all complete rows at once."""
    baseline = _baseline(rows)
    if baseline is None or baseline.scores is None:
        return list(rows), None
    scores = baseline.scores
    family = [
        (row.method, row.scores)
        for row in rows
        if baseline.complete and row.complete and row is not baseline and row.scores is not None
    ]
    found = cmp.effects([(mine, scores) for _, mine in family])
    halves = cmp.half_widths(found, cmp.FAMILY / max(len(family), 1))
    places = {label: k for k, (label, _) in enumerate(family)}
    result = []
    for row in rows:
        changes: dict[str, Any] = {"baseline": baseline.method}
        if row.scores is not None:
            plain = st.paired_difference(row.scores, scores)
            changes["difference"] = plain
            if row.method in places:
                place = places[row.method]
                changes["simultaneous"] = cmp.interval(found, place, halves, plain.spans)
            if row.method != baseline.method:
                changes["superiority"] = cmp.superiority([(row.scores, scores)], sign)[0]
        result.append(replace(row, **changes))
    return result, found if family else None


def judged(rows: Sequence[Row], claims: Sequence[Claim]) -> tuple[ClaimLine, ...]:
    """What a table says of the claims of its suite, a family of their own.

    Args:
        rows: The rows of a table that ranks.
        claims: All claims of the suite: which row is said to be better than which. Those of rows
            that are not complete are not tested, and count in the family.

    Returns:
        One line per claim, in the order of the suite.
    """
    by_label = {row.method: row for row in rows if row.complete and row.scores is not None}
    tested = [claim for claim in claims if {claim.better, claim.than} <= by_label.keys()]
    scores = {label: row.scores for label, row in by_label.items() if row.scores is not None}
    found = cmp.effects([(scores[c.better], scores[c.than]) for c in tested])
    p = np.ones(len(claims))
    p[: len(tested)] = cmp.p_values(found)
    adjusted = cmp.step_down(p)
    level = cmp.FAMILY / max(len(claims), 1)
    halves, least = cmp.half_widths(found, level), smallest(found, level)
    lines = []
    for claim in claims:
        if claim not in tested:
            lines.append(ClaimLine(claim.better, claim.than, "not measured"))
            continue
        k = tested.index(claim)
        sign = 1.0 if by_label[claim.better].metric["higher_is_better"] else -1.0
        plain = st.paired_difference(scores[claim.better], scores[claim.than])
        verdict = "not shown"
        if adjusted[k] <= cmp.FAMILY:
            verdict = "shown" if sign * found.mean[k] > 0.0 else "the other way round"
        lines.append(
            ClaimLine(
                claim.better,
                claim.than,
                verdict,
                difference=plain,
                simultaneous=cmp.interval(found, k, halves, plain.spans),
                p=float(adjusted[k]) if found.known[k] else None,
                smallest=float(least[k]) if np.isfinite(least[k]) else None,
            )
        )
    return tuple(lines)
