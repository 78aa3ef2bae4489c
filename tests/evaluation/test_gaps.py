from __future__ import annotations

import math

import pytest

from pnnbench.errors import UserError
from pnnbench.evaluation.gaps import Gap, Gaps, LeftOutError, NotFiniteError, check_finite


def test_one_part_fails_and_the_others_stand():
    gaps, done = Gaps(), []
    for name, error in (
        ("a", None),
        ("b", NotFiniteError("b is nan", next_step="train again")),
        ("c", ZeroDivisionError("on\npurpose")),
        ("d", LeftOutError("d has no meaning")),
        ("e", UserError("e is wrong", allowed="f")),
        ("g", None),
    ):
        with gaps.part(name):
            if error is not None:
                raise error
            done.append(name)
    assert done == ["a", "g"]
    found = [gap.as_dict() for gap in gaps.found]
    line, _, place = found[1]["message"].partition(" (")
    assert "test_gaps.py, line " in place
    found[1]["message"] = line
    assert found == [
        {"part": "b", "type": "not-finite", "message": "b is nan"},
        {"part": "c", "type": "error", "message": "ZeroDivisionError: on purpose"},
        {"part": "d", "type": "left-out", "message": "d has no meaning"},
        {"part": "e", "type": "error", "message": "UserError: e is wrong"},
    ]


def test_an_interrupt_is_no_gap():
    gaps = Gaps()
    with pytest.raises(KeyboardInterrupt), gaps.part("a"):
        raise KeyboardInterrupt
    assert gaps.found == []


def test_strict_lets_errors_through_but_not_what_has_no_meaning():
    gaps = Gaps(strict=True)
    with gaps.part("a"):
        raise LeftOutError("no meaning")
    with pytest.raises(NotFiniteError), gaps.part("b"):
        raise NotFiniteError("nan")
    assert [gap.part for gap in gaps.found] == ["a"]


def test_messages_are_one_line_of_bounded_length():
    gap = Gap.of("a", ValueError("x\n" * 5000))
    assert "\n" not in gap.message
    assert len(gap.message) <= 500


def test_an_error_of_own_code_has_its_place():
    gaps = Gaps()
    with gaps.part("a"):
        raise ValueError("no metric" * 200)
    (gap,) = gaps.found
    assert "test_gaps.py, line " in gap.message
    assert gap.message.startswith("ValueError: no metric")
    assert len(gap.message) <= 500


@pytest.mark.parametrize("value", [math.nan, math.inf, [1.0, -math.inf]])
def test_figures_that_are_not_finite_are_named(value):
    check_finite({"a": 1, "b": [0.5, 2]})
    with pytest.raises(NotFiniteError, match=r"^b is"):
        check_finite({"a": 1.0, "b": value})


def test_a_message_that_no_file_can_hold_is_written_out():
    gap = Gap.of("extra.figures", ValueError("bad \udce9"))
    assert gap.message.encode()
    assert "bad \\udce9" in gap.message
