from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pnnbench.errors import UserError
from pnnbench.workloads.amounts import Scale, absolute, canonical, check_amount, parse

NUMBERS = st.floats(min_value=1e-12, max_value=1e12, allow_nan=False)
UNITS = st.sampled_from(["mA", "rad", "full modulation", "HWHM", "weight^2", "µm"])


@given(NUMBERS, UNITS)
def test_a_text_keeps_number_and_unit(number: float, unit: str) -> None:
    for text in (f"{number!r} {unit}", f"  {number!r}   {unit} "):
        assert parse(text) == (number, unit)
        assert check_amount("rho", text) == canonical(text) == f"{number!r} {unit}"
        assert absolute("rho", text, Scale(7.0, unit)) == number


@given(NUMBERS, st.floats(min_value=1e-6, max_value=1e6))
def test_a_number_is_multiples_of_the_scale(number: float, size: float) -> None:
    assert absolute("rho", number, Scale(size, "mA")) == number * size


@pytest.mark.parametrize(
    ("text", "same"),
    [("3 rad", "3.0 rad"), ("3rad", "3.0 rad"), (".5 mA", "0.5 mA"), ("1e-3 rad²", "0.001 rad^2")],
)
def test_spellings_of_one_amount_are_one_setting(text: str, same: str) -> None:
    assert canonical(text) == same == check_amount("lr", text)


@pytest.mark.parametrize("text", ["1e-3", "0.5", "big", "", "nan mA", "inf rad", "rad 3", "1 2"])
def test_other_texts_are_no_amounts(text: str) -> None:
    assert parse(text) is None
    assert canonical(text) == text
    with pytest.raises(UserError, match="neither a number nor a number with a unit"):
        check_amount("rho", text)


@pytest.mark.parametrize(
    ("value", "low_open"),
    [("-1 mA", False), ("0 mA", True), ("1e999 mA", False), (-1.0, False), (0.0, True)],
)
def test_amounts_out_of_range_are_refused(value: Any, low_open: bool) -> None:
    with pytest.raises(UserError, match="rho is"):
        check_amount("rho", value, low_open=low_open)


@pytest.mark.parametrize("value", [math.nan, math.inf, True, None, 1e7])
def test_what_is_no_finite_number_is_refused(value: Any) -> None:
    with pytest.raises(UserError, match="rho is"):
        check_amount("rho", value)


def test_another_unit_is_one_clear_error() -> None:
    with pytest.raises(UserError) as error:
        absolute("rho", "0.3 rad", Scale(0.6435, "mA"), "mrr-digits")
    assert str(error.value).splitlines() == [
        "rho is '0.3 rad' on mrr-digits, which has another unit",
        "  allowed: a text in 'mA', or a plain number: multiples of 0.6435 mA",
    ]


def test_where_there_is_no_unit_only_numbers_are_allowed() -> None:
    assert absolute("rho", 2.0, Scale(3.0, "")) == 6.0
    with pytest.raises(UserError, match="allowed: a plain number"):
        absolute("rho", "1 rad", Scale(3.0, ""))


def test_a_scale_times_a_factor() -> None:
    assert Scale(2.0, "mA").times(3.0) == Scale(6.0, "mA")
    assert Scale(2.0, "mA").times(2.0, "mA^2") == Scale(4.0, "mA^2")
