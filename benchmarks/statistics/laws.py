"""Boards that are drawn: scores of rows over seeds and devices, in points."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Law:
    """How the scores of a board scatter about the means of its rows.

    Attributes:
        name: What it stands for.
        seeds: Spread between seeds of each row, in points: the first and the last row's, the others
            between them in equal ratios.
        devices: Spread between devices of each row, likewise.
        both: Spread of seed and device together, likewise.
        skewness: Of the seeds of each row; 0 for normal ones, else a shifted gamma law.
        alike: Correlation of the seeds of each even row and the one after it.
    """

    name: str
    seeds: tuple[float, float]
    devices: tuple[float, float]
    both: tuple[float, float]
    skewness: float = 0.0
    alike: float = 0.0


EQUAL_BOARDS = (
    Law("equal spreads", (2, 2), (1, 1), (1, 1)),
    Law("devices dominate", (0.4, 0.4), (6, 6), (1, 1)),
    Law("seeds dominate", (4, 4), (0, 0), (0.2, 0.2)),
    Law("seed and device together dominate", (0, 0), (0, 0), (4, 4)),
    Law("unequal spreads, 0.2 to 8", (0.2, 8), (0.2, 4), (0.2, 4)),
    Law("pairs of rows that are nearly the same", (2, 2), (1, 1), (0.1, 0.1), alike=0.999),
    Law("skewed seeds (1), equal spreads", (2, 2), (1, 1), (1, 1), skewness=1.0),
    Law("skewed seeds (1), unequal spreads", (0.2, 8), (0.2, 4), (0.2, 4), skewness=1.0),
    Law("skewed seeds (2), unequal spreads", (0.2, 8), (0.2, 4), (0.2, 4), skewness=2.0),
)
"""Laws of boards whose rows are all equal."""
SINGLE = (
    Law("seeds alone", (1, 1), (0, 0), (0.001, 0.001)),
    Law("seeds, together a half", (1, 1), (0, 0), (0.5, 0.5)),
    Law("seeds and together", (1, 1), (0, 0), (1, 1)),
    Law("seeds, devices, together", (1, 1), (1, 1), (1, 1)),
    Law("devices twice seeds", (1, 1), (2, 2), (1, 1)),
    Law("devices, little of seeds", (0.3, 0.3), (1, 1), (1, 1)),
    Law("together three times seeds", (1, 1), (0, 0), (3, 3)),
    Law("together ten times seeds", (0.2, 0.2), (0, 0), (2, 2)),
    Law("devices alone", (0, 0), (1, 1), (0.1, 0.1)),
)
"""Ratios of the spreads of one layout."""


def draw(law: Law, shape: tuple[int, int, int, int], rng: np.random.Generator) -> Array:
    """Draws boards whose rows have the mean 0.

    Args:
        law: How they scatter.
        shape: Boards, rows, seeds, devices.
        rng: Random numbers.

    Returns:
        Scores in points, of that shape.
    """
    boards, rows, seeds, devices = shape

    def spread(ends: tuple[float, float]) -> Array:
        if ends[0] == ends[1]:
            return np.full((rows, 1, 1), float(ends[0]))
        return np.geomspace(*ends, rows)[:, None, None]

    own = _seeds(law.skewness, (boards, rows, seeds, 1), rng)
    if law.alike:
        twin = own.copy()
        twin[:, 1::2] = own[:, : 2 * (rows // 2) : 2]
        own = np.sqrt(law.alike) * twin + np.sqrt(1.0 - law.alike) * _seeds(
            law.skewness, (boards, rows, seeds, 1), rng
        )
    scores: Array = spread(law.seeds) * own
    scores = scores + spread(law.devices) * rng.normal(size=(boards, rows, 1, devices))
    return scores + spread(law.both) * rng.normal(size=(boards, rows, seeds, devices))


def _seeds(skewness: float, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Standardised effects of seeds."""
    if skewness == 0.0:
        return rng.normal(size=shape)
    k = 4.0 / skewness**2
    return (rng.gamma(k, size=shape) - k) / np.sqrt(k)
