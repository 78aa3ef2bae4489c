"""The leaderboard as data, text and page is that of the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import pnnbench
from pnnbench.api import tables
from pnnbench.registry import BOARDS

from ..alike import differing
from ..command import command
from ..record_factory import make_record, write_job


@pytest.mark.parametrize("form", ["table", "json", "csv", "markdown", "html"])
def test_its_texts_are_those_of_the_command(tmp_path: Path, form: str) -> None:
    board = pnnbench.load_leaderboard("quickstart")
    assert (
        board.text(form) == command("leaderboard", "quickstart", "--format", form, cwd=tmp_path).out
    )
    assert str(board) == board.text()
    assert repr(board) == "<Leaderboard: quickstart on mrr-digits>"


def test_its_rows_are_those_of_the_committed_board() -> None:
    committed = json.loads((BOARDS / "quickstart" / "leaderboard.json").read_text(encoding="utf-8"))
    board = pnnbench.load_leaderboard("quickstart")
    assert differing(committed["rows"], json.loads(json.dumps(board.rows))) == []
    columns = board.to_dict()
    assert columns["robust.mean"] == [row["robust"]["mean"] for row in board.rows]
    assert [json.loads(text) for text in columns["params"]] == [row["params"] for row in board.rows]
    assert {len(values) for values in columns.values()} == {len(board.rows)}


def test_without_folders_it_is_what_is_at_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for place in ("leaderboards/here/records/x", "runs/mine/x"):
        folder = tmp_path / place
        suite = folder.parts[-3] if "records" in place else "mine"
        write_job(folder, make_record("SAT", 0, suite=suite))
        (folder.parent / "HASH.json").write_bytes(next(folder.rglob("record.json")).read_bytes())
        assert suite in repr(pnnbench.load_leaderboard())


@pytest.mark.slow
def test_where_nothing_is_at_hand_it_is_what_ships(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "quickstart" in repr(pnnbench.load_leaderboard())


def test_rows_that_know_the_tests_can_be_left_out() -> None:
    board = pnnbench.load_leaderboard("quickstart", without=["gaussian on controls"])
    assert "NAT" not in {row["method"] for row in board.rows}
    with pytest.raises(pnnbench.UserError, match="without: unknown knowledge 'gaussian'"):
        pnnbench.load_leaderboard("quickstart", without=["gaussian"])


def test_mistakes_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(pnnbench.UserError, match="there is no such file or folder") as caught:
        pnnbench.load_leaderboard("mzi_mnits")
    assert "did you mean 'mzi_mnist'?" in caught.value.what
    assert "quickstart" in caught.value.allowed
    with pytest.raises(pnnbench.UserError, match="is a board of 7 rows, not one run") as caught:
        pnnbench.load_network("quickstart")
    assert "quickstart/NAT" in caught.value.allowed
    with pytest.raises(pnnbench.UserError, match="unknown format 'pdf'"):
        pnnbench.load_leaderboard("quickstart").text("pdf")
    monkeypatch.setattr(tables, "BOARDS", tmp_path / "none")
    with pytest.raises(pnnbench.UserError, match="no records in runs/ or leaderboards/"):
        pnnbench.load_leaderboard()
