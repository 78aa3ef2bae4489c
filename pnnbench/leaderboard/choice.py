"""Which jobs make the rows of a table: of several for one row, seed and device, the newest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pnnbench.leaderboard.grid import Record
from pnnbench.leaderboard.training_devices import mean_record
from pnnbench.records.index import Jobs, hashes, kind_of

Board = tuple[str, str, str, str]
"""Suite, protocol, workload, tier."""
Current = Mapping[str, Mapping[int, Jobs]]
"""Row label to seed to hash, or hashes: the jobs that a suite consists of at present."""

GUESSES = ("diverged", "error", "timeout")
"""Failures that count as guessing. A killed job has not been tried to its end: it is missing."""


@dataclass(frozen=True)
class Chosen:
    """The jobs that count, by row.

    Attributes:
        finished: Label to finished jobs, one per seed, sorted by seed; the mean over the devices
            of a row that trains on several.
        failed: Label to failed jobs of seeds without a finished one, sorted by seed.
        older: Jobs that an edited or repeated one has taken the place of, and those at seeds that
            the suite no longer has.
    """

    finished: dict[str, list[Record]]
    failed: dict[str, list[Record]]
    older: tuple[Record, ...]


def kind(record: Record) -> bytes:
    """What the jobs of one row share: everything that decides a result, but for the seed."""
    return kind_of(record["job"])


def age(record: Record) -> tuple[str, str]:
    """Sort key, newest last; the hash decides between equal times."""
    return (str(record["provenance"].get("finished", "")), record["job"]["hash"])


def choose(records: Sequence[Record], current: Current | None = None) -> Chosen:
    """Chooses the jobs of a table.

    The newest job of a label says what the row is: method, settings, data, source. Jobs of the
    same kind count, the newest of each seed and training device; the others are older ones. Where
    the suite has said which jobs it consists of, no others are looked at.

    A seed with several training devices is the mean over them. It has failed if one of them has,
    and is missing while the suite asks for one that there is not.

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
        asked = None if current is None else current.get(label, {})
        last = counted(mine, asked)
        older += [r for r in mine if all(r is not k for k in last)]
        by_seed: dict[int, list[Record]] = {}
        for record in sorted(last, key=age):
            by_seed.setdefault(record["job"]["seed"], []).append(record)
        for seed, devices in sorted(by_seed.items()):
            bad = [record for record in devices if record["status"] != "ok"]
            asked_for = (current or {}).get(label, {}).get(seed)
            wanted = devices if asked_for is None else hashes(asked_for)
            if bad:
                # One that ran to a failure of its own says more than one that was stopped.
                bad.sort(key=lambda record: record["status"] not in GUESSES)
                failed.setdefault(label, []).append(bad[0])
            elif len(devices) == len(wanted):
                finished.setdefault(label, []).append(mean_record(devices))
    return Chosen(finished, failed, tuple(older))


def counted(records: Sequence[Record], asked: Mapping[int, Jobs] | None) -> list[Record]:
    """The jobs of one row that count, one for each seed and training device.

    Args:
        records: Finished and failed records of one row.
        asked: Seed to the jobs that the suite consists of; None for all.

    Returns:
        The newest of the newest kind, of those asked for; a finished job before a failure. A row
        is of one kind: two settings, or two versions of its code, have no common mean.
    """
    if asked is not None:
        names = {name for jobs in asked.values() for name in hashes(jobs)}
        records = [r for r in records if r["job"]["hash"] in names]
    if not records:
        return []
    tried = [r for r in records if r["status"] != "killed"] or records
    newest = kind(max(tried, key=age))
    kept = [r for r in records if kind(r) == newest]
    last: dict[tuple[int, int | None], Record] = {}
    # A failure never takes the place of a finished job of the same kind.
    for record in sorted(kept, key=lambda r: (r["status"] == "ok", age(r))):
        last[_repetition(record)] = record
    return list(last.values())


def _repetition(record: Record) -> tuple[int, int | None]:
    """Seed and training device: what tells the jobs of one row apart."""
    job = record["job"]
    return job["seed"], job["seeds"]["train_device"]
