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


def test_a_mean_is_inside_its_interval_as_it_is_printed() -> None:
    assert formatting.eigenvalue(Interval(1.064, 1.056, 1.072)) == "1.06 (1.06 to 1.07)"
    assert formatting.eigenvalue(Interval(0.0409, 0.00076, 2.2)) == "0.0409 (0.00076 to 2.2)"
    assert formatting.ends(Interval(23.489, 23.47, 23.505)) == "23.47 to 23.5"
    assert formatting.ends(Interval(-23.489, -23.505, -23.47)) == "−23.5 to −23.47"
    assert formatting.ends(Interval(0.5, 0.4, 0.6)) == "0.4 to 0.6"
    # A figure that does not lie between them keeps them short.
    assert formatting.around("5", 1.0, 2.0, lambda x, n: f"{x:.{n}g}", 2) == ("1", "2")


@pytest.mark.parametrize(
    ("label", "text"),
    [
        ("a|b*c", "a\\|b\\*c"),
        ("B&#80;", "B&amp;#80;"),
        ("~~adaptive~~", "\\~\\~adaptive\\~\\~"),
        ("a\\b", "a\\\\b"),
    ],
)
def test_marks_of_markdown_are_escaped(label: str, text: str) -> None:
    assert formatting.escaped(label) == text
