"""Which jobs a suite consists of at present: ``suite.json`` in its run folder.

A run folder also keeps jobs of earlier versions of a suite or of a method; the index says which of
them count. It also carries what the suite sets out to show.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock

from pnnbench.errors import UserError
from pnnbench.records.store import canonical, write_whole

NAME = "suite.json"
#: Held while an index is read and written again: rows that another process adds stay.
LOCK = ".index.lock"
Key = tuple[str, str, str, str]
"""Suite, protocol, workload, tier: a board."""
Jobs = str | tuple[str, ...]
"""Hash of the job of a row and seed; of several, where the row trains on several devices."""
Index = dict[Key, dict[str, dict[int, Jobs]]]
"""Board to row label to seed to hash."""
Kinds = dict[Key, dict[str, str]]
"""Board to row label to the digest of what its jobs share, see `kind_of`."""


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


def kind_of(job: Mapping[str, Any]) -> bytes:
    """What the jobs of one row share: everything that decides a result, but for the seed.

    Args:
        job: The ``job`` part of a record.

    Returns:
        Method, settings, length, data, code and precision, as canonical JSON.
    """
    method = job["method"]
    return canonical(
        [
            method["name"],
            method["params"],
            job["epochs_factor"],
            job.get("content", ""),
            *([job["precision"]] if "precision" in job else []),
        ]
    )


def kind_digest(job: Mapping[str, Any]) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of `kind_of`."""
    return hashlib.sha256(kind_of(job)).hexdigest()[:16]


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


@dataclass
class _Content:
    """What one index says, or several that were put together.

    Attributes:
        index: Its boards.
        kinds: What the jobs of each row share, where it is said: older files do not.
        claims: Suite to its claims.
    """

    index: Index = field(default_factory=dict)
    kinds: Kinds = field(default_factory=dict)
    claims: dict[str, tuple[Claim, ...]] = field(default_factory=dict)

    def add(self, newer: _Content) -> None:
        """Adds what was said later: rows, and seeds of the rows that are there.

        Args:
            newer: The later one. Where both have a job of a row and seed, its own stands. A row
                whose jobs are of another kind there, as after an edit of its settings or its code,
                keeps none of its seeds, and a job that has another row there is of that row alone.
        """
        for key, rows in newer.index.items():
            board, kinds = self.index.setdefault(key, {}), self.kinds.setdefault(key, {})
            claimed = {name for jobs in rows.values() for j in jobs.values() for name in hashes(j)}
            for label in [label for label in board if label not in rows]:
                board[label] = _without(board[label], claimed)
                if not board[label]:
                    del board[label]
            for label, jobs in rows.items():
                kind = newer.kinds.get(key, {}).get(label, "")
                before = kinds.get(label, "")
                other = kind and before and kind != before
                board[label] = {**({} if other else board.get(label, {})), **jobs}
                kinds[label] = kind


def _without(jobs: Mapping[int, Jobs], claimed: set[str]) -> dict[int, Jobs]:
    """The jobs of a row without those that are another row's; a seed without any is left out."""
    kept: dict[int, Jobs] = {}
    for seed, found in jobs.items():
        left = tuple(name for name in hashes(found) if name not in claimed)
        if left:
            kept[seed] = left[0] if isinstance(found, str) else left
    return kept


def read_index(sources: Path | str | Iterable[Path | str]) -> Index:
    """Reads the indices in folders of runs.

    Args:
        sources: Folders of runs, of one suite or of several, as for ``read_records``. Where two
            have the same suite, their rows and seeds are put together; where they differ, what
            was written last stands.

    Returns:
        The jobs of every suite that has an index there; empty where there is none.

    Raises:
        UserError: If an index is not what `write_index` writes.
    """
    return _read_all(sources).index


def read_claims(sources: Path | str | Iterable[Path | str]) -> dict[str, tuple[Claim, ...]]:
    """Reads the claims of the suites that have an index in folders of runs.

    Args:
        sources: As for `read_index`; of two indices of one suite that written last stands.

    Returns:
        Suite to its claims; suites without claims are left out.

    Raises:
        UserError: If an index is not what `write_index` writes.
    """
    return {suite: claims for suite, claims in _read_all(sources).claims.items() if claims}


def _read_all(sources: Path | str | Iterable[Path | str]) -> _Content:
    found = _Content()
    for path in sorted(_paths(sources), key=lambda path: path.stat().st_mtime_ns):
        newer = _read(path)
        found.add(newer)
        found.claims |= newer.claims
    return found


def _paths(sources: Path | str | Iterable[Path | str]) -> Iterator[Path]:
    for source in [sources] if isinstance(sources, (str, Path)) else sources:
        folder = Path(source)
        for path in sorted({folder / NAME, *folder.glob(f"*/{NAME}")}):
            if path.is_file():
                yield path


def _read(path: Path) -> _Content:
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
        found = _Content()
        for board in content["boards"]:
            key = (content["suite"], board["protocol"], board["workload"], board["tier"])
            found.index[key] = {
                str(label): {int(seed): _jobs(named) for seed, named in jobs.items()}
                for label, jobs in board["rows"].items()
            }
            found.kinds[key] = {str(k): str(v) for k, v in board.get("kinds", {}).items()}
        claims = [Claim(str(c["better"]), str(c["than"])) for c in content.get("claims", [])]
        found.claims[content["suite"]] = tuple(claims)
        return found
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


def write_index(
    folder: Path,
    suite: str,
    index: Index,
    *,
    kinds: Kinds | None = None,
    keep: bool = False,
    claims: Sequence[Claim] = (),
) -> None:
    """Writes the index of a suite in one step, one process at a time; leaves an equal one.

    Args:
        folder: Run folder of the suite.
        suite: Its name.
        index: Its boards.
        kinds: What the jobs of each row share.
        keep: Whether jobs that the index names already stay where the new one has no others,
            as after a run of some rows or seeds. They stay where they are of the same kind, and
            of no other row now.
        claims: What the suite sets out to show.
    """
    path = folder / NAME
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / LOCK):
        merged = _read(path) if keep and path.is_file() else _Content()
        merged.add(_Content(index, kinds or {}))
        text = index_text(suite, merged.index, claims, merged.kinds)
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            write_whole(path, text.encode("utf-8"))


def index_text(
    suite: str,
    index: Mapping[Key, Mapping[str, Mapping[int, Jobs]]],
    claims: Sequence[Claim] = (),
    kinds: Mapping[Key, Mapping[str, str]] | None = None,
) -> str:
    """What stands in the index of a suite.

    Args:
        suite: Its name.
        index: Its boards.
        claims: What the suite sets out to show.
        kinds: What the jobs of each row share; left out where nothing is added to the index.

    Returns:
        JSON text.
    """
    content: dict[str, Any] = {"suite": suite, "boards": []}
    for key, rows in sorted(index.items()):
        _, protocol, workload, tier = key
        board: dict[str, Any] = {
            "protocol": protocol,
            "workload": workload,
            "tier": tier,
            "rows": {
                label: {str(seed): jobs[seed] for seed in sorted(jobs)}
                for label, jobs in rows.items()
            },
        }
        said = (kinds or {}).get(key, {})
        if known := {label: said[label] for label in rows if said.get(label)}:
            board["kinds"] = known
        content["boards"].append(board)
    if claims:
        content["claims"] = [{"better": c.better, "than": c.than} for c in claims]
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"
