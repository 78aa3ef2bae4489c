"""Which jobs a suite consists of at present: ``suite.json`` in its run folder.

A run folder also keeps jobs of earlier versions of a suite or of a method; the index says which of
them count. It also carries what the suite sets out to show.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pnnbench.errors import UserError

NAME = "suite.json"
Key = tuple[str, str, str, str]
"""Suite, protocol, workload, tier: a board."""
Jobs = str | tuple[str, ...]
"""Hash of the job of a row and seed; of several, where the row trains on several devices."""
Index = dict[Key, dict[str, dict[int, Jobs]]]
"""Board to row label to seed to hash."""


def workload_of(job: Mapping[str, Any]) -> str:
    """What a board calls the workload of a job: its name, and the data set if another was brought.

    Args:
        job: The ``job`` part of a record.

    Returns:
        Such as ``"mrr-mnist"``, or ``"mrr-mnist on kmnist"``.
    """
    brought = job.get("data")
    return f"{job['workload']} on {brought['name']}" if brought else str(job["workload"])


def board_of(record: Mapping[str, Any]) -> Key:
    """The board that a record belongs to."""
    job = record["job"]
    return (job["suite"], record["protocol"], workload_of(job), job["tier"])


@dataclass(frozen=True)
class Claim:
    """What a suite sets out to show: one of its rows is better than another.

    Attributes:
        better: Label of the one.
        than: Label of the other.
    """

    better: str
    than: str


def hashes(jobs: Jobs) -> tuple[str, ...]:
    """The hashes of the jobs of a row at a seed, however many there are."""
    return (jobs,) if isinstance(jobs, str) else tuple(jobs)


def read_index(sources: Path | str | Iterable[Path | str]) -> Index:
    """Reads the indices in folders of runs.

    Args:
        sources: Folders of runs, of one suite or of several, as for ``read_records``.

    Returns:
        The jobs of every suite that has an index there; empty where there is none.

    Raises:
        UserError: If an index is not what `write_index` writes.
    """
    found: Index = {}
    for path in _paths(sources):
        found |= _read(path)[0]
    return found


def read_claims(sources: Path | str | Iterable[Path | str]) -> dict[str, tuple[Claim, ...]]:
    """Reads the claims of the suites that have an index in folders of runs.

    Args:
        sources: As for `read_index`.

    Returns:
        Suite to its claims; suites without claims are left out.

    Raises:
        UserError: If an index is not what `write_index` writes.
    """
    found: dict[str, tuple[Claim, ...]] = {}
    for path in _paths(sources):
        index, claims = _read(path)
        if claims:
            found |= {suite: claims for suite, *_ in index}
    return found


def _paths(sources: Path | str | Iterable[Path | str]) -> Iterator[Path]:
    for source in [sources] if isinstance(sources, (str, Path)) else sources:
        folder = Path(source)
        for path in sorted({folder / NAME, *folder.glob(f"*/{NAME}")}):
            if path.is_file():
                yield path


def _read(path: Path) -> tuple[Index, tuple[Claim, ...]]:
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
        index: Index = {
            (content["suite"], board["protocol"], board["workload"], board["tier"]): {
                str(label): {int(seed): _jobs(found) for seed, found in jobs.items()}
                for label, jobs in board["rows"].items()
            }
            for board in content["boards"]
        }
        claims = [Claim(str(c["better"]), str(c["than"])) for c in content.get("claims", [])]
        return index, tuple(claims)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(
            f"{path}: is not the index of a suite ({type(error).__name__}: {error})",
            next_step=f"delete {path}; the next `pnnbench run` writes it again",
        ) from None


def _jobs(found: Any) -> Jobs:
    if isinstance(found, list) and found:
        return tuple(str(name) for name in found)
    if isinstance(found, str):
        return found
    raise TypeError(f"{found!r} is no hash and no list of hashes")


def write_index(folder: Path, suite: str, index: Mapping[Key, Mapping[str, Mapping[int, Jobs]]],
                *, keep: bool = False, claims: Sequence[Claim] = ()) -> None:  # fmt: skip
    """Writes the index of a suite in one step; leaves an equal one as it is.

    Args:
        folder: Run folder of the suite.
        suite: Its name.
        index: Its boards.
        keep: Whether jobs that the index names already stay where the new one has no others,
            as after a run of some rows or seeds.
        claims: What the suite sets out to show.
    """
    path = folder / NAME
    merged: Index = {}
    if keep and path.is_file():
        merged = _read(path)[0]
    for key, rows in index.items():
        board = merged.setdefault(key, {})
        for label, jobs in rows.items():
            board[label] = {**(board.get(label, {}) if keep else {}), **jobs}
    text = index_text(suite, merged, claims)
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return
    folder.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{NAME}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def index_text(
    suite: str, index: Mapping[Key, Mapping[str, Mapping[int, Jobs]]], claims: Sequence[Claim] = ()
) -> str:
    """What stands in the index of a suite.

    Args:
        suite: Its name.
        index: Its boards.
        claims: What the suite sets out to show.

    Returns:
        JSON text.
    """
    content: dict[str, Any] = {
        "suite": suite,
        "boards": [
            {
                "protocol": protocol,
                "workload": workload,
                "tier": tier,
                "rows": {
                    label: {str(seed): jobs[seed] for seed in sorted(jobs)}
                    for label, jobs in rows.items()
                },
            }
            for (_, protocol, workload, tier), rows in sorted(index.items())
        ],
    }
    if claims:
        content["claims"] = [{"better": c.better, "than": c.than} for c in claims]
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"
