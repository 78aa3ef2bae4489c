"""What commands say of the mirror at Weights & Biases."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from pnnbench.commands.mirroring import say_upload

from ..command import command
from ..record_factory import make_suite, write_job
from ..report.wandb_files import read_offline


@pytest.fixture(autouse=True)
def _nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


def _board(here: Path) -> Path:
    for record in make_suite(["BP", "SAT"], (0, 1)):
        write_job(here / "board", record)
    return here


def test_a_board_is_mirrored_where_there_are_no_runs(tmp_path: Path) -> None:
    here = _board(tmp_path / "my boards")
    done = command("leaderboard", "board", "--wandb", cwd=here)
    assert done.err.startswith("Weights & Biases: offline, since nothing else is set\n")
    assert "upload later: wandb sync leaderboard/wandb/offline-run-*\n" in done.err
    # The boards that come with the project are still what is shown here by default.
    assert {path.name for path in here.iterdir()} == {"board", "leaderboard"}
    (run,) = read_offline(here / "leaderboard")
    shown = json.loads((here / "leaderboard" / "leaderboard.json").read_text())
    media = next(line for line in run.history if "leaderboard/path" in line)
    table = json.loads((run.folder / "files" / media["leaderboard/path"]).read_text())
    at = {path: table["columns"].index(path) for path in ("method", "lambda_max/mean")}
    assert [[line[i] for i in at.values()] for line in table["data"]] == [
        [row["method"], row["lambda_max"]["mean"]] for row in shown["rows"]
    ]
    used = [name for name, artifact in run.artifacts.items() if artifact["used"]]
    assert len(used) == sum(len(row["seeds"]) for row in shown["rows"]) == 4


def test_the_mode_is_refused_before_work_and_disabled_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _board(tmp_path)
    words = ("leaderboard", "board", "--wandb")
    done = command(*words, "online", cwd=tmp_path, status=2)
    assert "there is no key for Weights & Biases" in done.err
    assert done.out == ""
    assert "did you mean 'offline'" in command(*words, "ofline", cwd=tmp_path, status=2).err
    monkeypatch.setenv("WANDB_MODE", "disabled")
    done = command(*words, cwd=tmp_path)
    assert done.err == "Weights & Biases: disabled, as WANDB_MODE says\n"
    assert {path.name for path in tmp_path.iterdir()} == {"board"}
    monkeypatch.setenv("WANDB_MODE", "sometimes")
    done = command("run", "quickstart", "--runs", "out", cwd=tmp_path, status=2)
    assert "WANDB_MODE: unknown mode 'sometimes'" in done.err
    assert not list((tmp_path / "out").rglob("record.json"))


def test_uploads_name_jobs_before_the_board_that_is_made_from_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for place in ("a b/0123/wandb", "a b/wandb", "leaderboard/wandb"):
        (tmp_path / "runs" / place / "offline-run-1-x").mkdir(parents=True)
    runs = tmp_path / "runs"
    say_upload("offline", [runs, runs / "leaderboard"])
    assert capsys.readouterr().err == (
        f"upload later: wandb sync {runs}/*/*/wandb/offline-run-* && "
        f"wandb sync {runs}/*/wandb/offline-run-*\n"
    )
    say_upload("offline", [runs / "a b"])
    assert f"wandb sync '{runs}/a b'/*/wandb/offline-run-* && " in capsys.readouterr().err
    say_upload("online", [runs])
    say_upload("offline", [tmp_path / "a b"])
    assert capsys.readouterr().err == ""
