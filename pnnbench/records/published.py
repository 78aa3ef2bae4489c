"""The records of a board as they go into the repository.

``records/HASH.json`` for every job of the board, and ``records/HASH/`` with parameters and outcomes
for one seed of each row, the smallest that finished: enough to measure a new figure on every
published row, or to draw its pictures. The tensors of the other seeds stay in the run folder, but
for the parameters of each row's best (`pnnbench.records.parameters`).
`pnnbench leaderboard runs/SUITE --publish leaderboards/SUITE` does it.

Sizes on mrr-mnist (61,470 rings, 10,000 test images, 281 cells), in parentheses deflated as git
keeps them: record 11 kB (3 kB), parameters 253 kB (210 kB), outcomes 353 kB (263 kB). A board of 16
rows and 10 seeds is 1.8 MB of records and 9.7 MB of tensors (0.5 and 7.6 MB); the tensors of all
seeds would be 97 MB. Where a board has more than `ROOM` of tensors, rows of its claims come first
and the other rows' stay in the run folder.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pnnbench.records.index import board_of
from pnnbench.records.store import beside, file_problem, write_record, write_whole

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


def publish_records(
    placed: Sequence[Placed], folder: Path, *, room: int = ROOM, first: Sequence[str] = ()
) -> list[str]:
    """Makes a folder hold the records of a board and the tensors of one seed of each row.

    Records and tensors of other jobs are removed from it. Tensors that are not there, or not those
    of their record, are left out, and so are all of a row that find no room.

    Args:
        placed: The records, each with its path; they may stand in the folder already.
        folder: The board's folder of records, usually ``leaderboards/SUITE/records``.
        room: Most bytes that the tensors take.
        first: Labels of the rows whose tensors come first, in this order; the other rows follow.

    Returns:
        Labels of the rows whose tensors found no room.
    """
    targets = {
        record["job"]["hash"]: folder / f"{record['job']['hash']}.json" for _, record in placed
    }
    kept: set[Path] = set()
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
            kept.add(target)
            if source != target:
                write_whole(target, source.read_bytes())
    for _, record in placed:
        write_record(targets[record["job"]["hash"]], record)
    for old in folder.glob("*.json"):
        if old not in targets.values():
            old.unlink()
            shutil.rmtree(old.with_suffix(""), ignore_errors=True)
    for name in targets:
        for file in (folder / name).glob("*.safetensors"):
            if file not in kept:
                file.unlink()
        if (folder / name).is_dir() and not any((folder / name).iterdir()):
            (folder / name).rmdir()
    return left_out


def in_turn(labels: Sequence[str], first: Sequence[str]) -> list[int]:
    """Positions of the labels in the order in which rows are given room.

    Args:
        labels: Labels of rows.
        first: Those that come first, in this order.
    """
    turn = {label: i for i, label in reversed(list(enumerate(first)))}
    return sorted(range(len(labels)), key=lambda i: turn.get(labels[i], len(first)))
