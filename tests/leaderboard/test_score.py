from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some
from hypothesis.extra.numpy import arrays

from pnnbench.leaderboard.score import axis_weights, device_scores, equal_weights, worst_mean

AXES = some.lists(
    some.tuples(some.sampled_from(["device", "heat", "shift"]), some.booleans()),
    min_size=1,
    max_size=12,
)
DEVICES = some.integers(1, 25)
SHARE = some.floats(0.0, 1.0)


@given(AXES, DEVICES, some.data())
def test_the_score_is_the_mean_over_axes_of_the_mean_over_their_counted_cells(
    conditions, devices, data
) -> None:
    """Recomputed cell by cell with dictionaries, apart from the code under test."""
    values = data.draw(arrays(np.float64, (len(conditions), devices), elements=SHARE))
    axes, counted = zip(*conditions, strict=True)
    scores = device_scores(values, axis_weights(axes, counted))
    cells: dict[str, list[float]] = {}
    for (axis, counts), own in zip(conditions, values, strict=True):
        if counts:
            cells.setdefault(axis, []).extend(own.tolist())
    if not cells:
        assert scores is None
        return
    expected = sum(sum(own) / len(own) for own in cells.values()) / len(cells)
    assert scores.shape == (devices,)
    assert scores.mean() == pytest.approx(expected, abs=1e-12)


@given(arrays(np.float64, DEVICES, elements=SHARE), some.booleans())
def test_the_worst_tenth_is_never_better_than_the_mean(scores, higher_is_better) -> None:
    worst = worst_mean(scores, higher_is_better)
    sign = 1.0 if higher_is_better else -1.0
    assert sign * worst <= sign * scores.mean() + 1e-12
    assert scores.min() - 1e-12 <= worst <= scores.max() + 1e-12


@given(AXES)
def test_weights_sum_to_one_and_are_on_what_counts_alone(conditions) -> None:
    axes, counted = zip(*conditions, strict=True)
    for weights in (axis_weights(axes, counted), equal_weights(counted)):
        assert [weight > 0.0 for weight in weights] == list(counted)
        assert sum(weights) == pytest.approx(float(any(counted)))


def test_a_score_over_an_undefined_condition_is_undefined() -> None:
    values = np.array([[0.5, np.nan], [0.5, 0.5]])
    assert device_scores(values, (1.0, 1.0)) is None
    assert device_scores(values, (0.0, 1.0)) == pytest.approx([0.5, 0.5])
