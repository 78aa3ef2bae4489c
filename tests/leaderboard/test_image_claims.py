"""The claims on images, from drawn records of their suites: errors, distances and shares."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from pnnbench.leaderboard.claims import Claim, Claims, Comparison, Found, read_claims
from pnnbench.leaderboard.ranking import build
from pnnbench.leaderboard.verdicts import (
    DOES_NOT_HOLD,
    HOLDS,
    IN_PART,
    NOT_MEASURED,
    NOT_SHOWN,
    Decided,
    decide,
)
from pnnbench.records.store import seal
from pnnbench.report.claims_text import render_table
from pnnbench.report.claims_view import views

from ..record_factory import IMAGE_SUITES, make_image_record, make_image_suite

NOTHING = Found({}, {})
SUITES = ("cifar10_classify", "cifar10_reconstruct", "cifar10_generate")
LABELS = ("BP", "BP, equal gradients", "SAT")
CLAIMS = read_claims()
#: A claim on images to the suites that decide it.
OURS = {
    claim.number: {test.board for test in claim.tests}
    for claim in CLAIMS.claims
    if {test.board for test in claim.tests} & set(SUITES)
}
CELLS = Comparison(
    "cifar10_reconstruct",
    "cells",
    "lower",
    "SAT",
    "BP",
    axes=("temperature_fine",),
    levels=(0.25,),
    metric="mse",
    scale="ratio",
)
CHANGE = replace(CELLS, figure="change", rule="keeps", against=None, margin=2.0)


def suites(swapped: bool = False, seeds=range(4)) -> list[dict]:
    """Records of the three suites; swapped, what SAT did stands under BP and the other way."""
    records = []
    for suite in SUITES:
        for record in make_image_suite(LABELS, seeds, suite=suite):
            method = record["job"]["method"]
            if swapped:
                other = {"SAT": "BP, equal gradients", "BP, equal gradients": "SAT"}
                method["label"] = other.get(method["label"], method["label"])
                record.pop("checksum")
                record = seal(record)
            records.append(record)
    return records


def decided(records: list[dict]) -> dict[int, Decided]:
    found = decide(CLAIMS, build(records), NOTHING)
    return {one.claim.number: one for one in found if one.claim.number in OURS}


def one(records: list[dict], test: Comparison) -> Decided:
    claims = Claims("pnnbench-2", "standard", 0.95, {}, (Claim(1, "c", "", tests=(test,)),))
    return decide(claims, build(records), NOTHING)[0]


def offset(base: float, grows: dict[str, float], seeds=range(4)) -> list[dict]:
    """Records whose error grows by a factor from nominal to a quarter of a degree."""
    made = []
    for label, factor in grows.items():
        for seed in seeds:
            record = make_image_record(label, seed, suite="cifar10_reconstruct", sealed=False)
            rng = np.random.default_rng([seed, len(label)])
            for cell in record["cells"]:
                far = cell["axis"] == "temperature_fine" and abs(cell["level"]) > 0.2
                noise = math.exp(0.002 * float(rng.normal()))
                cell["value"] = base * (factor if far else 1.0) * noise
            record["clean"] = base
            made.append(seal(record))
    return made


def test_four_claims_are_decided_by_the_suites_on_images() -> None:
    assert {
        5: {"cifar10_classify"},
        6: {"cifar10_reconstruct"},
        7: {"cifar10_generate"},
        8: {"cifar10_generate"},
    } == OURS


def test_without_a_board_they_are_not_measured_and_say_what_to_run() -> None:
    for number, found in decided([]).items():
        assert found.verdict == NOT_MEASURED
        (board,) = OURS[number]
        assert f"pnnbench run {board}" in found.reason


def test_a_row_that_stays_where_the_other_goes_off_makes_them_hold() -> None:
    found = decided(suites())
    assert {number: one.verdict for number, one in found.items()} == dict.fromkeys(OURS, HOLDS)
    for one_claim in found.values():
        for outcome in one_claim.outcomes:
            # What the baseline does stands beside: it goes off.
            goes_off = outcome.test.rule == "keeps" and outcome.test.row != "SAT"
            assert outcome.test.beside or not goes_off
            assert outcome.verdict == (DOES_NOT_HOLD if goes_off else HOLDS), one_claim.claim.number


def test_the_other_way_round_none_holds() -> None:
    found = {number: one.verdict for number, one in decided(suites(swapped=True)).items()}
    # What stays goes off by a little, as BP is said to do.
    assert found == {**dict.fromkeys(OURS, DOES_NOT_HOLD), 7: IN_PART}


def test_a_row_or_a_figure_that_is_missing_gives_no_verdict() -> None:
    records = [r for r in suites() if r["job"]["method"]["label"] != "BP, equal gradients"]
    for found in decided(records).values():
        assert found.verdict == NOT_MEASURED
        assert "no row 'BP, equal gradients'" in found.reason
    bare = []
    for record in suites():
        record.pop("checksum")
        for part in (record, *record["cells"]):
            part.pop("also", None)
        bare.append(seal(record))
    found = decided(bare)
    assert found[8].verdict == NOT_MEASURED
    assert "cifar10_generate has no precision" in found[8].reason
    assert found[7].verdict == HOLDS


def test_two_extractors_on_one_board_are_not_chosen_between() -> None:
    records = suites()
    for record in records:
        record.pop("checksum")
        for part in (record, *record["cells"]):
            if len(part.get("also", {})) == 3:
                part["also"]["recall-inception-v3-2048-299px-6726825d-n2000"] = 0.5
    found = decided([seal(record) for record in records])
    assert found[8].verdict == NOT_MEASURED
    assert "recall-inception-v3" in found[8].reason
    assert found[7].verdict == HOLDS


def test_errors_are_compared_as_ratios_of_one_device() -> None:
    outcome = one(offset(0.02, {"SAT": 1.2, "BP": 12.0}), CELLS).outcomes[0]
    assert outcome.values == pytest.approx((0.024, 0.24), rel=0.01)
    assert outcome.bounds.mean == pytest.approx(0.1, rel=0.01)
    assert outcome.verdict == HOLDS
    # A unit of the pixels moves no verdict.
    again = one(offset(4.0, {"SAT": 1.2, "BP": 12.0}), CELLS).outcomes[0]
    assert again.bounds.mean == pytest.approx(outcome.bounds.mean, rel=0.01)


@pytest.mark.parametrize(
    ("grows", "verdict"), [(1.5, HOLDS), (2.0, NOT_SHOWN), (3.0, DOES_NOT_HOLD), (0.5, HOLDS)]
)
def test_an_error_keeps_if_it_grows_by_no_more_than_the_factor(grows: float, verdict: str) -> None:
    outcome = one(offset(0.02, {"SAT": grows}), CHANGE).outcomes[0]
    assert outcome.verdict == verdict
    assert outcome.bounds.mean == pytest.approx(grows, rel=0.01)


def at_guessing(record: dict) -> dict:
    """A record of a network that has learnt nothing, wherever it is measured."""
    record.pop("checksum")
    for part in (record, *record["cells"]):
        part["clean" if part is record else "value"] = record["metric"]["chance"]
        part["also"] = {
            name: 0.0 if name.startswith(("precision", "recall")) else value
            for name, value in part.get("also", {}).items()
        }
    return seal(record)


def test_a_network_that_has_learnt_nothing_keeps_nothing() -> None:
    found = decided([at_guessing(record) for record in suites()])
    assert {number: one.verdict for number, one in found.items()} == dict.fromkeys(OURS, NOT_SHOWN)
    kept = [o for one in found.values() for o in one.outcomes if o.test.rule == "keeps"]
    assert len(kept) == 9
    assert all(outcome.by_guessing for outcome in kept)
    (*_, shown) = views([found[8]])[0].tests
    assert shown.verdict == "not shown (guessing would keep it too)"


@pytest.mark.parametrize(
    ("base", "verdict"), [(0.02, HOLDS), (0.029, HOLDS), (0.031, NOT_SHOWN), (0.2, NOT_SHOWN)]
)
def test_what_guessing_would_keep_too_is_not_kept(base: float, verdict: str) -> None:
    """Guessing has 0.06, twice 0.03."""
    assert one(offset(base, {"SAT": 1.0}), CHANGE).verdict == verdict
    # What grows beyond the margin does not keep, whatever guessing does.
    assert one(offset(base, {"SAT": 3.0}), CHANGE).verdict == DOES_NOT_HOLD


def test_less_than_half_of_a_printed_ratio_holds_in_part() -> None:
    records = offset(0.02, {"SAT": 1.0, "BP": 2.0})
    assert one(records, replace(CELLS, published=(0.1, 0.2))).verdict == HOLDS
    assert one(records, replace(CELLS, published=(0.02, 0.2))).verdict == IN_PART


def test_a_distance_below_zero_has_no_ratio() -> None:
    records = offset(0.02, {"SAT": 1.0})
    distance = IMAGE_SUITES["cifar10_generate"][0]  # an estimate, which may be below 0
    for record in records:
        record.pop("checksum")
        record["metric"]["name"] = distance
        for cell in record["cells"]:
            cell["value"] -= 0.05
    found = one([seal(record) for record in records], replace(CHANGE, metric="fid"))
    assert found.verdict == NOT_MEASURED
    assert "of which there is no ratio" in found.reason


@pytest.mark.parametrize("rule", ["higher", "lower"])
def test_an_error_that_is_no_ratio_is_in_its_own_unit(rule: str) -> None:
    test = replace(CELLS, scale="", rule=rule)
    found = one(offset(0.02, {"SAT": 1.0, "BP": 10.0}), test)
    assert found.verdict == (HOLDS if rule == "lower" else DOES_NOT_HOLD)
    (shown,) = views([found])[0].tests
    assert shown.measured == "0.02 against 0.2"
    assert shown.difference.startswith("−0.18 (")
    kept = replace(CHANGE, scale="", margin=0.01)
    assert one(offset(0.02, {"SAT": 1.2}), kept).verdict == HOLDS
    assert one(offset(0.02, {"SAT": 2.0}), kept).verdict == DOES_NOT_HOLD
    assert one(offset(0.02, {"SAT": 0.1}), kept).verdict == HOLDS


def test_words_name_the_metric_and_its_unit() -> None:
    found = decided(suites())
    texts = {n: [test.figure for test in views([one])[0].tests] for n, one in found.items()}
    assert texts[5][2] == "accuracy less that at nominal under temperature at −0.25: " + (
        "loses at most 5 points"
    )
    assert texts[6][0] == "MSE under temperature at −0.25: lower"
    assert texts[6][2] == "MSE over that at nominal under temperature at −0.25: " + (
        "grows at most by a factor of 2"
    )
    assert texts[7][2] == "FID over that at nominal under temperature at −0.25: higher"
    assert texts[8][0] == "precision under temperature at −0.25, +0.25: higher"
    shown = {n: views([one])[0].tests for n, one in found.items()}
    assert shown[8][0].measured.endswith(" %")
    assert shown[8][0].difference.endswith(" points")
    assert shown[6][0].published == "0.0225 against 0.529"
    assert shown[6][0].difference.startswith("× 0.")
    text = render_table(
        replace(CLAIMS, claims=tuple(o.claim for o in found.values())), tuple(found.values())
    )
    assert "accuracy under" in text


def test_every_kind_of_figure_of_the_images_is_a_claims_metric() -> None:
    kinds = {test.metric for claim in CLAIMS.claims for test in claim.tests}
    assert {"mse", "fid", "precision", "recall"} <= kinds
    assert all(IMAGE_SUITES[suite][0].startswith(("mse", "fid", "accuracy")) for suite in SUITES)
