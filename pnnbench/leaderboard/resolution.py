"""What a table could have seen: the smallest difference at 80 % power, and what a point takes.

The power of a comparison is the probability that its mean difference is larger than the half width
of `comparisons.half_widths`, in the right direction. Mean and mean squares are independent, so it
is a mean of normal probabilities over the two distributions of the mean squares, taken here at
the middles of slices of equal probability. Variances are those that were measured, each divided by
the median of its distribution: a variance from three seeds is as often too large as too small.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pnnbench.leaderboard import statistics as st
from pnnbench.leaderboard.comparisons import FAMILY, Effects
from pnnbench.leaderboard.statistics import Array

POWER = 0.80
"""Probability with which the smallest difference is seen."""
POINT = 0.01
"""One point of a share, the difference that tables say the price of."""
MANY_DEVICES = 50
"""Devices that the price of a point is also told for: the most that the protocol asks for."""
MOST_SEEDS = 1000
"""More seeds than this are not counted."""
_SLICES = (24, 8)
"""Slices of the distributions of the mean squares of seeds and devices."""


@dataclass(frozen=True)
class Spread:
    """Variances of the mean of paired differences as they are expected, not as they came out.

    Attributes:
        seeds: Expected `Effects.seeds`, shape (n,).
        devices: Expected `Effects.devices`, shape (n,).
        mean: Variance of the mean, shape (n,).
        df_seeds: Degrees of freedom, shape (n,).
        df_devices: Degrees of freedom, shape (n,).
    """

    seeds: Array
    devices: Array
    mean: Array
    df_seeds: Array
    df_devices: Array


def spread_of(found: Effects) -> Spread:
    """Estimates what the variances of pairs are expected to be, without bias in the median.

    Args:
        found: Paired differences of which the variance is known.

    Returns:
        One entry per pair.
    """
    seeds = found.seeds / _median(found.df_seeds)
    devices = found.devices / _median(found.df_devices)
    mean = np.maximum(seeds + devices - found.both, np.maximum(seeds, devices))
    return Spread(seeds, devices, mean, found.df_seeds, found.df_devices)


def _median(df: Array) -> Array:
    """Median of a mean square in units of its expectation."""
    from scipy import special

    return np.asarray(2.0 * special.gammaincinv(df / 2.0, 0.5) / df, dtype=np.float64)


def power(spread: Spread, difference: float | Array, level: float) -> Array:
    """Probability of seeing a difference, in the right direction.

    Args:
        spread: Expected variances.
        difference: The true difference, at least 0, in the unit of the scores; shape (n,) or one.
        level: Two-sided level of the comparison.

    Returns:
        Shape (n,).
    """
    from scipy import special

    square = (
        st.student(spread.df_seeds, level)[:, None, None] ** 2
        * spread.seeds[:, None, None]
        * _slices(spread.df_seeds, _SLICES[0])[:, :, None]
        + st.student(spread.df_devices, level)[:, None, None] ** 2
        * spread.devices[:, None, None]
        * _slices(spread.df_devices, _SLICES[1])[:, None, :]
    )
    over = np.broadcast_to(difference, spread.mean.shape)[:, None, None] - np.sqrt(square)
    scale = np.sqrt(np.maximum(spread.mean, 1e-300))[:, None, None]
    return np.asarray(special.ndtr(over / scale).mean(axis=(1, 2)), dtype=np.float64)


def _slices(df: Array, count: int) -> Array:
    """Mean squares in units of their expectation at the middles of slices, shape (n, count)."""
    from scipy import special

    middles = (np.arange(count) + 0.5) / count
    half = df[:, None] / 2.0
    return np.asarray(special.gammaincinv(half, middles) / half, dtype=np.float64)


def smallest(found: Effects, level: float) -> Array:
    """The difference that each comparison sees with 80 % power.

    Args:
        found: Paired differences.
        level: Two-sided level of each, such as Holm's first step.

    Returns:
        Shape (n,), in the unit of the scores; infinite where no difference is ever seen.
    """
    spread = spread_of(found)
    low = np.zeros(len(found))
    high = 8.0 * (
        st.student(found.df_seeds, level) * np.sqrt(spread.seeds)
        + st.student(found.df_devices, level) * np.sqrt(spread.devices)
        + np.sqrt(spread.mean)
    )
    for _ in range(24):
        middle = (low + high) / 2.0
        enough = power(spread, middle, level) >= POWER
        low, high = np.where(enough, low, middle), np.where(enough, middle, high)
    return np.where(found.known, high, np.inf)


def seeds_for(found: Effects, level: float, difference: float, n_devices: int | None) -> Array:
    """How many seeds each comparison needs to see a difference with 80 % power.

    Args:
        found: Paired differences of which the variance is known, each from two seeds at least.
        level: Two-sided level of each.
        difference: The difference, > 0, in the unit of the scores.
        n_devices: Devices to be tested on, at least 2; None for as many as there were.

    Returns:
        Shape (n,): at least 2; infinite above `MOST_SEEDS`.
    """
    had_seeds, had_devices = found.df_seeds + 1.0, found.df_devices + 1.0
    cells = had_seeds * had_devices
    interaction = found.both * cells
    seeds = _above(found.seeds * cells / _median(found.df_seeds), interaction) / had_devices
    devices = _above(found.devices * cells / _median(found.df_devices), interaction) / had_seeds
    many = had_devices if n_devices is None else np.full(len(found), float(n_devices))

    def enough(count: Array) -> NDArray[np.bool_]:
        spread = Spread(
            seeds=(seeds + interaction / many) / count,
            devices=(devices + interaction / count) / many,
            mean=seeds / count + devices / many + interaction / (count * many),
            df_seeds=count - 1.0,
            df_devices=many - 1.0,
        )
        return np.asarray(power(spread, difference, level) >= POWER)

    low, high = np.full(len(found), 1.0), np.full(len(found), float(MOST_SEEDS))
    never = ~enough(high)
    while bool((high - low > 1.0).any()):
        middle = np.floor((low + high) / 2.0)
        found_enough = enough(np.maximum(middle, 2.0)) & (middle > 1.0)
        low, high = np.where(found_enough, low, middle), np.where(found_enough, middle, high)
    return np.where(never | ~found.known, np.inf, high)


def _above(mean_square: Array, interaction: Array) -> Array:
    return np.asarray(np.maximum(mean_square - interaction, 0.0), dtype=np.float64)


@dataclass(frozen=True)
class Resolution:
    """What a table could have seen.

    Attributes:
        pairs: Pairs of complete rows, the family of the ranks.
        smallest: Difference that a pair with the median variances shows with 80 % power at the
            first step of the family, in the unit of the scores; None where none is known.
        baseline: Difference to the baseline that a row with the median variances shows at the
            level of the simultaneous intervals, likewise.
        point: Number of devices to the seeds at which a pair with the median variances would show
            one point; None where a thousand are not enough. Empty where scores are no shares.
    """

    pairs: int
    smallest: float | None
    baseline: float | None
    point: dict[int, int | None]

    def as_dict(self) -> dict[str, Any]:
        """Returns the figures as plain JSON types."""
        return {
            "power": POWER,
            "pairs": self.pairs,
            "smallest_difference": self.smallest,
            "smallest_difference_to_baseline": self.baseline,
            "seeds_for_one_point": [
                {"devices": devices, "seeds": seeds} for devices, seeds in self.point.items()
            ],
        }


def typical(found: Effects) -> Effects | None:
    """A comparison with the median variances of several.

    Args:
        found: Paired differences.

    Returns:
        One entry, mean 0; None where the variance of none of them is known.
    """
    if not bool(found.known.any()):
        return None
    names = ("seeds", "devices", "both", "df_seeds", "df_devices")
    middle = {n: np.array([np.median(getattr(found, n)[found.known])]) for n in names}
    return Effects(mean=np.zeros(1), known=np.ones(1, dtype=bool), **middle)


def resolution(
    pairs: Effects, to_baseline: Effects | None, *, devices: int, share: bool
) -> Resolution:
    """What a table could have seen.

    Args:
        pairs: Paired differences of all pairs of complete rows.
        to_baseline: Those to the baseline; None without one.
        devices: Test devices of the table, 0 where it has none.
        share: Whether scores are shares, so that a point is a hundredth.

    Returns:
        The figures, of a comparison with the median variances.
    """
    one = typical(pairs)
    other = None if to_baseline is None else typical(to_baseline)
    level = FAMILY / max(len(pairs), 1)
    return Resolution(
        pairs=len(pairs),
        smallest=None if one is None else _finite(smallest(one, level)[0]),
        baseline=None
        if other is None or to_baseline is None
        else _finite(smallest(other, FAMILY / len(to_baseline))[0]),
        point=_price(one, level, devices) if one is not None and share else {},
    )


def _price(one: Effects, level: float, devices: int) -> dict[int, int | None]:
    """Devices to seeds at which a point is seen: the devices there were, and `MANY_DEVICES`."""
    result: dict[int, int | None] = {}
    for count in sorted({devices, max(devices, MANY_DEVICES)}) if devices else [0]:
        seeds = _finite(seeds_for(one, level, POINT, None if count == devices else count)[0])
        result[count] = None if seeds is None else int(seeds)
    return result


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
