"""The index of published parameters says what the records of a board say."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pnnbench.api.tables import tables_of
from pnnbench.leaderboard.best import RULE, best_jobs
from pnnbench.leaderboard.parameters_check import check_parameters
from pnnbench.records.findings import Finding
from pnnbench.records.folders import read_placed, read_records
from pnnbench.records.parameters import parameter_files
from pnnbench.records.placing import place
from pnnbench.records.published import record_files

from ..record_factory import make_record, write_job


@pytest.fixture
def board(tmp_path: Path) -> Path:
    board = tmp_path / "board"
    for label in ("BP", "NAT", "SAT"):
        for seed in (0, 1):
            path = write_job(tmp_path / "runs", make_record(label, seed))
            if label == "NAT":
                (path.parent / "parameters.safetensors").unlink()
    placed = read_placed(tmp_path / "runs")
    paths = {record["job"]["hash"]: path for path, record in placed}
    best = best_jobs([record for _, record in placed])
    chosen = [(paths[one.record["job"]["hash"]], one.record, one.score) for one in best]
    place(board, parameter_files(chosen, board, RULE), record_files(placed, board)[0])
    return board


def found(board: Path) -> list[Finding]:
    return list(check_parameters(board, tables_of([board]), read_records(board)))


def forge(board: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = board / "parameters" / "index.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


FORGED: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "score": (lambda c: c["rows"][0].update(robust=0.999), "robust is 0.999"),
    "clean": (lambda c: c["rows"][1].update(clean=1.0), "rows: SAT/clean is 1.0"),
    "row": (lambda c: c["rows"][0].update(row="<script>BP"), "row is '<script>BP'"),
    "seed": (lambda c: c["rows"][0].update(seed=9), "seed is 9"),
    "hash": (lambda c: c["rows"][0].update(hash="0" * 16), "another job as the best"),
    "file": (lambda c: c["rows"][0].update(file="../x"), "file is '../x'"),
    "bytes": (lambda c: c["rows"][0].update(bytes=1), "bytes is 1"),
    "more keys": (lambda c: c["rows"][0].update(won=True), "keys"),
    "gone": (lambda c: c["rows"].pop(0), "BP is 'there 0 times'"),
    "twice": (lambda c: c["rows"].append(c["rows"][0]), "BP is 'there 2 times'"),
    "rule": (lambda c: c.update(rule="the first"), "rule is 'the first'"),
    "left out": (lambda c: c["left_out"][0].update(row="Mine"), "left_out: Mine"),
}


@pytest.mark.parametrize("name", FORGED)
def test_what_no_record_gives_is_one_finding(name: str, board: Path) -> None:
    assert found(board) == []
    change, words = FORGED[name]
    forge(board, change)
    (finding,) = found(board)
    assert (finding.kind, finding.path) == ("parameters", board / "parameters" / "index.json")
    assert words in finding.message
    assert finding.next_step == f"pnnbench leaderboard {board} --publish {board}"


@pytest.mark.parametrize("text", ['{"rows": []}', '{"rows": [], "rule": 1, "left_out": [1]}'])
def test_what_is_no_index_is_one_finding(text: str, board: Path) -> None:
    (board / "parameters" / "index.json").write_text(text)
    (finding,) = found(board)
    assert finding.kind == "corrupt"
    (board / "parameters" / "index.json").write_text("{")  # told of any folder of records
    assert found(board) == []


def test_a_board_without_published_parameters_has_none_to_check(board: Path) -> None:
    (board / "parameters" / "index.json").unlink()
    assert found(board) == []
