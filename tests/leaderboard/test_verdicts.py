"""Verdicts from drawn records: each rule, and that nothing missing makes one better."""

from __future__ import annotations

import copy
import itertools
from dataclasses import replace

import numpy as np
import pytest

from pnnbench.leaderboard.claims import Claim, Claims, Comparison, Found, Reproduced
from pnnbench.leaderboard.ranking import build
from pnnbench.leaderboard.verdicts import (
    DOES_NOT_HOLD,
    HOLDS,
    IN_PART,
    NOT_MEASURED,
    NOT_SHOWN,
    NOT_TESTABLE,
    Decided,
    combined,
    decide,
)
from pnnbench.records.store import job_hash, seal

from ..record_factory import (
    RECALIBRATED,
    make_failure,
    make_later_record,
    make_mesh_record,
    make_record,
)

SEEDS = range(5)
NOTHING = Found({}, {})
CELLS = Comparison("mrr_mnist", "cells", "higher", "SAT", "BP", axes=("device",))
DROP = Comparison(
    "mrr_mnist", "drop", "keeps", "SAT", axes=("temperature-fine",), levels=(0.05,), margin=5.0
)


def rings(gain: dict[str, float], seeds=SEEDS, **options) -> list[dict]:
    """Records of microrings whose cells lie at 0.5 plus the gain of their row."""
    made = []
    for label, by in gain.items():
        for seed in seeds:
            record = make_record(label, seed, sealed=False, **options)
            rng = np.random.default_rng([seed, *label.encode()])
            for cell in record["cells"]:
                cell["value"] = 0.5 + by + 0.002 * float(rng.normal())
            record["clean"] = 0.5 + by + 0.01
            made.append(seal(record))
    return made


def mesh(changes: dict[str, dict], seeds=SEEDS) -> list[dict]:
    made = []
    for label, change in changes.items():
        for seed in seeds:
            record = make_mesh_record(label, seed, sealed=False)
            for place, value in change.items():
                room, _, name = place.partition(".")
                record[room][name] = value(seed) if callable(value) else value
            made.append(seal(record))
    return made


def one(records: list[dict], *tests: Comparison, more: int = 0) -> Decided:
    """The verdict on a claim of these tests, in a family with so many others."""
    filler = Comparison("elsewhere", "robust", "higher", "A", "B")
    claims = Claims(
        "pnnbench-2",
        "standard",
        0.95,
        {},
        (Claim(1, "claim", "", tests=tests), Claim(2, "other", "", tests=(filler,) * (more + 1))),
    )
    return decide(claims, build(records), NOTHING)[0]


def published(test: Comparison, row: float, against: float) -> Comparison:
    return replace(test, published=(row, against))


def test_a_clear_gain_as_large_as_published_holds() -> None:
    found = one(rings({"SAT": 0.2, "BP": 0.0}), published(CELLS, 90.0, 60.0))
    assert found.verdict == HOLDS
    (outcome,) = found.outcomes
    assert outcome.bounds.mean == pytest.approx(20.0, abs=0.3)
    assert outcome.values == pytest.approx((70.0, 50.0), abs=0.3)
    assert outcome.plain.low > outcome.bounds.low
    assert (outcome.seeds, outcome.devices) == (5, 20)


def test_a_clear_gain_of_less_than_half_of_the_published_holds_in_part() -> None:
    records = rings({"SAT": 0.1, "BP": 0.0})
    assert one(records, published(CELLS, 90.0, 60.0)).verdict == IN_PART
    assert one(records, published(CELLS, 75.0, 60.0)).verdict == HOLDS
    assert one(records, CELLS).verdict == HOLDS  # without a published size


def test_equal_rows_show_nothing_and_say_what_would_have_been_seen() -> None:
    found = one(rings({"SAT": 0.0, "BP": 0.0}), published(CELLS, 90.0, 60.0))
    assert found.verdict == NOT_SHOWN
    bounds = found.outcomes[0].bounds
    assert 0.0 < bounds.high < bounds.seen < 5.0
    assert found.outcomes[0].excluded  # 15 points, half of what was printed
    small = one(rings({"SAT": 0.0, "BP": 0.0}), published(CELLS, 60.0 + bounds.high, 60.0))
    assert (small.verdict, small.outcomes[0].excluded) == (NOT_SHOWN, False)


def test_a_clear_loss_does_not_hold() -> None:
    found = one(rings({"SAT": 0.0, "BP": 0.2}), published(CELLS, 90.0, 60.0))
    assert found.verdict == DOES_NOT_HOLD
    reversed_rule = replace(CELLS, rule="lower")
    assert one(rings({"SAT": 0.0, "BP": 0.2}), reversed_rule).verdict == HOLDS


def test_some_levels_only_hold_in_part() -> None:
    def at(level: float) -> Comparison:
        return replace(CELLS, axes=("temperature-fine",), levels=(level,))

    records = []
    for record in rings({"SAT": 0.0, "BP": 0.0}):
        record = copy.deepcopy(record)
        record.pop("checksum")
        for cell in record["cells"]:
            if (
                record["job"]["method"]["label"] == "SAT"
                and cell["axis"] == "temperature-fine"
                and cell["level"] == 0.25
            ):
                cell["value"] += 0.2
        records.append(seal(record))
    assert one(records, at(0.25)).verdict == HOLDS
    found = one(records, at(0.25), at(-0.25))
    assert found.verdict == IN_PART
    assert [outcome.verdict for outcome in found.outcomes] == [HOLDS, NOT_SHOWN]


def test_without_levels_those_that_count_are_compared() -> None:
    """The condition that carries no weight enters only where it is named."""
    wide = replace(CELLS, axes=("temperature-wide",))
    records = []
    for record in rings({"SAT": 0.0, "BP": 0.0}):
        record = copy.deepcopy(record)
        record.pop("checksum")
        for cell in record["cells"]:
            if record["job"]["method"]["label"] == "SAT" and not cell["counts"]:
                cell["value"] += 0.4
        records.append(seal(record))
    assert one(records, wide).verdict == NOT_SHOWN
    assert one(records, replace(wide, levels=(-2.0,))).verdict == HOLDS


@pytest.mark.parametrize(("lost", "verdict"), [(0.0, HOLDS), (0.2, DOES_NOT_HOLD)])
def test_keeping_is_measured_against_a_margin(lost: float, verdict: str) -> None:
    records = []
    for record in rings({"SAT": 0.0}):
        record = copy.deepcopy(record)
        record.pop("checksum")
        record["clean"] += lost
        records.append(seal(record))
    assert one(records, DROP).verdict == verdict
    # Near the margin nothing is shown, however many points the row keeps on average.
    near = replace(DROP, margin=100 * lost + 1.0)
    assert one(records, near).verdict == NOT_SHOWN


def test_a_row_that_is_not_there_or_not_whole_is_not_measured() -> None:
    records = rings({"SAT": 0.2, "BP": 0.0})
    nobody = one([r for r in records if r["job"]["method"]["label"] == "BP"], CELLS)
    assert nobody.verdict == NOT_MEASURED
    assert nobody.reason == "mrr_mnist has no row 'SAT'"
    gone = [r for r in records if r["job"]["seed"] != 4 or r["job"]["method"]["label"] != "SAT"]
    found = one(gone, CELLS)
    assert (found.verdict, found.reason) == (
        NOT_MEASURED,
        "row 'SAT' of mrr_mnist is incomplete: seeds 4",
    )
    failed = one([*gone, make_failure("SAT", 4)], CELLS)
    assert failed.reason == "row 'SAT' of mrr_mnist is incomplete: seeds 4"
    alone = one(rings({"SAT": 0.2, "BP": 0.0}, seeds=[0]), CELLS)
    assert alone.reason == "mrr_mnist has one seed, which says nothing of others"
    nothing = one([], CELLS)
    assert nothing.reason == "no board mrr_mnist of pnnbench-2: pnnbench run mrr_mnist"


def test_a_missing_level_is_said_once_with_those_that_there_are() -> None:
    found = one(
        rings({"SAT": 0.2, "BP": 0.0}),
        replace(CELLS, levels=(0.5, 7.0)),
        replace(CELLS, axes=("rotation",)),
    )
    assert found.verdict == NOT_MEASURED
    assert found.reason == (
        "the grid has no level 7 on axis 'device'; it has 0.1, 0.25, 0.5, 1; "
        "the grid has no level that counts on axis 'rotation'; it has none"
    )


def test_other_protocols_tiers_and_older_revisions_decide_nothing() -> None:
    for options in ({"protocol": "pnnbench-1"}, {"protocol": "published"}, {"tier": "quick"}):
        assert one(rings({"SAT": 0.2, "BP": 0.0}, **options), CELLS).verdict == NOT_MEASURED
    later = []
    for record in rings({"SAT": 0.0, "BP": 0.2}):
        record = copy.deepcopy(record)
        record.pop("checksum")
        record["job"]["revision"] = 3
        record["job"]["hash"] = job_hash(record["job"])
        later.append(seal(record))
    found = one([*rings({"SAT": 0.2, "BP": 0.0}), *later], CELLS)
    assert found.verdict == DOES_NOT_HOLD
    assert found.outcomes[0].revision == "3"


def test_the_headline_deployment_decides() -> None:
    records = [
        make_later_record(label, seed, headline=RECALIBRATED)
        for label in ("SAT", "BP")
        for seed in SEEDS
    ]
    found = one(records, CELLS).outcomes[0]
    table = next(t for t in build(records) if t.headline)
    device = [g for g in table.groups if g.axis == "device" and g.counted]
    expected = 100 * float(np.mean([g.methods["SAT"].mean for g in device]))
    assert found.values[0] == pytest.approx(expected)
    frozen = next(t for t in build(records) if not t.headline)
    other = [g for g in frozen.groups if g.axis == "device" and g.counted]
    assert found.values[0] != pytest.approx(
        100 * float(np.mean([g.methods["SAT"].mean for g in other])), abs=0.1
    )


def test_no_verdict_comes_out_better_because_a_row_is_missing() -> None:
    """Every subset of the rows: no verdict that is better than that of all rows."""
    order = [DOES_NOT_HOLD, NOT_SHOWN, IN_PART, HOLDS]
    tests = (CELLS, replace(CELLS, against="NAT"), replace(CELLS, against="Pruning"))
    for gains in ({"NAT": 0.0, "Pruning": 0.3}, {"NAT": 0.1, "Pruning": 0.1}):
        records = rings({"SAT": 0.1, "BP": 0.0, **gains})
        whole = one(records, *tests).verdict
        labels = ["SAT", "BP", *gains]
        for size in (2, 3):
            for kept in itertools.combinations(labels, size):
                rest = [r for r in records if r["job"]["method"]["label"] in kept]
                found = one(rest, *tests).verdict
                assert found == NOT_MEASURED or order.index(found) <= order.index(whole)


def test_tests_that_are_not_measured_stay_in_the_family() -> None:
    records = rings({"SAT": 0.2, "BP": 0.0})
    few, many = one(records, CELLS), one(records, CELLS, more=40)
    assert many.outcomes[0].bounds.low < few.outcomes[0].bounds.low
    assert many.outcomes[0].plain == few.outcomes[0].plain


EIGENVALUE = Comparison("mzi_mnist", "lambda_max", "lower", "SAT", "BP", published=(0.3, 93.5))


@pytest.mark.parametrize(
    ("mark", "said"),
    [
        ({"at_guessing": 1, "is_minimum": 1}, "at guessing at 2"),
        ({"at_guessing": 0, "is_minimum": 0}, "at no minimum at 2"),
        ({"is_minimum": 1, "point": {"device_seed": 9, "severity": 0.15}}, "on a training device"),
    ],
)
def test_eigenvalues_at_points_that_say_little_are_not_compared(mark: dict, said: str) -> None:
    records = [make_mesh_record(label, s, sealed=False) for label in ("SAT", "BP") for s in SEEDS]
    for record in records:
        record["sharpness"] |= {"is_minimum": 1, "point": {"device_seed": None, "severity": 0.0}}
    assert one([seal(copy.deepcopy(r)) for r in records], EIGENVALUE).verdict != NOT_MEASURED
    for record in records[:2]:
        record["sharpness"] |= mark
    found = one([seal(r) for r in records], EIGENVALUE)
    assert found.verdict == NOT_TESTABLE
    assert f"λmax of 'SAT' is {said}" in found.reason
    assert "of 5 seeds" in found.reason


def test_eigenvalues_are_compared_as_ratios() -> None:
    def verdict(sat: float, bp: float) -> Decided:
        records = []
        for label, mean in (("SAT", sat), ("BP", bp)):
            for seed in SEEDS:
                record = make_mesh_record(label, seed, sealed=False)
                drawn = np.random.default_rng([seed, *label.encode()]).normal()
                record["sharpness"] = {"lambda_max": mean * (1.0 + 0.01 * float(drawn))}
                records.append(seal(record))
        return one(records, EIGENVALUE)

    found = verdict(0.01, 1.0)
    assert found.verdict == HOLDS
    assert found.outcomes[0].bounds.mean == pytest.approx(0.01, rel=0.03)
    # Half of the published effect on the logarithmic scale is the square root of its ratio.
    half = (0.3 / 93.5) ** 0.5
    assert verdict(0.9 * half, 1.0).verdict == HOLDS
    assert verdict(1.1 * half, 1.0).verdict == IN_PART
    assert verdict(1.0, 1.0).verdict == NOT_SHOWN
    assert verdict(2.0, 1.0).verdict == DOES_NOT_HOLD


def test_of_tests_that_cannot_be_made_none_holds() -> None:
    assert combined([NOT_TESTABLE]) == NOT_TESTABLE
    assert combined([NOT_TESTABLE, HOLDS]) == combined([NOT_TESTABLE, IN_PART]) == IN_PART
    assert combined([NOT_TESTABLE, NOT_SHOWN]) == NOT_SHOWN
    assert combined([NOT_TESTABLE, DOES_NOT_HOLD]) == DOES_NOT_HOLD
    assert combined([NOT_TESTABLE, NOT_MEASURED]) == NOT_MEASURED


@pytest.mark.parametrize(
    ("change", "breaks"),
    [
        ({"published": (0.0957, 0.0127)}, True),  # 7.5 times the error
        ({"published": (0.0225, 0.0127)}, False),
        ({"published": (0.0127, 0.0957)}, False),
        ({"published": None}, False),
        ({"published": (80.0, 88.0), "metric": "accuracy", "scale": "", "margin": 5.0}, True),
        ({"published": (84.0, 88.0), "metric": "accuracy", "scale": "", "margin": 5.0}, False),
    ],
)
def test_printed_values_may_break_the_margin_themselves(change: dict, breaks: bool) -> None:
    keeps = Comparison(
        "rings", "change", "keeps", "SAT", axes=("temperature",), levels=(0.25,), metric="mse",
        scale="ratio", margin=2.0,
    )  # fmt: skip
    assert replace(keeps, **change).printed_breaks == breaks


def test_an_eigenvalue_that_says_nothing_is_not_measured() -> None:
    for sharpness, verdict, reason in (
        ({"lambda_max": -0.1}, NOT_MEASURED, "row 'SAT' has no lambda max at seed 0"),
        (
            {"lambda_max": 0.1, "at_guessing": 1},
            NOT_TESTABLE,
            "λmax of 'SAT' is at guessing at 1 of 5 seeds, where it says little",
        ),
    ):
        records = mesh({"SAT": {}, "BP": {}})
        record = copy.deepcopy(records[0])
        record.pop("checksum")
        record["sharpness"] = sharpness
        found = one([seal(record), *records[1:]], EIGENVALUE)
        assert (found.verdict, found.reason) == (verdict, reason)


@pytest.mark.parametrize(
    ("ratio", "verdict"), [(1.3, HOLDS), (1.585, NOT_SHOWN), (2.5, DOES_NOT_HOLD)]
)
def test_a_cost_is_held_against_the_published_ratio(ratio: float, verdict: str) -> None:
    cost = Comparison(
        "mzi_mnist", "train_seconds", "at_most", "SAT", "BP", tolerance=1.1,
        published=(513.8, 356.1),
    )  # fmt: skip
    records = mesh(
        {
            "BP": {"cost.train_seconds": lambda seed: 100.0 + seed},
            "SAT": {"cost.train_seconds": lambda seed: ratio * (100.0 + 1.1 * seed)},
        }
    )
    assert one(records, cost).verdict == verdict


def test_training_devices_fresh_ones_and_transfer() -> None:
    records = mesh({"DAT": {"training_device.value": 0.98}, "BP": {}})

    def on(figure: str, against: str | None = "BP", rule: str = "higher") -> Comparison:
        return Comparison("mzi_mnist", figure, rule, "DAT", against)

    found = one(records, on("training_device"), on("fresh_devices"), on("transfer", None, "lower"))
    rows = {row.method: row for row in build(records)[0].rows}
    own, fresh, transfer = found.outcomes
    assert own.values[0] == pytest.approx(100 * rows["DAT"].training_device.mean)
    assert fresh.values == pytest.approx(
        (100 * rows["DAT"].fresh_devices.mean, 100 * rows["BP"].fresh_devices.mean)
    )
    assert transfer.bounds.mean == pytest.approx(100 * rows["DAT"].transfer.mean)
    assert (own.verdict, transfer.verdict) == (HOLDS, HOLDS)
    assert (own.devices, transfer.devices) == (0, 20)


def test_a_correlation_counts_rows_and_not_runs() -> None:
    labels = ("BP", "BP, SGD", "NAT", "SAT", "SAT, adaptive", "BP, equal gradients")
    records = mesh({label: {} for label in labels})
    test = Comparison("mzi_mnist", "correlation", "lower", rows=labels, other="fresh_devices")
    found = one(records, test, more=46)
    (outcome,) = found.outcomes
    assert outcome.bounds.mean < -0.5
    assert found.verdict == NOT_SHOWN  # six rows are too few, whatever the number of runs
    runs = build(records)[0].correlations["lambda_max"]
    assert runs["n_jobs"] == 30
    assert runs["rows"]["rho"] == pytest.approx(outcome.bounds.mean)
    assert runs["rows"]["high"] == pytest.approx(outcome.plain.high)
    fewer = [r for r in records if r["job"]["method"]["label"] != "BP, SGD"]
    assert one(fewer, test).reason == "mzi_mnist has no row 'BP, SGD'"


def test_claims_without_tests_say_why() -> None:
    claims = Claims(
        "pnnbench-2",
        "standard",
        0.95,
        {},
        (
            Claim(1, "a", "", waits_for="a workload"),
            Claim(2, "b", "", not_testable="there is no chip"),
        ),
    )
    waiting, never = decide(claims, [], NOTHING)
    assert (waiting.verdict, waiting.reason) == (NOT_MEASURED, "a workload")
    assert (never.verdict, never.reason) == (NOT_TESTABLE, "there is no chip")


def test_what_stands_beside_decides_nothing() -> None:
    records = rings({"SAT": 0.2, "BP": 0.0, "NAT": 0.4})
    beside = replace(CELLS, against="NAT", beside=True)
    found = one(records, CELLS, beside)
    assert found.verdict == HOLDS
    assert [outcome.verdict for outcome in found.outcomes] == [HOLDS, DOES_NOT_HOLD]
    assert one(records, CELLS, replace(beside, against="BP 2x")).verdict == HOLDS


def test_values_of_the_authors_files_stand_beside_the_measured_ones() -> None:
    where = Reproduced("mrr", "clean", "a", "b")
    test = replace(CELLS, reproduced=where)
    claims = Claims("pnnbench-2", "standard", 0.95, {}, (Claim(1, "c", "", tests=(test,)),))
    found = Found({}, {("mrr", "a", "clean", None): 99.0, ("mrr", "b", "clean", None): 98.0})
    (measured,) = decide(claims, build(rings({"SAT": 0.2, "BP": 0.0})), found)
    (missing,) = decide(claims, [], found)
    assert measured.outcomes[0].reproduced == missing.outcomes[0].reproduced == (99.0, 98.0)


def test_the_verdict_on_a_claim_never_falls_when_a_test_rises() -> None:
    order = [DOES_NOT_HOLD, NOT_SHOWN, IN_PART, HOLDS]
    for a, b, c in itertools.product(range(4), repeat=3):
        if a < 3:
            lower = combined([order[a], order[b], order[c]])
            higher = combined([order[a + 1], order[b], order[c]])
            assert order.index(lower) <= order.index(higher)
    assert combined([HOLDS, NOT_MEASURED]) == NOT_MEASURED
    assert combined([HOLDS, DOES_NOT_HOLD]) == IN_PART
    assert combined([NOT_SHOWN, DOES_NOT_HOLD]) == DOES_NOT_HOLD


def test_cells_of_the_ideal_device_are_over_seeds_alone() -> None:
    records = rings({"SAT": 0.1, "BP": 0.0})
    for record in records:
        first = record["cells"][0]["device_seed"]
        alone = [c for c in record["cells"] if c["axis"] != "device" and c["device_seed"] == first]
        kept = [c for c in record["cells"] if c["axis"] == "device"]
        record["cells"] = kept + [{**cell, "device_seed": None} for cell in alone]
        del record["checksum"]
    records = [seal(record) for record in records]
    warm = replace(CELLS, axes=("temperature-fine",))
    (found,) = one(records, warm).outcomes
    assert (found.seeds, found.devices) == (len(SEEDS), 0)
    assert found.verdict == HOLDS
    assert one(records, CELLS).outcomes[0].devices > 1


def test_a_comparison_says_how_its_devices_were_deployed() -> None:
    records = [
        make_later_record(label, seed, headline=RECALIBRATED)
        for label in ("SAT", "BP")
        for seed in SEEDS
    ]
    clean = Comparison("mrr_mnist", "clean", "higher", "SAT", "BP")
    found = one(records, CELLS, clean).outcomes
    assert [outcome.deployment for outcome in found] == [RECALIBRATED, ""]
    assert found[0].as_dict()["deployment"] == RECALIBRATED
    assert one(rings({"SAT": 0.1, "BP": 0.0}), CELLS).outcomes[0].deployment == ""


def test_the_very_same_difference_at_all_seeds_decides_nothing() -> None:
    def ratio(*factors: float) -> Decided:
        records = []
        for label, mean in (("SAT", 0.01), ("BP", 1.0)):
            for seed, factor in zip(SEEDS, factors, strict=False):
                record = make_mesh_record(label, seed, sealed=False)
                other = factor if label == "BP" else 1.0
                record["sharpness"] = {"lambda_max": mean * (1.0 + 0.02 * seed) * other}
                records.append(seal(record))
        return one(records, EIGENVALUE)

    assert ratio(1.0, 1.1, 0.9).verdict == HOLDS
    found = ratio(1.0, 1.0, 1.0)
    assert found.verdict == NOT_MEASURED
    assert "run more of them" in found.outcomes[0].reason
