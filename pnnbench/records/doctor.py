"""Finds what is wrong in a folder of runs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from pnnbench.errors import UserError
from pnnbench.records.index import NAME, read_index
from pnnbench.records.parameters import FOLDER, INDEX, read_parameters
from pnnbench.records.searches import TRIAL
from pnnbench.records.store import (
    beside,
    file_problem,
    file_sha256,
    find_records,
    job_hash,
    read_record,
    walk,
)

_HASH_IN_NAME = re.compile(r"(?<![0-9a-f])[0-9a-f]{16}(?![0-9a-f])")


@dataclass(frozen=True)
class Finding:
    """One thing wrong in a run folder.

    Attributes:
        path: The file or folder.
        kind: ``corrupt``, ``failed``, ``gaps``, ``incomplete``, ``leftover``, ``mismatch``,
            ``outcomes`` or ``parameters``.
        message: What is wrong, in a line.
    """

    path: Path
    kind: str
    message: str

    def __str__(self) -> str:
        return f"{self.kind:<10} {self.path}: {self.message}"


def diagnose(folder: Path | str) -> list[Finding]:
    """Looks for what is wrong in a folder of runs.

    Args:
        folder: A run folder, or a folder of run folders.

    Returns:
        The findings in a fixed order; an empty list when every job is finished and whole.

    Raises:
        UserError: If the folder does not exist.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(
            f"{folder}: there is no such folder", next_step="pnnbench doctor FOLDER_OF_RUNS"
        )
    findings: list[Finding] = []
    for path in find_records(folder):
        try:
            record = read_record(path)
        except UserError as error:
            findings.append(Finding(path, "corrupt", error.what.removeprefix(f"{path}: ")))
            continue
        if record["status"] != "ok":
            failure = record["error"]
            words = f"{record['status']}: {failure['type']}: {failure['message']}"
            findings.append(Finding(path, "failed", words.splitlines()[0]))
        gaps = [gap for gap in record.get("gaps", []) if gap["type"] != "left-out"]
        if gaps and record["status"] == "ok":
            first = gaps[0]
            words = f"{len(gaps)} missing, the first {first['part']}: {first['message']}"
            findings.append(Finding(path, "gaps", words))
        name = path.parent.name if path.name == "record.json" else path.stem
        named = _HASH_IN_NAME.findall(name)
        if named and record["job"]["hash"] not in named:
            words = f"is named {named[-1]} but holds job {record['job']['hash']}"
            findings.append(Finding(path, "mismatch", words))
        computed = job_hash(record["job"], schema=record["schema"])
        if "content" in record["job"] and computed != record["job"]["hash"]:
            words = f"says job {record['job']['hash']}, its content {computed}"
            findings.append(Finding(path, "mismatch", words))
        for part in ("parameters", "outcomes", "devices"):
            # Of published records (records/*.json) only some have their tensors with them.
            published = path.name != "record.json"
            if part in record and (not published or beside(path, record, part).is_file()):
                problem = file_problem(path, record, part)
                findings += [] if problem is None else [Finding(path, part, problem)]
    for here, _, files in walk(folder):
        if NAME in files:
            try:
                read_index(here)
            except UserError as error:
                words = error.what.removeprefix(f"{here / NAME}: ")
                findings.append(Finding(here / NAME, "corrupt", words))
        if here.name == FOLDER and INDEX in files:
            findings.extend(_published_parameters(here))
        published = here.with_suffix(".json").is_file()  # the tensors of that record
        done = published or not {"record.json", TRIAL}.isdisjoint(files)
        if _HASH_IN_NAME.fullmatch(here.name) and not done:
            words = "holds no record: the job was interrupted and will resume when run again"
            findings.append(Finding(here, "incomplete", words))
        findings.extend(
            Finding(here / name, "leftover", "temporary file of an interrupted write; delete it")
            for name in files
            if name.startswith(".") and name.endswith(".tmp")
        )
    return sorted(findings, key=lambda f: (str(f.path), f.kind))


def _published_parameters(folder: Path) -> list[Finding]:
    """What is wrong with the published parameters of a board."""
    try:
        rows = read_parameters(folder.parent)
    except UserError as error:
        words = error.what.removeprefix(f"{folder / INDEX}: ")
        return [Finding(folder / INDEX, "corrupt", words)]
    found = []
    for row in rows:
        path = folder / row["file"]
        if not path.is_file():
            found.append(Finding(path, "parameters", f"is missing, and {INDEX} names it"))
        elif file_sha256(path) != row["sha256"]:
            found.append(Finding(path, "parameters", "does not match its SHA-256"))
    return found
