"""Plain, closed-form 95 % intervals over seeds and devices, of rows and of paired differences.

Every method of a table meets the same devices, and every trained network is tested on all of
them, so measurements form a balanced crossed layout ``X[seed, device]`` with one value per cell.
Seeds and devices are both random samples: an interval speaks of fresh seeds on fresh devices.

What holds for many comparisons at once stands in `pnnbench.leaderboard.comparisons`. scipy is
imported where a quantile is asked for: it takes longer than a list of names.
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
SHARED = 0.8
"""Share of the interaction that a plain interval takes off both other mean squares. By simulation
(``benchmarks/statistics``): at 1 it covers 91 to 92 % where the interaction is large and the seeds
are three, at 0 up to 99.6 %, at 0.8 93 % and more."""
#: Differences of seeds that are closer than this share of them are the very same.
_ALIKE = 1e-9
_WIDEST = math.log(1e100)

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


def student(df: ArrayLike, level: ArrayLike = 1.0 - CONFIDENCE) -> Array:
    """Half-width factor of a two-sided Student interval.

    Args:
        df: Degrees of freedom, > 0.
        level: Probability outside of the interval, in (0, 1]; shapes follow numpy's broadcasting.

    Returns:
        The t with P(|T| > t) = level.
    """
    from scipy import special

    half = np.asarray(level, dtype=np.float64) / 2.0
    return np.asarray(-special.stdtrit(df, half), dtype=np.float64)


@lru_cache(maxsize=4096)
def _student(df: int) -> float:
    """`student` at 95 %, remembered: a board asks for few of them, often."""
    return float(student(df))


@dataclass(frozen=True)
class MeanSquares:
    """Two-way analysis of variance without replication, of one layout or of many.

    Attributes:
        mean: Grand mean.
        seeds: Mean square of the seeds, ``n_seeds - 1`` degrees of freedom.
        devices: Mean square of the devices, ``n_devices - 1`` degrees of freedom.
        both: Mean square of their interaction, the product of those degrees of freedom.
    """

    mean: Array
    seeds: Array
    devices: Array
    both: Array


def mean_squares(values: Array) -> MeanSquares:
    """Mean squares of crossed layouts.

    Args:
        values: Shape (..., n_seeds, n_devices), both at least 2, or 1 where a mean square is 0.

    Returns:
        Each of shape (...).
    """
    n_seeds, n_devices = values.shape[-2:]
    mean = values.mean(axis=(-2, -1))
    per_seed, per_device = values.mean(axis=-1), values.mean(axis=-2)
    df_s, df_d = n_seeds - 1, n_devices - 1
    ms_s = n_devices * ((per_seed - mean[..., None]) ** 2).sum(axis=-1) / max(df_s, 1)
    ms_d = n_seeds * ((per_device - mean[..., None]) ** 2).sum(axis=-1) / max(df_d, 1)
    rest = values - per_seed[..., :, None] - per_device[..., None, :] + mean[..., None, None]
    ms_e = (rest**2).sum(axis=(-2, -1)) / max(df_s * df_d, 1)
    return MeanSquares(mean, ms_s, ms_d, ms_e)


def crossed_half(found: MeanSquares, n_seeds: int, n_devices: int) -> Array:
    """Half the width of the plain 95 % interval of crossed layouts, see `crossed`.

    Args:
        found: Their mean squares.
        n_seeds: At least 2.
        n_devices: At least 2.

    Returns:
        One per layout, in the unit of the values.
    """
    df_s, df_d = n_seeds - 1, n_devices - 1
    quantiles = (_student(df_s), _student(df_d), _student(df_s * df_d))
    half = plain_half(found.seeds, found.devices, found.both, quantiles)
    return half / math.sqrt(n_seeds * n_devices)


def plain_half(
    seeds: Array, devices: Array, both: Array, quantiles: Sequence[float | Array]
) -> Array:
    """The formula of `crossed`.

    Args:
        seeds: Mean squares of the seeds, each over the number of cells for a half width.
        devices: Those of the devices.
        both: Those of the interaction.
        quantiles: Student's for the degrees of freedom of each.

    Returns:
        Half widths, in the unit of the square roots.
    """
    t_s, t_d, t_e = quantiles
    return np.sqrt(
        t_s**2 * np.maximum(seeds - SHARED * both, 0.0)
        + t_d**2 * np.maximum(devices - SHARED * both, 0.0)
        + t_e**2 * both
    )


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
    # The reductions that mean() and std() make: a board asks for a thousand of them.
    mean = float(np.add.reduce(x) / x.size)
    if x.size == 1:
        return Interval(mean)
    off = x - mean
    spread = math.sqrt(np.add.reduce(off * off) / (x.size - 1))
    half = _student(x.size - 1) * spread / math.sqrt(x.size)
    return Interval(mean, mean - half, mean + half, (axis,))


def exponential(value: float) -> float:
    """What has a logarithm, cut to 1e-100 and 1e100: ends of intervals of few seeds go beyond.

    Args:
        value: The natural logarithm.
    """
    return math.exp(max(-_WIDEST, min(value, _WIDEST)))


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
    ends = [None if end is None else exponential(end) for end in (logs.mean, logs.low, logs.high)]
    return Interval(ends[0], ends[1], ends[2], logs.spans)


def crossed(values: ArrayLike) -> Interval:
    """Plain 95 % interval of the mean of a crossed layout, seeds and devices both random.

    With mean squares ``MS_S``, ``MS_D`` and ``MS_E`` of seeds, devices and interaction, the
    variance of the grand mean is that of ``(MS_S + MS_D - MS_E) / (n_S n_D)``. The half width is
    ``sqrt((t_S^2 (MS_S - c MS_E)+ + t_D^2 (MS_D - c MS_E)+ + t_E^2 MS_E) / (n_S n_D))``, with
    Student's quantiles of each mean square and ``c`` = `SHARED`: the sum of Banerjee (1961,
    Sankhya 23), which is conservative for ``c = 0``, without most of
    the interaction that it counts twice. ``benchmarks/statistics`` measures its coverage. One sum
    of mean squares with degrees of freedom after Satterthwaite covers 93 % where this covers 95,
    at three seeds.

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
    if x.shape[0] <= 1:
        return one_way(x, axis="devices")
    if x.shape[1] <= 1:
        return one_way(x, axis="seeds")
    found = mean_squares(x)
    mean, half = float(found.mean), float(crossed_half(found, *x.shape))
    return Interval(mean, mean - half, mean + half, ("seeds", "devices"))


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


def differences(a: Scores, b: Scores) -> Array:
    """``a - b`` on the cells that both have.

    Args:
        a: Scores of one method.
        b: Scores of the other.

    Returns:
        Shape (n_seeds, n_devices), of what is common; empty where nothing is.
    """
    if a.seeds == b.seeds and a.devices == b.devices:
        return a.values - b.values
    seeds = [s for s in a.seeds if s in b.seeds]
    devices = [d for d in a.devices if d in b.devices]
    left, right = (
        one.values[np.ix_([one.seeds.index(s) for s in seeds],
                          [one.devices.index(d) for d in devices])]
        for one in (a, b)
    )  # fmt: skip
    return left - right


def spreads(values: Array) -> bool:
    """Whether the mean over devices differs between seeds, so that a variance can be estimated.

    An accuracy is a multiple of one over the images: by chance a difference can be the very same at
    a few seeds, which says nothing of its variance. No difference at all is taken as it is.

    Args:
        values: Differences, shape (n_seeds, n_devices), not empty.
    """
    size = float(np.abs(values).max())
    return size == 0.0 or float(np.ptp(values.mean(axis=1))) > _ALIKE * size


def paired_difference(a: Scores, b: Scores) -> Interval:
    """Plain interval of the mean of ``a - b`` on the cells that both have.

    Args:
        a: Scores of one method.
        b: Scores of the other.

    Returns:
        Mean difference and its interval, in the unit of the scores; no ends where several seeds
        have the very same difference, see `spreads`.
    """
    values = differences(a, b)
    if not values.size:
        return NOTHING
    if len(values) > 1 and not spreads(values):
        return Interval(float(values.mean()))
    return crossed(values)


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


def spearman(x: ArrayLike, y: ArrayLike) -> float | None:
    """Spearman's rank correlation.

    Args:
        x: Shape (n,).
        y: Shape (n,).

    Returns:
        The correlation in [-1, 1]; None for n < 3 or a constant side.

    Raises:
        ValueError: If the lengths differ.
    """
    a, b = average_ranks(x), average_ranks(y)
    if a.shape != b.shape:
        raise ValueError(f"lengths differ: {a.size} and {b.size}")
    if a.size < 3:
        return None
    a, b = a - a.mean(), b - b.mean()
    scale = math.sqrt(float((a * a).sum()) * float((b * b).sum()))
    return None if scale == 0.0 else min(1.0, max(-1.0, float((a * b).sum()) / scale))
