"""Rows of several suites on one table: what suites of one workload and protocol have in common."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from pnnbench.leaderboard.choice import Board, Current, counted, kind
from pnnbench.leaderboard.grid import Record, revision_of
from pnnbench.records.index import Jobs, board_of, hashes

Place = tuple[str, str, str]
"""Protocol, workload and tier."""
Rows = dict[str, list[Record]]
"""Row label to the jobs that count."""
Likeness = tuple[bytes, tuple[int, ...]]
"""Kind of the jobs of a row, and the training devices that it has at each seed; none for one that
is the seed's own."""

SIGN = " + "
"""Between the names of joined suites."""


def join(
    records: Sequence[Record], current: Mapping[Board, Current] | None = None
) -> tuple[list[Record], dict[Board, Current]]:
    """Makes one board of the boards that measure the same.

    These have protocol, workload, tier, revision, data, devices and axes in common, and something
    finished. Rows with the same settings and training devices are one row, with the seeds of all
    suites and the label of the first; rows with the same label and others get the name of their
    suite in parentheses. A figure of a row changes only where the row gains seeds.

    Args:
        records: Records as ``read_records`` returns them, of several suites.
        current: Per board the jobs it consists of, as ``read_index`` gives them; the newest jobs of
            each row where it has not said so.

    Returns:
        The records under the names of the joined boards, and the jobs of these. A board that no
        other joins is as it was.
    """
    wanted: dict[Board, Current] = dict(current or {})
    boards: dict[Board, list[Record]] = {}
    for record in records:
        board = board_of(record)
        boards.setdefault(board, []).append(record)
    groups: dict[tuple[Place, frozenset[tuple[int, str, str]]], dict[str, Rows]] = {}
    kept: list[Record] = []
    for board, mine in boards.items():
        rows = _rows(mine, wanted.get(board))
        alike = frozenset(
            (revision_of(r), r["data"]["fingerprint"], _setup(r))
            for jobs in rows.values()
            for r in jobs
            if r["status"] == "ok"
        )
        if len(alike) == 1:
            groups.setdefault((board[1:], alike), {})[board[0]] = rows
        else:
            kept += mine
    for (place, _), suites in groups.items():
        if len(suites) == 1:
            kept += boards[next(iter(suites)), *place]
            continue
        name = SIGN.join(sorted(suites))
        asked = {suite: wanted.pop((suite, *place), None) for suite in suites}
        made, jobs = _joined(name, suites, asked)
        kept += made
        wanted[name, *place] = jobs
    return kept, wanted


def _setup(record: Record) -> str:
    """Measured devices and axes on request, as a text; the same for all jobs without any."""
    return json.dumps([record["config"].get(key) for key in ("devices", "axes")], sort_keys=True)


def _rows(records: Sequence[Record], index: Current | None) -> Rows:
    """The jobs that count of one board, by row."""
    rows: Rows = {}
    for record in records:
        rows.setdefault(record["job"]["method"]["label"], []).append(record)
    return {
        label: found
        for label, mine in rows.items()
        if (found := counted(mine, None if index is None else index.get(label, {})))
    }


def _joined(
    name: str, suites: Mapping[str, Rows], asked: Mapping[str, Current | None]
) -> tuple[list[Record], Current]:
    """The records of some suites under one name, and what the board consists of.

    A job stands once in each row that has it.
    """
    kinds: dict[str, set[Likeness]] = {}
    for rows in suites.values():
        for label, mine in rows.items():
            kinds.setdefault(label, set()).add(_likeness(mine))
    shown: dict[Likeness, str] = {}
    found: dict[tuple[str, str], Record] = {}
    jobs: dict[str, dict[int, Jobs]] = {}
    for suite, rows in sorted(suites.items()):
        index = asked[suite] or {}
        for label in [*rows, *(label for label in index if label not in rows)]:
            mine = rows.get(label, [])
            own = f"{label} ({suite})"
            known = kinds.get(label, set())
            name_of_row = label if len(known) == bool(mine) else own
            if mine:
                name_of_row = shown.setdefault(_likeness(mine), name_of_row)
            row = jobs.setdefault(name_of_row, {})
            for seed, names in (index.get(label) or _seeds(mine)).items():
                row[seed] = tuple(dict.fromkeys((*hashes(row.get(seed, ())), *hashes(names))))
            for record in mine:
                job = record["job"]
                place = name_of_row, job["hash"]
                other = found.get(place)
                if other is None or (other["status"] != "ok" and record["status"] == "ok"):
                    method = {**job["method"], "label": name_of_row}
                    found[place] = {**record, "job": {**job, "suite": name, "method": method}}
    return list(found.values()), jobs


def _likeness(records: Sequence[Record]) -> Likeness:
    """What rows that become one have in common."""
    jobs = [record["job"] for record in records]
    pairs = [(job["seed"], job["seeds"]["train_device"]) for job in jobs]
    own = all(device in (seed, None) for seed, device in pairs)
    devices = {device for _, device in pairs if device is not None}
    return kind(records[0]), () if own else tuple(sorted(devices))


def _seeds(records: Sequence[Record]) -> dict[int, Jobs]:
    seeds: dict[int, tuple[str, ...]] = {}
    for record in records:
        job = record["job"]
        seeds[job["seed"]] = (*seeds.get(job["seed"], ()), job["hash"])
    return dict(seeds)
