"""What is said beside a table: where its rows were computed, which curvature says nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pnnbench.leaderboard.ranking import build
from pnnbench.leaderboard.transfer import training_seconds
from pnnbench.records.store import seal
from pnnbench.report.notes import badge_texts, places_texts, remarks, sharpness_texts
from pnnbench.report.render import render

from ..record_factory import make_image_suite

GPU = {"device": "cuda", "gpu": "NVIDIA H100"}


def computed(on: dict[str, dict], seeds: tuple[int, ...] = (0, 1)) -> list[dict]:
    """Records of some rows, each computed as is said of it, those of other seeds on the CPU."""
    made = []
    for record in make_image_suite(tuple(on), (0, 1)):
        job = record["job"]
        if job["seed"] in seeds:
            record.pop("checksum")
            record["provenance"]["arithmetic"] = on[job["method"]["label"]]
            record = seal(record)
        made.append(record)
    return made


@pytest.mark.parametrize("on", [{}, GPU])
def test_a_board_of_one_device_says_nothing(on: dict) -> None:
    (table,) = build(computed({"BP": on, "SAT": on}))
    assert places_texts(table) == []


@pytest.mark.parametrize("form", ["table", "markdown", "html"])
def test_rows_of_other_devices_are_told(form: str) -> None:
    (table,) = build(computed({"BP": {}, "NAT": GPU, "SAT": GPU}))
    (line,) = places_texts(table)
    assert line == (
        "not all on one device: BP on CPU; NAT, SAT on NVIDIA H100; their training times are no "
        "comparison of methods"
    )
    assert line in remarks(table)
    shown = " ".join(render([table], form).split())
    assert "BP on CPU; NAT, SAT on NVIDIA H100" in shown


def test_seeds_of_one_row_and_precisions_are_told_too() -> None:
    (table,) = build(
        computed({"BP": GPU, "SAT": {**GPU, "training_precision": "bf16-mixed"}}, (1,))
    )
    (line,) = places_texts(table)
    assert "BP on CPU and NVIDIA H100;" in line
    assert "SAT on CPU and NVIDIA H100 in bf16-mixed;" in line


def test_a_job_that_went_on_elsewhere_is_told() -> None:
    records = []
    for record in computed({"BP": {}, "SAT": {}}):
        record.pop("checksum")
        if record["job"]["method"]["label"] == "SAT":
            record["provenance"]["parts"] = [{**GPU, "epochs": [0, 1]}, {"epochs": [2, 3]}]
            record["cost"] |= {"train_seconds": 9.0, "train_cpu_seconds": 5.0}
        records.append(seal(record))
    (table,) = build(records)
    (line,) = places_texts(table)
    assert "BP on CPU; SAT on CPU and NVIDIA H100;" in line
    assert {training_seconds(r) for r in records if "parts" in r["provenance"]} == {9.0}


@pytest.mark.parametrize("form", ["table", "markdown", "html"])
def test_badges_are_said_where_there_are_any(form: str) -> None:
    (table,) = build(computed({"BP": {}, "SAT": {}}))
    assert badge_texts(table) == []
    rows = tuple(
        replace(row, badges=("claimed", "recomputed", "held-out")) if row.method == "SAT" else row
        for row in table.rows
    )
    badged = replace(table, rows=rows)
    (line,) = badge_texts(badged)
    assert line.endswith("SAT: claimed, recomputed, held-out; the other rows are as claimed")
    assert "claimed, recomputed, held-out" in " ".join(render([badged], form).split())


IDEAL = {"device_seed": None, "severity": 0.0}


def marked(seeds: int, marks: dict[tuple[str, int], dict]) -> list[dict]:
    """Records of BP and SAT at minima on the ideal device but for what is given of some."""
    made = []
    for record in make_image_suite(("BP", "SAT"), tuple(range(seeds))):
        job = record["job"]
        record.pop("checksum")
        record["sharpness"] |= {"at_guessing": 0, "is_minimum": 1, "point": IDEAL}
        record["sharpness"] |= marks.get((job["method"]["label"], job["seed"]), {})
        made.append(seal(record))
    return made


def test_where_all_curvature_may_be_compared_nothing_is_said() -> None:
    (table,) = build(marked(2, {}))
    assert sharpness_texts(table) == []
    assert "sharpness_marks" not in table.rows[0].as_dict()


@pytest.mark.parametrize("form", ["table", "markdown", "html"])
def test_curvature_that_says_nothing_is_told_with_its_reason(form: str) -> None:
    own = {"device_seed": 7, "severity": 1.0}
    (table,) = build(
        marked(
            5,
            {("SAT", 0): {"at_guessing": 1}, ("SAT", 1): {"is_minimum": 0}}
            | {("BP", seed): {"is_minimum": 0, "point": own} for seed in range(4)}
            | {("BP", 4): {"point": own}},
        )
    )
    guessing, saddles, own_devices = sharpness_texts(table)
    assert guessing == (
        "the loss never left that of guessing, so that λmax says nothing and is left out, while "
        "the score counts: SAT, seed 0"
    )
    assert saddles.endswith(("BP, 4 of 5 seeds; SAT, seed 1", "SAT, seed 1; BP, 4 of 5 seeds"))
    assert own_devices.endswith(": BP, seed 4")
    shown = " ".join(render([table], form).split())
    assert "the score counts: SAT, seed 0" in shown
    (sat,) = [row.as_dict() for row in table.rows if row.method == "SAT"]
    assert sat["sharpness_marks"] == {"at guessing": [0], "at no minimum": [1]}
