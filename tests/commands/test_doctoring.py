"""``pnnbench doctor``."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from ..command import command

QUICKSTART = Path(__file__).resolve().parents[2] / "leaderboards" / "quickstart"


@pytest.fixture
def board(tmp_path: Path) -> Path:
    return Path(shutil.copytree(QUICKSTART, tmp_path / "boards" / "quickstart"))


def test_a_forged_board_is_found_and_a_whole_one_is_whole(board: Path) -> None:
    folder = board.parent
    assert command("doctor", folder, cwd=folder).out == "0 findings\n"
    numbers = board / "leaderboard.json"
    content = json.loads(numbers.read_text())
    content["rows"][-1]["robust"]["mean"] += 0.05
    numbers.write_text(json.dumps(content))
    found = json.loads(command("doctor", folder, "--format", "json", cwd=folder, status=1).out)
    assert [(f["kind"], f["path"], f["fault"]) for f in found] == [("board", str(numbers), True)]
    assert "robust/mean is" in found[0]["message"]
    assert command("doctor", folder, "--quick", cwd=folder).out == "0 findings\n"
    path = min((board / "records").glob("*.json"))
    path.write_text(path.read_text().replace('"clean":0.9', '"clean":0.99', 1))
    shown = command("doctor", folder, "--quick", cwd=folder, status=1).out
    assert "corrupt" in shown
    assert "its checksum does not match" in shown
    assert "next: " in shown
    assert shown.endswith("1 finding\n")


def test_the_present_folder_is_looked_at(board: Path) -> None:
    for folder in (board, board.parent):
        assert command("doctor", ".", cwd=folder).out == "0 findings\n"


def test_forged_pages_verdicts_and_parameters_are_found(board: Path) -> None:
    folder = board.parent
    (board / "README.md").write_text("BP 100 %")
    (board / "index.html").write_text("<script>alert(1)</script>")
    (board / "pictures" / "confusions.png").write_bytes(b"x")
    index = board / "parameters" / "index.json"
    content = json.loads(index.read_text())
    content["rows"][0].update(robust=0.999, row="<script>BP")
    index.write_text(json.dumps(content))
    found = json.loads(command("doctor", folder, "--format", "json", cwd=folder, status=1).out)
    assert [(f["kind"], str(Path(f["path"]).relative_to(board))) for f in found] == [
        ("parameters", "parameters/index.json"),
        ("board", "README.md"),
        ("board", "index.html"),
        ("board", "pictures/confusions.png"),
    ]
    assert all(f["fault"] and f"--publish {board}" in f["next_step"] for f in found)
    assert command("doctor", folder, "--quick", cwd=folder).out == "0 findings\n"


def test_forged_verdicts_beside_the_boards_are_found(tmp_path: Path) -> None:
    boards = QUICKSTART.parent
    shutil.copytree(boards / "mzi_mnist", tmp_path / "mzi_mnist")
    text = (boards / "claims.json").read_text()
    (tmp_path / "claims.json").write_text(text)
    assert "claims.json" not in command("doctor", tmp_path, cwd=tmp_path).out
    (tmp_path / "claims.json").write_text(text.replace('"holds in part"', '"holds"', 1000))
    found = json.loads(command("doctor", tmp_path, "--format", "json", cwd=tmp_path, status=1).out)
    (finding,) = [f for f in found if f["fault"]]
    assert finding["path"] == str(tmp_path / "claims.json")
    assert finding["next_step"].startswith("pnnbench claims ")


def test_leftovers_are_moved_only_when_asked(board: Path) -> None:
    folder = board.parent
    left = board / f".record.json.{2**31 - 1}.tmp"  # of a process that is gone
    left.write_text("half")
    os.utime(left, (1000, 1000))
    shown = command("doctor", folder, "--quick", cwd=folder, status=1).out
    assert f"next: pnnbench doctor {folder} --fix" in shown
    assert left.is_file()
    shown = command("doctor", folder, "--quick", "--fix", cwd=folder).out
    moved = folder / ".set-aside" / "quickstart" / left.name
    assert f"moved aside  {left}: to {moved}" in shown
    assert shown.endswith("0 findings\n")
    assert moved.read_text() == "half"


def test_notes_are_told_and_no_fault(board: Path) -> None:
    (board / "notes.docx").write_text("x")
    shown = command("doctor", board, "--quick", cwd=board).out
    assert "foreign" in shown
    assert shown.endswith("0 findings, 1 note\n")


@pytest.mark.parametrize("where", ["pnnbench.api.tables.tables_of", "check_board"])
def test_a_board_that_makes_no_table_does_not_hide_what_else_is_wrong(
    board: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OverflowError("too large")

    place = where if "." in where else f"pnnbench.leaderboard.board_check.{where}"
    monkeypatch.setattr(place, fail)
    left = board / f".record.json.{2**31 - 1}.tmp"  # of a process that is gone
    left.write_text("half")
    os.utime(left, (1000, 1000))
    shown = command("doctor", board.parent, cwd=board.parent, status=1).out
    assert "makes no table (OverflowError: too large)" in shown
    assert "leftover" in shown
