"""The records below a folder: found, read and put in order."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pnnbench.errors import UserError
from pnnbench.records.store import read_record

__all__ = ["find_records", "read_placed", "read_records", "record_order"]

#: Where `pnnbench doctor --fix` moves things: nothing in it is a record.
ASIDE = ".set-aside"
#: End of the name of a folder that is being filled: nothing in it is a record yet.
PARTIAL = ".partial"
SKIPPED = {ASIDE, "wandb", "checkpoints", ".git", ".venv", "__pycache__"}


def walk(folder: Path) -> Iterator[tuple[Path, list[str], list[str]]]:
    for here, folders, files in os.walk(folder):
        folders[:] = sorted(set(folders) - SKIPPED)
        yield Path(here), folders, sorted(files)


def find_records(folder: Path | str) -> list[Path]:
    """Finds record files below a folder: ``record.json`` and ``records/*.json``.

    Args:
        folder: Where to look, recursively.

    Returns:
        The paths in a fixed order.
    """
    found = []
    for here, folders, files in walk(Path(folder)):
        folders[:] = [name for name in folders if not name.endswith(PARTIAL)]
        for name in files:
            if name == "record.json" or (
                here.name == "records" and name.endswith(".json") and not name.startswith(".")
            ):
                found.append(here / name)
    return sorted(found)


def record_order(record: dict[str, Any]) -> tuple[Any, ...]:
    """Sort key of records.

    Args:
        record: A record.

    Returns:
        Suite, protocol, workload, tier, method label, seed and hash.
    """
    job = record["job"]
    return (
        job["suite"],
        record["protocol"],
        job["workload"],
        job["tier"],
        job["method"]["label"],
        job["seed"],
        job["hash"],
    )


def read_records(source: Path | str | Iterable[Path | str]) -> list[dict[str, Any]]:
    """Reads all records of a folder or of a list of files and folders.

    Failed jobs are among the records; whoever counts results looks at the status. Where a job
    has both a failure and a finished record, the finished one is kept.

    Args:
        source: A folder, a record file, or several of them.

    Returns:
        The records, sorted by suite, protocol, workload, tier, method label, seed and hash.

    Raises:
        UserError: If a path does not exist, a record is corrupt, or two finished records of one
            job differ.
    """
    return [record for _, record in read_placed(source)]


@contextmanager
def _without_collection() -> Iterator[None]:
    """Context without Python's search for cycles, which would go through all cells again and again.

    Cells are mappings, hundreds of thousands on a large board, and all of them are kept.
    """
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


def read_placed(source: Path | str | Iterable[Path | str]) -> list[tuple[Path, dict[str, Any]]]:
    """As `read_records`, each record with the path that it was read from."""
    sources = [source] if isinstance(source, (str, Path)) else list(source)
    paths: list[Path] = []
    for entry in map(Path, sources):
        if entry.is_dir():
            paths.extend(find_records(entry))
        elif entry.is_file():
            paths.append(entry)
        else:
            raise UserError(
                f"{entry}: there is no such file or folder",
                next_step="`pnnbench run SUITE.yaml` makes records",
            )
    kept: dict[tuple[str, str], tuple[Path, dict[str, Any]]] = {}
    with _without_collection():
        found = [(path, read_record(path)) for path in dict.fromkeys(paths)]
    for path, record in found:
        # One job may serve several suites: its hash is the same, its table is not.
        key = (record["job"]["suite"], record["job"]["hash"])
        if key not in kept:
            kept[key] = (path, record)
            continue
        other_path, other = kept[key]
        if record["status"] == "ok" and other["status"] == "ok":
            if record["checksum"] != other["checksum"]:
                raise UserError(
                    f"job {key[1]} has two finished records that differ: {other_path} and {path}",
                    next_step="give only one of the two folders",
                )
        elif record["status"] == "ok":
            kept[key] = (path, record)
    return sorted(kept.values(), key=lambda placed: record_order(placed[1]))
