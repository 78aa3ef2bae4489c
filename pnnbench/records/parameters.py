"""Trained parameters of a board: ``parameters/`` beside its records, one file for each row.

A reader loads, verifies and measures them again. Each file is the one that the record of its job
names, to the byte; ``index.json`` says which row and seed it is and how the seed was chosen. What
is larger than `LARGEST`, or finds no room, stays in the run folder, and the index says so.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pnnbench.errors import UserError
from pnnbench.records.published import ROOM, in_turn
from pnnbench.records.store import beside, file_sha256, write_whole

FOLDER = "parameters"
INDEX = "index.json"
#: Largest file that is published, in bytes.
LARGEST = 1_000_000
_SUFFIX = ".safetensors"


def find_parameters(path: Path, record: Mapping[str, Any]) -> Path | None:
    """Finds the trained parameters of a job.

    Args:
        path: Its record: a run's, or one of a board.
        record: The record at that path.

    Returns:
        The file beside the record or among the published ones of its board that has the SHA-256
        of the record; None if there is none.
    """
    if "parameters" not in record:
        return None
    published = path.parent.parent / FOLDER / f"{record['job']['hash']}{_SUFFIX}"
    for file in (beside(path, dict(record), "parameters"), published):
        if file.is_file() and file_sha256(file) == record["parameters"]["sha256"]:
            return file
    return None


def record_of(file: Path) -> Path | None:
    """Finds the record of a file of parameters.

    Args:
        file: ``parameters.safetensors`` of a run or of a published record, or a file in the folder
            ``parameters`` of a board.

    Returns:
        The record; None if there is none where it would be.
    """
    file = file.absolute()
    if file.parent.name == FOLDER:
        places = [file.parent.parent / "records" / f"{file.stem}.json"]
    else:
        places = [file.parent / "record.json", file.parent.with_suffix(".json")]
    return next((place for place in places if place.is_file()), None)


def publish_parameters(
    chosen: Sequence[tuple[Path, Mapping[str, Any], float | None]],
    board: Path,
    rule: str,
    *,
    room: int = ROOM,
    first: Sequence[str] = (),
) -> Path | None:
    """Makes ``parameters/`` of a board hold the parameters of some jobs, and nothing else.

    Args:
        chosen: Path, record and score of one job for each row.
        board: Folder of the board.
        rule: How the jobs were chosen.
        room: Most bytes that they take together.
        first: Labels of the rows that come first where there is not room for all.

    Returns:
        The index; None where no job has its parameters at hand, and the folder stays as it was.
    """
    sources = [find_parameters(path, record) for path, record, _ in chosen]
    if not any(sources):
        return None
    why = _left_out(
        sources, [record["job"]["method"]["label"] for _, record, _ in chosen], room, first
    )
    rows: list[dict[str, Any]] = []
    left_out: list[dict[str, Any]] = []
    files: dict[str, bytes] = {}
    for source, reason, (_, record, score) in zip(sources, why, chosen, strict=True):
        job = record["job"]
        row = {
            "suite": job["suite"],
            "workload": job["workload"],
            "tier": job["tier"],
            "row": job["method"]["label"],
            "seed": job["seed"],
            "hash": job["hash"],
        }
        if source is None or reason:
            left_out.append({**row, "why": reason})
            continue
        name = f"{job['hash']}{_SUFFIX}"
        files[name] = source.read_bytes()
        figures = {"metric": record["metric"]["name"], "clean": record["clean"]}
        there = {"file": name, "sha256": record["parameters"]["sha256"], "bytes": len(files[name])}
        rows.append({**row, **there, **figures, "robust": score})
    folder = board / FOLDER
    for name, data in files.items():
        write_whole(folder / name, data)
    for old in folder.glob(f"*{_SUFFIX}"):
        if old.name not in files:
            old.unlink()
    content = {"rule": rule, "rows": rows, "left_out": left_out}
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_whole(folder / INDEX, text.encode("utf-8"))
    return folder / INDEX


def _left_out(
    sources: Sequence[Path | None], labels: Sequence[str], room: int, first: Sequence[str]
) -> list[str]:
    """Why a file is not published, one text for each; empty where it is."""
    why = [""] * len(sources)
    free = room
    for i in in_turn(labels, first):
        source = sources[i]
        if source is None:
            why[i] = "its parameters were not at hand"
        elif (size := source.stat().st_size) > LARGEST:
            why[i] = f"{size} bytes, more than {LARGEST}"
        elif size > free:
            why[i] = f"{size} bytes, and {free} of the {room} of a board are left"
        else:
            free -= size
    return why


def read_parameters(board: Path) -> list[dict[str, Any]]:
    """Reads which parameters a board has.

    Args:
        board: Folder of the board.

    Returns:
        One entry a row: suite, workload, tier, row, seed, hash, file, sha256, bytes, metric, clean
        and robust; empty where nothing is published.

    Raises:
        UserError: If the index is not what `publish_parameters` writes.
    """
    path = board / FOLDER / INDEX
    if not path.is_file():
        return []
    try:
        rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["rows"]
        for row in rows:
            _ = [str(row[key]) for key in ("suite", "workload", "row", "hash", "file", "sha256")]
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise UserError(
            f"{path}: is not an index of parameters ({type(error).__name__}: {error})",
            next_step="publish the board again: pnnbench leaderboard RUNS --publish FOLDER",
        ) from None
    return rows
