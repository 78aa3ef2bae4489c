"""Published parameters: those of the records, to the byte, and nothing else in their folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pnnbench.errors import UserError
from pnnbench.records import parameters
from pnnbench.records.doctor import examine
from pnnbench.records.folders import read_placed
from pnnbench.records.parameters import (
    find_parameters,
    parameter_files,
    read_parameters,
    record_of,
)
from pnnbench.records.placing import place
from pnnbench.records.published import record_files
from pnnbench.records.store import file_sha256, read_record

from ..record_factory import make_record, write_job

Chosen = list[tuple[Path, dict[str, Any], float | None]]


@pytest.fixture
def placed(tmp_path: Path) -> Chosen:
    for label in ("BP", "SAT"):
        write_job(tmp_path / "runs", make_record(label, 0))
    return [(path, record, 0.5) for path, record in read_placed(tmp_path / "runs")]


def publish(placed: Chosen, board: Path, **limits: Any) -> None:
    place(board, parameter_files(placed, board, "the rule", **limits))


def names(board: Path) -> set[str]:
    return {path.name for path in (board / "parameters").iterdir()}


def test_each_file_is_that_of_its_record(tmp_path: Path, placed: Chosen) -> None:
    board = tmp_path / "board"
    publish(placed, board)
    rows = read_parameters(board)
    assert [row["row"] for row in rows] == ["BP", "SAT"]
    for row, (path, record, score) in zip(rows, placed, strict=True):
        file = board / "parameters" / row["file"]
        assert file_sha256(file) == row["sha256"] == record["parameters"]["sha256"]
        assert file.stat().st_size == row["bytes"]
        assert (row["seed"], row["robust"], row["clean"]) == (0, score, record["clean"])
        assert record_of(path.parent / "parameters.safetensors") == path
    content = json.loads((board / "parameters" / "index.json").read_text())
    assert content["rule"] == "the rule"
    assert content["left_out"] == []


def test_a_board_finds_its_own_and_a_changed_one_is_none(tmp_path: Path, placed: Chosen) -> None:
    board = tmp_path / "board"
    publish(placed, board)
    place(board, record_files([(path, record) for path, record, _ in placed], board)[0])
    for path, record, _ in placed:
        published = board / "records" / f"{record['job']['hash']}.json"
        assert read_record(published) == record
        file = board / "parameters" / f"{record['job']['hash']}.safetensors"
        assert record_of(file) == published
        beside = board / "records" / record["job"]["hash"] / "parameters.safetensors"
        assert record_of(beside) == published
        beside.unlink()
        assert find_parameters(published, record) == file
        assert find_parameters(path, record) == path.parent / "parameters.safetensors"
        beside.parent.rmdir()
    assert examine(board)[0] == []
    # Published again from where they stand, nothing changes.
    before = {path: path.read_bytes() for path in (board / "parameters").iterdir()}
    again = [(path, record, 0.5) for path, record in read_placed(board)]
    publish(again, board)
    assert {path: path.read_bytes() for path in (board / "parameters").iterdir()} == before
    file.write_bytes(b"other")
    assert find_parameters(published, record) is None
    assert [finding.kind for finding in examine(board)[0]] == ["parameters"]
    file.unlink()
    (finding,) = examine(board)[0]
    assert "is missing" in finding.message


def test_what_is_too_large_or_not_at_hand_is_left_out_and_said(
    tmp_path: Path, placed: Chosen, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = tmp_path / "board"
    publish(placed, board)
    (placed[0][0].parent / "parameters.safetensors").unlink()
    publish(placed, board)
    kept = placed[1][1]["job"]["hash"]
    assert names(board) == {"index.json", f"{kept}.safetensors"}
    monkeypatch.setattr(parameters, "LARGEST", 1)
    publish(placed, board)
    assert names(board) == {"index.json"}
    left_out = json.loads((board / "parameters" / "index.json").read_text())["left_out"]
    assert [entry["row"] for entry in left_out] == ["BP", "SAT"]
    assert "not at hand" in left_out[0]["why"]
    assert "bytes, more than 1" in left_out[1]["why"]


def test_where_there_is_no_room_for_all_some_rows_come_first(
    tmp_path: Path, placed: Chosen
) -> None:
    board = tmp_path / "board"
    sizes = [(path.parent / "parameters.safetensors").stat().st_size for path, _, _ in placed]
    publish(placed, board, room=max(sizes), first=["SAT"])
    index = json.loads((board / "parameters" / "index.json").read_text())
    assert [entry["row"] for entry in index["rows"]] == ["SAT"]
    (left_out,) = index["left_out"]
    assert left_out["row"] == "BP"
    assert "of a board are left" in left_out["why"]
    # Drawn again where they are no longer at hand, the board says what it said.
    (placed[0][0].parent / "parameters.safetensors").rename(tmp_path / "aside")
    publish(placed, board)
    again = json.loads((board / "parameters" / "index.json").read_text())
    assert again["left_out"] == [left_out]
    (tmp_path / "aside").rename(placed[0][0].parent / "parameters.safetensors")
    # With room to the byte for all, nothing is left out, and rows stand in their own order.
    publish(placed, board, room=sum(sizes), first=["SAT"])
    assert [entry["row"] for entry in read_parameters(board)] == ["BP", "SAT"]


def test_without_any_at_hand_the_folder_stays(tmp_path: Path, placed: Chosen) -> None:
    for path, _, _ in placed:
        (path.parent / "parameters.safetensors").unlink()
    publish(placed, tmp_path / "board")
    assert not (tmp_path / "board").exists()
    assert read_parameters(tmp_path / "board") == []


def test_a_file_that_stands_alone_has_no_record(tmp_path: Path) -> None:
    assert record_of(tmp_path / "parameters.safetensors") is None
    assert record_of(tmp_path / "parameters" / "0123456789abcdef.safetensors") is None


@pytest.mark.parametrize("text", ["", "[]", '{"rows": [{}]}', '{"rows": 3}'])
def test_an_index_that_is_none_reads(tmp_path: Path, text: str) -> None:
    (tmp_path / "parameters").mkdir()
    (tmp_path / "parameters" / "index.json").write_text(text)
    with pytest.raises(UserError, match="is not an index of parameters"):
        read_parameters(tmp_path)
    assert [finding.kind for finding in examine(tmp_path)[0]] == ["corrupt"]
