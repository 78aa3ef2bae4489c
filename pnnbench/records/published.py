"""The records of a board as they go into the repository.

``records/HASH.json`` for every job of the board, and ``records/HASH/`` with parameters and outcomes
for one seed of each row, the smallest that finished: enough to measure a new figure on every
published row, or to draw its pictures. A file of measured devices stands with every record of it.
The tensors of the other seeds stay in the run folder, but for the parameters of each row's best
(`pnnbench.records.parameters`).
`pnnbench leaderboard runs/SUITE --publish leaderboards/SUITE` does it.

Sizes on mrr-mnist (61,470 rings, 10,000 test images, 281 cells), in parentheses deflated as git
keeps them: record 11 kB (3 kB), parameters 253 kB (210 kB), outcomes 353 kB (263 kB). A board of 16
rows and 10 seeds is 1.8 MB of records and 9.7 MB of tensors (0.5 and 7.6 MB); the tensors of all
seeds would be 97 MB. Where a board has more than `ROOM` of tensors, rows of its claims come first
and the other rows' stay in the run folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pnnbench.records.index import board_of
from pnnbench.records.placing import Part
from pnnbench.records.store import beside, file_problem, record_bytes

FOLDER = "records"
#: Kinds of the files that stand with records: tensors, and measured devices.
_PUBLISHED = (".safetensors", ".csv", ".npz")
#: Files of tensors that one seed of each row has with it.
TENSORS = ("parameters", "outcomes")
#: Most that the tensors of one board take, in bytes: a repository is cloned by everybody.
ROOM = 16_000_000

Placed = tuple[Path, dict[str, Any]]
"""A record and the path that it was read from."""


def with_tensors(placed: Sequence[Placed]) -> list[Placed]:
    """The records whose tensors are published: of each row the smallest seed that finished.

    Args:
        placed: The records of a board.

    Returns:
        Those records, one of each suite, protocol, workload, tier and row.
    """
    chosen: dict[tuple[str, ...], Placed] = {}
    for path, record in placed:
        if record["status"] != "ok":
            continue
        job = record["job"]
        row = (*board_of(record), job["method"]["label"])
        if row not in chosen or job["seed"] < chosen[row][1]["job"]["seed"]:
            chosen[row] = (path, record)
    return list(chosen.values())


def record_files(
    placed: Sequence[Placed], board: Path, *, room: int = ROOM, first: Sequence[str] = ()
) -> tuple[Part, list[str]]:
    """The records of a board and the tensors of one seed of each row; nothing is written.

    Records and tensors of other jobs are stale. Tensors that are not there, or not those of their
    record, are left out, and so are all of a row that find no room.

    Args:
        placed: The records, each with its path; they may stand in the board already.
        board: The folder of the board, usually ``leaderboards/SUITE``.
        room: Most bytes that the tensors take.
        first: Labels of the rows whose tensors come first, in this order; the other rows follow.

    Returns:
        What ``records/`` shall hold, and labels of the rows whose tensors found no room.
    """
    folder = board / FOLDER
    targets = {
        record["job"]["hash"]: folder / f"{record['job']['hash']}.json" for _, record in placed
    }
    files: dict[Path, bytes] = {}
    left_out: list[str] = []
    chosen = with_tensors(placed)
    for i in in_turn([record["job"]["method"]["label"] for _, record in chosen], first):
        path, record = chosen[i]
        parts = [p for p in TENSORS if p in record and file_problem(path, record, p) is None]
        sources = {beside(path, record, part): part for part in parts}
        size = sum(source.stat().st_size for source in sources)
        if size > room:
            left_out.append(record["job"]["method"]["label"])
            continue
        room -= size
        for source, part in sources.items():
            target = beside(targets[record["job"]["hash"]], record, part)
            files[target] = source.read_bytes()
    for read, record in placed:
        path = targets[record["job"]["hash"]]
        files[path] = record_bytes(path, record)
        if (
            "devices" in record and file_problem(read, record, "devices") is None
        ):  # small, as CSV is
            files[beside(path, record, "devices")] = beside(read, record, "devices").read_bytes()
    stale = []
    for old in sorted(folder.glob("*.json")):
        beside_it = sorted(old.with_suffix("").rglob("*"))
        if old not in files:
            stale += [old, *(path for path in beside_it if not path.is_dir())]
        else:
            stale += [p for p in beside_it if p.suffix in _PUBLISHED and p not in files]
    return Part({str(p.relative_to(board)): d for p, d in files.items()}, stale), left_out


def in_turn(labels: Sequence[str], first: Sequence[str]) -> list[int]:
    """Positions of the labels in the order in which rows are given room.

    Args:
        labels: Labels of rows.
        first: Those that come first, in this order.
    """
    turn = {label: i for i, label in reversed(list(enumerate(first)))}
    return sorted(range(len(labels)), key=lambda i: turn.get(labels[i], len(first)))
