"""Finds finished jobs wherever they were run: a hash is a hash, whatever suite asked for it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pnnbench.records.index import Index, hashes
from pnnbench.records.store import beside, is_finished, read_record, write_record
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
        row = index.setdefault(job.board, {}).setdefault(job.method.label, {})
        others = hashes(row[job.seed]) if job.seed in row else ()
        row[job.seed] = (*others, job.spec()["hash"]) if others else job.spec()["hash"]
    return index


def adopt(
    jobs: Sequence[Job], runs: Path, boards: Path = PUBLISHED_BOARDS, *, elsewhere: bool = True
) -> int:
    """Takes over finished jobs that another suite has run, or that were published.

    A row that was given another label keeps its jobs: the record is written again, renamed.

    Args:
        jobs: The jobs of a suite.
        runs: Folder of all runs.
        boards: Folder of published boards.
        elsewhere: Whether to look beyond the suite's own folder.

    Returns:
        How many were taken over from elsewhere.
    """
    taken = 0
    for job in jobs:
        spec = job.spec()
        path = job_folder(runs, job) / "record.json"
        found = find_finished(job, runs, boards) if elsewhere else path
        if found is None or not is_finished(found):
            continue
        record = read_record(found)
        if found != path:
            _bring_tensors(found, record, path)
            taken += 1
        if found != path or record["job"] != spec:
            content = {key: value for key, value in record.items() if key != "checksum"}
            write_record(path, {**content, "job": spec})
    return taken


def find_finished(job: Job, runs: Path, boards: Path = PUBLISHED_BOARDS) -> Path | None:
    """Finds the finished record of a job: in its own folder, in another suite's, published.

    Args:
        job: The job.
        runs: Folder of all runs.
        boards: Folder of published boards.

    Returns:
        The record; None if there is none.
    """
    name = job.spec()["hash"]
    own = job_folder(runs, job) / "record.json"
    others = sorted(runs.glob(f"*/{name}/record.json"))
    published = sorted(boards.glob(f"*/records/{name}.json"))
    return next((path for path in (own, *others, *published) if is_finished(path)), None)


def _bring_tensors(found: Path, record: dict[str, Any], path: Path) -> None:
    """Links or copies the files of tensors of a record, where they are with it."""
    for part in {"parameters", "outcomes", "devices"} & record.keys():
        source, target = beside(found, record, part), beside(path, record, part)
        if not source.is_file():
            continue  # of published records only some have them
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)
        temporary.replace(target)
