"""What the authors' files give is written from what ``pnnbench reproduce`` prints."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from pnnbench.errors import UserError
from pnnbench.leaderboard.claims import REPRODUCED, read_reproduced
from pnnbench.published.report import Report, Row, render

from .scripts import load_script

REPORT = Report(
    "mrr",
    (
        Row("sat", "drift", "drift, «all»", 98.0, "%", 98.0, 0.1, -1.0, "degC"),
        Row("sat", "clean", "accuracy", 97.5, "%", 99.0, 0.1),
        Row("bp", "lambda_1", "λ", 969.25),
    ),
    {"mnist": "sha256:0"},
)


@pytest.fixture
def write(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    script = load_script("scripts/reproduced.py")

    def run(*texts: str) -> Path:
        files = [tmp_path / f"{i}.json" for i in range(len(texts))]
        for file, text in zip(files, texts, strict=True):
            file.write_text(text, encoding="utf-8")
        out = tmp_path / "reproduced.json"
        monkeypatch.setattr(sys, "argv", ["reproduced.py", *map(str, files), "--out", str(out)])
        script.main()
        read_reproduced.cache_clear()
        return out

    return run


def test_values_and_counts_come_back_and_other_platforms_stay(write) -> None:
    found = read_reproduced(write(render(REPORT, "json")))
    assert found.counts == {"mrr": {"compared": 2, "within": 1, "checkpoints": 2}}
    assert found.values["mrr", "sat", "drift", -1.0] == 98.0
    assert found.values["mrr", "bp", "lambda_1", None] == 969.25
    other = Report("mine", REPORT.rows[2:])
    again = read_reproduced(write(render(other, "json")))
    assert set(again.counts) == {"mrr", "mine"}
    assert again.values["mrr", "sat", "clean", None] == 97.5


def test_the_committed_file_is_what_the_script_writes() -> None:
    script = load_script("scripts/reproduced.py")
    text = REPRODUCED.read_text(encoding="utf-8")
    assert script.text_of(json.loads(text)["platforms"]) == text


@pytest.mark.parametrize("text", ["", "[]", '{"platform": "mrr"}'])
def test_what_is_no_report_is_told(write, text: str) -> None:
    with pytest.raises(UserError, match="is no report"):
        write(text)
