"""Intervals of claims at any level: of differences over seeds and devices, and of correlations."""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy.special import ndtri

from pnnbench.leaderboard.comparisons import half_widths, layout_effects
from pnnbench.leaderboard.resolution import smallest
from pnnbench.leaderboard.statistics import Array


@dataclass(frozen=True)
class Bounds:
    """A mean with its interval at a stated level.

    Attributes:
        mean: The estimate.
        low: Lower end.
        high: Upper end.
        seen: The smallest difference whose interval would exclude zero with probability
            `resolution.POWER`; None for a correlation.
    """

    mean: float
    low: float
    high: float
    seen: float | None = None


def mean_bounds(values: Array, level: float) -> Bounds | None:
    """Interval of the mean of differences over seeds and devices, see `comparisons.half_widths`.

    Args:
        values: One difference per seed and device, shape (n_seeds, n_devices), finite.
        level: Probability that the interval covers, in (0, 1), two-sided.

    Returns:
        The interval; None for a single seed, which says nothing of others.
    """
    found = layout_effects(values[None])
    if not found.known[0]:
        return None
    mean, half = float(found.mean[0]), float(half_widths(found, 1.0 - level)[0])
    return Bounds(mean, mean - half, mean + half, float(smallest(found, 1.0 - level)[0]))


def fisher(rho: float, n: int) -> float:
    """Fisher's transformation of a correlation.

    A perfect order of a few pairs is no proof, and the transformation needs a number below 1: it
    is taken for ``1 - 1 / n**2``.

    Args:
        rho: The correlation, in [-1, 1].
        n: Number of pairs.

    Returns:
        Its inverse hyperbolic tangent.
    """
    return math.atanh(math.copysign(min(abs(rho), 1.0 - 1.0 / n**2), rho))


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
    centre = fisher(rho, n)
    half = float(ndtri((1.0 + level) / 2.0)) * math.sqrt((1.0 + rho * rho / 2.0) / (n - 3))
    return Bounds(rho, min(rho, math.tanh(centre - half)), max(rho, math.tanh(centre + half)))
