from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pnnbench.api.tables import tables_of
from pnnbench.errors import UserError
from pnnbench.leaderboard import ranking
from pnnbench.leaderboard.board_check import NUMBERS, check_board, find_boards, unreadable
from pnnbench.records.findings import Finding
from pnnbench.records.store import write_record
from pnnbench.report.text import render_json

from ..record_factory import make_mesh_suite, make_suite

ROOT = Path(__file__).resolve().parents[2]
BOARDS = find_boards(ROOT / "leaderboards")


def _found(board: Path) -> list[Finding]:
    return list(check_board(board, tables_of([board])))


@pytest.mark.parametrize("board", BOARDS, ids=[str(b.relative_to(ROOT)) for b in BOARDS])
def test_the_published_boards_are_what_their_records_give(board: Path) -> None:
    assert _found(board) == []


def test_every_published_board_is_found() -> None:
    assert len(BOARDS) >= 6
    assert ROOT / "leaderboards" / "quickstart" in BOARDS


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    board = tmp_path_factory.mktemp("board")
    records = [*make_suite(["BP", "SAT"], (0, 1)), *make_mesh_suite(["BP", "PAT"], (0, 1))]
    for record in records:
        write_record(board / "records" / f"{record['job']['hash']}.json", record)
    (board / NUMBERS).write_text(render_json(ranking.build(records)))
    return board


@pytest.fixture
def board(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "board"))


def test_pages_without_their_numbers_are_a_finding(board: Path) -> None:
    (board / NUMBERS).rename(board / "leaderboard.md")
    assert find_boards(board.parent) == [board]
    (found,) = _found(board)
    assert found.path == board / NUMBERS
    assert "is missing" in found.message


FORGED: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "score": (lambda row: row["robust"].update(mean=0.999), "robust/mean is 0.999"),
    "end": (lambda row: row["robust"].update(low=row["robust"]["low"] + 1e-4), "robust/low"),
    "sharpness": (lambda row: row["lambda_max"].update(mean=None), "lambda_max/mean is None"),
    "rank": (lambda row: row.update(rank_high=row["rank_high"] + 1), "rank_high"),
    "ties": (lambda row: row.update(tied_with=["BP", "somebody"]), "tied_with"),
    "seeds": (lambda row: row.update(seeds=[0, 2]), "seeds[1] is 2, its records give 1"),
    "complete": (lambda row: row.update(complete=1.5), "complete"),
    "settings": (lambda row: row.update(epochs_factor=3), "epochs_factor is 3"),
    "knows": (lambda row: row.update(knows=["nothing"]), "knows"),
    "badges": (lambda row: row.update(badges=["claimed", "retrained"]), "badges is ['claimed'"),
}


@pytest.mark.parametrize("name", FORGED)
def test_a_changed_number_in_a_row_is_found(name: str, board: Path) -> None:
    assert _found(board) == []
    change, words = FORGED[name]
    content = json.loads((board / NUMBERS).read_text())
    change(content["rows"][0])
    (board / NUMBERS).write_text(json.dumps(content))
    (finding,) = _found(board)
    assert (finding.kind, finding.path) == ("board", board / NUMBERS)
    assert words in finding.message
    assert "--publish" in finding.next_step


def test_a_changed_number_in_a_cell_is_found(board: Path) -> None:
    content = json.loads((board / NUMBERS).read_text())
    content["tables"][0]["groups"][3]["methods"]["BP"]["mean"] += 0.01
    (board / NUMBERS).write_text(json.dumps(content))
    (finding,) = _found(board)
    assert "the table mrr_mnist" in finding.message
    assert "groups[3]/methods/BP/mean is" in finding.message


def test_a_row_that_is_there_twice_is_found(board: Path) -> None:
    content = json.loads((board / NUMBERS).read_text())
    forged = json.loads(json.dumps(content["rows"][0]))
    forged["robust"]["mean"] = 1.0
    content["rows"].insert(0, forged)
    (board / NUMBERS).write_text(json.dumps(content))
    (finding,) = _found(board)
    assert finding.message.endswith(" twice")


def test_rows_of_one_side_alone_are_found(board: Path) -> None:
    content = json.loads((board / NUMBERS).read_text())
    content["rows"][0]["method"] = "Mine"
    (board / NUMBERS).write_text(json.dumps(content))
    invented, missing = _found(board)
    assert "has the row mrr_mnist" in invented.message
    assert "Mine, which no record gives" in invented.message
    assert "lacks the row mrr_mnist" in missing.message


def test_another_machines_rounding_and_another_versions_figures_are_no_difference(
    board: Path,
) -> None:
    content = json.loads((board / NUMBERS).read_text())
    content["rows"][0]["robust"]["mean"] *= 1 + 1e-12
    content["rows"][0]["figure_of_tomorrow"] = 1.0
    del content["rows"][0]["cost"]
    (board / NUMBERS).write_text(json.dumps(content))
    assert _found(board) == []


@pytest.mark.parametrize("text", ["{", "[]", '{"rows": [1]}', '{"rows": {}', "[" * 10**5])
def test_what_is_no_board_is_one_finding(text: str, board: Path) -> None:
    (board / NUMBERS).write_text(text)
    (finding,) = _found(board)
    assert (finding.kind, finding.path) == ("corrupt", board / NUMBERS)


def test_records_that_make_no_table_are_a_finding(board: Path) -> None:
    path = next((board / "records").glob("*.json"))
    path.write_text(path.read_text().replace('"status":"ok"', '"status":"fine"'))
    with pytest.raises(UserError) as error:
        tables_of([board])
    finding = unreadable(board, error.value)
    assert (finding.kind, finding.path) == ("board", board / NUMBERS)
    assert str(path) in finding.message
