from __future__ import annotations

import copy
import json
import math
import pickle
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pnnbench.published.printed import Printed, recorded


@given(st.floats(-1e9, 1e9), st.integers(0, 8))
def test_a_printed_number_is_within_its_rounding_of_what_was_printed(
    value: float, digits: int
) -> None:
    text = f"{value:.{digits}f}"
    printed = Printed(text)
    assert printed == float(text)
    assert printed.rounding == pytest.approx(0.5 * 10.0**-digits)
    assert abs(Decimal(value) - Decimal(text)) <= Decimal("0.5") * Decimal(10) ** -digits


@pytest.mark.parametrize(
    ("text", "rounding"),
    [("0.1", 0.05), ("0.10", 0.005), ("97.90", 0.005), ("-3", 0.5), ("1.2e-3", 5e-5), ("2e3", 500)],
)
def test_zeros_at_the_end_count(text: str, rounding: float) -> None:
    printed = Printed(text)
    assert printed.rounding == pytest.approx(rounding, rel=1e-15)
    for same in (copy.deepcopy(printed), pickle.loads(pickle.dumps(printed))):  # noqa: S301
        assert (same, same.text, same.rounding) == (printed, text, printed.rounding)
    assert math.isclose(json.loads(json.dumps(printed)), printed)


@pytest.mark.parametrize("text", ["", "one", "nan", "inf"])
def test_what_is_no_finite_number_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"convert|finite"):
        Printed(text)


@pytest.mark.parametrize("platform", ["mrr", "mzi", "freespace", "diffractive"])
def test_records_keep_the_digits_that_were_printed(platform: str) -> None:
    def numbers(entry: object) -> list[object]:
        if isinstance(entry, list):
            return [n for item in entry for n in numbers(item)]
        return [] if isinstance(entry, str) else [entry]

    for quantities in recorded(platform)["checkpoints"].values():
        assert all(isinstance(n, Printed) for n in numbers(list(quantities.values())))


def test_accuracies_of_all_test_images_have_their_two_decimals() -> None:
    entries = {p: recorded(p)["checkpoints"] for p in ("mrr", "mzi", "diffractive")}
    printed = [
        entry[name]
        for platform in ("mrr", "mzi")
        for entry in entries[platform].values()
        for name in ("clean_frozen", "clean_batch")
    ]
    printed += [v for e in entries["diffractive"].values() for _, v in e.get("full", [])]
    assert {number.rounding for number in printed} == {0.005}
    assert {v.rounding for e in entries["diffractive"].values() for _, v in e.get("curve", [])} == {
        0.05
    }
    assert entries["mzi"]["bp"]["clean_frozen"].text == "97.90"
    assert entries["mzi"]["sat_in_situ"]["lambda_phases"].text == "0.100"
