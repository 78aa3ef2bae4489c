"""Completion in the shell."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pnnbench.commands.completion import SCRIPTS, complete
from pnnbench.commands.declared import DECLARED

from ..command import Done, command


@pytest.mark.parametrize(
    ("words", "some"),
    [
        ([""], {"run", "train", "leaderboard"}),
        (["le"], {"leaderboard"}),
        (["train", "mzi"], {"mzi-digits", "mzi-mnist"}),
        (["train", "mzi-digits", "sa"], {"sat", "sat-in-situ"}),
        (["train", "mzi-digits", "sat", "--t"], {"--tier", "--threads"}),
        (["train", "mzi-digits", "sat", "--tier", ""], {"smoke", "paper"}),
        (["train", "mzi-digits", "sat", "--tier=qu"], {"--tier=quick"}),
        (["run", "quick"], {"quickstart"}),
        (["list", ""], {"methods", "runs"}),
    ],
)
def test_words_are_completed(words: list[str], some: set[str]) -> None:
    assert some <= set(complete(DECLARED, words))


@pytest.mark.parametrize("words", [["nonsense", ""], ["train", "mrr-digits", "sat", "--seed", ""]])
def test_nothing_is_made_up(words: list[str]) -> None:
    assert complete(DECLARED, words) == []


def test_the_script_of_bash_is_one(tmp_path: Path) -> None:
    script = command("completion", "bash", cwd=tmp_path).out
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_in_a_real_bash_every_answer_arrives(tmp_path: Path) -> None:
    program = tmp_path / "pnnbench"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m pnnbench "$@"\n')
    program.chmod(0o755)
    script = command("completion", "bash", cwd=tmp_path).out + (
        'show() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _pnnbench; echo "${COMPREPLY[*]}"; }\n'
        "show pnnbench le\nshow pnnbench leaderboard --format =\nshow pnnbench verify ./any\n"
    )
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": path, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=True,
    )
    assert done.stdout.splitlines() == [
        "leaderboard",
        "table json csv markdown html",
        "",
    ], done.stderr


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["train", "MZI_d"], ["mzi-digits"]),
        (["train", "--seed", "3", "mrr-digits", "bp"], ["bp", "bp-weights"]),
        (["leaderboard", "--format", "=", "m"], ["markdown"]),
        (["leaderboard", "--format", "="], ["table", "json", "csv", "markdown", "html"]),
        (["leaderboard", "some/fol"], []),
    ],
)
def test_spelling_order_and_the_splitting_of_bash_do_not_matter(
    words: list[str], expected: list[str]
) -> None:
    assert complete(DECLARED, words) == expected


def test_runs_are_completed_through_the_quoting_of_the_shell(
    ran: tuple[Path, Done], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ran[0])
    assert complete(DECLARED, ["evaluate", "tiny/nat\\,"]) == [
        "tiny/NAT, small/0",
        "tiny/NAT, small/1",
    ]
    assert complete(DECLARED, ["plot", '"tiny/NAT,\\ small/1']) == ["tiny/NAT, small/1"]


def test_bash_asks_and_quotes_the_answers() -> None:
    # What stands for the program says what it was asked, one word a line.
    script = (
        'pnnbench() { printf "%s\\n" "$_PNNBENCH_COMPLETE $# $1 $2" "a, b"; }\n'
        + SCRIPTS["bash"]
        + "COMP_WORDS=(pnnbench train mrr- x)\nCOMP_CWORD=2\n_pnnbench\n"
        + 'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["1\\ 2\\ train\\ mrr-", "a\\,\\ b"]
