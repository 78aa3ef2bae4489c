"""``pnnbench run`` and ``pnnbench train``."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pnnbench import lookup
from pnnbench.commands import training

from ..command import Done, command
from .conftest import QUIET, write_suite

Ran = tuple[Path, Done]


@pytest.fixture
def mine(ran: Ran, tmp_path: Path) -> Path:
    """A copy of the finished suite that may be changed."""
    shutil.copytree(ran[0], tmp_path / "mine")
    return tmp_path / "mine"


def test_again_it_finds_what_is_finished(ran: Ran) -> None:
    folder, first = ran
    again = command("run", "tiny.yaml", *QUIET, cwd=folder)
    assert ": start" not in again.err
    assert again.out == first.out


def test_some_rows_and_seeds_are_run_and_the_others_stay(mine: Path) -> None:
    done = command("run", "tiny.yaml", "--only", "nat small", "--seeds", "0,2", *QUIET, cwd=mine)
    assert done.err.count(": start") == 1
    assert "NAT, small  seed 2: start" in done.err
    rows = json.loads(command("leaderboard", "--format", "json", cwd=mine).out)["rows"]
    assert {row["method"]: row["seeds"] for row in rows} == {"BP": [0, 1], "NAT, small": [0, 1, 2]}


def test_a_method_of_ones_own_stands_beside_the_rows(mine: Path) -> None:
    (mine / "mine.py").write_text(
        "from pnnbench.methods.bp import BP\n\n\nclass Mine(BP):\n    '''Mine.'''\n"
    )
    done = command("run", "tiny.yaml", "--add", "mine.Mine", "--only", "BP", *QUIET, cwd=mine)
    assert done.err.count(": start") == 2
    assert all(label in done.out for label in ("BP", "NAT, small", "mine.Mine"))


def test_a_dry_run_says_what_would_run_and_runs_nothing(mine: Path) -> None:
    done = command("run", "tiny.yaml", "--seeds", "0-3", "--dry-run", cwd=mine)
    assert "4 of 8 jobs would run" in done.out
    found = json.loads(
        command("run", "tiny.yaml", "--seeds", "0-3", "--dry-run", "--format", "json", cwd=mine).out
    )
    assert [row["to_run"] for row in found["rows"]] == [[2, 3], [2, 3]]
    assert found["seconds"] > 0
    assert len(list((mine / "runs" / "tiny").glob("*/record.json"))) == 4


def test_the_board_of_a_run_is_drawn_with_the_classes_that_have_just_run(
    mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    doors: list[str | None] = []

    def noted(*args: Any, **more: Any) -> Path:
        doors.append(lookup._DOOR.get())
        return mine / "index.html"

    monkeypatch.setattr(training, "write_board", noted)
    command("run", "tiny.yaml", *QUIET, cwd=mine)
    assert doors[0] == "any"


def test_a_dry_run_tells_the_data_sets_of_a_workload_apart(mine: Path) -> None:
    (mine / "sets.py").write_text(
        "import dataclasses\nfrom pnnbench.data.digits import Digits\n\n\n"
        "class Mine(Digits):\n    name = 'mine'\n\n"
        "    def load(self, root=None, download=False):\n"
        "        return dataclasses.replace(Digits().load(), name='mine')\n"
    )
    write_suite(
        mine,
        workloads=["mzi-digits", {"workload": "mzi-digits", "data": "sets.Mine"}],
        methods=["bp"],
        seeds=[0],
    )
    done = command("run", "tiny.yaml", "--dry-run", "--format", "json", cwd=mine)
    rows = {row["workload"]: len(row["to_run"]) for row in json.loads(done.out)["rows"]}
    assert rows == {"mzi-digits": 0, "mzi-digits on mine": 1}


def test_pairs_that_do_not_fit_are_skipped_with_a_line(mine: Path) -> None:
    write_suite(mine, methods=["bp", "sat-environment"], seeds=[0])
    done = command("run", "tiny.yaml", *QUIET, cwd=mine)
    assert "skipped: sat-environment cannot train mzi-digits" in done.err
    write_suite(mine, methods=["sat-environment"])
    done = command("run", "tiny.yaml", *QUIET, cwd=mine, status=2)
    assert "no job is left" in done.err
    assert "mrr-digits" in done.err  # where it can be used


def test_an_amount_in_another_unit_is_refused_before_anything_runs(mine: Path) -> None:
    write_suite(mine, methods=[{"method": "sat", "params": {"rho": "0.3 mA"}}])
    done = command("run", "tiny.yaml", *QUIET, cwd=mine, status=2)
    assert "rho is '0.3 mA' on mzi-digits, which has another unit" in done.err
    assert ": start" not in done.err


def test_train_says_where_it_stands_and_what_comes_next(mine: Path) -> None:
    done = command("train", "mzi_digits", "NAT", "--tier", "smoke", *QUIET, cwd=mine)
    assert "robust, the score of the boards:" in done.out
    assert "; guessing has 10.00 %" in done.out
    assert "BP at this seed (tiny):" in done.out
    assert "at this one seed" in done.out
    assert "on perturbed devices, frozen; points with * count in its score:" in done.out
    assert "difference" in done.out
    assert done.out.rstrip().splitlines()[-1].startswith("next: pnnbench ")
    assert "loss / rad²" in done.out
    assert "temperature" not in done.out


def test_a_default_that_is_typed_out_makes_no_row_of_its_own(mine: Path) -> None:
    quick = ("--tier", "smoke", *QUIET)
    for given in ((), ("--params.lr", "0.1"), ("--params.lr", "1", "--precision", "32")):
        command("train", "mzi-digits", "bp", *given, *quick, cwd=mine)
    table = json.loads(command("leaderboard", "runs/train", "--format", "json", cwd=mine).out)
    found = {row["method"]: (row["seeds"], row["missing_seeds"]) for row in table["rows"]}
    assert found == {"bp": ([0], []), "bp lr=1.0": ([0], [])}


class _Shown:
    """A finished job in a folder, and what was done to show it."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.done, self.fails = folder, [], False
        (folder / "parameters.safetensors").touch()
        self.record = {"status": "ok", "parameters": {"file": "parameters.safetensors"}}
        monkeypatch.setattr(training, "draw", self._draw)
        monkeypatch.setattr("pnnbench.report.mirror.log_job", self._log)

    def _draw(self, folder: Path, *_: Any) -> None:
        self.done.append("drawn")
        if self.fails:
            raise ValueError("no such colour")
        (folder / "pictures").mkdir()
        (folder / "pictures" / "curve.png").touch()

    def _log(self, record: Any, folder: Path, pictures: dict[str, Path], mode: str) -> None:
        self.done.append(f"{mode} with {len(pictures)}")

    def again(self, *, pictures: bool, wandb: str) -> list[str]:
        """What a run with these options does."""
        self.done = []
        options = SimpleNamespace(pictures=pictures, wandb=wandb, data=None)
        job = SimpleNamespace(title=lambda: "job")
        training._show(job, self.record, self.folder, options, lambda line: None)
        return self.done


@pytest.fixture
def shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> _Shown:
    return _Shown(tmp_path, monkeypatch)


def test_a_job_is_drawn_once_and_mirrored_once_whichever_comes_first(shown: _Shown) -> None:
    assert shown.again(pictures=False, wandb="disabled") == []
    assert shown.again(pictures=False, wandb="offline") == ["offline with 0"]
    assert shown.again(pictures=True, wandb="disabled") == ["drawn"]
    for wandb in ("disabled", "offline"):
        assert shown.again(pictures=True, wandb=wandb) == []
    assert shown.again(pictures=True, wandb="online") == ["online with 1"]


def test_a_job_whose_pictures_fail_is_mirrored_and_drawn_the_next_time(shown: _Shown) -> None:
    shown.fails = True
    assert shown.again(pictures=True, wandb="offline") == ["drawn", "offline with 0"]
    shown.fails = False
    assert shown.again(pictures=True, wandb="offline") == ["drawn"]
    assert shown.again(pictures=True, wandb="offline") == []


@pytest.mark.parametrize("there", [True, False])
def test_a_job_that_an_earlier_version_has_shown_is_not_shown_again(
    shown: _Shown, there: bool
) -> None:
    (shown.folder / ".shown").write_text(f"offline {shown.folder.resolve()}\n")
    if there:
        (shown.folder / "pictures").mkdir()
        (shown.folder / "pictures" / "curve.png").touch()
    assert shown.again(pictures=True, wandb="offline") == ([] if there else ["drawn"])


FAULTY = """
from pnnbench.methods.bp import BP


class Faulty(BP):
    def loss(self, workload, batch):
        return super().loss(workload, batch) / self.nothing
"""


def test_a_bug_in_ones_own_code_names_its_line_and_leaves_the_traceback(tmp_path: Path) -> None:
    (tmp_path / "faulty.py").write_text(FAULTY)
    done = command(
        "train", "mzi-digits", "faulty.Faulty", "--tier", "smoke", *QUIET, cwd=tmp_path, status=1
    )
    assert "AttributeError" in done.out
    assert "faulty.py, line 7, in loss: return super().loss(workload, batch)" in done.out
    (trace,) = tmp_path.glob("runs/train/*/traceback.txt")
    assert "Traceback" in trace.read_text()
    # Mended, the same command works, and nothing has to be moved away.
    (tmp_path / "faulty.py").write_text(FAULTY.replace(" / self.nothing", ""))
    command("train", "mzi-digits", "faulty.Faulty", "--tier", "smoke", *QUIET, cwd=tmp_path)
    board = command("leaderboard", cwd=tmp_path).out
    assert "not counted: faulty.Faulty, seed 0" in board


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("class Mine(:\n", ["SyntaxError", "mine.py, line 1: class Mine(:"]),
        ("import nowhere_at_all\n", ["ModuleNotFoundError", "mine.py, line 1"]),
        ("X = 1\nY = Z\n", ["NameError", "mine.py, line 2"]),
        ("class Mine:\n    pass\n", ["not a training method"]),
        ("Other = 1\n", ["unknown class 'Mine'"]),
    ],
)
def test_a_file_that_cannot_be_imported_reads(tmp_path: Path, text: str, words: list[str]) -> None:
    (tmp_path / "mine.py").write_text(text)
    done = command("train", "mrr-digits", "mine.Mine", "--tier", "smoke", cwd=tmp_path, status=2)
    for word in words:
        assert word in done.err
    assert not (tmp_path / "runs").exists()


def test_a_dry_run_refuses_what_the_run_would(mine: Path) -> None:
    asked = ("run", "tiny.yaml", "--precision", "16-mixed", "--accelerator", "cpu")
    for more in ((), ("--dry-run",)):
        refused = command(*asked, *more, cwd=mine, status=2).err
        assert "precision is '16-mixed' on the CPU" in refused
