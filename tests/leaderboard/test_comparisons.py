from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as hs
from scipy import stats

from pnnbench.leaderboard import comparisons as cmp
from pnnbench.leaderboard import statistics as st


def scores(values: object, seeds: tuple[int, ...] | None = None) -> st.Scores:
    x = np.asarray(values, dtype=np.float64)
    devices = tuple(range(1000, 1000 + x.shape[1]))
    return st.Scores(seeds or tuple(range(x.shape[0])), devices, x)


def against_zero(*layouts: np.ndarray) -> cmp.Effects:
    return cmp.effects([(scores(x), scores(np.zeros_like(x))) for x in layouts])


def test_half_width_by_hand() -> None:
    """A 2 x 3 layout worked on paper: MS_S = 24, MS_D = 49/6."""
    found = against_zero(np.array([[1.0, 2.0, 4.0], [4.0, 6.0, 9.0]]))
    t_s, t_d = stats.t.ppf(1 - 0.01 / 2, [1, 2])
    expected = math.sqrt((t_s**2 * 24.0 + t_d**2 * 49.0 / 6.0) / 6.0)
    assert cmp.half_widths(found, 0.01) == pytest.approx([expected])


def test_where_one_axis_varies_alone_it_is_the_t_test() -> None:
    seeds = np.array([0.3, 0.5, 0.9, 0.2])
    hardly = 1e-7 * np.arange(5.0)[:, None]  # none at all would say nothing
    found = against_zero(np.tile(seeds[:, None], (1, 20)), seeds[None, :] + hardly)
    expected = stats.ttest_1samp(seeds, 0.0)
    assert cmp.p_values(found) == pytest.approx([expected.pvalue] * 2, rel=1e-4)


@settings(max_examples=50)
@given(hs.integers(0, 2**31), hs.integers(2, 5), hs.integers(2, 6), hs.floats(0.01, 100))
def test_the_p_value_is_the_level_that_reaches_zero(
    seed: int, n_seeds: int, n_devices: int, scale: float
) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(3, n_seeds, n_devices)) + rng.normal(size=(3, 1, 1))
    found = against_zero(*x)
    p = cmp.p_values(found)
    assert ((p > 0) & (p <= 1)).all()
    assert cmp.half_widths(found, p) == pytest.approx(np.abs(found.mean), rel=1e-6)
    # Neither unit nor direction of the scores matters.
    assert cmp.p_values(against_zero(*(-scale * x))) == pytest.approx(p, rel=1e-6)


def test_one_seed_or_one_device_of_many_decides_nothing() -> None:
    one_seed, one_device = np.full((1, 20), 0.5), np.full((4, 1), 0.5)
    found = against_zero(one_seed, one_device)
    assert not found.known.any()
    assert cmp.p_values(found).tolist() == [1.0, 1.0]
    assert np.isinf(cmp.half_widths(found, 0.05)).all()
    # Where a workload has no devices at all, seeds are all there is.
    seeds = np.array([[0.3], [0.5], [0.9]])
    bare = st.Scores((0, 1, 2), (None,), seeds)
    zero = st.Scores((0, 1, 2), (None,), np.zeros((3, 1)))
    found = cmp.effects([(bare, zero)])
    assert cmp.p_values(found) == pytest.approx([stats.ttest_1samp(seeds[:, 0], 0.0).pvalue])


@pytest.mark.parametrize(("images", "seeds", "rows"), [(360, 2, 7), (360, 3, 14), (64, 2, 4)])
def test_ties_of_a_metric_with_few_values_are_no_order(images: int, seeds: int, rows: int) -> None:
    """Boards of equal rows without devices; a difference that comes twice has no spread by chance.

    Taken as known to 0, every second board of the first kind would show an order.
    """
    rng, boards, ordered, tied = np.random.default_rng(0), 300, 0, 0
    for _ in range(boards):
        made = [
            st.Scores(tuple(range(seeds)), (None,), rng.binomial(images, 0.9, (seeds, 1)) / images)
            for _ in range(rows)
        ]
        found = cmp.effects(list(itertools.combinations(made, 2)))
        tied += bool((~found.known & (found.mean != 0.0)).any())
        p = cmp.step_down(cmp.p_values(found), cmp.attainable(rows))
        ordered += bool((p <= cmp.FAMILY).any())
    assert tied > 0
    assert ordered <= boards * 0.05 + 4 * math.sqrt(boards * 0.05 * 0.95) * 0.5
    one, other = (st.Scores((0, 1), (None,), np.array([[v], [v]])) for v in (0.5, 0.75))
    assert st.paired_difference(other, one) == st.Interval(0.25)
    # How often one is better is counted, and needs no variance.
    (wins,) = cmp.superiority([(other, one)], 1.0)
    assert wins.share == wins.high == 1.0
    assert wins.low is not None
    assert st.paired_difference(one, one) == st.Interval(0.0, 0.0, 0.0, ("seeds",))


def test_rounding_is_no_difference_and_nothing_in_common_none() -> None:
    x = np.full((3, 4), 0.1 + 0.2)
    found = cmp.effects([(scores(x), scores(np.full((3, 4), 0.3)))])
    assert cmp.p_values(found).tolist() == [1.0]
    other = scores(x, seeds=(7, 8, 9))
    assert not cmp.effects([(scores(x), other)]).known.any()
    assert cmp.superiority([(scores(x), other)], 1.0) == [cmp.Superiority(None)]


def partitions(items: list[int]) -> list[list[list[int]]]:
    """All ways to put items into groups, by brute force."""
    if not items:
        return [[]]
    first, *rest = items
    found = []
    for groups in partitions(rest):
        found += [[*groups[:i], [first, *g], *groups[i + 1 :]] for i, g in enumerate(groups)]
        found.append([[first], *groups])
    return found


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 6])
def test_how_many_pairs_can_be_unequal(rows: int) -> None:
    counts = set()
    for groups in partitions(list(range(rows))):
        where = {i: k for k, group in enumerate(groups) for i in group}
        counts.add(sum(where[i] != where[j] for i, j in itertools.combinations(range(rows), 2)))
    assert set(cmp.attainable(rows)) == counts


ps = hs.lists(hs.floats(1e-9, 1.0), min_size=1, max_size=12)


@given(ps)
def test_step_down_stands_between_bonferroni_and_no_correction(values: list[float]) -> None:
    p = np.array(values)
    adjusted = cmp.step_down(p)
    assert (adjusted >= p - 1e-15).all()
    assert (adjusted <= np.minimum(1.0, len(p) * p) + 1e-12).all()
    assert adjusted.min() == pytest.approx(min(1.0, len(p) * p.min()))
    order = np.argsort(p, kind="stable")
    assert (np.diff(adjusted[order]) >= 0).all()
    # Never fewer than Holm says, whose constants do not promise the direction.
    holm = np.maximum.accumulate(p[order] * (len(p) - np.arange(len(p))))
    assert (adjusted[order] >= np.minimum(holm, 1.0) - 1e-12).all()


def test_step_down_by_hand() -> None:
    # Three rows: one unequal pair makes a second one unequal.
    assert cmp.attainable(3) == (0, 2, 3)
    assert cmp.step_down(np.array([0.04, 0.01, 0.02]), (0, 2, 3)) == pytest.approx(
        [0.08, 0.03, 0.04]
    )
    assert cmp.step_down(np.array([0.01, 0.02])) == pytest.approx([0.02, 0.03])


def test_what_follows_is_added_and_nothing_else() -> None:
    p = np.ones((4, 4))
    p[0, 1], p[1, 2], p[0, 3] = 0.01, 0.03, 0.2
    closed = cmp.closed(p)
    assert closed[0, 2] == 0.03
    assert (closed[0, 1], closed[1, 2], closed[0, 3]) == (0.01, 0.03, 0.2)
    assert closed[2, 3] == closed[1, 3] == 1.0
    assert (closed[np.tril_indices(4)] == 1.0).all()


@given(hs.integers(0, 2**31), hs.integers(2, 7))
def test_what_follows_is_the_best_of_all_ways_down(seed: int, n: int) -> None:
    p = np.triu(np.random.default_rng(seed).random((n, n)), 1) + np.tril(np.ones((n, n)))
    closed = cmp.closed(p)
    for i, j in itertools.combinations(range(n), 2):
        between = range(i + 1, j)
        ways = [
            max(p[a, b] for a, b in itertools.pairwise((i, *way, j)))
            for k in range(len(between) + 1)
            for way in itertools.combinations(between, k)
        ]
        assert closed[i, j] == min(ways)


@pytest.mark.parametrize("spread", [(1.0, 0.0, 0.001), (0.0, 1.0, 0.1), (1.0, 1.0, 1.0)])
def test_the_interval_covers_at_its_level_or_more_far_in_the_tail(
    spread: tuple[float, float, float],
) -> None:
    rng = np.random.default_rng(11)
    x = (
        spread[0] * rng.normal(size=(20_000, 3, 1))
        + spread[1] * rng.normal(size=(20_000, 1, 20))
        + spread[2] * rng.normal(size=(20_000, 3, 20))
    )
    squares = st.mean_squares(x)
    n = len(x)
    found = cmp.Effects(
        squares.mean, squares.seeds / 60, squares.devices / 60, squares.both / 60,
        np.full(n, 2.0), np.full(n, 19.0), np.ones(n, dtype=bool),
    )  # fmt: skip
    for level in (0.05, 0.01, 0.002):
        missed = (np.abs(found.mean) > cmp.half_widths(found, level)).mean()
        assert missed <= level + 3.0 * math.sqrt(level / n)


def test_superiority_is_the_share_of_cells_with_ties_as_half() -> None:
    a = scores([[1.0, 2.0], [3.0, 1.0], [5.0, 5.0]])
    b = scores([[1.0, 1.0], [4.0, 0.0], [2.0, 2.0]])
    (found,) = cmp.superiority([(a, b)], 1.0)
    assert found.share == pytest.approx((0.5 + 1 + 0 + 1 + 1 + 1) / 6)
    (back,) = cmp.superiority([(a, b)], -1.0)
    assert back.share == pytest.approx(1.0 - found.share)
    assert (back.low, back.high) == pytest.approx((1.0 - found.high, 1.0 - found.low))
    (one,) = cmp.superiority([(scores([[1.0, 2.0]]), scores([[0.0, 0.0]]))], 1.0)
    assert one == cmp.Superiority(1.0)


@pytest.mark.parametrize("n_seeds", [3, 10])
def test_where_all_cells_are_won_seeds_alone_count(n_seeds: int) -> None:
    won = np.ones((1, n_seeds, 20))
    share, low, high = cmp.win_interval(won)
    expected = stats.binomtest(n_seeds, n_seeds).proportion_ci(method="exact")
    assert (share[0], high[0]) == (1.0, 1.0)
    assert low[0] == pytest.approx(expected.low)


@pytest.mark.parametrize("truth", [0.5, 0.8, 0.9, 0.97])
@pytest.mark.parametrize(
    "spread", [(1.0, 0.0, 0.01), (1.0, 0.0, 0.3), (1.0, 0.0, 1.0), (0.3, 1.0, 1.0)]
)
def test_the_interval_of_superiority_covers(
    truth: float, spread: tuple[float, float, float]
) -> None:
    rng = np.random.default_rng(12)
    total = math.sqrt(sum(x * x for x in spread))
    for n_seeds in (3, 10):
        x = (
            stats.norm.ppf(truth) * total
            + spread[0] * rng.normal(size=(2000, n_seeds, 1))
            + spread[1] * rng.normal(size=(2000, 1, 20))
            + spread[2] * rng.normal(size=(2000, n_seeds, 20))
        )
        _, low, high = cmp.win_interval((x > 0).astype(np.float64))
        assert ((low <= truth) & (truth <= high)).mean() >= 0.95


@pytest.mark.parametrize("n_seeds", [3, 5, 10])
@pytest.mark.parametrize(("collapse", "share"), [(0.1, 0.97), (0.2, 0.97), (0.2, 0.8)])
def test_it_covers_where_some_seeds_learn_nothing(
    n_seeds: int, collapse: float, share: float
) -> None:
    rng = np.random.default_rng(13)
    learnt = rng.random((4000, n_seeds, 1)) >= collapse
    won = learnt & (rng.random((4000, n_seeds, 20)) < share)
    _, low, high = cmp.win_interval(won.astype(np.float64))
    truth = (1.0 - collapse) * share
    assert ((low <= truth) & (truth <= high)).mean() >= 0.95
