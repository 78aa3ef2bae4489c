"""`pnnbench tune` as a user meets it: real trials of a few seconds."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from pnnbench.api.tuning import prepare
from pnnbench.records.folders import read_records
from pnnbench.records.search_schema import TEST
from pnnbench.records.searches import read_search
from pnnbench.registry import SUITES
from pnnbench.running.tuning import missing

from ..command import Done, command
from .conftest import QUIET, write_suite

SHORT = ("--trials", "4", "--finalists", "1", "--more-seeds", "1")
#: The page that users follow; its method is the one that is tuned here.
PAGE = (SUITES.parent / "docs" / "tuning.md").read_text(encoding="utf-8")
OWN, SUITE = (
    re.findall(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL)[0] for kind in ("python", "yaml")
)
ROWS = [
    {"method": "damped.Damped", "label": "Damped", "tune": True},
    {"method": "bp", "label": "BP", "params": {"lr": 0.05}},
    {"method": "damped.Damped", "label": "Damped, longer", "like": "Damped", "epochs_factor": 2},
]


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Done]:
    """A suite with a method of one's own that was tuned and run; read it, never change it."""
    folder = tmp_path_factory.mktemp("tuned")
    (folder / "damped.py").write_text(OWN)
    write_suite(folder, seeds=[0], methods=ROWS)
    done = command("tune", "tiny.yaml", *SHORT, "--format", "json", cwd=folder)
    return folder, done


def test_a_method_of_ones_own_is_tuned_by_the_law_in_its_class(tuned: tuple[Path, Done]) -> None:
    folder, done = tuned
    told = json.loads(done.out)
    (row,) = told["rows"]
    assert set(row["chosen"]) == {"factor", "lr"}
    assert row["deviates"] is True
    search = read_search(folder / told["search"])
    assert search["rows"]["Damped"]["definition"]["space"]["factor"]["high"] == 10.0
    assert search["like"] == {"Damped, longer": "Damped"}
    assert search["not_tuned"] == ["BP"]
    suite = yaml.safe_load((folder / "tiny.yaml").read_text())
    assert suite["methods"][0] == {**ROWS[0], "tuned": row["chosen"]}
    assert suite["methods"][1:] == ROWS[1:]


@pytest.mark.slow
def test_the_page_for_users_is_right(tmp_path: Path) -> None:
    (tmp_path / "damped.py").write_text(OWN)
    (tmp_path / "mine.yaml").write_text(SUITE)
    command("check", "damped.Damped", "--workload", "mrr-digits", cwd=tmp_path)
    words = [line.split()[1:] for line in PAGE.splitlines() if line.startswith("pnnbench tune")]
    assert len(words) == 2
    told = command(*words[0], cwd=tmp_path).out
    assert "64 trials would run" in told
    command(*words[1], "--only", "Damped", cwd=tmp_path)
    suite = yaml.safe_load((tmp_path / "mine.yaml").read_text())
    rows = {row["label"]: row for row in suite["methods"]}
    assert set(rows["Damped"]["tuned"]) == {"factor", "lr"}
    assert "tuned" not in rows["BP"]
    planned = command("run", "mine.yaml", "--dry-run", "--format", "json", cwd=tmp_path).out
    assert [row["row"] for row in json.loads(planned)["rows"]] == list(rows)


def test_no_board_counts_a_trial(tuned: tuple[Path, Done]) -> None:
    folder, _ = tuned
    assert len(list((folder / "runs" / "tiny" / "tuning").glob("*/trial.json"))) >= 5
    assert read_records(folder / "runs") == []
    assert "no records" in command("leaderboard", cwd=folder, status=2).err
    assert "0 findings" in command("doctor", cwd=folder).out


def test_the_board_says_what_tuning_gave(tuned: tuple[Path, Done], tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(tuned[0], folder)
    command("run", "tiny.yaml", *QUIET, cwd=folder)
    records = read_records(folder / "runs")
    assert len(records) == 3
    assert all(record["job"]["seed"] == 0 for record in records)
    shown = command("leaderboard", "--format", "json", cwd=folder)
    (table,) = (t for t in json.loads(shown.out)["tables"] if "tuning" in t)
    told = {row["method"]: row for row in table["tuning"]}
    assert told["Damped"]["tuned"] is True
    assert [p["trials"] for p in told["Damped"]["curve"]] == [1, 2, 4]
    assert told["Damped, longer"]["like"] == "Damped"
    assert told["BP"] == {"method": "BP", "tuned": False, "settings_tried": 0, "curve": []}
    text = command("leaderboard", cwd=folder).out
    assert "untuned" in text
    assert "not tuned" in text
    command("leaderboard", "--publish", "out", cwd=folder)
    assert (folder / "out" / "tuning.json").is_file()
    assert "Test score against trials" in (folder / "out" / "index.html").read_text()
    assert command("leaderboard", "out", "--format", "json", cwd=folder).out == shown.out


def test_again_it_runs_nothing(tuned: tuple[Path, Done]) -> None:
    folder, first = tuned
    before = (folder / "tiny.tuning.json").read_text()
    again = command("tune", "tiny.yaml", *SHORT, "--format", "json", cwd=folder)
    assert json.loads(again.out)["rows"] == json.loads(first.out)["rows"]
    assert "start" not in again.err
    assert (folder / "tiny.tuning.json").read_text() == before


def test_a_dry_run_says_what_would_run_and_writes_nothing(tmp_path: Path) -> None:
    write_suite(tmp_path, methods=[{"method": "sat", "tune": True}, "bp"])
    told = command("tune", "tiny.yaml", "--dry-run", "--format", "json", cwd=tmp_path)
    found = json.loads(told.out)
    assert found["trials"] == 16 + 4 * 4
    (row,) = found["rows"]
    assert row["space"] == {"rho": "0.001 to 0.3 (log)", "lr": "0.003 to 3 (log)"}
    assert not (tmp_path / "tiny.tuning.json").exists()


def test_a_dry_run_refuses_another_search_and_counts_no_row_that_has_failed(
    tmp_path: Path,
) -> None:
    write_suite(tmp_path, methods=[{"method": m, "label": m, "tune": True} for m in ("bp", "nat")])
    prepared = prepare(tmp_path / "tiny.yaml", tmp_path / "runs", trials=4)
    prepared.search.open(prepared.rows)
    prepared.search.update(lambda content: content["rows"]["nat"].update(failed="no trial"))
    tune = ("tune", "tiny.yaml", "--dry-run", "--format", "json")
    found = json.loads(command(*tune, "--trials", "4", cwd=tmp_path).out)
    assert {row["row"]: row["trials"] for row in found["rows"]} == {"bp": 4 + 4 * 4, "nat": 0}
    done = command(*tune, "--trials", "5", cwd=tmp_path, status=2)
    assert "is the record of another search: trials 4 -> 5" in done.err
    assert json.loads(command(*tune, "--trials", "5", "--anew", cwd=tmp_path).out)["trials"] == 42
    for flags in (("--only", ","), ("--only", " , ", "--dry-run")):
        done = command("tune", "tiny.yaml", *flags, cwd=tmp_path, status=2)
        assert "no row" in done.err


def test_a_dry_run_counts_what_is_left_beyond_an_edge(tmp_path: Path) -> None:
    write_suite(tmp_path, methods=[{"method": "bp", "label": "BP", "tune": True}])
    budget = ("--trials", "4", "--finalists", "1", "--more-seeds", "1")
    prepared = prepare(
        tmp_path / "tiny.yaml", tmp_path / "runs", trials=4, finalists=1, more_seeds=1
    )
    search = prepared.search
    search.open(prepared.rows)

    def tried(content: dict[str, Any]) -> None:
        """The first round and the final one are done, and the largest step is the best."""
        row = content["rows"]["BP"]
        while wanted := missing("BP", row, search):
            row["trials"] += [trial(w.point, w.seed, w.round, w.params) for w in wanted]

    def trial(point: int, seed: int, turn: str, params: Any) -> dict[str, Any]:
        value = params["lr"] / 10.0
        scored = {"score": value, "clean": value}
        return {
            "point": point,
            "seed": seed,
            "round": turn,
            "params": dict(params),
            "hash": "0" * 16,
            "status": "ok",
            "seconds": 1.0,
            "validation": {**scored, "own_device": value},
            TEST: scored,
            "value": value,
        }

    search.update(tried)

    def planned() -> dict[str, Any]:
        done = command("tune", "tiny.yaml", "--dry-run", *budget, "--format", "json", cwd=tmp_path)
        found: dict[str, Any] = json.loads(done.out)
        return found

    found = planned()
    (row,) = search.content["rows"].values()
    top = max(point["lr"] for point in row["points"])
    assert top > 3.0 / 1000**0.1  # within a tenth of the end
    assert (found["trials"], found["rows"][0]["finished"]) == (4 + 1, 4 + 1)
    assert found["seconds"] == 5.0


@pytest.mark.parametrize(
    ("methods", "flags", "said"),
    [
        (["bp"], (), "no row of tiny is marked"),
        ([{"method": "bp", "tune": True}], ("--only", "sat"), "unknown row 'sat'"),
        ([{"method": "bp", "tune": True}], ("--trials", "0"), "--trials"),
        ([{"method": "bp", "like": "bq"}], (), "no row 'bq'"),
    ],
)
def test_mistakes_read(
    tmp_path: Path, methods: list[Any], flags: tuple[str, ...], said: str
) -> None:
    write_suite(tmp_path, methods=methods)
    assert said in command("tune", "tiny.yaml", *flags, cwd=tmp_path, status=2).err


def without_times(path: Path) -> dict[str, Any]:
    """A search record without how long it took, and the version of the sources."""
    content = read_search(path)
    del content["made_by"]
    for row in content["rows"].values():
        for trial in row["trials"]:
            del trial["seconds"]
    return content


@pytest.mark.slow
def test_killed_and_gone_on_by_two_processes_it_gives_the_same_file(tmp_path: Path) -> None:
    rows = [{"method": m, "label": m, "tune": True} for m in ("bp", "nat")]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for folder in (whole, parts):
        folder.mkdir()
        write_suite(folder, seeds=[0], methods=rows)
    command("tune", "tiny.yaml", *SHORT, cwd=whole)

    def start() -> subprocess.Popen[bytes]:
        words = [sys.executable, "-m", "pnnbench", "tune", "tiny.yaml", *SHORT]
        return subprocess.Popen(words, cwd=parts, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    first = start()
    path = parts / "tiny.tuning.json"
    until = time.monotonic() + 240
    while time.monotonic() < until and first.poll() is None:
        if path.is_file() and sum(len(r["trials"]) for r in read_search(path)["rows"].values()):
            break
        time.sleep(0.05)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    both = [start(), start()]
    assert [process.communicate()[1][-500:] and process.returncode for process in both] == [0, 0]
    assert without_times(path) == without_times(whole / "tiny.tuning.json")
    assert (parts / "tiny.yaml").read_text() == (whole / "tiny.yaml").read_text()
