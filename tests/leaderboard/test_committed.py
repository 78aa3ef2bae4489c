"""Committed boards: every figure follows from their records, and a forged board does not stand."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from pnnbench.api.tables import tables_of
from pnnbench.errors import UserError
from pnnbench.records.columns import layout, pack
from pnnbench.records.parameters import read_parameters
from pnnbench.records.store import read_record, seal
from pnnbench.report.render import render

from ..alike import differing
from ..command import command

ROOT = Path(__file__).resolve().parents[2]
#: Boards of the present protocol; those below ``pnnbench-1`` are of another statistic.
BOARDS = sorted(path.parent for path in (ROOT / "leaderboards").glob("*/leaderboard.json"))


def rebuilt(board: Path) -> list[str]:
    """Figures of a board that its records do not give, but for the last digits."""
    old = json.loads((board / "leaderboard.json").read_text(encoding="utf-8"))
    return differing(old, json.loads(render(tables_of([board]), "json")))


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.name)
def test_a_board_is_rebuilt_to_the_last_digit(board: Path) -> None:
    assert rebuilt(board) == []


@pytest.fixture
def forged(tmp_path: Path) -> Path:
    """A copy of a board, to be changed."""
    source = next(board for board in BOARDS if board.name == "quickstart")
    for name in ("records", "parameters"):
        shutil.copytree(source / name, tmp_path / "forged" / name)
    for name in ("leaderboard.json", "suite.json", "tuning.json"):
        shutil.copyfile(source / name, tmp_path / "forged" / name)
    return tmp_path / "forged"


def test_a_forged_page_is_not_rebuilt(forged: Path) -> None:
    assert rebuilt(forged) == []
    path = forged / "leaderboard.json"
    board = json.loads(path.read_text(encoding="utf-8"))
    board["rows"][-1]["robust"]["mean"] += 1e-12
    path.write_text(json.dumps(board), encoding="utf-8")
    assert [place[-12:] for place in rebuilt(forged)] == [".robust.mean"]


def test_a_forged_record_is_refused(forged: Path) -> None:
    path = sorted((forged / "records").glob("*.json"))[0]
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace('"clean":', '"clean":0.5,"clean_":', 1), encoding="utf-8")
    with pytest.raises(UserError, match="was changed"):
        tables_of([forged])


def test_a_forged_record_that_was_sealed_again_is_told_by_its_tensors(forged: Path) -> None:
    row = read_parameters(forged)[0]
    path = forged / "records" / f"{row['hash']}.json"
    record = read_record(path)
    record["clean"] = 1.0 if record["clean"] < 1.0 else 0.9
    path.write_text(layout(pack(seal(record))) + "\n", encoding="utf-8")
    assert rebuilt(forged)
    file = forged / "parameters" / row["file"]
    assert "DIFFERS" in command("evaluate", file, cwd=forged, status=1).out
