"""Closed-form 95 % intervals over seeds and devices, paired differences, ranks with ties.

Every method of a table meets the same devices, and every trained network is tested on all of
them, so measurements form a balanced crossed layout ``X[seed, device]`` with one value per cell.
Seeds and devices are both random samples: an interval speaks of fresh seeds on fresh devices.

The Student quantile is computed here instead of imported: scipy costs more time than the whole
leaderboard.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

CONFIDENCE = 0.95
"""Level of every interval, two-sided."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A mean and its two-sided 95 % interval.

    Attributes:
        mean: The estimate, or None where nothing was measured.
        low: Lower end, or None where one value alone says nothing of its spread.
        high: Upper end, or None likewise.
        spans: The axes over which the interval holds, among ``"seeds"`` and ``"devices"``.
    """

    mean: float | None
    low: float | None = None
    high: float | None = None
    spans: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Returns the interval as plain JSON types."""
        return {"mean": self.mean, "low": self.low, "high": self.high, "spans": list(self.spans)}


NOTHING = Interval(None)
"""The interval of a figure that was not measured."""


def _beta_fraction(a: float, b: float, x: float) -> float:
    """Continued fraction of the incomplete beta function, by the modified Lentz method."""
    tiny = 1e-300
    c, d = 1.0, 1.0 - (a + b) * x / (a + 1.0)
    d = 1.0 / (d if abs(d) > tiny else tiny)
    value = d
    for m in range(1, 10_000):
        for numerator in (
            m * (b - m) * x / ((a + 2 * m - 1.0) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1.0)),
        ):
            d = 1.0 + numerator * d
            d = 1.0 / (d if abs(d) > tiny else tiny)
            c = 1.0 + numerator / c
            c = c if abs(c) > tiny else tiny
            value *= d * c
        if abs(d * c - 1.0) < 1e-15:
            break
    return value


def _gamma_ratio(a: float) -> float:
    """log(Gamma(a + 1/2) / Gamma(a)), without the cancellation of two large logarithms."""
    if a < 50.0:
        return math.lgamma(a + 0.5) - math.lgamma(a)
    return 0.5 * math.log(a) - 1 / (8 * a) + 1 / (192 * a**3) - 1 / (640 * a**5)


def student_tail(t: float, df: float) -> float:
    """Upper tail probability of Student's t distribution.

    Args:
        t: Where the tail begins, >= 0.
        df: Degrees of freedom, > 0, not necessarily an integer.

    Returns:
        P(T > t), to about 1e-13.
    """
    if t <= 0.0:
        return 0.5
    a, b = df / 2.0, 0.5
    x = df / (df + t * t)
    y = t * t / (df + t * t)
    if y <= 0.0 or x <= 0.0:
        return 0.5 if y <= 0.0 else 0.0
    # Gamma(1/2) is the square root of pi; log1p keeps x near 1 exact.
    log_front = _gamma_ratio(a) - a * math.log1p(t * t / df) + b * math.log(y)
    front = math.exp(log_front) / math.sqrt(math.pi)
    if x < (a + 1.0) / (a + b + 2.0):
        return 0.5 * front * _beta_fraction(a, b, x) / a
    return 0.5 * (1.0 - front * _beta_fraction(b, a, y) / b)


@lru_cache(maxsize=4096)
def student_quantile(df: float, confidence: float = CONFIDENCE) -> float:
    """Half-width factor of a two-sided Student interval.

    Args:
        df: Degrees of freedom, > 0.
        confidence: Probability inside the interval, in (0, 1).

    Returns:
        The t with P(-t <= T <= t) = confidence.
    """
    target = (1.0 - confidence) / 2.0
    constant = _gamma_ratio(df / 2) - 0.5 * math.log(df * math.pi)
    # The distribution function is concave for t > 0, so Newton's steps from a point below the
    # root rise to it without overshooting; every Student quantile lies above the normal one.
    t = 1.0 if confidence < 0.94 else 1.95
    if student_tail(t, df) < target:
        t = 0.0
    for _ in range(200):
        density = math.exp(constant - (df + 1) / 2 * math.log1p(t * t / df))
        step = (student_tail(t, df) - target) / density
        t += step
        if abs(step) <= 1e-13 * max(t, 1.0):
            break
    return t


def one_way(values: ArrayLike, *, axis: str = "seeds") -> Interval:
    """Student's t interval of the mean of independent values.

    Args:
        values: One value per seed (or per device), shape (n,).
        axis: What the values span, for the label of the interval.

    Returns:
        The mean and its interval; without ends for n = 1, without a mean for n = 0.
    """
    x = np.asarray(values, dtype=np.float64).ravel()
    if x.size == 0:
        return NOTHING
    mean = float(x.mean())
    if x.size == 1:
        return Interval(mean)
    half = student_quantile(float(x.size - 1)) * float(x.std(ddof=1)) / math.sqrt(x.size)
    return Interval(mean, mean - half, mean + half, (axis,))


def one_way_log(values: ArrayLike, *, axis: str = "seeds") -> Interval:
    """Interval on the logarithmic scale, for positive values whose spread grows with them.

    Args:
        values: One value per seed, shape (n,).
        axis: What the values span.

    Returns:
        The geometric mean and the back-transformed interval. If a value is not positive, the
        plain interval, because there is no logarithm.
    """
    x = np.asarray(values, dtype=np.float64).ravel()
    if x.size == 0 or bool((x <= 0).any()):
        return one_way(x, axis=axis)
    logs = one_way(np.log(x), axis=axis)
    ends = [None if end is None else math.exp(end) for end in (logs.mean, logs.low, logs.high)]
    return Interval(ends[0], ends[1], ends[2], logs.spans)


def crossed(values: ArrayLike) -> Interval:
    """Interval of the mean of a crossed layout, seeds and devices both random.

    Two-way random-effects analysis of variance without replication. With mean squares of seeds
    ``MS_S``, devices ``MS_D`` and interaction ``MS_E``, the variance of the grand mean is
    ``(MS_S + MS_D - MS_E) / (n_S n_D)``, not below ``MS_E / (n_S n_D)``. Degrees of freedom
    follow Satterthwaite (1946, https://doi.org/10.2307/3002019).

    Args:
        values: One value per seed and device, shape (n_seeds, n_devices), complete.

    Returns:
        The mean and its interval; over the one axis alone where the other has a single entry.

    Raises:
        ValueError: If the array is not two-dimensional or not finite.
    """
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 2 or not bool(np.isfinite(x).all()):
        raise ValueError(f"need a finite array [seed, device], got shape {x.shape}")
    n_seeds, n_devices = x.shape
    if n_seeds <= 1:
        return one_way(x, axis="devices")
    if n_devices <= 1:
        return one_way(x, axis="seeds")
    mean = float(x.mean())
    per_seed, per_device = x.mean(axis=1), x.mean(axis=0)
    df_s, df_d = n_seeds - 1, n_devices - 1
    df_e = df_s * df_d
    ms_s = n_devices * float(((per_seed - mean) ** 2).sum()) / df_s
    ms_d = n_seeds * float(((per_device - mean) ** 2).sum()) / df_d
    residual = x - per_seed[:, None] - per_device[None, :] + mean
    ms_e = float((residual**2).sum()) / df_e
    spans = ("seeds", "devices")
    combined = max(ms_s + ms_d - ms_e, ms_e, 0.0)
    if combined <= 0.0:
        return Interval(mean, mean, mean, spans)
    # Scaled by the sum so that tiny spreads do not underflow when squared.
    r_s, r_d, r_e = ms_s / combined, ms_d / combined, ms_e / combined
    df = 1.0 / (r_s**2 / df_s + r_d**2 / df_d + r_e**2 / df_e)
    df = min(max(df, float(min(df_s, df_d))), float(n_seeds * n_devices - 1))
    half = student_quantile(df) * math.sqrt(combined / (n_seeds * n_devices))
    return Interval(mean, mean - half, mean + half, spans)


@dataclass(frozen=True)
class Scores:
    """Scores of one method on a crossed layout.

    Attributes:
        seeds: Training seeds, one per row of ``values``.
        devices: Device seeds, one per column; ``(None,)`` where there are no devices.
        values: Shape (n_seeds, n_devices).
    """

    seeds: tuple[int, ...]
    devices: tuple[int | None, ...]
    values: Array


def paired_difference(a: Scores, b: Scores) -> Interval:
    """Interval of the mean of ``a - b`` on the cells that both have.

    Args:
        a: Scores of one method.
        b: Scores of the other.

    Returns:
        Mean difference and its interval, in the unit of the scores.
    """
    seeds = [s for s in a.seeds if s in b.seeds]
    devices = [d for d in a.devices if d in b.devices]
    if not seeds or not devices:
        return NOTHING
    left, right = (
        scores.values[
            np.ix_(
                [scores.seeds.index(s) for s in seeds], [scores.devices.index(d) for d in devices]
            )
        ]
        for scores in (a, b)
    )
    return crossed(left - right)


def rank_with_ties(
    scores: Sequence[Scores | None], *, higher_is_better: bool = True
) -> list[int | None]:
    """Ranks methods; two are tied when the interval of their paired difference contains zero.

    Args:
        scores: One entry per method; None for a method that has no score.
        higher_is_better: Direction of the metric.

    Returns:
        Per method 1 + the number of methods that are significantly better, or None. A difference
        whose spread is unknown (one seed on one device) counts as a tie.
    """
    sign = 1.0 if higher_is_better else -1.0
    n = len(scores)
    better = [0] * n
    for i in range(n):
        for j in range(i + 1, n):
            a, b = scores[i], scores[j]
            if a is None or b is None:
                continue
            difference = paired_difference(a, b)
            if difference.low is None or difference.high is None:
                continue
            if difference.low > 0 or difference.high < 0:
                first_wins = (difference.low > 0) == (sign > 0)
                better[j if first_wins else i] += 1
    return [None if scores[i] is None else 1 + better[i] for i in range(n)]


def average_ranks(values: ArrayLike) -> Array:
    """Ranks from 1, tied values sharing their average rank.

    Args:
        values: Shape (n,).

    Returns:
        Shape (n,).
    """
    x = np.asarray(values, dtype=np.float64).ravel()
    _, inverse, counts = np.unique(x, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: Array = (last - (counts - 1) / 2.0)[inverse]
    return ranks


def spearman(x: ArrayLike, y: ArrayLike) -> Interval:
    """Spearman's rank correlation with an approximate interval.

    The interval is Fisher's transformation with the variance of Bonett and Wright (2000,
    https://doi.org/10.1007/BF02294183), ``(1 + rho^2 / 2) / (n - 3)``. It takes the jobs as
    independent, so it is too narrow where jobs of one method cluster.

    Args:
        x: Shape (n,).
        y: Shape (n,).

    Returns:
        The correlation in [-1, 1]; nothing for n < 3 or a constant side; no interval for n < 5.

    Raises:
        ValueError: If the lengths differ.
    """
    a, b = average_ranks(x), average_ranks(y)
    if a.shape != b.shape:
        raise ValueError(f"lengths differ: {a.size} and {b.size}")
    if a.size < 3:
        return NOTHING
    a, b = a - a.mean(), b - b.mean()
    scale = math.sqrt(float((a * a).sum()) * float((b * b).sum()))
    if scale == 0.0:
        return NOTHING
    rho = min(1.0, max(-1.0, float((a * b).sum()) / scale))
    if a.size < 5:
        return Interval(rho)
    if abs(rho) > 1.0 - 1e-12:
        return Interval(rho, rho, rho, ("jobs",))
    half = 1.959963984540054 * math.sqrt((1.0 + rho * rho / 2.0) / (a.size - 3))
    centre = math.atanh(rho)
    return Interval(rho, math.tanh(centre - half), math.tanh(centre + half), ("jobs",))
