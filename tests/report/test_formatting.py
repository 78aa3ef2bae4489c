"""How figures are written."""

from __future__ import annotations

import pytest

from pnnbench.leaderboard.statistics import Interval
from pnnbench.report import formatting


@pytest.mark.parametrize(
    ("value", "count", "text"),
    [
        (0.3812, 2, "0.38"),
        (276.4, 2, "276"),
        (99.6, 2, "100"),
        (2.8e6, 2, "2.8e+06"),
        (-5e-4, 2, "-0.0005"),
    ],
)
def test_large_figures_are_whole_numbers_not_powers(value: float, count: int, text: str) -> None:
    assert formatting.digits(value, count) == text


def test_a_metric_begins_a_heading_with_its_usual_name() -> None:
    assert [formatting.metric_title(n) for n in ("accuracy", "mse")] == ["Accuracy", "MSE"]


def test_an_interval_does_not_say_that_an_error_may_be_below_nothing() -> None:
    wide = Interval(0.021, -0.007, 0.049)
    assert formatting.ends(wide, least=formatting.least_of("mse")) == "0 to 0.049"
    assert formatting.ends(wide, least=formatting.least_of("kid")) == "−0.007 to 0.049"
    assert formatting.ends(wide, least=formatting.least_of("a figure of a user")) != "0 to 0.049"
