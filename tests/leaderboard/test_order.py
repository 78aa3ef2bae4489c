from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as hs

from pnnbench.leaderboard import comparisons as cmp
from pnnbench.leaderboard import statistics as st
from pnnbench.leaderboard.model import Row
from pnnbench.leaderboard.order import Placed, in_order, judged
from pnnbench.records.index import Claim

METRIC = {"name": "accuracy", "higher_is_better": True, "chance": 0.1}


def row(label: str, values: np.ndarray, *, name: str = "sat", **more: object) -> Row:
    seeds = tuple(range(values.shape[0]))
    scores = st.Scores(seeds, tuple(range(1000, 1000 + values.shape[1])), values)
    return Row(
        key={}, method=label, name=name, params={}, epochs_factor=1.0, metric=METRIC, seeds=seeds,
        devices=scores.devices, robust=st.crossed(values), scores=scores, **more,
    )  # fmt: skip


def board(means: Sequence[float], *, seeds: int = 5, noise: float = 0.01, seed: int = 0) -> Placed:
    rng = np.random.default_rng(seed)
    rows = [
        row(
            f"R{i}",
            mean + noise * rng.normal(size=(seeds, 1)) + noise * rng.normal(size=(seeds, 20)),
        )
        for i, mean in enumerate(means)
    ]
    return in_order(rows, True)


def test_rows_far_apart_have_one_place_each_and_equal_ones_share_a_range() -> None:
    placed = board([0.2, 0.9, 0.5, 0.5])
    ranges = {r.method: (r.rank_low, r.rank_high) for r in placed.rows}
    assert ranges == {"R1": (1, 1), "R2": (2, 3), "R3": (2, 3), "R0": (4, 4)}
    tied = {r.method: r.tied_with for r in placed.rows}
    assert tied == {"R1": (), "R2": ("R3",), "R3": ("R2",), "R0": ()}
    assert sum(c.separated for c in placed.comparisons) == 5
    for pair in placed.comparisons:
        assert pair.separated == (pair.p <= cmp.FAMILY)
        assert pair.difference.mean >= 0.0
        assert pair.simultaneous.low < pair.difference.low


@settings(max_examples=40, deadline=None)
@given(hs.integers(0, 2**31), hs.integers(2, 6), hs.integers(1, 4), hs.floats(0.0, 0.1))
def test_ranges_hold_the_place_by_score(seed: int, n: int, seeds: int, step: float) -> None:
    placed = board([step * i for i in range(n)], seeds=seeds, seed=seed)
    for place, one in enumerate(placed.rows, 1):
        assert one.rank_low <= place <= one.rank_high
        # Whoever is above is above everybody below that row too.
    for i, j, k in ((a, b, c) for a in range(n) for b in range(a) for c in range(b)):
        labels = [r.method for r in placed.rows]
        apart = {(c.a, c.b) for c in placed.comparisons if c.separated}
        if {(labels[k], labels[j]), (labels[j], labels[i])} <= apart:
            assert (labels[k], labels[i]) in apart


def test_one_seed_tells_nothing_apart() -> None:
    placed = board([0.1, 0.9], seeds=1)
    assert [(r.rank_low, r.rank_high) for r in placed.rows] == [(1, 2), (1, 2)]
    (pair,) = placed.comparisons
    assert (pair.p, pair.separated, pair.simultaneous.low) == (None, False, None)
    assert placed.resolution.smallest is None


def test_differences_to_the_baseline_hold_for_all_complete_rows_at_once() -> None:
    rng = np.random.default_rng(3)
    values = [0.5 + 0.01 * rng.normal(size=(5, 20)) for _ in range(4)]
    rows = [
        row("BP", values[0], name="bp"),
        *(row(f"R{i}", v) for i, v in enumerate(values[1:3])),
        row("lost", values[3], missing=(9,)),
    ]
    placed = in_order(rows, True)
    found = {r.method: r for r in placed.rows}
    assert placed.rows[-1].method == "lost"
    assert (found["lost"].rank_low, found["lost"].simultaneous) == (None, st.NOTHING)
    assert found["lost"].difference.low is not None
    expected = cmp.effects([(found["R0"].scores, found["BP"].scores)])
    half = cmp.half_widths(expected, 0.05 / 2)[0]  # two complete rows, the baseline not among them
    assert found["R0"].simultaneous.high - found["R0"].simultaneous.mean == pytest.approx(half)
    assert found["BP"].superiority is None
    assert 0.0 <= found["R0"].superiority.share <= 1.0
    # Without the incomplete row nothing changes.
    fewer = in_order(rows[:-1], True)
    assert fewer.comparisons == placed.comparisons
    assert fewer.resolution == placed.resolution


def test_rows_with_other_seeds_are_compared_on_what_they_share() -> None:
    rng = np.random.default_rng(4)
    a = row("A", 0.9 + 0.01 * rng.normal(size=(3, 20)))
    b = row("B", 0.2 + 0.01 * rng.normal(size=(6, 20)))
    placed = in_order([b, a], True)
    (pair,) = placed.comparisons
    assert (pair.a, pair.b, pair.separated) == ("A", "B", True)
    nobody = row("C", 0.5 + 0.01 * rng.normal(size=(3, 20)))
    scores = st.Scores((7, 8, 9), nobody.scores.devices, nobody.scores.values)
    alone = Row(**{**vars(nobody), "scores": scores, "seeds": (7, 8, 9)})
    found = {(c.a, c.b): c for c in in_order([b, a, alone], True).comparisons}
    assert (found["A", "C"].p, found["A", "C"].difference) == (None, st.NOTHING)
    assert found["A", "B"].separated


def test_claims_are_a_family_of_their_own() -> None:
    placed = board([0.2, 0.9, 0.5, 0.5], seeds=4)
    claims = [Claim("R1", "R0"), Claim("R0", "R2"), Claim("R2", "R3"), Claim("R1", "gone")]
    lines = judged(placed.rows, claims)
    assert [line.verdict for line in lines] == [
        "shown", "the other way round", "not shown", "not measured",
    ]  # fmt: skip
    by_label = {r.method: r.scores for r in placed.rows}
    alone = cmp.effects([(by_label["R2"], by_label["R3"])])
    # Four claims, measured or not; two rejected before the third.
    assert lines[2].p == pytest.approx(min(1.0, float(cmp.p_values(alone)[0]) * (8 - 2) / 2))
    half = cmp.half_widths(alone, 0.05 / 4)[0]
    assert lines[2].simultaneous.high - lines[2].simultaneous.mean == pytest.approx(half)
    assert 0.0 < lines[2].smallest < 0.2
    assert judged(placed.rows, []) == ()


def test_a_claim_is_judged_in_the_direction_of_the_metric() -> None:
    lower = {**METRIC, "name": "mse", "higher_is_better": False}
    rows = [Row(**{**vars(r), "metric": lower}) for r in board([0.2, 0.9], seeds=4).rows]
    (line,) = judged(in_order(rows, False).rows, [Claim("R0", "R1")])
    assert line.verdict == "shown"
    assert line.difference.mean < 0.0
