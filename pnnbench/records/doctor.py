"""Finds what is wrong in a folder of runs, a board or a folder of submissions.

Nothing is changed, no network is built and nothing that a record names is imported. What needs the
registered workloads is looked at by `pnnbench.running.registry_check`, and the figures of a board
by `pnnbench.leaderboard.board_check`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pnnbench.errors import UserError
from pnnbench.records.findings import AGAIN, Finding
from pnnbench.records.folders import find_records
from pnnbench.records.inspecting import inspect
from pnnbench.records.store import read_record
from pnnbench.records.surroundings import HASH_IN_NAME, look_around

Placed = tuple[Path, dict[str, Any]]
"""A record and the path that it was read from."""


def examine(folder: Path | str) -> tuple[list[Finding], list[Placed]]:
    """Looks for what is wrong in a folder of runs.

    Args:
        folder: A run folder, a folder of run folders, a board, or a folder of submissions.

    Returns:
        The findings in a fixed order, none when every job is finished and whole; and the whole
        records with their paths, for those who look further.

    Raises:
        UserError: If the folder does not exist.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(
            f"{folder}: there is no such folder", next_step="pnnbench doctor FOLDER_OF_RUNS"
        )
    findings = list(look_around(folder))
    # What leads out of the folder, or is no file, is not read.
    strange = {finding.path for finding in findings if finding.kind in ("link", "special")}
    placed: list[Placed] = []
    for path in find_records(folder):
        if path in strange:
            continue
        try:
            record = read_record(path)
        except UserError as error:
            words = error.what.removeprefix(f"{path}: ")
            findings.append(Finding(path, "corrupt", words, _instead(path, error)))
            continue
        try:
            found = [*_misnamed(path, record), *inspect(path, record)]
        except RecursionError:
            found = [Finding(path, "corrupt", "is nested too deeply for a record", AGAIN)]
        except Exception as error:  # one bad record does not hide what else is wrong
            words = f"cannot be looked at ({type(error).__name__}: {str(error)[:200]})"
            found = [Finding(path, "corrupt", words, _away(path))]
        else:
            placed.append((path, record))
        findings.extend(found)
    findings.extend(_repeated(placed))
    return sorted(findings, key=lambda f: (str(f.path), f.kind, f.message)), placed


def _instead(path: Path, error: UserError) -> str:
    if "schema version" in error.what:
        return error.next_step
    return _away(path)


def _away(path: Path) -> str:
    return f"move {path} away, then {AGAIN}"


def _misnamed(path: Path, record: dict[str, Any]) -> Iterator[Finding]:
    name = path.parent.name if path.name == "record.json" else path.stem
    named = HASH_IN_NAME.findall(name)
    if named and record["job"]["hash"] not in named:
        words = f"is named {named[-1]} but holds job {record['job']['hash']}"
        yield Finding(path, "mismatch", words, "give it the name of its job")


def _repeated(placed: list[Placed]) -> Iterator[Finding]:
    """Finished records of one job of one suite that differ."""
    first: dict[tuple[str, str], Placed] = {}
    for path, record in placed:
        if record["status"] != "ok":
            continue
        other, known = first.setdefault(
            (record["job"]["suite"], record["job"]["hash"]), (path, record)
        )
        if known["checksum"] != record["checksum"]:
            words = f"is another record of job {record['job']['hash']} than {other}"
            yield Finding(path, "repeated", words, "keep the one that pnnbench verify confirms")
