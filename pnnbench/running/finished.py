"""Finds finished jobs wherever they were run: a hash is a hash, whatever suite asked for it."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pnnbench.errors import UserError
from pnnbench.records.index import Index, Kinds, hashes, kind_digest
from pnnbench.records.inspecting import PARTS, inspect
from pnnbench.records.store import (
    beside,
    file_problem,
    is_finished,
    job_hash,
    read_record,
    write_record,
)
from pnnbench.running.job_specs import Job

#: Folder of published boards: ``leaderboards/SUITE/records/HASH.json``.
PUBLISHED_BOARDS = Path("leaderboards")
#: Findings with which a record is not taken over.
_FORGED = ("forged", "mismatch")


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


def kinds_of(jobs: Sequence[Job]) -> Kinds:
    """What the jobs of each row of the boards share."""
    kinds: Kinds = {}
    for job in jobs:
        row = kinds.setdefault(job.board, {})
        if job.method.label not in row:
            row[job.method.label] = kind_digest(job.spec())
    return kinds


@dataclass(frozen=True)
class Taken:
    """What was taken over from elsewhere.

    Attributes:
        sources: The record of each job that was.
        refused: Records that are not what they say, each with the reason.
    """

    sources: tuple[Path, ...]
    refused: tuple[tuple[Path, str], ...]

    def lines(self) -> list[str]:
        """Says from where, and what was left out; empty where there was nothing."""
        folders = Counter(path.parents[1] for path in self.sources)  # of a suite, or of a board
        said = [
            f"{count} {'job was' if count == 1 else 'jobs were'} finished elsewhere: taken over "
            f"from {folder}"
            for folder, count in folders.items()
        ]
        return said + [f"{path} is not taken over: {why}" for path, why in self.refused]


def adopt(
    jobs: Sequence[Job], runs: Path, boards: Path = PUBLISHED_BOARDS, *, elsewhere: bool = True
) -> Taken:
    """Takes over finished jobs that another suite has run, or that were published.

    A row that was given another label keeps its jobs: the record is written again, renamed.

    Args:
        jobs: The jobs of a suite.
        runs: Folder of all runs.
        boards: Folder of published boards.
        elsewhere: Whether to look beyond the suite's own folder.

    Returns:
        What was taken over from elsewhere.

    Raises:
        UserError: If a job's own folder holds the record of another job.
    """
    taken: list[Path] = []
    refused: list[tuple[Path, str]] = []
    for job in jobs:
        spec = job.spec()
        path = job_folder(runs, job) / "record.json"
        found: Path | None = path if is_finished(path) else None
        if found is None and elsewhere:
            found, left_out = _found_elsewhere(spec, runs, boards)
            refused += left_out
        if found is None:
            continue
        record = read_record(found)
        if found == path and not _is_of(record, spec):
            raise UserError(
                f"{path} is the record of job {record['job']['hash']}, or says so: its folder is "
                f"that of {spec['hash']}, {job.method.label} at seed {job.seed}",
                next_step=f"pnnbench doctor {path.parent}; moved away, the job runs anew",
            )
        if found != path:
            _bring_tensors(found, record, path)
            taken.append(found)
        if found != path or record["job"] != spec:
            content = {key: value for key, value in record.items() if key != "checksum"}
            write_record(path, {**content, "job": spec})
    return Taken(tuple(taken), tuple(refused))


def find_finished(
    job: Job, runs: Path, boards: Path = PUBLISHED_BOARDS, *, elsewhere: bool = True
) -> Path | None:
    """Finds the finished record of a job: in its own folder, in another suite's, published.

    Args:
        job: The job.
        runs: Folder of all runs.
        boards: Folder of published boards.
        elsewhere: Whether to look beyond the job's own folder.

    Returns:
        The record; None if there is none.
    """
    own = job_folder(runs, job) / "record.json"
    if is_finished(own):
        return own
    return _found_elsewhere(job.spec(), runs, boards)[0] if elsewhere else None


def _is_of(record: dict[str, Any], spec: dict[str, Any]) -> bool:
    """Whether a record is of a job, by what it says itself and not by where it lies."""
    return job_hash(record["job"], schema=record["schema"]) == spec["hash"]


def _found_elsewhere(
    spec: dict[str, Any], runs: Path, boards: Path
) -> tuple[Path | None, list[tuple[Path, str]]]:
    """The first record elsewhere that is what it says, and why those before it are not.

    A run's counts only with all of its tensors whole; boards have them of few of their rows. Runs
    that lack them, as those that took over a published record do, are named where there is nothing
    else.
    """
    others = sorted(runs.glob(f"*/{spec['hash']}/record.json"))
    published = sorted(boards.glob(f"*/records/{spec['hash']}.json"))
    refused: list[tuple[Path, str]] = []
    damaged: list[tuple[Path, str]] = []
    for path in (*others, *published):
        if not is_finished(path):
            continue
        record = read_record(path)
        findings = list(inspect(path, record))
        forged = [f for f in findings if f.kind in _FORGED]
        lost = [f for f in findings if f.kind in PARTS]
        if not _is_of(record, spec):
            refused.append((path, f"it is the record of job {record['job']['hash']}, or says so"))
        elif forged:
            refused.append((path, forged[0].message))
        elif lost and path.name == "record.json":
            damaged.append((path, lost[0].message))
        else:
            return path, refused
    return None, refused + damaged


def _bring_tensors(found: Path, record: dict[str, Any], path: Path) -> None:
    """Links or copies the files of tensors of a record, where they are with it and whole."""
    for part in set(PARTS) & record.keys():
        source, target = beside(found, record, part), beside(path, record, part)
        if file_problem(found, record, part) is not None:
            continue  # of published records only some have them
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)
        temporary.replace(target)
