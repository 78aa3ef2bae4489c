"""Which jobs a suite consists of at present: ``suite.json`` in its run folder.

A run folder also keeps jobs of earlier versions of a suite or of a method; the index says which of
them count.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
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
    for source in [sources] if isinstance(sources, (str, Path)) else sources:
        folder = Path(source)
        for path in sorted({folder / NAME, *folder.glob(f"*/{NAME}")}):
            if path.is_file():
                found |= _read(path)
    return found


def _read(path: Path) -> Index:
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
        return {
            (content["suite"], board["protocol"], board["workload"], board["tier"]): {
                str(label): {int(seed): _jobs(found) for seed, found in jobs.items()}
                for label, jobs in board["rows"].items()
            }
            for board in content["boards"]
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
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
                *, keep: bool = False) -> None:  # fmt: skip
    """Writes the index of a suite in one step; leaves an equal one as it is.

    Args:
        folder: Run folder of the suite.
        suite: Its name.
        index: Its boards.
        keep: Whether jobs that the index names already stay where the new one has no others,
            as after a run of some rows or seeds.
    """
    path = folder / NAME
    merged: Index = {}
    if keep and path.is_file():
        merged = _read(path)
    for key, rows in index.items():
        board = merged.setdefault(key, {})
        for label, jobs in rows.items():
            board[label] = {**(board.get(label, {}) if keep else {}), **jobs}
    content = {
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
            for (_, protocol, workload, tier), rows in sorted(merged.items())
        ],
    }
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return
    folder.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{NAME}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
