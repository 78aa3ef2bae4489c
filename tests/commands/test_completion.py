"""What the shell is told when it completes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pnnbench.commands.completion import complete
from pnnbench.commands.declared import DECLARED
from pnnbench.registry import registered


@pytest.mark.parametrize(
    ("words", "answers"),
    [
        (["tr"], ["train"]),
        (["TR"], ["train"]),
        (["--v"], ["--version"]),
        (["trian", ""], []),
        (["train", "mrr_"], ["mrr-digits", "mrr-mnist"]),
        (["train", "mrr-digits", "sat", "--ti"], ["--tier"]),
        (["train", "mrr-digits", "--epochs_"], ["--epochs-factor"]),
        (["train", "--tier", ""], ["smoke", "quick", "standard", "paper"]),
        (["train", "--tier=s"], ["--tier=smoke", "--tier=standard"]),
        (["train", "--tier", "=", "s"], ["smoke", "standard"]),
        (["train", "--tier", "="], ["smoke", "quick", "standard", "paper"]),
        (["train", "--seed", ""], []),
        (["train", "--params.lr", "3", "mzi-d"], ["mzi-digits"]),
        (["run", "--dry-run", "quicks"], ["quickstart"]),
        (["run", "quickstart", "--add", "sat-i"], ["sat-in-situ"]),
        (["leaderboard", "--format", "m"], ["markdown"]),
        (["evaluate", "x", "--format", ""], ["table", "json", "csv"]),
        (["list", "w"], ["workloads"]),
        (["reproduce", "m"], ["mrr", "mzi"]),
        (["data", ""], ["digits", "mnist"]),
        (["completion", ""], ["bash", "zsh"]),
        (["verify", ""], []),
        (["train", "mrr-digits", "sat", ""], []),
    ],
)
def test_answers(words, answers):
    assert complete(DECLARED, words) == answers


def test_every_command_and_every_flag_is_offered():
    assert complete(DECLARED, [""]) == [command.name for command in DECLARED]
    for command in DECLARED:
        assert complete(DECLARED, [command.name, "-"]) == [*command.flags, "--help"]


def test_methods_are_those_that_are_registered():
    assert complete(DECLARED, ["train", "mrr-digits", ""]) == list(registered("methods"))


def test_runs_go_by_their_names(in_tiny):
    assert complete(DECLARED, ["plot", "tiny/b"]) == ["tiny/bp/0", "tiny/bp/1"]


def test_labels_with_spaces_as_the_shell_hands_them_over(tmp_path, monkeypatch):
    from pnnbench.records.store import write_record
    from tests.record_factory import make_record

    monkeypatch.chdir(tmp_path)
    write_record(Path("runs/a/1/record.json"), make_record("BP on weights", sealed=False))
    for begun in ("mrr_mnist/BP\\ on", '"mrr_mnist/BP on', "MRR-mnist/bp\\ "):
        assert complete(DECLARED, ["plot", begun]) == ["mrr_mnist/BP on weights/0"]


def test_the_scripts_ask_the_program(pnnbench):
    for shell in ("bash", "zsh"):
        script = pnnbench("completion", shell).out
        assert "_PNNBENCH_COMPLETE=1 pnnbench" in script
    assert "did you mean 'zsh'?" in pnnbench("completion", "fish", status=2).err


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_in_a_real_bash(pnnbench, tiny, tmp_path):
    """The whole way: script, program, the list that bash shows, its last word too."""
    program = tmp_path / "pnnbench"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m pnnbench "$@"\n')
    program.chmod(0o755)
    script = pnnbench("completion", "bash").out + (
        'show() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _pnnbench; echo "${COMPREPLY[*]}"; }\n'
        "show pnnbench evaluate tiny/b\n"
        "show pnnbench leaderboard --format =\n"
        "show pnnbench verify ./any\n"
    )
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tiny.folder,
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"},
    )
    assert done.stdout.splitlines() == [
        "tiny/bp/0 tiny/bp/1",
        "table json csv markdown html",
        "",
    ], done.stderr
