"""``pnnbench leaderboard --publish``: a board is made as a whole, or stays as it was."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pnnbench.records.store import file_sha256

from ..command import command
from ..record_factory import make_record, write_job

Break = Callable[[pytest.MonkeyPatch], None]


def content(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): file_sha256(path) for path in files}


@pytest.fixture(scope="module", autouse=True)
def no_networks() -> Iterator[None]:
    """The records are not of networks that can be built."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pnnbench.commands.galleries.galleries", lambda *_, **__: {})
        yield


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of two rows, and the board of them."""
    folder = tmp_path_factory.mktemp("first")
    for label in ("BP", "SAT"):
        for seed in (0, 1):
            write_job(folder / "runs", make_record(label, seed))
    command("leaderboard", "runs", "--publish", "board", cwd=folder)
    return folder


@pytest.fixture
def board(first: Path, tmp_path: Path) -> Path:
    """The board, with runs beside it that lack a row and have another seed."""
    for seed in (0, 1, 2):
        write_job(tmp_path / "runs", make_record("BP", seed))
    return Path(shutil.copytree(first / "board", tmp_path / "board"))


def raising(error: BaseException) -> Callable[..., None]:
    def broken(*_: object, **__: object) -> None:
        raise error

    return broken


def breaking(place: str, error: BaseException) -> Break:
    return lambda patch: patch.setattr(place, raising(error))


def interrupted(patch: pytest.MonkeyPatch, left: int = 3) -> None:
    """In the middle of the renames."""
    replace = Path.replace

    def torn(path: Path, target: Path) -> Path:
        nonlocal left
        left -= ".publishing" in str(path)
        if left == 0:
            left = -1
            raise KeyboardInterrupt
        return replace(path, target)

    patch.setattr(Path, "replace", torn)


BROKEN: dict[str, tuple[Break, str, int]] = {
    "pictures": (
        breaking("pnnbench.report.figures.draw_suite", OverflowError("too large")),
        "cannot be made: OverflowError: too large",
        2,
    ),
    "page": (
        breaking("pnnbench.report.page.render_html", ValueError("no number")),
        "cannot be made: ValueError: no number",
        2,
    ),
    "records": (
        breaking("pnnbench.records.published.record_bytes", ValueError("Infinity")),
        "cannot be made: ValueError: Infinity",
        2,
    ),
    "disk": (
        breaking("pnnbench.records.placing.os.fsync", OSError(errno.ENOSPC, "no room")),
        "the disk is full: board could not be written",
        2,
    ),
    "temporary": (
        breaking(
            "pnnbench.commands.publishing.tempfile.TemporaryDirectory", OSError(errno.EIO, "x")
        ),
        "cannot be made: OSError",
        2,
    ),
    "interrupted": (interrupted, "interrupted", 130),
}


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("target", ["board", "fresh/one"])
def test_what_fails_leaves_the_board_as_it_was_and_is_one_sentence(
    name: str, target: str, board: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = content(board)
    break_it, words, status = BROKEN[name]
    with monkeypatch.context() as patch:
        break_it(patch)
        words = words.replace("board could", f"{target} could")
        told = command("leaderboard", "runs", "--publish", target, cwd=board.parent, status=status)
    assert words in told.err
    assert "Traceback" not in told.err
    if "made" in words:
        assert f"{target} is as it was" in told.err
        assert "next:    pnnbench doctor runs" in told.err
    assert content(board) == before
    assert {path.name for path in board.parent.iterdir()} == {"runs", "board"}


def test_a_board_that_fails_where_it_lies_keeps_all(
    board: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (board / "index.html").write_text("old")
    (board / "parameters" / "mine.safetensors").write_text("stale")
    before = content(board)
    with monkeypatch.context() as patch:
        interrupted(patch, left=2)
        patch.setattr("pnnbench.records.placing.os.link", raising(OSError(errno.EPERM, "no links")))
        command("leaderboard", "board", "--publish", "board", cwd=board.parent, status=130)
    assert content(board) == before
    command("leaderboard", "board", "--publish", "board", cwd=board.parent)
    assert "BP" in (board / "index.html").read_text()
    assert content(board).keys() == before.keys() - {"parameters/mine.safetensors"}
    assert {
        name for name, old in before.items() if content(board).get(name) not in (old, None)
    } == {"index.html"}


def test_what_is_no_longer_of_the_board_goes(board: Path) -> None:
    (board / "pictures" / "of-another-time.svg").write_text("<svg></svg>")
    (board / "NOTES.md").write_text("my own")
    command("leaderboard", "runs", "--publish", "board", cwd=board.parent)
    rows = json.loads((board / "leaderboard.json").read_text())["rows"]
    assert [(row["method"], row["seeds"]) for row in rows] == [("BP", [0, 1, 2])]
    assert len(list((board / "records").glob("*.json"))) == 3
    assert len(list((board / "records").glob("*/"))) == 1
    assert not (board / "pictures" / "of-another-time.svg").exists()
    assert (board / "NOTES.md").read_text() == "my own"
    assert not list(board.glob(".publishing*"))


def test_a_board_that_cannot_be_shown_is_one_sentence(
    board: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pnnbench.report.render.render_table", raising(OverflowError("large")))
    told = command("leaderboard", "runs", cwd=board.parent, status=2).err
    assert "the board of runs cannot be made: OverflowError: large" in told
    assert os.linesep + "  next:    pnnbench doctor runs" in told


@pytest.mark.parametrize("held", ["notes", "another board", "another board's numbers"])
def test_what_is_not_this_board_is_not_published_over(held: str, board: Path) -> None:
    """Its files would be replaced, and those of records and pictures removed."""
    other = board.parent / "other"
    if held == "notes":
        (other / "records").mkdir(parents=True)
        (other / "records" / "notes.json").write_text("{}")
        (other / "README.md").write_text("Mine.")
    else:
        shutil.copytree(board, other)
        if held.endswith("numbers"):
            numbers = json.loads((other / "leaderboard.json").read_text())
            for row in numbers["rows"]:
                row["suite"] = "theirs"
            (other / "leaderboard.json").write_text(json.dumps(numbers))
        else:
            (other / "suite.json").write_text('{"suite": "theirs"}')
    before = {path: path.read_bytes() for path in other.rglob("*") if path.is_file()}
    done = command("leaderboard", "runs", "--publish", "other", cwd=board.parent, status=2)
    assert ("the board of theirs" if held != "notes" else "files that are of no board") in done.err
    assert "leaderboards/mrr_mnist" in done.err
    after = {path: path.read_bytes() for path in other.rglob("*") if path.is_file()}
    assert after == before


def test_a_damaged_board_is_made_again_as_doctor_says(board: Path) -> None:
    for change in (Path.unlink, lambda path: path.write_text("{broken")):
        change(board / "leaderboard.json")
        told = command("doctor", "board", cwd=board.parent, status=1).out
        step = "pnnbench leaderboard board --publish board"
        assert step in told
        command(*step.split()[1:], cwd=board.parent)
        command("doctor", "board", cwd=board.parent)
        (board / "leaderboard.json").unlink()
        command("leaderboard", "runs", "--publish", "board", cwd=board.parent)


def test_a_board_goes_beside_verifications_and_not_among_runs(board: Path) -> None:
    made = board.parent / "made"
    (made / "verifications").mkdir(parents=True)
    command("leaderboard", "runs", "--publish", "made", cwd=board.parent)
    runs = next(path.parents[1] for path in (board.parent / "runs").rglob("record.json"))
    before = content(runs)
    done = command("leaderboard", "runs", "--publish", str(runs), cwd=board.parent, status=2)
    assert "holds runs" in done.err
    assert content(runs) == before
