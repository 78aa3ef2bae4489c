"""The comparison of two paths of rounding, on numbers whose interval is known."""

from __future__ import annotations

import pytest

from .scripts import load_script


@pytest.mark.parametrize(("shift", "mean"), [(0.0, "+0.00"), (0.02, "+2.00")])
def test_the_interval_is_that_of_students_t(shift: float, mean: str) -> None:
    script = load_script("benchmarks/rounding.py")
    without = [0.5, 0.6, 0.7, 0.8]
    with_ = [a + shift + b for a, b in zip(without, (0.01, -0.01, 0.01, -0.01), strict=True)]
    # spread 1.1547 points, over two: 0.57735, times the quantile 3.18245 of t with 3 degrees
    half = 3.18245 * 0.57735
    low, high = 100 * shift - half, 100 * shift + half
    found = script.compared(with_, without)
    assert found.startswith(f"{mean} ({low:+.2f} to {high:+.2f}), 4 seeds; spread of a pair 1.15")
