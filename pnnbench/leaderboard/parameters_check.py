"""Whether the index of a board's published parameters says what its records give."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pnnbench.errors import UserError
from pnnbench.leaderboard.best import RULE, best_jobs
from pnnbench.leaderboard.board_check import LARGEST, differences, republish, said
from pnnbench.leaderboard.model import Table
from pnnbench.records.findings import Finding
from pnnbench.records.parameters import FOLDER, INDEX, index_row, read_parameters, whose

_UNREADABLE = (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError)


def check_parameters(
    folder: Path, tables: Sequence[Table], records: Sequence[dict[str, Any]]
) -> Iterator[Finding]:
    """Holds the index of published parameters against the records of a board.

    The files themselves, and whether it can be read, are looked at by
    `pnnbench.records.surroundings`.

    Args:
        folder: The board's folder; one without an index is left alone.
        tables: What its records make.
        records: Its records.

    Yields:
        One finding with the first difference, if there is one.
    """
    path = folder / FOLDER / INDEX
    if not path.is_file():
        return
    try:
        read_parameters(folder)
    except UserError:
        return
    older = {job["hash"] for table in tables for job in table.older}
    best = best_jobs([record for record in records if record["job"]["hash"] not in older])
    right = {one.record["job"]["hash"]: (one.record, one.score) for one in best}
    try:
        if path.stat().st_size > LARGEST:
            raise ValueError(f"{path.stat().st_size} bytes")
        content = json.loads(path.read_text("utf-8"))
        differing = list(_differing(folder, content, right))
    except _UNREADABLE as error:
        words = f"is not an index of parameters ({type(error).__name__}: {error!s:.100})"
        yield Finding(path, "corrupt", words, republish(folder))
        return
    if differing:
        yield Finding(path, "parameters", said(differing), republish(folder))


def _differing(
    folder: Path,
    content: Mapping[str, Any],
    right: Mapping[str, tuple[dict[str, Any], float | None]],
) -> Iterator[tuple[str, Any, Any]]:
    yield from differences(content["rule"], RULE, "rule")
    named = [("rows", row) for row in content["rows"]]
    named += [("left_out", row) for row in content["left_out"]]
    count = Counter(str(row["hash"]) for _, row in named)
    for kind, row in named:
        where = f"{kind}: {row['row']!s:.40}"
        if row["hash"] not in right:
            yield where, row["hash"], "another job as the best of its row"
        elif kind == "left_out":
            yield from _row(row, {**whose(right[row["hash"]][0]), "why": str(row["why"])}, where)
        else:
            size = (folder / FOLDER / f"{row['hash']}.safetensors").stat().st_size
            yield from _row(row, index_row(*right[row["hash"]], size), where)
    for name, (record, _) in right.items():
        if count[name] != 1:
            yield record["job"]["method"]["label"], f"there {count[name]} times", "one line"


def _row(
    row: Mapping[str, Any], right: Mapping[str, Any], where: str
) -> Iterator[tuple[str, Any, Any]]:
    yield from differences(sorted(row), sorted(right), f"{where}: keys")
    yield from differences(dict(row), json.loads(json.dumps(right)), where)
