"""A board is put in place as a whole, or not at all."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from pnnbench.errors import DiskFullError
from pnnbench.records.folders import find_records
from pnnbench.records.placing import Part, place, unmade

NEW = {"page": b"new", "records/a.json": b"1", "records/b.json": b"2", "records/b/t": b"3"}


def content(folder: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


@pytest.fixture
def board(tmp_path: Path) -> Path:
    board = tmp_path / "board"
    for name in ("page", "records/a.json", "records/old.json", "records/old/t", "own notes"):
        (board / name).parent.mkdir(parents=True, exist_ok=True)
        (board / name).write_bytes(b"old " + name.encode())
    return board


def stale(board: Path) -> list[Path]:
    return [board / "records" / name for name in ("old.json", "old/t", "a.json")]


def test_what_is_named_is_there_and_what_is_stale_is_not(board: Path) -> None:
    place(board, Part(NEW, stale(board)), Part({"more": b"4"}))
    kept = {"own notes": b"old own notes", "records": None, "records/b": None}
    assert content(board) == {**NEW, **kept, "more": b"4"}  # what is named is not stale
    place(board / "of a board", Part({"deep/er": b"5"}))
    assert (board / "of a board" / "deep" / "er").read_bytes() == b"5"


def test_what_is_equal_is_left_alone(board: Path) -> None:
    before = (board / "page").stat()
    place(board, Part({"page": b"old page"}))
    assert (board / "page").stat() == before


@pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
@pytest.mark.parametrize(
    "error", [KeyboardInterrupt, OSError(errno.EIO, "broken")], ids=["^C", "io"]
)
def test_whatever_happens_before_the_end_brings_back_what_was_there(
    board: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, links: bool
) -> None:
    before, replace, steps = content(board), Path.replace, 0

    def no_link(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    if not links:
        monkeypatch.setattr(os, "link", no_link)
    for last in range(30):
        for after in (False, True):
            steps = 0

            def torn(path: Path, target: Path, last: int = last, after: bool = after) -> Path:
                nonlocal steps
                steps += 1
                if steps == last + 1 and not after:
                    raise error
                replace(path, target)
                if steps == last + 1:
                    raise error
                return target

            monkeypatch.setattr(Path, "replace", torn)
            try:
                place(board, Part(NEW, stale(board)))
            except (KeyboardInterrupt, OSError):
                assert content(board) == before, (last, after)
            else:
                assert last == steps == 6 + (0 if links else 2)
                return
    pytest.fail("it never came to an end")


def test_a_full_disk_is_said_and_leaves_nothing(
    board: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = content(board)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    for folder in (board, board / "fresh" / "one"):
        with pytest.raises(DiskFullError, match=str(folder)):
            place(folder, Part(NEW, stale(board)) if folder == board else Part(NEW))
        assert content(board) == before


def test_a_killed_process_leaves_the_old_files_and_no_record_twice(
    board: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing tidies up behind a process that is killed."""
    monkeypatch.setattr("pnnbench.records.placing.shutil.rmtree", lambda *_, **__: None)
    place(board, Part(NEW, stale(board)))
    (work,) = board.glob(".publishing.*.partial")
    assert (work / "old" / "records" / "old.json").read_bytes() == b"old records/old.json"
    assert [path.parent for path in find_records(board)] == [board / "records"] * 2


@pytest.mark.parametrize("mine", [False, True])
def test_folders_that_were_made_for_nothing_go_again(tmp_path: Path, mine: bool) -> None:
    def fail() -> None:
        with unmade(tmp_path / "a" / "b"):
            (tmp_path / "a" / "b").mkdir(parents=True)
            if mine:
                (tmp_path / "a" / "mine").touch()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    left = [path.relative_to(tmp_path) for path in tmp_path.rglob("*")]
    assert left == ([Path("a"), Path("a/mine")] if mine else [])


def test_files_have_the_rights_of_new_files(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    place(tmp_path, Part({"page": b"x"}))
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("mine", "page")}
    assert len(modes) == 1
