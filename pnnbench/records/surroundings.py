"""What stands around records: links, locks, what interrupted processes left, what is foreign."""

from __future__ import annotations

import fcntl
import os
import re
import shlex
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from pnnbench.errors import UserError
from pnnbench.records.findings import AGAIN, Finding
from pnnbench.records.folders import ASIDE, PARTIAL, walk
from pnnbench.records.index import NAME, read_index
from pnnbench.records.next_steps import go_on
from pnnbench.records.parameters import FOLDER, INDEX, read_parameters
from pnnbench.records.received import MANIFEST, check_files
from pnnbench.records.searches import NAME as SEARCH
from pnnbench.records.searches import TRIAL, read_search
from pnnbench.records.store import file_sha256

HASH_IN_NAME = re.compile(r"(?<![0-9a-f])[0-9a-f]{16}(?![0-9a-f])")
LOCK = ".lock"
#: What a process fills before it is put in its place, by the process that does.
_WRITER = re.compile(r"\..*\.([1-9][0-9]*)(?:\.tmp|" + re.escape(PARTIAL) + ")")
#: Seconds in which a process of another machine may still be writing.
_JUST_NOW = 60.0
#: Ends of names of files that run, or that run when they are loaded.
_CODE = {
    ".bat", ".cmd", ".dll", ".dylib", ".exe", ".ipynb", ".jar", ".joblib", ".js", ".pickle", ".pkl",
    ".ps1", ".pt", ".pth", ".py", ".pyc", ".pyd", ".sh", ".so",
}  # fmt: skip
#: Ends of names of files that stand beside records.
KNOWN = {
    ".cff", ".csv", ".html", ".json", ".log", ".md", ".npz", ".png", ".safetensors", ".svg", ".tmp",
    ".txt", ".yaml", ".yml", ".zip",
}  # fmt: skip


def look_around(root: Path) -> Iterator[Finding]:
    """Looks at everything in a folder of runs but the records.

    Args:
        root: A run folder, or a folder of run folders.

    Yields:
        What is wrong.
    """
    whole = root.resolve()
    fix = f"pnnbench doctor {shlex.quote(str(root))} --fix"
    for here, folders, files in walk(root):
        plain = []
        for name in [*folders, *files]:
            found = _strange(here / name, whole, fix)
            if found is not None:
                yield found
            elif name in files:
                plain.append(name)
        yield from _files(here, plain, fix)
        yield from _folder(here, plain, fix)


def _strange(path: Path, root: Path, fix: str) -> Finding | None:
    """A link that leads out of the folder, or what is neither a file nor a folder."""
    if path.is_symlink():
        try:
            target = path.resolve(strict=True)
        except (OSError, RuntimeError):
            words = f"is a link to {str(path.readlink())!r}, which is not there"
            return Finding(path, "link", words, fix, aside=True)
        if not target.is_relative_to(root):
            words = f"is a link that leads out of the folder, to {target}"
            copy = f"cp {shlex.quote(str(target))} {shlex.quote(str(path))}"
            return Finding(path, "link", words, f"put the file itself there: {copy}")
        return None
    mode = path.lstat().st_mode
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        return None
    words = "is neither a file nor a folder: whoever reads it may wait for ever"
    return Finding(path, "special", words, fix, aside=True)


def _files(here: Path, files: list[str], fix: str) -> Iterator[Finding]:
    for name in files:
        end = Path(name).suffix.lower()
        if name.startswith(".") and name.endswith(".tmp"):
            if _written(here / name):
                continue
            words = "temporary file of an interrupted write"
            yield Finding(here / name, "leftover", words, fix, aside=True)
        elif end in _CODE:
            words = "may run when it is opened, and no record needs it"
            yield Finding(here / name, "code", words, "look at it, and take it out of the folder")
        elif end not in KNOWN and not name.startswith("."):
            yield Finding(here / name, "foreign", "is nothing that pnnbench writes")
    for name, read in ((NAME, read_index), (SEARCH, read_search)):
        if name in files:
            try:
                read(here if read is read_index else here / name)
            except UserError as error:
                words = error.what.removeprefix(f"{here / name}: ")
                yield Finding(here / name, "corrupt", words, error.next_step)


def _folder(here: Path, files: list[str], fix: str) -> Iterator[Finding]:
    if MANIFEST in files:
        yield from check_files(here)
    if here.name == FOLDER and INDEX in files:
        yield from _published_parameters(here)
    if here.suffix == PARTIAL:
        if _written(here):
            return
        words = "was never finished: the process that wrote it was interrupted"
        yield Finding(here, "leftover", words, fix, aside=True)
        return
    published = (here.parent / f"{here.name}.json").is_file()  # the tensors of that record
    done = published or not {"record.json", TRIAL}.isdisjoint(files)
    if HASH_IN_NAME.fullmatch(here.name) and not done:
        if _held(here / LOCK):
            return
        if any(entry.name != LOCK for entry in here.iterdir()):
            words = "holds no record: the job was interrupted and will resume when run again"
            yield Finding(here, "incomplete", words, go_on(here))
        else:
            words = "holds a lock that no process has, and no record: the job has not begun"
            yield Finding(here, "lock", words, fix, aside=True)


def _written(path: Path) -> bool:
    """Whether a process writes this at present: one of this machine that lives, or just now."""
    found = _WRITER.fullmatch(path.name)
    if found is None:
        return False
    try:
        if time.time() - path.lstat().st_mtime < _JUST_NOW:
            return True
        os.kill(int(found[1]), 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # it has been put in its place, or the process is another user's
        return True
    return True


def _held(lock: Path) -> bool:
    """Whether a process has a lock at present: its job is running. The file stays as it is."""
    if not lock.is_file():
        return False
    with lock.open("rb") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def _published_parameters(folder: Path) -> Iterator[Finding]:
    """What is wrong with the published parameters of a board."""
    try:
        rows = read_parameters(folder.parent)
    except UserError as error:
        words = error.what.removeprefix(f"{folder / INDEX}: ")
        yield Finding(folder / INDEX, "corrupt", words, error.next_step)
        return
    publish = f"pnnbench leaderboard RUNS --publish {folder.parent}"
    for row in rows:
        path = folder / str(row["file"])
        if path.parent != folder:
            words = f"names a file elsewhere, {row['file']!r:.60}"
            yield Finding(folder / INDEX, "link", words, publish)
        elif not path.is_file():
            yield Finding(path, "parameters", f"is missing, and {INDEX} names it", publish)
        elif file_sha256(path) != row["sha256"]:
            yield Finding(path, "parameters", "does not match its SHA-256", publish)


def set_aside(root: Path, findings: list[Finding]) -> list[tuple[Finding, Path]]:
    """Moves what can be moved without losing anything into `ASIDE`; deletes nothing.

    Args:
        root: The folder that was looked at.
        findings: What was found there.

    Returns:
        What was moved, and where to.

    Raises:
        UserError: If it cannot be moved, or would be moved out of the folder.
    """
    moved = []
    for finding in findings:
        if not finding.aside:
            continue
        inside = finding.path.relative_to(root)
        if not finding.path.exists() and not finding.path.is_symlink():
            continue  # it went with the folder that it was in
        target = root / ASIDE / inside
        number = 1
        while target.exists() or target.is_symlink():
            number += 1
            target = root / ASIDE / inside.with_name(f"{inside.name}.{number}")
        if not target.parent.resolve().is_relative_to(root.resolve()):
            raise UserError(
                f"{root / ASIDE} leads out of the folder, to {target.parent.resolve()}",
                next_step=f"look at it, and take it away: rm {shlex.quote(str(root / ASIDE))}",
            )
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            finding.path.rename(target)
        except OSError as error:
            raise UserError(f"{finding.path}: cannot be moved ({error})", next_step=AGAIN) from None
        moved.append((finding, target))
    return moved
