from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as hs
from hypothesis.extra.numpy import arrays
from scipy import stats

from pnnbench.leaderboard import statistics as st

finite = hs.floats(-1e3, 1e3, allow_nan=False, width=64)
layouts = hs.tuples(hs.integers(2, 5), hs.integers(2, 8)).flatmap(
    lambda shape: arrays(np.float64, shape, elements=finite)
)


@pytest.mark.parametrize("df", [1, 2, 4, 9, 19, 38, 10_000])
@pytest.mark.parametrize("level", [0.5, 0.05, 1e-3, 1e-9])
def test_student_is_the_two_sided_quantile(df: float, level: float) -> None:
    assert float(st.student(df, level)) == pytest.approx(stats.t.isf(level / 2, df), rel=1e-6)


@given(hs.lists(finite, min_size=2, max_size=12))
def test_one_way_is_scipys_t_interval(values: list[float]) -> None:
    interval = st.one_way(values)
    if np.std(values) < 1e-9:
        assert interval.low == pytest.approx(interval.mean, abs=1e-7)
        return
    low, high = stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))
    assert interval.low == pytest.approx(low, rel=1e-9, abs=1e-9)
    assert interval.high == pytest.approx(high, rel=1e-9, abs=1e-9)
    assert interval.spans == ("seeds",)


def test_one_value_has_no_interval_and_none_has_no_mean() -> None:
    assert st.one_way([0.5]) == st.Interval(0.5, None, None, ())
    assert st.one_way([]) == st.NOTHING
    assert st.crossed([[0.5]]) == st.Interval(0.5, None, None, ())


def test_log_interval_is_the_t_interval_of_the_logarithms() -> None:
    values = [1.0, 2.5, 9.0]
    low, high = stats.t.interval(0.95, 2, np.log(values).mean(), stats.sem(np.log(values)))
    interval = st.one_way_log(values)
    assert interval.mean == pytest.approx(stats.gmean(values))
    assert (interval.low, interval.high) == pytest.approx((math.exp(low), math.exp(high)))
    assert interval.low > 0
    # No logarithm: an untrained network may have a largest eigenvalue below zero.
    assert st.one_way_log([-1.0, 2.0, 3.0]) == st.one_way([-1.0, 2.0, 3.0])


def test_crossed_says_which_axes_it_spans() -> None:
    x = np.random.default_rng(0).normal(size=(3, 20))
    assert st.crossed(x).spans == ("seeds", "devices")
    assert st.crossed(x[:1]).spans == ("devices",)
    assert st.crossed(x[:1]) == st.one_way(x[0], axis="devices")
    assert st.crossed(x[:, :1]) == st.one_way(x[:, 0], axis="seeds")


def test_crossed_by_hand() -> None:
    """A 2 x 3 layout worked on paper: MS_S = 24, MS_D = 49/6, MS_E = 1/2."""
    x = np.array([[1.0, 2.0, 4.0], [4.0, 6.0, 9.0]])
    per_seed, per_device, mean = x.mean(axis=1), x.mean(axis=0), x.mean()
    ms_s = 3 * ((per_seed - mean) ** 2).sum()
    ms_d = 2 * ((per_device - mean) ** 2).sum() / 2
    ms_e = ((x - per_seed[:, None] - per_device + mean) ** 2).sum() / 2
    assert (ms_s, ms_d, ms_e) == pytest.approx((24.0, 8.166667, 0.5), rel=1e-6)
    t_s, t_d, t_e = stats.t.ppf(0.975, [1, 2, 2])
    left = t_s**2 * (ms_s - 0.8 * ms_e) + t_d**2 * (ms_d - 0.8 * ms_e) + t_e**2 * ms_e
    half = math.sqrt(left / 6)
    interval = st.crossed(x)
    assert interval.mean == pytest.approx(mean)
    assert interval.high - interval.mean == pytest.approx(half, rel=1e-9)


def test_crossed_matches_one_way_when_only_devices_vary() -> None:
    devices = np.random.default_rng(1).normal(size=20)
    interval = st.crossed(np.tile(devices, (3, 1)))
    alone = st.one_way(devices, axis="devices")
    assert (interval.low, interval.high) == pytest.approx((alone.low, alone.high), rel=1e-9)


@pytest.mark.parametrize("shape", [(3,), (2, 2, 2)])
def test_crossed_refuses_other_shapes(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="seed, device"):
        st.crossed(np.zeros(shape))
    with pytest.raises(ValueError, match="finite"):
        st.crossed([[0.0, math.nan], [1.0, 2.0]])


@settings(max_examples=60)
@given(layouts, hs.floats(-5, 5), hs.floats(0.1, 10))
def test_crossed_follows_shift_scale_and_order(x: np.ndarray, shift: float, scale: float) -> None:
    base = st.crossed(x)
    moved = st.crossed(scale * x + shift)
    tolerance = 1e-6 * (1 + np.abs(x).max()) * (scale + 1)
    assert moved.low == pytest.approx(scale * base.low + shift, abs=tolerance)
    assert moved.high == pytest.approx(scale * base.high + shift, abs=tolerance)
    shuffled = st.crossed(x[::-1, ::-1])
    assert shuffled.low == pytest.approx(base.low, abs=tolerance)
    assert base.low <= base.mean + 1e-9
    assert base.high >= base.mean - 1e-9


@pytest.mark.parametrize(
    ("spread", "shape"),
    [
        ((1.0, 1.0, 1.0), (3, 20)),
        ((1.0, 0.2, 1.0), (3, 20)),
        ((0.1, 1.0, 1.0), (3, 20)),
        ((1.0, 0.0, 0.1), (3, 20)),
        ((0.0, 1.0, 0.1), (5, 20)),
    ],
)
def test_the_crossed_interval_covers_the_truth_in_95_of_100_cases(
    spread: tuple[float, float, float], shape: tuple[int, int]
) -> None:
    seeds, devices = shape
    rng = np.random.default_rng(20_260)
    trials = 2000
    x = (
        spread[0] * rng.normal(size=(trials, seeds, 1))
        + spread[1] * rng.normal(size=(trials, 1, devices))
        + spread[2] * rng.normal(size=(trials, seeds, devices))
    )
    covered = 0
    for layout in x:
        interval = st.crossed(layout)
        covered += interval.low <= 0.0 <= interval.high
    assert 0.92 <= covered / trials <= 0.98
    # Treating all cells as independent would claim far too much.
    naive = [abs(layout.mean()) <= 2 * layout.std() / math.sqrt(layout.size) for layout in x]
    assert np.mean(naive) < 0.85


def scores(values: np.ndarray, seeds: tuple[int, ...] | None = None) -> st.Scores:
    n_seeds, n_devices = values.shape
    return st.Scores(seeds or tuple(range(n_seeds)), tuple(range(1000, 1000 + n_devices)), values)


def test_pairing_sees_a_difference_that_device_spread_would_hide() -> None:
    rng = np.random.default_rng(3)
    common = 0.05 * rng.normal(size=(1, 20))
    a = scores(0.80 + common + 0.001 * rng.normal(size=(3, 20)))
    b = scores(0.79 + common + 0.001 * rng.normal(size=(3, 20)))
    apart_a, apart_b = st.crossed(a.values), st.crossed(b.values)
    assert apart_a.low < apart_b.high
    difference = st.paired_difference(a, b)
    assert difference.low > 0.008
    assert difference.high < 0.012


def test_pairing_uses_the_cells_that_both_have() -> None:
    values = np.arange(12.0).reshape(3, 4)
    a = st.Scores((0, 1, 2), (7, 8, 9, 10), values)
    b = st.Scores((2, 0), (10, 8), np.array([[11.0, 9.0], [3.0, 1.0]]))
    assert st.paired_difference(a, b) == st.Interval(0.0, 0.0, 0.0, ("seeds", "devices"))
    nobody = st.Scores((5,), (7,), np.zeros((1, 1)))
    assert st.paired_difference(a, nobody) == st.NOTHING


coarse = hs.lists(hs.tuples(hs.integers(0, 6), hs.integers(0, 6)), min_size=5, max_size=30).filter(
    lambda pairs: len({x for x, _ in pairs}) > 1 and len({y for _, y in pairs}) > 1
)


@given(coarse)
def test_spearman_is_scipys_ties_included(pairs: list[tuple[int, int]]) -> None:
    x, y = zip(*pairs, strict=True)
    expected = stats.spearmanr(x, y).statistic
    assert st.spearman(x, y) == pytest.approx(expected, abs=1e-12)


def test_spearman_says_nothing_where_there_is_nothing_to_say() -> None:
    assert st.spearman([1, 2], [2, 1]) is None
    assert st.spearman([1, 1, 1], [1, 2, 3]) is None
    assert st.spearman([1, 2, 3], [3, 2, 1]) == -1.0
    with pytest.raises(ValueError, match="lengths differ"):
        st.spearman([1, 2, 3], [1, 2])
    assert st.average_ranks([10, 20, 10, 5]).tolist() == stats.rankdata([10, 20, 10, 5]).tolist()


def test_an_interval_of_a_logarithm_stays_finite() -> None:
    found = st.one_way_log([1e-50, 1e50])
    assert found.mean == pytest.approx(1.0)
    assert (found.low, found.high) == (pytest.approx(1e-100), pytest.approx(1e100))
