"""Completion in the shell."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from pnnbench.commands.completion import complete
from pnnbench.commands.declared import DECLARED

from ..command import command


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
