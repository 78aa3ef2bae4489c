"""Finished runs are found by name; what is none is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from pnnbench.commands.finished import finished
from pnnbench.errors import UserError
from pnnbench.records.store import write_record
from tests.record_factory import make_record


def failed(path):
    record = make_record(sealed=False)
    error = {"type": "KeyError", "message": "'x'\n  my.py, line 3, in loss: d['x']"}
    kept = {key: record[key] for key in ("schema", "protocol", "job", "provenance")}
    return write_record(path, {**kept, "status": "error", "error": error})


def test_by_name_hash_folder_or_file(in_tiny):
    folder, record = finished("tiny/bp/0", "runs")
    assert (record["job"]["method"]["name"], record["job"]["seed"]) == ("bp", 0)
    digits = record["job"]["hash"]
    for name in (
        "TINY/BP/0",
        digits[:6],
        str(folder),
        str(folder / "record.json"),
        f"tiny/{digits}",
    ):
        assert finished(name, "runs")[0] == folder


@pytest.mark.parametrize("command", ["evaluate", "sharpness", "plot", "submit"])
def test_an_empty_folder_is_told(command, pnnbench, tmp_path):
    said = pnnbench(command, tmp_path, status=2).err
    assert "holds no run: there is no record.json in it" in said
    assert "pnnbench list runs" in said


def test_a_folder_of_several_runs_asks_for_one(pnnbench, in_tiny, tmp_path, monkeypatch):
    said = pnnbench("evaluate", "tiny", status=2).err
    assert "runs/tiny holds 4 runs, not one" in said
    assert "such as 'tiny/bp/0'" in said
    monkeypatch.chdir(tmp_path)  # where that name would mean nothing
    said = pnnbench("evaluate", in_tiny.folder / "runs", status=2).err
    named = Path(said.split("such as ")[1].strip())
    assert (named / "record.json").is_file()


def test_a_folder_of_one_run_means_that_run(tmp_path):
    write_record(tmp_path / "suite" / "a" / "record.json", make_record(sealed=False))
    assert finished(str(tmp_path), "runs")[0] == tmp_path / "suite" / "a"


@pytest.mark.parametrize("command", ["evaluate", "sharpness", "plot", "submit"])
def test_a_failed_run_says_why_and_where(command, pnnbench, tmp_path):
    failed(tmp_path / "record.json")
    said = pnnbench(command, tmp_path, status=2).err
    assert "did not finish: error: KeyError: 'x'\n  my.py, line 3" in said
    assert "run its suite again" in said


def test_a_broken_record_is_told(tmp_path):
    (tmp_path / "record.json").write_text("{")
    with pytest.raises(UserError, match=r"record\.json"):
        finished(str(tmp_path), "runs")
