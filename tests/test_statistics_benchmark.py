"""The statistics benchmark: its quick part, and the texts that quote it."""

from __future__ import annotations

import json
from types import ModuleType

import numpy as np
import pytest

from .scripts import ROOT, load_script

FOLDER = ROOT / "benchmarks" / "statistics"
BOARDS = 600


@pytest.fixture(scope="module")
def measure() -> ModuleType:
    return load_script("benchmarks/statistics/measure.py")


@pytest.fixture(scope="module")
def page() -> ModuleType:
    return load_script("benchmarks/statistics/page.py")


@pytest.mark.parametrize("place", range(9))
@pytest.mark.parametrize("seeds", [3, 10])
def test_boards_of_equal_rows_show_an_order_in_at_most_5_of_100_cases(
    measure, place: int, seeds: int
) -> None:
    law = measure.EQUAL_BOARDS[place]
    found = measure.equal_boards(law, (BOARDS, 8, seeds, 20), 1)
    assert found["board"] <= 0.05 + 2.5 * (0.05 * 0.95 / BOARDS) ** 0.5


def test_the_controls_show_the_failure(measure) -> None:
    unequal = next(law for law in measure.EQUAL_BOARDS if law.seeds == (0.2, 8))
    found = measure.equal_boards(unequal, (BOARDS, 8, 3, 20), 1)
    assert found["plain"] > 0.4
    assert found["holm"] > 0.1
    assert found["pooled"] > 0.1


@pytest.mark.parametrize("skewness", [0.0, pytest.param(1.0, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "seeds", [3, pytest.param(5, marks=pytest.mark.slow), pytest.param(10, marks=pytest.mark.slow)]
)
def test_intervals_of_rows_cover(measure, skewness: float, seeds: int) -> None:
    for law in measure.SINGLE:
        found = measure.coverage(law, skewness, (8000, seeds, 20), 3)
        assert found["row"] >= (0.93 if skewness == 0.0 else 0.92) - 0.006
        assert found["sure"] >= (0.95 if skewness == 0.0 else 0.92) - 0.006
        if law.seeds[0] >= law.both[0]:
            assert found["row"] <= 0.976


def test_a_difference_is_seen_more_often_with_more_seeds(measure) -> None:
    found = [
        measure.power_at(2.0, (0.6, 0.0), (60, 8, seeds, 20), 4)["board"] for seeds in (3, 5, 10)
    ]
    assert found == sorted(found)
    assert found[0] < 0.2
    assert found[-1] > 0.9


def test_draws_have_the_spreads_that_they_state(measure) -> None:
    law = measure.Law("", (2, 2), (1, 1), (0.5, 0.5), skewness=1.0)
    x = measure.draw(law, (4000, 2, 3, 4), np.random.default_rng(0))
    seeds = x.mean(axis=3)
    assert x.std() == pytest.approx((4 + 1 + 0.25) ** 0.5, rel=0.02)
    assert x.mean() == pytest.approx(0.0, abs=0.05)
    spread = seeds[:, :, 0] - seeds[:, :, 1]
    assert spread.std() == pytest.approx((2 * (4 + 0.25 / 4)) ** 0.5, rel=0.03)


def test_the_texts_are_written_from_the_figures(page) -> None:
    results = json.loads(page.RESULTS.read_text(encoding="utf-8"))
    for path, text in page.write_texts(results).items():
        assert path.read_text(encoding="utf-8") == text, "run: python benchmarks/statistics --text"
    assert "{{" not in page.PAGE.read_text(encoding="utf-8")
    assert page.worst(results, "board") <= 0.05 + 2.0 * (0.05 * 0.95 / results["boards"]) ** 0.5
