"""Whether sharpness tells who is robust: over all jobs, between rows, and within rows.

Over jobs, a correlation mixes two questions. Rows differ in method, step and length, each of which
may move sharpness and robustness together; within a row nothing but the seed differs. So three
figures: over all jobs, without an interval, since jobs of one row are alike; between the means of
the rows; and over what is left of each job when the mean of its row is taken off.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pnnbench.leaderboard import statistics as st
from pnnbench.leaderboard.grid import Record
from pnnbench.leaderboard.simultaneous import correlation_bounds, fisher
from pnnbench.leaderboard.statistics import Array

SHARPNESS_FIGURES = (
    "lambda_max",
    "lambda_max_calibrated",
    "common_mode",
    "ball_increase",
    "device_increase",
    "train_loss",
)
"""Figures of a record that are correlated with robustness; the others are bounds and settings."""


AT_GUESSING, NO_MINIMUM, TRAINING_DEVICE = "at guessing", "at no minimum", "on a training device"
"""Why the sharpness of a record is not held against that of others."""


def incomparable(sharpness: Mapping[str, Any]) -> str | None:
    """Why the sharpness of a record is not to be held against that of others.

    Not where the loss never left that of guessing (flat because nothing was learnt), not at a point
    that is no minimum or of which that is not known, and not on a training device: the others stand
    at the ideal one, and each device is a point of its own.

    Args:
        sharpness: The figures of a record. One that does not say at which point they hold comes
            from a protocol without marks, and counts.

    Returns:
        The reason; None where they are comparable.
    """
    if sharpness.get("at_guessing"):
        return AT_GUESSING
    if "point" not in sharpness:
        return NO_MINIMUM if sharpness.get("is_minimum") == 0 else None
    if not sharpness.get("is_minimum"):
        return NO_MINIMUM
    return None if sharpness["point"]["device_seed"] is None else TRAINING_DEVICE


@dataclass(frozen=True)
class Pairs:
    """A figure of sharpness and the robust score, more is better, of some jobs.

    Attributes:
        rows: Label of the row of each job.
        seeds: Its seed.
        values: Figure and score, shape (2, n_jobs).
    """

    rows: tuple[str, ...]
    seeds: tuple[int, ...]
    values: Array

    def without(self, seed: int) -> Pairs:
        """The jobs of all other seeds."""
        kept = [i for i, other in enumerate(self.seeds) if other != seed]
        rows, seeds = tuple(self.rows[i] for i in kept), tuple(self.seeds[i] for i in kept)
        return Pairs(rows, seeds, self.values[:, kept])

    def means(self) -> dict[str, Array]:
        """Row to its means, shape (2,)."""
        rows = np.asarray(self.rows)
        return {row: self.values[:, rows == row].mean(axis=1) for row in dict.fromkeys(self.rows)}

    def left_over(self) -> Array:
        """What is left of jobs without the mean of their row, (2, n), of rows with several jobs."""
        means = self.means()
        several = [i for i, row in enumerate(self.rows) if self.rows.count(row) > 1]
        taken = [means[self.rows[i]] for i in several]
        return self.values[:, several] - np.asarray(taken).reshape(-1, 2).T


def between(pairs: Pairs) -> dict[str, Any]:
    """Rank correlation of the means of the rows, one point each.

    Args:
        pairs: The jobs.

    Returns:
        ``rho``, ``low`` and ``high`` at 95 % by `correlation_bounds`, and ``n`` rows; None for
        what so few rows do not give.
    """
    means = list(pairs.means().values())
    rho = st.spearman(*np.asarray(means).reshape(-1, 2).T)
    bounds = None if rho is None else correlation_bounds(rho, len(means), st.CONFIDENCE)
    ends = (None, None) if bounds is None else (bounds.low, bounds.high)
    return {"rho": rho, "low": ends[0], "high": ends[1], "n": len(means)}


def within(pairs: Pairs) -> dict[str, Any]:
    """Rank correlation over what is left of jobs without the mean of their row.

    Rows share their seeds, and with them initial weights and order of the data, so that jobs are
    not independent: the interval is a jackknife over seeds, by Student's t on Fisher's scale.
    Simulated with 5 to 24 rows and 3 to 10 seeds, of independent jobs and of such that share half
    of their variance, 95 % intervals cover in 93 to 99 of 100 cases; those that take jobs as
    independent in 56 to 98.

    Args:
        pairs: The jobs.

    Returns:
        ``rho``, ``low`` and ``high`` at 95 %, and ``n`` jobs of rows with several; None for what
        fewer than three seeds or rows, or a figure that is one for all, do not give.
    """
    left = pairs.left_over()
    rho = st.spearman(*left)
    result = {"rho": rho, "low": None, "high": None, "n": left.shape[1]}
    seeds = sorted(set(pairs.seeds))
    # With one row or two a correlation has few values, and those without a seed may be all alike.
    several = {row for row in pairs.rows if pairs.rows.count(row) > 1}
    if rho is None or len(seeds) < 3 or len(several) < 3:
        return result
    others = [pairs.without(seed).left_over() for seed in seeds]
    found = [(st.spearman(*each), each.shape[1]) for each in others]
    if any(value is None for value, _ in found):
        return result
    spread = np.asarray([fisher(value, n) for value, n in found if value is not None])
    error = math.sqrt((len(seeds) - 1) / len(seeds) * float(((spread - spread.mean()) ** 2).sum()))
    half, centre = float(st.student(len(seeds) - 1)) * error, fisher(rho, left.shape[1])
    low, high = math.tanh(centre - half), math.tanh(centre + half)
    return result | {"low": min(rho, low), "high": max(rho, high)}


def correlations(
    jobs: Sequence[tuple[Record, float]], higher_is_better: bool
) -> dict[str, dict[str, Any]]:
    """Rank correlation of each sharpness figure with the robust score.

    Only figures at a minimum on the ideal device are compared, see `incomparable`; one that a
    record has not, because it is a gap or not defined on its platform, is skipped. Means of figures
    that are positive are geometric.

    Args:
        jobs: Records with their scores.
        higher_is_better: Direction of the metric; the sign is that of a metric of which more is
            better.

    Returns:
        Name of the figure to ``rho`` over all ``n_jobs``, and to what `between` and `within` give
        under ``rows`` and ``within``.
    """
    figures: dict[str, list[tuple[str, int, float, float]]] = {}
    for record, score in jobs:
        goodness = score if higher_is_better else -score
        sharpness, job = record.get("sharpness", {}), record["job"]
        if incomparable(sharpness):
            continue
        for name in SHARPNESS_FIGURES:
            value = sharpness.get(name)
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                place = (job["method"]["label"], job["seed"])
                figures.setdefault(name, []).append((*place, float(value), goodness))
    result = {}
    for name in sorted(figures):
        rows, seeds, *columns = zip(*figures[name], strict=True)
        values = np.asarray(columns, dtype=np.float64)
        rho = st.spearman(*values)
        if rho is None:
            continue
        if (values[0] > 0.0).all():
            values[0] = np.log(values[0])
        pairs = Pairs(rows, seeds, values)
        result[name] = {
            "rho": rho,
            "n_jobs": len(rows),
            "rows": between(pairs),
            "within": within(pairs),
        }
    return result
