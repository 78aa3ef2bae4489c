"""The robust score: the mean over axes of the mean over their counted cells.

Search, leaderboard and mirror take it from here, through `pnnbench.leaderboard.grid.arrange`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pnnbench.leaderboard.statistics import Array

WORST_FRACTION = 0.10
"""Share of the devices that count as the worst ones."""


def axis_weights(axes: Sequence[str], counted: Sequence[bool]) -> tuple[float, ...]:
    """Weights of the conditions of a grid: axes weigh equally, and in each what counts of it.

    Args:
        axes: Per condition the name of its axis.
        counted: Per condition whether it counts.

    Returns:
        Per condition its weight; they sum to 1 unless nothing counts.
    """
    sizes: dict[str, int] = {}
    for axis, counts in zip(axes, counted, strict=True):
        if counts:
            sizes[axis] = sizes.get(axis, 0) + 1
    return tuple(
        1.0 / (len(sizes) * sizes[axis]) if counts else 0.0
        for axis, counts in zip(axes, counted, strict=True)
    )


def equal_weights(counted: Sequence[bool]) -> tuple[float, ...]:
    """Weights of the first revision of the protocol: all conditions that count weigh the same.

    Args:
        counted: Per condition whether it counts.

    Returns:
        Per condition its weight; they sum to 1 unless nothing counts.
    """
    total = sum(counted)
    return tuple(1.0 / total if counts else 0.0 for counts in counted)


def device_scores(values: Array, weights: Sequence[float]) -> Array | None:
    """Robust score per device: weighted mean over the conditions.

    Args:
        values: The metric, shape (n_conditions, n_devices).
        weights: Per condition, at least 0; need not sum to 1.

    Returns:
        Shape (n_devices,), in the unit of the metric; None if no condition has weight or one that
        has is undefined.
    """
    factors = np.array(weights, dtype=np.float64)
    if not factors.any():
        return None
    heavy = factors > 0.0
    own = factors[heavy]
    scores: Array = (
        values[heavy].mean(axis=0)  # to the last digit whatever the number of conditions
        if bool((own == own[0]).all())
        else own @ values[heavy] / own.sum()
    )
    return scores if bool(np.isfinite(scores).all()) else None


def worst_mean(scores: Array, higher_is_better: bool) -> float:
    """Mean score of the worst tenth of the devices, rounded down, one device at least.

    It is the mean of some of the numbers whose mean is the robust score, the worst of them, so that
    it is never better than the robust score.

    Args:
        scores: Per device its score over all conditions that count, shape (n_devices,). A condition
            met by the ideal device is in the score of every device with the same value. (Boards of
            the first revision leave such conditions out.)
        higher_is_better: Direction of the metric.

    Returns:
        The mean, in the unit of the metric.
    """
    count = max(1, int(WORST_FRACTION * len(scores) + 1e-9))
    ordered = np.sort(scores)
    return float((ordered[:count] if higher_is_better else ordered[-count:]).mean())
