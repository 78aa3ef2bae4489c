"""Many paired comparisons at once: an order is shown only where it is known.

Each pair of rows has paired differences ``d[seed, device]``. With the mean squares ``MS_S`` and
``MS_D`` of seeds and devices let ``V_S = MS_S / (n_S n_D)`` and ``V_D = MS_D / (n_S n_D)``. They
are independent of each other and of the mean, and their expectations add up to at least the
variance of the mean: the interaction is counted twice. Then the interval ``mean +- sqrt(t_S^2 V_S +
t_D^2 V_D)``, with Student's quantiles at one level for the degrees of freedom of each, covers at
that level or more whatever the ratio of the variances (Banerjee 1961, Sankhya 23). Proof: given the
two mean squares, coverage is the distribution function of a chi-square of one degree at ``w A + (1
- w) B``; that function is concave, so its expectation is at least ``w`` times the level of the one
Student interval plus ``1 - w`` times that of the other. The p-value is the level at which the
interval just reaches zero.

The family of a table is all pairs of complete rows, each with its two directions. Holm's step-down
procedure over directions, with the constraints of all-pairs testing (Shaffer 1986,
https://doi.org/10.1080/01621459.1986.10478341, method S1): `attainable`. It needs no assumption on
the dependence of the pairs. Proof: let ``r*`` of the ``m`` pairs be unequal; then ``2m - r*``
one-sided hypotheses are true, and with probability 95 % none of them has a p-value below ``0.05 /
(2m - r*)``. Before the first wrong decision all decisions are right, each on another unequal pair,
so their number is at most ``r*``, and the bound in force is no larger than that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pnnbench.leaderboard import statistics as st
from pnnbench.leaderboard.statistics import Array

FAMILY = 0.05
"""Probability of any wrong order among the comparisons of one family, at most."""
_LEAST_LEVEL = 1e-15
"""The smallest p-value that is told from zero."""
_ROUNDING = 1e-12
"""Differences below this share of the scores are rounding."""


@dataclass(frozen=True)
class Effects:
    """Paired differences of several pairs, each from a crossed layout.

    Attributes:
        mean: Mean differences, shape (n,), in the unit of the scores.
        seeds: ``MS_S / (n_S n_D)``, shape (n,).
        devices: ``MS_D / (n_S n_D)``, shape (n,).
        both: ``MS_E / (n_S n_D)`` of the interaction, shape (n,).
        df_seeds: Degrees of freedom of ``seeds``, shape (n,), at least 1.
        df_devices: Those of ``devices``, shape (n,), at least 1.
        known: Whether the variance of the mean is known at all: not from one seed, nor from one
            device of many, nor where all seeds have the very same difference
            (`statistics.spreads`). Where a table has no devices, seeds are the only axis.
    """

    mean: Array
    seeds: Array
    devices: Array
    both: Array
    df_seeds: Array
    df_devices: Array
    known: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.mean)


Pair = tuple[st.Scores, st.Scores]
"""Scores of the one and of the other row; what they have in common is compared."""


def _layouts(pairs: Sequence[Pair]) -> tuple[list[tuple[list[int], Array]], NDArray[np.bool_]]:
    """Paired differences of one shape at a time.

    Returns:
        Places of the pairs and their differences, shape (n, n_seeds, n_devices), those that are
        rounding being 0; and per pair whether it has seeds and devices enough for a variance:
        without devices seeds are enough.
    """
    known = np.zeros(len(pairs), dtype=bool)
    shapes: dict[tuple[int, ...], list[int]] = {}
    found = []
    for k, (a, b) in enumerate(pairs):
        values = st.differences(a, b)
        if values.size:
            scale = max(float(np.abs(a.values).max()), float(np.abs(b.values).max()))
            values = np.where(np.abs(values) <= _ROUNDING * scale, 0.0, values)
            bare = None in a.devices and None in b.devices
            known[k] = values.shape[0] > 1 and (values.shape[1] > 1 or bare)
            shapes.setdefault(values.shape, []).append(k)
        found.append(values)
    return [(where, np.stack([found[k] for k in where])) for where in shapes.values()], known


def effects(pairs: Sequence[Pair]) -> Effects:
    """Means and variances of paired differences.

    Args:
        pairs: The rows that are compared.

    Returns:
        One entry per pair; mean 0 and unknown where they have nothing in common.
    """
    table, df = np.zeros((4, len(pairs))), np.ones((2, len(pairs)))
    layouts, known = _layouts(pairs)
    for where, values in layouts:
        known[where] &= [st.spreads(each) for each in values]
        found = layout_effects(values)
        table[:, where] = [found.mean, found.seeds, found.devices, found.both]
        df[:, where] = [found.df_seeds, found.df_devices]
    return Effects(table[0], table[1], table[2], table[3], df[0], df[1], known)


def layout_effects(values: Array) -> Effects:
    """Means and variances of differences of one shape.

    Args:
        values: Differences, shape (n, n_seeds, n_devices), finite.

    Returns:
        One entry per layout; known where there are two seeds. Whether one device stands for others
        is not asked here.
    """
    n, n_seeds, n_devices = values.shape
    squares, count = st.mean_squares(values), n_seeds * n_devices
    return Effects(
        squares.mean,
        squares.seeds / count,
        squares.devices / count,
        squares.both / count,
        np.full(n, float(max(n_seeds - 1, 1))),
        np.full(n, float(max(n_devices - 1, 1))),
        np.full(n, n_seeds > 1),
    )


def half_widths(found: Effects, level: float | Array) -> Array:
    """Half widths of Banerjee's intervals, each of them at least as wide as its level asks for.

    Args:
        found: Paired differences.
        level: Probability outside of each interval, in (0, 1].

    Returns:
        Shape (n,); infinite where the variance of the mean is not known.
    """
    t_s = st.student(found.df_seeds, level)
    t_d = st.student(found.df_devices, level)
    half = np.sqrt(t_s**2 * found.seeds + t_d**2 * found.devices)
    return np.where(found.known, half, np.inf)


def plain_widths(found: Effects) -> Array:
    """Half widths of the plain 95 % intervals, as `statistics.crossed` has them.

    Args:
        found: Paired differences.

    Returns:
        Shape (n,); not a number where the variance of the mean is not known.
    """
    both = found.df_seeds * found.df_devices
    quantiles = [st.student(df) for df in (found.df_seeds, found.df_devices, both)]
    half = st.plain_half(found.seeds, found.devices, found.both, quantiles)
    return np.where(found.known, half, np.nan)


def p_values(found: Effects) -> Array:
    """Two-sided p-values: the level at which the interval of `half_widths` just reaches zero.

    Args:
        found: Paired differences.

    Returns:
        Shape (n,), in [0, 1]; 1 where the variance of the mean is not known or the mean is 0.
    """
    low, high = np.full(len(found), np.log(_LEAST_LEVEL)), np.zeros(len(found))
    size = np.abs(found.mean)
    for _ in range(50):
        middle = (low + high) / 2.0
        reaches = half_widths(found, np.exp(middle)) >= size
        low, high = np.where(reaches, middle, low), np.where(reaches, high, middle)
    p: Array = np.exp((low + high) / 2.0)
    return np.where((size > 0.0) & found.known, p, 1.0)


@lru_cache(maxsize=64)
def attainable(rows: int) -> tuple[int, ...]:
    """How many pairs of rows can be unequal: rows that are equal come in groups.

    Args:
        rows: Number of rows.

    Returns:
        Numbers of unequal pairs, ascending, from 0 to ``rows (rows - 1) / 2``.
    """
    # Bit e of entry n: n rows can be in groups with e equal pairs.
    equal = [1]
    for n in range(1, rows + 1):
        found = 0
        for g in range(1, n + 1):
            found |= equal[n - g] << (g * (g - 1) // 2)
        equal.append(found)
    pairs = rows * (rows - 1) // 2
    return tuple(pairs - e for e in range(pairs, -1, -1) if equal[rows] >> e & 1)


def step_down(p: Array, unequal: Sequence[int] | None = None) -> Array:
    """Holm's adjusted p-values of a family of comparisons, right in direction too.

    Args:
        p: Two-sided p-values, shape (m,).
        unequal: How many of the comparisons can be unequal, ascending, as `attainable` says of all
            pairs; None where any number can.

    Returns:
        Adjusted p-values, shape (m,), at most 1. Deciding all that are at most 5 %, each in the
        direction of its mean, makes any wrong decision in at most 5 % of cases.
    """
    m = len(p)
    possible = np.arange(m + 1) if unequal is None else np.asarray(unequal)
    order = np.argsort(p, kind="stable")
    least = possible[np.searchsorted(possible, np.arange(m))]
    steps = np.maximum.accumulate(p[order] * (2 * m - least) / 2.0)
    result = np.empty(m)
    result[order] = np.minimum(steps, 1.0)
    return result


def closed(adjusted: Array) -> Array:
    """Adds what follows: who is above a row that is above a third is above the third.

    Where all decisions are right so is what follows from them; the error of the family stays.

    Args:
        adjusted: Adjusted p-values, shape (n, n), rows in order of their scores, best first: entry
            [i, j] says that i is above j, 1 where the direct comparison points the other way.
            Entries below the diagonal are left alone.

    Returns:
        Shape (n, n): the least, over ways down from i to j, of the largest entry on the way.
    """
    result = adjusted.copy()
    for k in range(len(result)):
        way = np.maximum(result[:k, k, None], result[None, k, k + 1 :])
        result[:k, k + 1 :] = np.minimum(result[:k, k + 1 :], way)
    return result


@dataclass(frozen=True)
class Superiority:
    """How often one row beats another on a fresh seed and a fresh device.

    Attributes:
        share: Share of the pairs of seed and device, the same for both rows, at which the one is
            better; equal scores count half. None if nothing is common.
        low: Lower end of its 95 % interval, None for one seed.
        high: Upper end.
    """

    share: float | None
    low: float | None = None
    high: float | None = None

    def as_dict(self) -> dict[str, float | None]:
        """Returns the three as plain JSON types."""
        return {"share": self.share, "low": self.low, "high": self.high}


def superiority(pairs: Sequence[Pair], sign: float) -> list[Superiority]:
    """Probability that the one beats the other where both meet the same fresh seed and device.

    The share of the crossed cells, no model of their distribution. Its interval is that of Clopper
    and Pearson for as many trials as there are seeds or devices, whichever are fewer: cells of one
    seed, or of one device, may all go the same way, and no crossed share varies more than that.
    How much cells differ is not read from them, for a seed in ten that collapses is seldom among
    the ten that were trained. So ten of ten seeds say 69 % and more, three of three 29.

    Args:
        pairs: The rows that are compared.
        sign: 1 where higher scores are better, -1 elsewhere.

    Returns:
        One per pair.
    """
    made = [Superiority(None) for _ in pairs]
    layouts, known = _layouts(pairs)
    for where, values in layouts:
        ends = win_interval(np.where(values == 0.0, 0.5, sign * values > 0.0))
        for k, share, low, high in zip(where, *(end.tolist() for end in ends), strict=True):
            made[k] = Superiority(share, low, high) if known[k] else Superiority(share)
    return made


def win_interval(wins: Array) -> tuple[Array, Array, Array]:
    """Shares of won cells with their intervals, see `superiority`.

    Args:
        wins: 1 won, 0 lost, 0.5 equal, shape (n, n_seeds, n_devices).

    Returns:
        Share, lower and upper end, each of shape (n,).
    """
    from scipy import special

    n_seeds, n_devices = wins.shape[-2:]
    n = min(n_seeds, n_devices) if n_devices > 1 else n_seeds
    share = wins.mean(axis=(-2, -1))
    won, lost, tail = n * share, n * (1.0 - share), (1.0 - st.CONFIDENCE) / 2.0
    low = np.where(won > 0.0, special.betaincinv(np.maximum(won, 1e-9), lost + 1.0, tail), 0.0)
    high = np.where(
        lost > 0.0, special.betaincinv(won + 1.0, np.maximum(lost, 1e-9), 1.0 - tail), 1.0
    )
    return share, low, high


def interval(found: Effects, place: int, half: Array, spans: tuple[str, ...]) -> st.Interval:
    """One of several intervals as boards have it.

    Args:
        found: Paired differences.
        place: Which of them.
        half: Their half widths.
        spans: The axes that they span.

    Returns:
        Mean and ends; no ends where the variance of the mean is not known.
    """
    mean, width = float(found.mean[place]), float(half[place])
    if not np.isfinite(width):
        return st.Interval(mean)
    return st.Interval(mean, mean - width, mean + width, spans)
