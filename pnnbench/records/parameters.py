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
from pnnbench.records.placing import Part
from pnnbench.records.published import ROOM, in_turn
from pnnbench.records.store import beside, file_sha256

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


def parameter_files(
    chosen: Sequence[tuple[Path, Mapping[str, Any], float | None]],
    board: Path,
    rule: str,
    *,
    room: int = ROOM,
    first: Sequence[str] = (),
) -> Part:
    """What ``parameters/`` of a board holds of some jobs; nothing is written.

    Args:
        chosen: Path, record and score of one job for each row.
        board: Folder of the board.
        rule: How the jobs were chosen.
        room: Most bytes that they take together.
        first: Labels of the rows that come first where there is not room for all.

    Returns:
        The files and their index; nothing where no job has its parameters at hand, and the folder
        stays as it is.
    """
    sources = [find_parameters(path, record) for path, record, _ in chosen]
    if not any(sources):
        return Part()
    why = _left_out(
        sources, [record["job"]["method"]["label"] for _, record, _ in chosen], room, first
    )
    rows: list[dict[str, Any]] = []
    left_out: list[dict[str, Any]] = []
    files: dict[str, bytes] = {}
    before = _reasons(board)
    for source, reason, (_, record, score) in zip(sources, why, chosen, strict=True):
        if source is None:  # a board drawn again from itself knows why it has not got them
            reason = before.get(record["job"]["hash"], reason)
        if source is None or reason:
            left_out.append({**whose(record), "why": reason})
            continue
        data = source.read_bytes()
        rows.append(index_row(record, score, len(data)))
        files[f"{FOLDER}/{rows[-1]['file']}"] = data
    content = {"rule": rule, "rows": rows, "left_out": left_out}
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    files[f"{FOLDER}/{INDEX}"] = text.encode("utf-8")
    old = sorted((board / FOLDER).glob(f"*{_SUFFIX}"))
    return Part(files, [path for path in old if f"{FOLDER}/{path.name}" not in files])


def parameter_room(part: Part, board: Path) -> int:
    """Bytes that a board has left for other tensors.

    Args:
        part: What `parameter_files` made for it.
        board: Its folder, whose parameters stay where the part has none.
    """
    files = [data for name, data in part.files.items() if name.endswith(_SUFFIX)]
    taken = sum(map(len, files)) if part.files else sum(r["bytes"] for r in read_parameters(board))
    return ROOM - taken


def whose(record: Mapping[str, Any]) -> dict[str, Any]:
    """What the index says of a job, whether its parameters are published or not."""
    job = record["job"]
    return {
        "suite": job["suite"],
        "workload": job["workload"],
        "tier": job["tier"],
        "row": job["method"]["label"],
        "seed": job["seed"],
        "hash": job["hash"],
    }


def index_row(record: Mapping[str, Any], score: float | None, size: int) -> dict[str, Any]:
    """What the index says of published parameters.

    Args:
        record: The record of their job.
        score: Its robust score.
        size: Bytes of the file.
    """
    return {
        **whose(record),
        "file": f"{record['job']['hash']}{_SUFFIX}",
        "sha256": record["parameters"]["sha256"],
        "bytes": size,
        "metric": record["metric"]["name"],
        "clean": record["clean"],
        "robust": score,
    }


def _reasons(board: Path) -> dict[str, str]:
    """Why a board has not got the parameters of jobs, by hash, as far as it says so."""
    try:
        text = (board / FOLDER / INDEX).read_text(encoding="utf-8")
        return {str(entry["hash"]): str(entry["why"]) for entry in json.loads(text)["left_out"]}
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return {}


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
        UserError: If the index is not what `parameter_files` makes.
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
