"""Intervals at any level for differences over seeds and devices, and what they would have seen.

Seeds and devices are crossed random effects. With the mean squares of seeds and of devices over the
number of values, V_S and V_D, half the interval is the root of ``t_S^2 V_S + t_D^2 V_D``, where t
are Student's quantiles of either's degrees of freedom at the same level (Banerjee 1961, Sankhya A
23, 359). The variance of the mean is at most the expectation of
V_S + V_D, since the interaction is counted twice, and the coverage is at least the level whatever
the ratio of the variances, at few seeds and far in the tails.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy.special import ndtri, stdtrit

from pnnbench.leaderboard.statistics import Array

POWER = 0.8
"""Probability with which `Bounds.seen` would have been seen."""


@dataclass(frozen=True)
class Bounds:
    """A mean with its interval at a stated level.

    Attributes:
        mean: The estimate.
        low: Lower end.
        high: Upper end.
        seen: The smallest difference whose interval would exclude zero with probability `POWER`;
            None for a correlation.
    """

    mean: float
    low: float
    high: float
    seen: float | None = None


def mean_bounds(values: Array, level: float) -> Bounds | None:
    """Interval of the mean of differences over seeds and devices.

    Args:
        values: One difference per seed and device, shape (n_seeds, n_devices), finite.
        level: Probability that the interval covers, in (0, 1), two-sided.

    Returns:
        The interval; None for a single seed, which says nothing of others.
    """
    n_seeds, n_devices = values.shape
    if n_seeds < 2:
        return None
    mean = float(values.mean())
    variances = [_variance(values.mean(axis=1))]
    freedom = [n_seeds - 1]
    if n_devices > 1:
        variances.append(_variance(values.mean(axis=0)))
        freedom.append(n_devices - 1)

    def root(probability: float) -> float:
        quantiles = [float(stdtrit(df, probability)) for df in freedom]
        return math.sqrt(sum(q * q * v for q, v in zip(quantiles, variances, strict=True)))

    half = root((1.0 + level) / 2.0)
    return Bounds(mean, mean - half, mean + half, half + root(POWER))


def _variance(means: Array) -> float:
    """Estimated variance of the mean of independent means."""
    return float(means.var(ddof=1)) / means.size


def correlation_bounds(rho: float, n: int, level: float) -> Bounds | None:
    """Interval of a rank correlation: Fisher's transformation, variance of Bonett and Wright.

    Args:
        rho: Spearman's correlation, in [-1, 1].
        n: Number of independent pairs.
        level: Probability that the interval covers, in (0, 1), two-sided.

    Returns:
        The interval; None for fewer than five pairs.
    """
    if n < 5:
        return None
    # A perfect order of a few pairs is no proof, and the transformation needs a number below 1.
    centre = math.atanh(math.copysign(min(abs(rho), 1.0 - 1.0 / n**2), rho))
    half = float(ndtri((1.0 + level) / 2.0)) * math.sqrt((1.0 + rho * rho / 2.0) / (n - 3))
    return Bounds(rho, math.tanh(centre - half), math.tanh(centre + half))
