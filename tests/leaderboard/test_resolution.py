from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pnnbench.leaderboard import comparisons as cmp
from pnnbench.leaderboard import resolution as res
from pnnbench.leaderboard import statistics as st

SPREADS = [(1.0, 0.0, 1.0), (0.6, 4.0, 1.0), (0.0, 0.0, 2.0)]


def drawn(
    spread: tuple[float, float, float], shape: tuple[int, int, int], seed: int = 5
) -> cmp.Effects:
    rng = np.random.default_rng(seed)
    n, seeds, devices = shape
    x = (
        spread[0] * rng.normal(size=(n, seeds, 1))
        + spread[1] * rng.normal(size=(n, 1, devices))
        + spread[2] * rng.normal(size=(n, seeds, devices))
    )
    found, cells = st.mean_squares(x), seeds * devices
    return cmp.Effects(
        found.mean, found.seeds / cells, found.devices / cells, found.both / cells,
        np.full(n, seeds - 1.0), np.full(n, devices - 1.0), np.ones(n, dtype=bool),
    )  # fmt: skip


def true_spread(spread: tuple[float, float, float], seeds: int, devices: int) -> res.Spread:
    s, d, e = (x * x for x in spread)
    cells = seeds * devices
    return res.Spread(
        seeds=np.array([s / seeds + e / cells]),
        devices=np.array([d / devices + e / cells]),
        mean=np.array([s / seeds + d / devices + e / cells]),
        df_seeds=np.array([seeds - 1.0]),
        df_devices=np.array([devices - 1.0]),
    )


@pytest.mark.parametrize("spread", SPREADS)
@pytest.mark.parametrize("seeds", [3, 5, 10])
@pytest.mark.parametrize("level", [0.05, 0.05 / 28])
def test_power_is_that_of_a_simulation(
    spread: tuple[float, float, float], seeds: int, level: float
) -> None:
    found = drawn(spread, (20_000, seeds, 20))
    known = true_spread(spread, seeds, 20)
    half = float(np.median(cmp.half_widths(found, level)))
    for difference in (0.5 * half, half, 1.5 * half):
        real = (found.mean + difference > cmp.half_widths(found, level)).mean()
        assert res.power(known, difference, level)[0] == pytest.approx(real, abs=0.015)


@pytest.mark.parametrize("spread", SPREADS)
@pytest.mark.parametrize("seeds", [3, 10])
def test_the_smallest_difference_is_seen_in_80_of_100_cases(
    spread: tuple[float, float, float], seeds: int
) -> None:
    level = 0.05 / 28
    one = res.typical(drawn(spread, (2001, seeds, 20)))
    assert one is not None
    smallest = res.smallest(one, level)[0]
    fresh = drawn(spread, (20_000, seeds, 20), seed=6)
    seen = (fresh.mean + smallest > cmp.half_widths(fresh, level)).mean()
    assert seen == pytest.approx(0.80, abs=0.03)


@pytest.mark.parametrize("devices", [20, 50])
def test_so_many_seeds_show_a_difference_in_80_of_100_cases(devices: int) -> None:
    spread, level = (1.0, 0.5, 0.5), 0.05 / 28
    one = res.typical(drawn(spread, (2001, 5, 20)))
    assert one is not None
    seeds = int(res.seeds_for(one, level, 1.5, None if devices == 20 else devices)[0])
    fresh = drawn(spread, (10_000, seeds, devices), seed=7)
    assert (fresh.mean + 1.5 > cmp.half_widths(fresh, level)).mean() >= 0.77
    fewer = drawn(spread, (10_000, seeds - 1, devices), seed=8)
    assert (fewer.mean + 1.5 > cmp.half_widths(fewer, level)).mean() <= 0.83


def test_seeds_cannot_make_up_for_devices() -> None:
    one = res.typical(drawn((0.1, 8.0, 0.1), (501, 10, 20)))
    assert one is not None
    assert np.isinf(res.seeds_for(one, 0.05 / 28, 1.0, None)[0])


def test_a_table_that_knows_no_variance_states_nothing() -> None:
    found = drawn((1.0, 1.0, 1.0), (3, 3, 20))
    unknown = replace(found, known=np.zeros(3, dtype=bool))
    seen = res.resolution(unknown, None, devices=20, share=True)
    assert seen.as_dict() == {
        "power": 0.8,
        "pairs": 3,
        "smallest_difference": None,
        "smallest_difference_to_baseline": None,
        "seeds_for_one_point": [],
    }
    whole = res.resolution(found, found, devices=20, share=False)
    assert whole.smallest == whole.baseline
    assert whole.point == {}
    assert list(res.resolution(found, None, devices=20, share=True).point) == [20, 50]
    assert list(res.resolution(found, None, devices=100, share=True).point) == [100]
