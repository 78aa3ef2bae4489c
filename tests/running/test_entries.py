from __future__ import annotations

from typing import Any

import pytest

from pnnbench.errors import UserError
from pnnbench.running.entries import method_entries


def rows(*given: dict[str, Any]) -> dict[str, Any]:
    return {entry.label: entry for entry in method_entries("s.yaml", list(given))}


BP = {"method": "bp", "label": "BP", "tune": True, "tuned": {"lr": 0.7}}


def test_tuned_settings_are_the_rows_settings() -> None:
    found = rows(BP, {"method": "nat"})
    assert found["BP"].params == {"lr": 0.7, "lr_digital": 0.001, "optimizer": "adam"}
    assert found["BP"].tune == ("lr",)
    assert found["nat"].tune == ()


def test_what_is_fixed_is_not_searched_and_the_digital_step_only_where_it_is_named() -> None:
    fixed = rows({"method": "sat", "tune": True, "params": {"rho": 0.1}})["sat"]
    assert fixed.tune == ("lr",)
    named = rows({"method": "sat", "tune": ["lr_digital", "rho", "lr"]})["sat"]
    assert named.tune == ("rho", "lr", "lr_digital")  # the order of the constructor


def test_a_row_takes_the_tuned_settings_of_another_and_keeps_its_own() -> None:
    more = {"method": "bp", "label": "more", "like": "BP", "epochs_factor": 2}
    found = rows(more, {"method": "bp", "label": "most", "like": "more", "epochs_factor": 4}, BP)
    assert found["more"].params["lr"] == found["most"].params["lr"] == 0.7
    own = rows(BP, {"method": "nat", "label": "own", "like": "BP", "params": {"lr": 0.2}})["own"]
    assert own.params["lr"] == 0.2
    before = rows({**BP, "tuned": {}}, more)  # before a search both have their defaults
    assert before["more"].params["lr"] == before["BP"].params["lr"] == 0.1


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([{"method": "bp", "like": "SAT"}, BP], "no row 'SAT'"),
        ([{"method": "bp", "like": "bp"}], "circle: bp -> bp"),
        (
            [
                {"method": "bp", "label": "a", "like": "b"},
                {"method": "bp", "label": "b", "like": "a"},
            ],
            "circle: a -> b -> a",
        ),
        ([{"method": "bp", "like": "nat"}, {"method": "nat"}], "'nat' is not tuned"),
        (
            [{"method": "bp", "like": "S"}, {"method": "sat", "label": "S", "tune": ["rho"]}],
            "nothing of what 'S' is tuned in, rho",
        ),
        ([{"method": "bp", "like": "BP", "tune": True}, BP], "'like' and 'tune'"),
        ([{"method": "bp", "tuned": {"lr": 0.2}}], "not searched"),
        ([{"method": "bp", "tune": True, "params": {"lr": 0.2}}], "nothing to search"),
        ([{"method": "bp", "tune": ["lr"], "params": {"lr": 0.2}}], "fixed by 'params'"),
        ([{"method": "bp", "tune": ["optimizer"]}], "no law"),
        ([{"method": "bp", "tune": [1]}], "not a name"),
        ([{"method": "bp", "tune": []}], "different names"),
        ([{"method": "bp", "tune": ["lr", "lr"]}], "different names"),
        ([{"method": "bp", "tune": "lr"}], "a list of names"),
        ([{"method": "bp", "tune": True, "tuned": {"lr": -1.0}}], "out of range"),
    ],
)
def test_mistakes_read(given: list[dict[str, Any]], said: str) -> None:
    with pytest.raises(UserError) as error:
        rows(*given)
    assert said in str(error.value)
