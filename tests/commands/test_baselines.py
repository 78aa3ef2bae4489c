"""An own suite beside the finished rows of suites that ship."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from ..command import Done, command
from .conftest import QUIET, write_suite

Ran = tuple[Path, Done]


@pytest.fixture
def own(ran: Ran, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a finished suite that ships and an own suite of one more row, not yet run."""
    shipped = tmp_path / "shipped"
    shipped.mkdir()
    write_suite(shipped)
    monkeypatch.setattr("pnnbench.commands.baselines.SUITES", shipped)
    folder = tmp_path / "mine"
    shutil.copytree(ran[0] / "runs" / "tiny", folder / "runs" / "tiny")
    row = {"method": "bp", "label": "Slow BP", "params": {"lr": 0.01}}
    write_suite(folder, suite="mine", methods=[row])
    return folder


def test_an_own_suite_is_shown_among_finished_baselines(own: Path, ran: Ran) -> None:
    done = command("run", "tiny.yaml", *QUIET, "--format", "json", cwd=own)
    rows = json.loads(done.out)["rows"]
    together = {row["method"]: row for row in rows if row["suite"] == "mine + tiny"}
    assert set(together) == {"Slow BP", "BP", "NAT, small"}
    assert {row["method"] for row in rows if row["suite"] == "mine"} == {"Slow BP"}
    assert together["Slow BP"]["difference_to_baseline"]["baseline"] == "BP"
    before = json.loads(command("leaderboard", "--format", "json", cwd=ran[0]).out)["rows"]
    for row in before:
        for figure in ("clean", "robust", "worst_decile", "lambda_max", "auc"):
            assert together[row["method"]][figure] == row[figure]
    assert (own / "runs/mine/beside/index.html").is_file()
    # Without them the suite stands alone.
    again = command("run", "tiny.yaml", *QUIET, "--baselines", "no", "--format", "json", cwd=own)
    assert {row["suite"] for row in json.loads(again.out)["rows"]} == {"mine"}


def test_folders_are_joined_when_asked(own: Path) -> None:
    command("run", "tiny.yaml", *QUIET, "--baselines", "no", cwd=own)
    table = command("leaderboard", "runs/mine", "runs/tiny", "--join", cwd=own).out
    assert "mine + tiny" in table
    assert all(label in table for label in ("Slow BP", "NAT, small"))
    apart = command("leaderboard", "runs/mine", "runs/tiny", cwd=own).out
    assert "mine + tiny" not in apart
    done = command("leaderboard", "runs", "--join", "--publish", "board", cwd=own, status=2)
    assert "--join and --publish" in done.err


def test_a_suite_alone_on_its_workload_is_as_it_was(own: Path) -> None:
    shutil.rmtree(own / "runs" / "tiny")
    done = command("run", "tiny.yaml", *QUIET, cwd=own)
    assert done.out.count("page: ") == 1
    assert " + " not in done.out
