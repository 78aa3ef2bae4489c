"""Suites from Python: the same jobs, folders and files as from the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

import pnnbench
from pnnbench.records.folders import read_records
from pnnbench.running import search_file

from .conftest import SUITE

TINY = {
    **SUITE,
    "suite": "searched",
    "methods": [{"method": "bp", "label": "BP", "tune": True}],
    "seeds": [0],
}


def test_a_suite_is_run_once_and_its_results_are_those_of_the_folder(
    small: Path, tmp_path: Path
) -> None:
    told: list[str] = []
    suite = small / "small.yaml"
    part = pnnbench.run(suite, tmp_path, only=["sat"], say=told.append)
    assert len(part) == 1
    whole = pnnbench.run(suite, tmp_path, say=told.append)
    assert len(whole) == 2
    assert sum("SAT  seed 1: start" in line for line in told) == 1
    mine = {r["job"]["hash"]: r for r in read_records(tmp_path / "small")}
    theirs = {r["job"]["hash"]: r for r in read_records(small / "runs" / "small")}
    assert mine.keys() == theirs.keys()
    for name, record in mine.items():
        for part_of_it in ("clean", "cells", "sharpness", "parameters", "job"):
            assert record[part_of_it] == theirs[name][part_of_it]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"suite": "quickstar"}, "did you mean 'quickstart'"),
        ({"only": ["SATT"]}, "unknown row 'SATT'"),
        ({"add": ["st"]}, "did you mean 'sat'"),
    ],
)
def test_mistakes_read(tmp_path: Path, arguments: dict[str, object], text: str) -> None:
    with pytest.raises(pnnbench.UserError) as error:
        pnnbench.run(**{"suite": "quickstart", "runs": tmp_path / "runs", **arguments})
    assert text in str(error.value)


def test_a_folder_that_is_a_file_reads(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    with pytest.raises(pnnbench.UserError, match="a folder in which files can be written"):
        pnnbench.run("quickstart", tmp_path / "runs")


def test_settings_are_searched_and_written_into_the_suite(tmp_path: Path) -> None:
    path = tmp_path / "searched.yaml"
    path.write_text(yaml.safe_dump(TINY))
    told: list[str] = []
    budget = {"trials": 2, "finalists": 1, "more_seeds": 0}
    found = pnnbench.tune(path, tmp_path / "runs", say=told.append, **budget)
    assert found["suite_file_changed"] == str(path)
    (row,) = found["rows"]
    assert row["method"] == "BP"
    chosen = yaml.safe_load(path.read_text())["methods"][0]["tuned"]
    assert chosen.keys() == {"lr"}
    assert told
    again = pnnbench.tune(path, tmp_path / "runs", **budget)
    assert again == {**found, "suite_file_changed": None}


def test_a_suite_of_an_installed_package_is_not_searched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_file, "IN_SOURCES", False)
    with pytest.raises(pnnbench.UserError) as error:
        pnnbench.tune("quickstart", tmp_path / "runs")
    assert "quickstart is a suite of the installed package" in str(error.value)
    assert "pnnbench tune ./quickstart.yaml" in str(error.value)


def test_a_mistyped_suite_makes_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(pnnbench.UserError, match="quikstart"):
        pnnbench.run("quikstart")
    assert not (tmp_path / "runs").exists()
    (tmp_path / "runs").mkdir()
    assert len(pnnbench.load_leaderboard().rows) > 10  # what ships: there is nothing of one's own
