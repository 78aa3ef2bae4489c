"""``pnnbench leaderboard``: formats, the page, publishing."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil

import pytest


def test_json_has_the_promised_form(pnnbench, in_tiny):
    out = json.loads(pnnbench("leaderboard", "--format", "json").out)
    assert {r["method"] for r in out["rows"]} == {"bp", "nat"}
    for row in out["rows"]:
        assert row["suite"] == "tiny"
        assert row["protocol"] == "pnnbench-1"
        assert row["workload"] == "mrr-digits"
        assert row["metric"] == "accuracy"
        assert (row["n_seeds"], row["n_devices"]) == (2, 2)
        for key in ("clean", "robust", "worst_decile", "lambda_max"):
            assert row[key]["low"] <= row[key]["mean"] <= row[key]["high"]
        assert row["cost"]["gradient_evaluations"] == 8
        assert row["cost"]["hardware_queries"] == 0
        assert row["cost"]["train_seconds"] > 0


def test_csv_has_the_figures_of_the_json(pnnbench, in_tiny):
    rows = json.loads(pnnbench("leaderboard", "--format", "json").out)["rows"]
    lines = list(csv.DictReader(io.StringIO(pnnbench("leaderboard", "--format", "csv").out)))
    assert [line["method"] for line in lines] == [row["method"] for row in rows]
    for line, row in zip(lines, rows, strict=True):
        assert float(line["robust.mean"]) == row["robust"]["mean"]


@pytest.mark.parametrize(("form", "begins"), [("markdown", "### tiny"), ("HTML", "<!")])
def test_other_formats(form, begins, pnnbench, in_tiny):
    out = pnnbench("leaderboard", "--format", form).out
    assert out.startswith(begins)
    assert "nat" in out


@pytest.mark.parametrize("columns", [40, 60, 80])
def test_the_table_fits_the_terminal(columns, on_terminal, in_tiny):
    out = on_terminal(columns, "leaderboard")
    assert max(map(len, out.splitlines())) <= columns
    assert re.search(r"^ +1=? +(bp|nat) ", out, re.MULTILINE)
    assert "λmax" in out


def test_a_folder_without_records_is_told(pnnbench, tmp_path):
    found = pnnbench("leaderboard", tmp_path, status=2)
    assert f"no records in {tmp_path}" in found.err
    assert "pnnbench run quickstart" in found.err


def test_publish_writes_records_page_and_text(pnnbench, in_tiny, tmp_path):
    said = pnnbench("leaderboard", "runs/tiny", "--publish", tmp_path / "out")
    assert f"published: {tmp_path / 'out' / 'index.html'}" in said.out
    assert len(list((tmp_path / "out" / "records").glob("*.json"))) == 4
    assert (tmp_path / "out" / "index.html").exists()
    assert "bp" in (tmp_path / "out" / "README.md").read_text()
    again = pnnbench("leaderboard", tmp_path / "out", "--format", "json").out
    first = pnnbench("leaderboard", "runs/tiny", "--format", "json").out
    assert json.loads(again)["rows"] == json.loads(first)["rows"]


def test_publish_takes_one_suite(pnnbench, in_tiny, tmp_path):
    shutil.copytree("runs/tiny", tmp_path / "both" / "tiny")
    from pnnbench.records.store import write_record
    from tests.record_factory import make_record

    write_record(tmp_path / "both" / "x" / "record.json", make_record(sealed=False))
    words = ["leaderboard", tmp_path / "both", "--publish", tmp_path / "out"]
    assert "records of 2 suites" in pnnbench(*words, status=2).err
