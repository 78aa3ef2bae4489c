"""Which jobs make the rows of a table: of several for one row and seed, the newest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pnnbench.leaderboard.grid import Record
from pnnbench.records.store import canonical

Board = tuple[str, str, str, str]
"""Suite, protocol, workload, tier."""
Current = Mapping[str, Mapping[int, str]]
"""Row label to seed to hash: the jobs that a suite consists of at present."""

GUESSES = ("diverged", "error", "timeout")
"""Failures that count as guessing. A killed job has not been tried to its end: it is missing."""


@dataclass(frozen=True)
class Chosen:
    """The jobs that count, by row.

    Attributes:
        finished: Label to finished jobs, one per seed, sorted by seed.
        failed: Label to failed jobs of seeds without a finished one, sorted by seed.
        older: Jobs that an edited or repeated one has taken the place of.
    """

    finished: dict[str, list[Record]]
    failed: dict[str, list[Record]]
    older: tuple[Record, ...]


def kind(record: Record) -> bytes:
    """What the jobs of one row share: everything that decides a result, but for the seed."""
    job = record["job"]
    method = job["method"]
    return canonical(
        [method["name"], method["params"], job["epochs_factor"], job.get("content", "")]
    )


def _age(record: Record) -> tuple[str, str]:
    """Sort key, newest last; the hash decides between equal times."""
    return (str(record["provenance"].get("finished", "")), record["job"]["hash"])


def choose(records: Sequence[Record], current: Current | None = None) -> Chosen:
    """Chooses the jobs of a table.

    The newest job of a label says what the row is: method, settings, data, source. Jobs of the
    same kind count, the newest of each seed; the others are older ones. Where the suite has said
    which jobs it consists of, those count and no others.

    Args:
        records: Finished and failed records of one suite, protocol, workload and tier.
        current: The jobs that the suite consists of; None goes by age.

    Returns:
        The choice; it depends for each label on its own records alone.
    """
    finished: dict[str, list[Record]] = {}
    failed: dict[str, list[Record]] = {}
    older: list[Record] = []
    by_label: dict[str, list[Record]] = {}
    for record in records:
        by_label.setdefault(record["job"]["method"]["label"], []).append(record)
    for label, mine in sorted(by_label.items()):
        if current is not None:
            asked = set(current.get(label, {}).values())
            kept = [r for r in mine if r["job"]["hash"] in asked]
        else:
            tried = [r for r in mine if r["status"] != "killed"] or mine
            newest = kind(max(tried, key=_age))
            kept = [r for r in mine if kind(r) == newest]
        last: dict[int, Record] = {}
        # A failure never takes the place of a finished job of the same kind.
        for record in sorted(kept, key=lambda r: (r["status"] == "ok", _age(r))):
            last[record["job"]["seed"]] = record
        older += [r for r in mine if all(r is not k for k in last.values())]
        for _, record in sorted(last.items()):
            where = finished if record["status"] == "ok" else failed
            where.setdefault(label, []).append(record)
    return Chosen(finished, failed, tuple(older))
