"""Whether sharpness tells who is robust, between rows and within them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from pnnbench.leaderboard.sharpness import Pairs, between, correlations, within


def grid(x: np.ndarray, y: np.ndarray) -> Pairs:
    """Jobs of all rows and seeds, shapes (n_rows, n_seeds)."""
    rows, seeds = np.indices(x.shape)
    labels = tuple(f"row {i}" for i in rows.ravel())
    return Pairs(labels, tuple(seeds.ravel().tolist()), np.stack([x.ravel(), y.ravel()]))


def drawn(rng: np.random.Generator, rows: int, seeds: int, shared: float, c: float) -> Pairs:
    """Jobs whose two figures correlate by c within rows; part of it is common to a seed."""

    def pair(shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        first, second = rng.normal(size=(2, *shape))
        return first, c * first + math.sqrt(1 - c * c) * second

    of_seed, own = pair((1, seeds)), pair((rows, seeds))
    x, y = (
        rng.normal(size=(rows, 1)) + math.sqrt(shared) * a + math.sqrt(1 - shared) * b
        for a, b in zip(of_seed, own, strict=True)
    )
    return grid(x, y)


def test_a_paradox_is_told_apart() -> None:
    """Within each row up, from row to row down: Simpson's."""
    row, own = 10.0 * np.arange(5.0)[:, None], np.random.default_rng(0).uniform(size=(5, 6))
    pairs = grid(row + own, -row + own)
    found, rows = within(pairs), between(pairs)
    assert (rows["rho"], rows["n"]) == (pytest.approx(-1.0), 5)
    assert rows["low"] <= rows["rho"] < rows["high"] < 0.0
    assert (found["rho"], found["n"]) == (pytest.approx(1.0), 30)
    assert 0.9 < found["low"] < found["rho"] <= found["high"]


def test_within_rows_is_the_rank_correlation_of_what_is_left() -> None:
    pairs = drawn(np.random.default_rng(1), 4, 7, 0.5, -0.6)
    x, y = (column.reshape(4, 7) for column in pairs.values)
    left = [(each - each.mean(axis=1, keepdims=True)).ravel() for each in (x, y)]
    assert within(pairs)["rho"] == pytest.approx(stats.spearmanr(*left).statistic)
    means = [each.mean(axis=1) for each in (x, y)]
    assert between(pairs)["rho"] == pytest.approx(stats.spearmanr(*means).statistic)


@pytest.mark.parametrize(("rows", "seeds"), [(5, 3), (7, 10), (24, 5)])
@pytest.mark.parametrize("shared", [0.0, 0.5])
@pytest.mark.parametrize("c", [0.0, -0.5])
def test_intervals_cover_also_where_rows_share_their_seeds(
    rows: int, seeds: int, shared: float, c: float
) -> None:
    rng, true = np.random.default_rng(rows * seeds), 6 / math.pi * math.asin(c / 2)
    cases, covered = 120, 0
    for _ in range(cases):
        found = within(drawn(rng, rows, seeds, shared, c))
        covered += found["low"] <= true <= found["high"]
    assert covered / cases >= 0.95 - 3.0 * math.sqrt(0.95 * 0.05 / cases)


def test_a_row_of_one_job_says_nothing_within() -> None:
    pairs = drawn(np.random.default_rng(2), 5, 4, 0.0, 0.3)
    extra = np.array([[100.0], [-100.0]])
    more = Pairs((*pairs.rows, "one"), (*pairs.seeds, 9), np.hstack([pairs.values, extra]))
    assert within(more)["rho"] == within(pairs)["rho"]
    assert within(more)["n"] == 20
    assert between(more)["n"] == 6


@pytest.mark.parametrize(
    ("rows", "seeds", "low"), [(1, 4, None), (2, 5, None), (3, 2, None), (3, 3, True), (4, 1, None)]
)
def test_few_rows_and_seeds_have_no_interval(rows: int, seeds: int, low: bool | None) -> None:
    pairs = drawn(np.random.default_rng(3), rows, seeds, 0.0, 0.0)
    found = within(pairs)
    assert (found["low"] is None) == (low is None)
    assert between(pairs)["low"] is None
    assert (found["rho"] is None) == (rows * seeds < 3 or seeds == 1)


def job(label: str, seed: int, value: Any) -> dict[str, Any]:
    method = {"label": label}
    return {"job": {"method": method, "seed": seed}, "sharpness": {"lambda_max": value}}


def test_means_of_positive_figures_are_geometric() -> None:
    values = {"a": [1e-3, 1e3], "b": [2.0, 2.0], "c": [3.0, 3.0]}
    score = {"a": 3.0, "b": 2.0, "c": 1.0}
    jobs = [
        (job(label, seed, value), score[label])
        for label, both in values.items()
        for seed, value in enumerate(both)
    ]
    assert correlations(jobs, True)["lambda_max"]["rows"]["rho"] == pytest.approx(-1.0)
    assert correlations(jobs, False)["lambda_max"]["rows"]["rho"] == pytest.approx(1.0)
    shifted = [(job(r["job"]["method"]["label"], r["job"]["seed"], -5.0), s) for r, s in jobs[:1]]
    plain = correlations([*shifted, *jobs[1:]], True)["lambda_max"]["rows"]["rho"]
    assert plain == pytest.approx(0.5)  # arithmetic means 497.5, 2, 3 against 3, 2, 1
