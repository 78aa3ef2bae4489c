"""Finds finished jobs wherever they were run: a hash is a hash, whatever suite asked for it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pnnbench.records.index import Index
from pnnbench.records.store import is_finished, read_record, write_record
from pnnbench.running.suites import Job

#: Folder of published boards: ``leaderboards/SUITE/records/HASH.json``.
PUBLISHED_BOARDS = Path("leaderboards")


def job_folder(runs: Path, job: Job) -> Path:
    """Folder of a job: ``runs/suite/hash``."""
    return runs / job.suite / str(job.spec()["hash"])


def index_of(jobs: Sequence[Job]) -> Index:
    """The index of the boards that some jobs make."""
    index: Index = {}
    for job in jobs:
        rows = index.setdefault(job.board, {})
        rows.setdefault(job.method.label, {})[job.seed] = job.spec()["hash"]
    return index


def adopt(jobs: Sequence[Job], runs: Path, boards: Path = PUBLISHED_BOARDS) -> int:
    """Takes over finished jobs that another suite has run, or that were published.

    A row that was given another label keeps its jobs: the record is written again, renamed.

    Args:
        jobs: The jobs of a suite.
        runs: Folder of all runs.
        boards: Folder of published boards.

    Returns:
        How many were taken over from elsewhere.
    """
    taken = 0
    for job in jobs:
        spec = job.spec()
        path = job_folder(runs, job) / "record.json"
        if is_finished(path):
            _relabel(path, spec)
            continue
        for found in _places(spec["hash"], runs, boards):
            if is_finished(found):
                _bring_parameters(found, read_record(found), path.parent)
                write_record(path, _renamed(read_record(found), spec))
                taken += 1
                break
    return taken


def _places(name: str, runs: Path, boards: Path) -> Iterator[Path]:
    yield from sorted(runs.glob(f"*/{name}/record.json"))
    yield from sorted(boards.glob(f"*/records/{name}.json"))


def _renamed(record: dict[str, Any], spec: dict[str, Any]) -> dict[str, Any]:
    content = {key: value for key, value in record.items() if key != "checksum"}
    return {**content, "job": spec}


def _relabel(path: Path, spec: dict[str, Any]) -> None:
    record = read_record(path)
    if record["job"] != spec:
        write_record(path, _renamed(record, spec))


def _bring_parameters(found: Path, record: dict[str, Any], folder: Path) -> None:
    """Links or copies the parameters beside a record, where they are."""
    source = found.parent / record["parameters"]["file"]
    if not source.is_file():
        return  # published records travel without
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / source.name
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        os.link(source, temporary)
    except OSError:
        shutil.copyfile(source, temporary)
    temporary.replace(target)
