"""Cells of a record: looked through by columns as one by one, to the same end."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pnnbench.errors import UserError
from pnnbench.records.cell_checks import _CELL, _all_sound, cells, places_of

ENVIRONMENT = {"temperature_c": 20.5}


def cell(**changes: Any) -> dict[str, Any]:
    return {
        "axis": "temperature",
        "level": 0.5,
        "unit": "degC",
        "severity": 1.0,
        "environment": ENVIRONMENT,
        "device_seed": 3,
        "value": 0.75,
        **changes,
    }


ODD = [None, True, 0, 1, -1, 2**63, 10**400, 0.0, 1e51, float("nan"), float("inf"), "inf", "", "a"]
VALUES: st.SearchStrategy[Any] = st.sampled_from(
    [*ODD, [], [0.5], {}, ENVIRONMENT, {"mse": 0.1}, {"mse": None}, {"mse": float("nan")}, {1: 0.5}]
)
KEYS = [*cell(), "counts", "nominal", "source", "not_finite", "also", "label"]


@given(st.lists(st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=2), max_size=3))
def test_what_columns_let_pass_passes_one_by_one(changes: list[dict[str, Any]]) -> None:
    found = [cell(**change) for change in changes]
    errors = []
    for i, one in enumerate(found):
        try:
            _CELL(f"cells[{i}]", one)
        except UserError as error:
            errors.append(str(error))
    if _all_sound(found):
        assert not errors
    if errors:
        with pytest.raises(UserError) as caught:
            cells("cells", found)
        assert str(caught.value) == errors[0]
    else:
        cells("cells", found)


def test_usual_cells_are_known_to_be_sound() -> None:
    also = {"psnr_db": 21.5, "ssim": 0.5}
    usual = [cell(device_seed=i, value=i / 7, also=also, counts=True) for i in range(5)]
    assert _all_sound([*usual, cell(device_seed=None), cell(value=None, not_finite=2)])
    assert not _all_sound([*usual, cell(value=float("nan"))])
    assert not _all_sound([*usual, {**cell(), "label": "x"}])
    lacking = cell()
    del lacking["unit"]
    assert not _all_sound([*usual, lacking])
    assert not _all_sound([*usual, 5])


def test_a_place_given_twice_is_named() -> None:
    apart = [cell(), cell(device_seed=4), cell(environment={"temperature_c": 21.0})]
    assert len(places_of("cells", apart)) == 3
    with pytest.raises(UserError, match=r"cells\[3\] repeats the cell \('temperature', 1.0"):
        places_of("cells", [*apart, cell(environment=dict(ENVIRONMENT))])
