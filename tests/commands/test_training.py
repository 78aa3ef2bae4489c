"""``pnnbench run`` and ``train``."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from pnnbench.cli import main

QUIET = ["--pictures", "false", "--wandb", "disabled"]
BROKEN = """\
import torch

from pnnbench.methods.bp import BP


class Broken(BP):
    \"\"\"Fails in a function of its own.\"\"\"

    def loss(self, workload, batch):
        return self.helper(workload(batch[0]))

    def helper(self, outputs):
        return outputs @ torch.zeros(3)


class Silent(BP):
    \"\"\"Forgets to return.\"\"\"

    def loss(self, workload, batch):
        workload.loss(workload(batch[0]), batch)
"""


@pytest.fixture
def copied(tiny, tmp_path, monkeypatch):
    """A copy of the finished suite that may be changed, as working folder."""
    shutil.copytree(tiny.folder, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def table(said):
    """What stands above the line that names the page."""
    return said[: said.index("page: ")]


def test_run_prints_the_leaderboard_and_the_page(tiny):
    assert re.search(r"^ +1=? +(bp|nat) ", tiny.said.out, re.MULTILINE)
    page = tiny.folder / re.search(r"^page: (.+)$", tiny.said.out, re.MULTILINE)[1]
    assert page.read_text().startswith("<!")
    assert re.search(r"epoch 1/1 +loss \d", tiny.said.err)
    assert "grid 20/20 cells" in tiny.said.err
    assert re.search(r"3 of 4 jobs, about \d+ s left", tiny.said.err)


def test_run_draws_and_mirrors(tiny):
    drawn = [p.parent for p in (tiny.folder / "runs" / "tiny").glob("*/.shown")]
    assert len(drawn) == 1
    names = {p.name for p in (drawn[0] / "pictures").iterdir()}
    assert {"controls.png", "landscape.svg", "confusion.png", "curve.svg"} <= names
    assert list(tiny.folder.rglob("*.wandb")), "no offline Weights & Biases files"


def test_run_again_only_says_it_is_done(tiny, pnnbench, copied):
    again = pnnbench("run", "tiny.yaml", *QUIET)
    assert "4 of 4 jobs finished already" in again.err
    assert ": start" not in again.err
    assert again.out == tiny.said.out


def test_published_records_count_as_finished(tiny, pnnbench, tmp_path, monkeypatch):
    """On a bare machine the published records of a suite are not made again."""
    monkeypatch.chdir(tiny.folder)
    pnnbench("leaderboard", "runs/tiny", "--publish", tmp_path / "leaderboards" / "tiny")
    shutil.copy("tiny.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    again = pnnbench("run", "tiny.yaml", *QUIET)
    assert "4 jobs finished elsewhere: taken over" in again.err
    assert ": start" not in again.err
    assert table(again.out) == table(tiny.said.out)


def test_a_dry_run_says_what_would_run_and_does_nothing(pnnbench, in_tiny):
    before = sorted(in_tiny.folder.rglob("*"))
    words = ["run", "tiny.yaml", "--seeds", "0-2", "--only", "BP", "--add", "pat", "--dry_run"]
    found = json.loads(pnnbench(*words, "--format", "json").out)
    rows = {row["row"]: row for row in found["rows"]}
    assert (rows["bp"]["finished"], rows["bp"]["to_run"]) == ([0, 1], [2])
    assert (rows["pat"]["finished"], rows["pat"]["to_run"]) == ([], [0, 1, 2])
    assert rows["pat"]["seconds_each"] is None
    assert (found["jobs"], found["unknown"]) == (4, 3)
    assert found["seconds"] == rows["bp"]["seconds_each"] > 0
    said = pnnbench(*words).out
    assert re.search(r"^mrr-digits +bp +1 +2 +0, 1 +\d+ s$", said, re.MULTILINE)
    assert re.search(r"^mrr-digits +pat +1 +0, 1, 2 +– +unknown$", said, re.MULTILINE)
    assert "4 of 6 jobs would run" in said
    assert "nothing is known of the time of 3" in said
    assert sorted(in_tiny.folder.rglob("*")) == before


@pytest.mark.parametrize("columns", [40, 60, 80])
def test_a_dry_run_fits_the_terminal(columns, on_terminal, in_tiny):
    lines = on_terminal(columns, "run", "tiny.yaml", "--dry-run").splitlines()
    assert max(map(len, lines)) <= columns


def test_what_a_method_cannot_train_is_skipped_with_a_line(pnnbench, in_tiny):
    said = pnnbench("run", "tiny.yaml", "--add", "dat", "--dry-run")
    assert "skipped: dat cannot train mrr-digits" in said.err
    assert "0 of 4 jobs would run" in said.out
    found = pnnbench("train", "mrr-digits", "dat", status=2)
    assert "no job is left: dat cannot train mrr-digits" in found.err
    assert "dat on mzi-digits" in found.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--only", "bpp"], ["--only: unknown row 'bpp'; did you mean 'bp'?"]),
        (["--seeds", "-1"], ["--seeds is '-1'", "0,1,2 or 0-4"]),
        (["--seeds", "1,1"], ["a number is there twice"]),
        (["--add", "no.such.Class"], ["--add: cannot import 'no.such'"]),
        (["--add", "bp"], ["the suite has a row 'bp' already"]),
        (["--add", "BP_Weihts"], ["did you mean 'bp-weights'?"]),
        (["--dry-run=3"], ["--dry-run takes no value"]),
    ],
)
def test_mistakes_in_the_choice_are_told(words, said, pnnbench, in_tiny):
    found = pnnbench("run", "tiny.yaml", *words, status=2).err
    for part in said:
        assert part in found


def test_a_bug_in_ones_own_file_is_told_with_its_place(pnnbench, copied):
    Path("broken.py").write_text(BROKEN)
    words = ["train", "mrr-digits", "broken.Broken", "--tier", "smoke", *QUIET]
    said = pnnbench(*words, status=1).out
    assert "error: RuntimeError: " in said
    assert "\n  broken.py, line 10, in loss: return self.helper(workload(batch[0]))\n" in said
    assert "\n  broken.py, line 13, in helper: return outputs @ torch.zeros(3)\n" in said
    assert "next: mend what is wrong and run the same command again" in said
    trace = Path(re.search(r"^traceback: (.+)$", said, re.MULTILINE)[1]).read_text()
    assert trace.startswith("Traceback (most recent call last)")
    assert "lightning" in trace
    found = json.loads(pnnbench(*words, "--format", "json", status=1).out)
    assert (found["status"], found["error"]["type"]) == ("error", "RuntimeError")
    assert Path(found["traceback"]).is_file()


def test_a_loss_that_is_not_returned_is_told(pnnbench, copied):
    Path("silent.py").write_text(BROKEN)
    words = ["train", "mrr-digits", "silent.Silent", "--tier", "smoke", *QUIET]
    said = pnnbench(*words, status=1).out
    assert "error: the loss of Silent is nothing\n  allowed: a tensor with one number\n" in said


def test_a_failing_row_leaves_the_board(pnnbench, copied):
    Path("failing.py").write_text(BROKEN)
    words = ["run", "tiny.yaml", "--add", "failing.Broken", "--seeds", "0", *QUIET]
    said = pnnbench(*words, status=1)
    assert "error: RuntimeError: " in said.err
    assert "failing.py, line 13, in helper" in said.err
    assert re.search(r"^ +– +failing.Broken ", said.out, re.MULTILINE)
    assert re.search(r"^ +1=? +(bp|nat) ", said.out, re.MULTILINE)


def test_a_syntax_error_is_told_with_its_line(pnnbench, copied):
    Path("typo.py").write_text("class A:\n    def f(self):\n        return (1,\n")
    for words in (
        ["train", "mrr-digits", "typo.A"],
        ["check", "typo.A"],
        ["run", "tiny.yaml", "--add", "typo.A"],
    ):
        said = pnnbench(*words, status=2).err
        assert "cannot import 'typo': SyntaxError: '(' was never closed" in said
        assert "\n  typo.py, line 3: return (1,\n" in said


def test_a_file_in_place_of_a_class_is_told(pnnbench, copied):
    Path("mine.py").write_text("")
    for name in ("mine", "mine.py", "./mine.py"):
        said = pnnbench("train", "mrr-digits", name, status=2).err
        assert "name the class in the file: mine.NAME_OF_THE_CLASS" in said


def test_train_shows_score_baseline_and_the_next_command(pnnbench, copied):
    words = ["train", "mrr_digits", "NAT", "--tier", "smoke", *QUIET]
    said = pnnbench(*words)
    assert "1 job finished elsewhere: taken over" in said.err
    board = json.loads(pnnbench("leaderboard", "runs/train", "--format", "json").out)
    robust = board["rows"][0]["robust"]["mean"]
    assert f"robust, the score of the boards: {100 * robust:.2f}" in said.out
    assert re.search(r"^bp at this seed \(tiny\): \d.* %; difference [+−]", said.out, re.MULTILINE)
    assert said.out.endswith("next: pnnbench leaderboard runs/train\n")
    found = json.loads(pnnbench(*words, "--format", "json").out)
    assert found["robust"]["mean"] == robust
    assert found["baseline"]["label"] == "bp"
    assert found["difference"]["mean"] == pytest.approx(
        robust - found["baseline"]["robust"]["mean"]
    )


def test_a_run_with_other_settings_is_another_row(pnnbench, copied):
    words = ["train", "mrr-digits", "bp", "--params.lr", "1e-1", "--params={lr_digital: 1e-2}"]
    pnnbench(*words, "--tier", "smoke", "--epochs_factor", "2", *QUIET)
    assert "train/bp lr=0.1 lr_digital=0.01 epochs x2/0 " in pnnbench("list", "runs").out


def test_an_interrupted_job_goes_on_when_called_again(pnnbench, copied):
    Path("pausing.py").write_text(
        "from pnnbench.methods.bp import BP\n\n\n"
        "class Pauses(BP):\n"
        '    """Is interrupted once, in its second epoch."""\n\n'
        "    paused = False\n\n"
        "    def loss(self, workload, batch):\n"
        "        if workload.current_epoch == 1 and not Pauses.paused:\n"
        "            Pauses.paused = True\n"
        "            raise KeyboardInterrupt\n"
        "        return super().loss(workload, batch)\n"
    )
    words = ["train", "mrr-digits", "pausing.Pauses", "--tier", "smoke", *QUIET]
    words += ["--epochs-factor", "3"]
    first = pnnbench(*words, status=130).err
    assert "epoch 1/3" in first
    assert first.endswith("interrupted; run the same command again to go on\n")
    second = pnnbench(*words).err
    assert "epoch 1/3" not in second
    assert "epoch 3/3" in second


def test_a_closed_standard_error_stops_no_training(pnnbench, copied, monkeypatch):
    """Whoever watched the progress has gone: the job ends as if somebody looked."""
    import os
    import sys

    reading, writing = os.pipe()
    os.close(reading)
    words = ["train", "mrr-digits", "bp", "--tier", "smoke", "--seed", "7", *QUIET]
    with os.fdopen(writing, "w") as gone, monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", gone)
        assert main(words) == 0
    assert re.search(r"^train/bp/7 +mrr-digits +smoke +ok ", pnnbench("list", "runs").out, re.M)
