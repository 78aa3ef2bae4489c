"""Puts the files of a board in place: all of them, or none.

Everything is written into a folder beside what it shall replace, and every old file is kept there
until the last new one stands in its place. Whatever goes wrong before that, an interruption or a
full disk too, brings all old files back. What is no longer part of the board goes last.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from pnnbench.errors import writing
from pnnbench.records.folders import PARTIAL


@dataclass(frozen=True)
class Part:
    """What a part of a board shall hold.

    Attributes:
        files: Name, from the folder of the board, to content.
        stale: Files that are there and no longer part of it.
    """

    files: Mapping[str, bytes] = field(default_factory=dict)
    stale: Sequence[Path] = ()


def place(folder: Path, *parts: Part) -> None:
    """Makes a folder hold the files of some parts.

    Args:
        folder: The folder of the board; made if it is not there.
        parts: What it shall hold. What they do not name stays as it is.

    Raises:
        DiskFullError: If there is no room. The folder is as it was then, as after any exception.
    """
    files = {name: data for part in parts for name, data in part.files.items()}
    new = {name: data for name, data in files.items() if not _holds(folder / name, data)}
    kept = {folder / name for name in files}
    stale = [path for part in parts for path in part.stale if path not in kept]
    if new or stale:
        with writing(folder), unmade(*{(folder / name).parent for name in new}):
            _exchange(folder, new, [str(path.relative_to(folder)) for path in stale])


def _exchange(folder: Path, new: Mapping[str, bytes], stale: Sequence[str]) -> None:
    work = folder / f".publishing.{os.getpid()}{PARTIAL}"
    fresh, old = work / "new", work / "old"
    first = [name for name in new if not os.path.lexists(folder / name)]
    try:
        for name, data in new.items():
            _write(fresh / name, data)
        for name in new:
            if name not in first:
                _keep(folder / name, old / name)
        for name in new:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (fresh / name).replace(folder / name)
        for name in stale:
            (old / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).replace(old / name)
    except BaseException:
        for name in first:
            (folder / name).unlink(missing_ok=True)
        for name in [*new, *stale]:
            if os.path.lexists(old / name):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (old / name).replace(folder / name)
        shutil.rmtree(work, ignore_errors=True)
        raise
    for path in {folder, *((folder / name).parent for name in new)}:
        _sync(path)
    shutil.rmtree(work, ignore_errors=True)
    for path in sorted({(folder / name).parent for name in stale}, reverse=True):
        with suppress(OSError):  # something else is in it
            path.rmdir()


@contextmanager
def unmade(*folders: Path) -> Iterator[None]:
    """Context at whose failure folders that were not there before are gone again, where empty.

    Args:
        folders: Folders that are made in it; so may those be that they lie in.
    """
    missing = {f for folder in folders for f in (folder, *folder.parents) if not f.exists()}
    try:
        yield
    except BaseException:
        for folder in sorted(missing, reverse=True):
            with suppress(OSError):
                folder.rmdir()
        raise


def _holds(path: Path, data: bytes) -> bool:
    return path.is_file() and path.stat().st_size == len(data) and path.read_bytes() == data


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def _keep(path: Path, kept: Path) -> None:
    """Keeps a file under a second name, as a copy where the file system has no links."""
    kept.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(path, kept, follow_symlinks=False)
    except OSError:
        copy = kept.with_name(f".{kept.name}.tmp")
        shutil.copy2(path, copy, follow_symlinks=False)
        copy.replace(kept)


def _sync(folder: Path) -> None:
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
