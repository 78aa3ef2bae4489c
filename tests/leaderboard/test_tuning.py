from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pnnbench.leaderboard.tuning import Ran, chances, curve, order, row_tuning, worth
from pnnbench.records.search_schema import TEST

#: How the row of `search` is run that has its settings.
BP = Ran("bp", {"lr": 0.2, "lr_digital": 0.03, "optimizer": "adam"})
SCORES = st.lists(st.sampled_from([0.1, 0.2, 0.3, 0.4, 0.5, 0.6]), min_size=1, max_size=6)


def by_hand(validation: list[float], count: int) -> list[float]:
    """Chance of each trial, from all orders of the drawn ones."""
    found = [0] * len(validation)
    orders = list(itertools.permutations(range(1, len(validation))))
    for drawn in orders:
        tried = sorted([0, *drawn[: count - 1]])
        found[max(tried, key=lambda i: (validation[i], -i))] += 1
    return [n / len(orders) for n in found]


@given(SCORES)
@settings(max_examples=80)
def test_chances_are_those_of_all_orders(validation: list[float]) -> None:
    for count in range(1, len(validation) + 1):
        found = chances(order(validation), count)
        assert found == pytest.approx(by_hand(validation, count))


@given(SCORES, st.data())
def test_the_curve_begins_at_the_defaults_and_ends_at_the_choice(
    validation: list[float], data: st.DataObject
) -> None:
    test = data.draw(
        st.lists(st.floats(0.0, 1.0), min_size=len(validation), max_size=len(validation))
    )
    found = curve(validation, test)
    assert found[0].trials == 1
    assert found[0].mean == found[0].low == found[0].high == test[0]
    best = max(range(len(validation)), key=lambda i: (validation[i], -i))
    assert found[-1].trials == len(validation)
    assert found[-1].mean == found[-1].low == found[-1].high == test[best]
    for point in found:
        assert min(test) <= point.low <= point.high <= max(test)
        assert min(test) - 1e-9 <= point.mean <= max(test) + 1e-9


@given(SCORES)
def test_what_is_chosen_by_never_falls_with_more_trials(validation: list[float]) -> None:
    means = [point.mean for point in curve(validation, validation)]
    assert all(b >= a - 1e-12 for a, b in itertools.pairwise(means))


def test_of_equal_trials_the_earlier_is_chosen() -> None:
    assert order([0.5, 0.7, 0.7, 0.1]) == [1, 2, 0, 3]
    assert order([0.5, 0.7, 0.7, 0.1], higher_is_better=False) == [3, 0, 1, 2]


def test_errors_are_better_when_they_are_small() -> None:
    found = curve([3.0, 1.0, 2.0], [30.0, 10.0, 20.0], higher_is_better=False)
    assert [p.mean for p in found] == pytest.approx([30.0, 15.0, 10.0])


def search(**row: Any) -> dict[str, Any]:
    trials = [
        {
            "point": i,
            "seed": 90_000 + i,
            "round": "first",
            "status": "ok",
            "value": value,
            "params": {"lr": 0.1 * (i + 1)},
            TEST: {"score": value - 0.05},
        }
        for i, value in enumerate([0.5, 0.8, 0.6])
    ]
    chosen = {"params": {"lr": 0.2}, "edge": {"lr": "high"}, "rule": "robust score"}
    content = {
        "definition": {
            "rule": "robust score",
            "revision": 3,
            "method": "bp",
            "fixed": {"lr_digital": 0.03},
            "epochs_factor": 1.0,
        },
        "points": [t["params"] for t in trials],
        "trials": trials,
        "chosen": chosen,
        "tried_before": 7,
        **row,
    }
    return {
        "suite": "s",
        "metric": {"name": "accuracy", "higher_is_better": True},
        "deviates": False,
        "tier": "standard",
        "budget": {"devices": 20},
        "like": {"BP, more": "BP"},
        "rows": {"BP": content},
    }


def test_a_board_says_of_each_row_whether_and_how_it_was_tuned() -> None:
    rows = {"BP": BP, "BP, more": Ran("bp", {"lr": 0.2}, 2.0), "NAT": Ran("nat", {"lr": 0.1})}
    bp, more, nat = row_tuning([search()], rows)
    assert bp.tuned
    assert bp.tried == 3 + 7
    assert bp.edge == {"lr": "high"}
    assert bp.curve[0].mean == pytest.approx(0.45)
    assert bp.curve[-1].mean == pytest.approx(0.75)
    assert (more.like, more.curve, more.tried) == ("BP", (), 10)
    assert not nat.tuned
    assert nat.tried == 0


@pytest.mark.parametrize(
    "changed",
    [
        {"params": {**BP.params, "lr": 0.3}},
        {"params": {**BP.params, "lr_digital": 7.0}},
        {"name": "sat"},
        {"epochs_factor": 2.0},
    ],
)
def test_a_row_that_was_not_run_as_it_was_searched_is_not_tuned(changed: dict) -> None:
    (bp,) = row_tuning([search()], {"BP": dataclasses.replace(BP, **changed)})
    assert bp.chosen
    assert not bp.tuned
    assert bp.as_dict()["applied"] is False


def test_a_row_like_another_one_names_the_settings_that_it_has_of_its_own() -> None:
    record = search()
    record["rows"]["BP"]["chosen"]["params"] = {"lr": 0.2, "rho": 0.1, "else": 3.0}

    def like(**params: float) -> Any:
        (found,) = row_tuning([record], {"BP, more": Ran("bp", params)})
        return found

    assert (like(lr=0.2, rho=0.1).own, like(lr=0.2, rho=0.1).tuned) == ((), True)
    some = like(lr=0.2, rho=0.5)
    assert (some.own, some.tuned, some.as_dict()["own"]) == (("rho",), True, ["rho"])
    assert not like(lr=999.0, rho=0.5).tuned
    assert like(sigma=1.0).tuned  # it has none of them


def test_a_row_of_a_joined_board_finds_its_search_by_the_name_of_its_suite() -> None:
    other = {**search(), "suite": "t", "rows": {}, "like": {}}
    (found,) = row_tuning([other, search()], {"BP (s)": BP})
    assert found.method == "BP (s)"
    assert found.tuned


def test_a_search_that_goes_on_has_no_curve() -> None:
    half = search()
    half["rows"]["BP"]["trials"].pop()
    half["rows"]["BP"].pop("chosen")
    (bp,) = row_tuning([half], {"BP": BP})
    assert bp.curve == ()
    assert not bp.tuned
    assert not math.isnan(bp.tried)


def test_a_failed_trial_is_never_better_than_the_others() -> None:
    """Guessing is no worst value of an error."""
    values, failed = [0.09, 0.06, 0.08, 0.12], [False, True, False, False]
    assert worth(values, failed, higher_is_better=False) == [0.09, 0.12, 0.08, 0.12]
    assert worth([0.9, 0.1], [False, True], higher_is_better=True) == [0.9, 0.1]
    assert worth([0.06, 0.06], [True, True], higher_is_better=False) == [0.06, 0.06]
    assert worth([0.03, 0.06], [False, True], higher_is_better=False) == [0.03, 0.06]


def test_the_curve_does_not_choose_a_failed_trial() -> None:
    row = {
        "definition": {"rule": "robust score"},
        "points": [{}, {}, {}],
        "trials": [
            {"round": "first", "point": i, "seed": i, "status": status, "value": value}
            | {TEST: {"score": value}}
            for i, (status, value) in enumerate([("ok", 0.09), ("diverged", 0.06), ("ok", 0.08)])
        ],
    }
    record = search()
    record = {**record, "rows": {"A": row}, "metric": {"name": "mse", "higher_is_better": False}}
    (found,) = row_tuning([record], {"A": None})
    assert found.curve[-1].mean == 0.08
