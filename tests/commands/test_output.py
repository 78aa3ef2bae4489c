"""Standard output of commands."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from pnnbench.commands.output import WIDTH, out, out_json, width, writable
from pnnbench.errors import UserError
from tests.conftest import terminal


def test_texts_end_with_one_newline(capsys):
    out("a")
    out("b\n")
    assert capsys.readouterr().out == "a\nb\n"


def test_json_reads_back_and_refuses_what_json_lacks(capsys):
    out_json({"θ": [1.5, None], "path": Path("x")})
    assert json.loads(capsys.readouterr().out) == {"θ": [1.5, None], "path": "x"}
    with pytest.raises(ValueError, match="JSON"):
        out_json(float("nan"))


def test_the_width_is_that_of_the_terminal(monkeypatch):
    assert width() == WIDTH
    with terminal(47) as (stream, _):
        monkeypatch.setattr(sys, "stdout", stream)
        monkeypatch.setenv("COLUMNS", "47")
        assert width() == 47
        monkeypatch.undo()


def test_a_folder_is_made_and_tried(tmp_path):
    assert writable("--runs", tmp_path / "a" / "b").is_dir()
    assert [*(tmp_path / "a" / "b").iterdir()] == []
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/none")):
        with pytest.raises(UserError, match=f"--runs is {folder}: ") as caught:
            writable("--runs", folder)
        assert caught.value.allowed == "a folder in which files can be written"
