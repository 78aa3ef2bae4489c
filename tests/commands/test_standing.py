"""Where one run stands beside the baseline."""

from __future__ import annotations

import pytest

from pnnbench.commands.standing import (
    baseline_of,
    finished_records,
    standing,
    standing_text,
)
from pnnbench.leaderboard.ranking import build
from pnnbench.records.store import seal, write_record
from tests.record_factory import make_record


@pytest.fixture(scope="module")
def records():
    return {label: make_record(label) for label in ("SAT", "BP", "BP 2x", "NAT")}


def changed(record, **job):
    return seal({**record, "job": {**record["job"], **job}})


def test_the_baseline_is_the_same_but_for_the_method(records):
    sat, bp = records["SAT"], records["BP"]
    assert baseline_of(sat, [*records.values()]) is bp
    assert baseline_of(sat, [sat, records["NAT"], records["BP 2x"]]) is None
    others = [
        make_record("BP", 1),
        make_record("BP", tier="quick"),
        make_record("BP", fingerprint="sha256:" + "00" * 32),
        make_record("BP", protocol="published"),
        {**bp, "config": {**bp["config"], "epochs": 11}},
    ]
    assert baseline_of(sat, others) is None
    assert baseline_of(sat, [*others, bp]) is bp
    assert baseline_of(bp, [changed(bp, hash="0" * 16)]) is None


def test_the_score_is_the_one_of_the_board(records):
    sat, bp = records["SAT"], records["BP"]
    rows = {row.method: row for row in build([sat, bp])[0].rows}
    found = standing(sat, bp)
    assert found["robust"] == rows["SAT"].robust.as_dict()
    assert found["baseline"]["robust"] == rows["BP"].robust.as_dict()
    assert found["baseline"]["label"] == "BP"
    assert found["difference"] == rows["SAT"].difference.as_dict()
    assert standing(sat, None) == {"robust": found["robust"]}


def test_it_reads_in_one_or_two_lines(records):
    sat, bp = records["SAT"], records["BP"]
    alone = standing_text(standing(sat, None), sat["metric"])
    assert alone.startswith("robust, the score of the boards: ")
    assert alone.endswith(" %")
    assert "\n" not in alone
    first, second = standing_text(standing(sat, bp), sat["metric"]).splitlines()
    assert first == alone
    assert second.startswith("BP at this seed (mrr_mnist): ")
    assert "; difference +" in second


def test_a_grid_that_does_not_count_says_so(records):
    sat = records["SAT"]
    silent = seal({**sat, "cells": [{**cell, "counts": False} for cell in sat["cells"]]})
    assert "no point of the grid counts" in standing_text(standing(silent, None), sat["metric"])


def test_finished_records_are_whole_and_there_once(records, tmp_path):
    for place in ("a/1", "b/2"):
        write_record(tmp_path / place / "record.json", {**records["SAT"]})
    write_record(tmp_path / "a" / "3" / "record.json", {**records["BP"]})
    (tmp_path / "a" / "4").mkdir()
    (tmp_path / "a" / "4" / "record.json").write_text("{")
    found = finished_records(tmp_path / "a", tmp_path / "b", tmp_path / "nowhere")
    assert sorted(r["job"]["method"]["label"] for r in found) == ["BP", "SAT"]
