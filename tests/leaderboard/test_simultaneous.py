"""Intervals at any level: coverage, agreement with Student's, what would have been seen."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some
from scipy import stats

from pnnbench.leaderboard.claims import read_claims
from pnnbench.leaderboard.resolution import POWER
from pnnbench.leaderboard.simultaneous import correlation_bounds, mean_bounds

LEVEL = 0.99


def drawn(rng, seeds: int, devices: int, spread: tuple[float, float, float]) -> np.ndarray:
    a, b, c = spread
    return (
        a * rng.normal(size=(seeds, 1))
        + b * rng.normal(size=(1, devices))
        + c * rng.normal(size=(seeds, devices))
    )


def test_without_devices_it_is_students_interval() -> None:
    values = np.array([[1.0], [2.5], [0.5], [3.0]])
    found = mean_bounds(values, LEVEL)
    low, high = stats.t.interval(LEVEL, 3, values.mean(), stats.sem(values.ravel()))
    assert (found.low, found.high) == pytest.approx((low, high))
    assert mean_bounds(values[:1], LEVEL) is None


@pytest.mark.parametrize("spread", [(1, 0, 0.1), (0, 1, 0.1), (1, 1, 0), (0.1, 0.1, 1)])
@pytest.mark.parametrize("seeds", [3, pytest.param(10, marks=pytest.mark.slow)])
def test_it_covers_at_least_as_often_as_it_says(seeds: int, spread) -> None:
    rng = np.random.default_rng([seeds, *(int(10 * s) for s in spread)])
    trials = 1000
    inside = 0
    for _ in range(trials):
        found = mean_bounds(drawn(rng, seeds, 20, spread), LEVEL)
        inside += found.low <= 0.0 <= found.high
    assert inside / trials >= LEVEL - 3 * np.sqrt(LEVEL * (1 - LEVEL) / trials)


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [3, 10])
def test_claims_of_equal_rows_get_a_wrong_verdict_in_at_most_a_twentieth_of_files(
    seeds: int,
) -> None:
    """All tests of the file that ships at once, half of them on devices, half without."""
    claims, trials = read_claims(), 200
    rng = np.random.default_rng(seeds)
    wrong = 0
    for _ in range(trials):
        found = [
            mean_bounds(drawn(rng, seeds, devices, (1.0, own, 0.5)), claims.level)
            for i in range(claims.family)
            for devices, own in [(20, i % 3) if i % 2 else (1, 0)]
        ]
        wrong += any(not bounds.low <= 0.0 <= bounds.high for bounds in found)
    error = 1.0 - claims.confidence
    assert wrong / trials <= error + 3 * np.sqrt(error * (1 - error) / trials)


def test_what_would_have_been_seen_is_seen_that_often() -> None:
    rng = np.random.default_rng(5)
    truth = mean_bounds(drawn(rng, 10, 400, (1.0, 0.0, 0.5)), LEVEL)
    sizes = [mean_bounds(drawn(rng, 10, 20, (1.0, 0.0, 0.5)), LEVEL).seen for _ in range(300)]
    effect = float(np.median(sizes))
    assert truth.seen == pytest.approx(effect, rel=0.8)
    seen = [
        mean_bounds(effect + drawn(rng, 10, 20, (1.0, 0.0, 0.5)), LEVEL).low > 0.0
        for _ in range(1500)
    ]
    assert np.mean(seen) == pytest.approx(POWER, abs=0.1)


@given(
    shift=some.floats(-50, 50),
    scale=some.floats(0.01, 100),
    seed=some.integers(0, 10_000),
    level=some.floats(0.5, 0.9999),
)
def test_it_moves_with_the_values_and_widens_with_the_level(shift, scale, seed, level) -> None:
    values = drawn(np.random.default_rng(seed), 4, 5, (1.0, 1.0, 1.0))
    one, other = mean_bounds(values, level), mean_bounds(shift + scale * values, level)
    assert other.low == pytest.approx(shift + scale * one.low, rel=1e-9, abs=1e-6)
    assert other.high == pytest.approx(shift + scale * one.high, rel=1e-9, abs=1e-6)
    wider = mean_bounds(values, (1 + level) / 2)
    assert wider.low <= one.low <= one.mean <= one.high <= wider.high
    swapped = mean_bounds(-values, level)
    assert (swapped.low, swapped.high) == pytest.approx((-one.high, -one.low))


@pytest.mark.parametrize("rho", [-1.0, -0.6, 0.0, 0.9, 1.0])
def test_a_correlation_of_few_pairs_is_no_proof(rho: float) -> None:
    found = correlation_bounds(rho, 6, 0.999)
    assert -1.0 <= found.low <= found.high <= 1.0
    assert found.low < 0.0 < found.high
    assert correlation_bounds(rho, 4, 0.95) is None
    mirrored = correlation_bounds(-rho, 6, 0.999)
    assert (mirrored.low, mirrored.high) == pytest.approx((-found.high, -found.low))
    many = correlation_bounds(rho, 400, 0.999)
    assert many.high - many.low < found.high - found.low
