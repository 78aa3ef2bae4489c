"""What one run is compared with: finished jobs of its workload and tier, and no others."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pnnbench.commands.standing import baseline_of, comparable, standing, standing_text
from pnnbench.records.folders import find_records
from pnnbench.records.index import workload_of
from pnnbench.registry import method_class, method_parameters
from tests.scripts import ROOT


@pytest.fixture
def stored() -> list[dict]:
    return [json.loads(path.read_text()) for path in find_records(ROOT / "leaderboards")]


def test_it_reads_the_whole_records_of_these_boards(stored, tmp_path: Path) -> None:
    board = ("mrr-digits", "quick")
    found = {record["job"]["hash"] for record in comparable(tmp_path, {board})}
    expected = {
        record["job"]["hash"]
        for record in stored
        if (workload_of(record["job"]), record["job"]["tier"]) == board and record["status"] == "ok"
    }
    assert found == expected
    assert found


def test_what_is_not_whole_is_left_out(stored, tmp_path: Path) -> None:
    record = next(r for r in stored if r["job"]["workload"] == "mrr-digits" and r["schema"] == 3)
    folder = tmp_path / "a" / "0"
    folder.mkdir(parents=True)
    forged = {**record, "job": {**record["job"], "hash": "0" * 16}}  # its seal is another one's
    for i, text in enumerate([json.dumps(forged), "[]", "{}", "{", '{"status": "ok", "job": []}']):
        (folder / str(i)).mkdir()
        (folder / str(i) / "record.json").write_text(text)
    tier = record["job"]["tier"]
    assert "0" * 16 not in {r["job"]["hash"] for r in comparable(tmp_path, {("mrr-digits", tier)})}


def test_a_run_at_defaults_is_told_that_its_baseline_is_not(tmp_path: Path) -> None:
    whole = comparable(tmp_path, {("mrr-digits", "quick")})
    board = [r for r in whole if (r["job"]["suite"], r["job"]["seed"]) == ("quickstart", 0)]
    (nat,) = (r for r in board if r["job"]["method"]["label"] == "NAT")
    baseline = baseline_of(nat, board)
    found = standing(nat, baseline)
    lr = baseline["job"]["method"]["params"]["lr"]
    assert found["baseline"]["chosen"]["lr"] == lr
    assert "were chosen" not in standing_text(found, nat["metric"])  # both were searched
    params = method_parameters(method_class("nat"), {})
    default = {**nat, "job": {**nat["job"], "method": {**nat["job"]["method"], "params": params}}}
    found = standing(default, baseline)
    assert found["chosen"] == {}
    assert f"BP has settings that were chosen (lr {lr})" in standing_text(found, nat["metric"])
