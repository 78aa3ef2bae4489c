"""Records: the truth on disk, one sealed JSON file per job.

A record is complete or it is not a record. It is validated, sealed with a checksum over its
canonical JSON, written to a temporary file in the same folder and renamed. A job that failed
leaves a typed record of its failure, which never counts as finished and never replaces a
finished one.

One file a job, since a job is what is sealed, resumed, adopted by another suite and merged in git.
With the cells in columns (`pnnbench.records.columns`) a record of 200 cells is 10 kB, a fifth of
one with a mapping a cell, and 3 kB deflated; of 300 cells 12 kB. 1,000 records of 200 cells are
read in about 1.2 s of CPU and 95 MB, so 10,000 in a quarter of a minute and 1 GB
(``benchmarks/speed/records.py``). A board has some hundreds. What would not fit into JSON, a bit
for each image and cell, is safetensors beside the record, named by its SHA-256.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from pnnbench.errors import UserError, writing
from pnnbench.records.checks import plain
from pnnbench.records.columns import layout, pack, unpack
from pnnbench.records.plain_json import read_json
from pnnbench.records.schema import READABLE, SCHEMA, STATUSES, TIERS, validate

__all__ = [
    "SCHEMA",
    "STATUSES",
    "TIERS",
    "beside",
    "canonical",
    "file_problem",
    "file_sha256",
    "is_finished",
    "job_hash",
    "open_record",
    "read_record",
    "record_bytes",
    "seal",
    "write_record",
    "write_whole",
]

_AGAIN = "run the job again, or `pnnbench doctor` on the folder to see what else is wrong"


def canonical(obj: Any) -> bytes:
    """Canonical JSON: sorted keys, no spaces, UTF-8, finite numbers only.

    Args:
        obj: A value of plain JSON types; tuples and numpy scalars are converted.

    Returns:
        The same bytes for equal values on every machine.

    Raises:
        UserError: If the value holds NaN, infinity or a type that JSON does not have.
    """
    return _dump(plain(obj))


def _dump(obj: Any) -> bytes:
    text = json.dumps(
        obj, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode("utf-8")


def job_hash(spec: dict[str, Any], *, schema: int = SCHEMA) -> str:
    """Content hash of a job: of what decides its result, and nothing else.

    Args:
        spec: The ``job`` part of a record. The hash itself, the suite's name and the row's label
            decide nothing and are left out, and so are the names of a data set, whose fingerprint
            is in ``content``.
        schema: Schema version of the record: in version 1 suite and label were part of the hash.

    Returns:
        The first 16 hexadecimal digits of the SHA-256 of the canonical JSON.
    """
    content = {key: value for key, value in spec.items() if key != "hash"}
    if schema > 1:
        content.pop("suite", None)
        content.pop("data", None)
        if isinstance(content.get("method"), dict):
            content["method"] = {k: v for k, v in content["method"].items() if k != "label"}
    return hashlib.sha256(canonical(content)).hexdigest()[:16]


def file_sha256(path: Path | str) -> str:
    """SHA-256 of a file.

    Args:
        path: The file.

    Returns:
        64 hexadecimal digits.
    """
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _checksum(stored: dict[str, Any]) -> str:
    """Checksum of a record in the form that it has on disk."""
    content = {key: value for key, value in stored.items() if key != "checksum"}
    return "sha256:" + hashlib.sha256(_dump(content)).hexdigest()


def seal(record: dict[str, Any]) -> dict[str, Any]:
    """Validates a record and adds its checksum, over the form that it has on disk.

    Args:
        record: The record as it is in memory; a checksum already in it is replaced.

    Returns:
        A new dict of plain JSON types with the key ``"checksum"``.

    Raises:
        UserError: If the record is incomplete, has an unknown key or a number that is not finite.
    """
    sealed: dict[str, Any] = plain({k: v for k, v in record.items() if k != "checksum"})
    validate(sealed)
    sealed["checksum"] = _checksum(pack(sealed))
    return sealed


def write_record(path: Path | str, record: dict[str, Any]) -> dict[str, Any]:
    """Writes a record in one step: temporary file in the same folder, fsync, rename.

    Args:
        path: Where the record goes, usually ``<run>/<job hash>/record.json``.
        record: The record. It is sealed here; a checksum already in it must be right.

    Returns:
        The sealed record that was written.

    Raises:
        DiskFullError: If there is no room; what stood at ``path`` stays.
        UserError: If the record is invalid, its checksum is wrong, or it is a failure and a
            finished record stands at ``path`` already.
    """
    path = Path(path)
    sealed, data = _sealed(path, record)
    if sealed["status"] != "ok" and is_finished(path):
        raise UserError(
            f"{path} holds a finished record; a record of status {sealed['status']!r} "
            "does not replace it",
            next_step=f"move {path} away if the job shall count as failed",
        )
    write_whole(path, data)
    return sealed


def record_bytes(path: Path, record: dict[str, Any]) -> bytes:
    """What `write_record` would write of a record.

    Args:
        path: Where it shall stand, for messages.
        record: The record.

    Returns:
        The content of its file.

    Raises:
        UserError: If the record is invalid, or was changed after it was sealed.
    """
    return _sealed(path, record)[1]


def _sealed(path: Path, record: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    sealed = seal(record)
    if "checksum" in record and record["checksum"] != sealed["checksum"]:
        raise UserError(f"{path}: the record was changed after it was sealed")
    return sealed, (layout(pack(sealed)) + "\n").encode("utf-8")


def write_whole(path: Path | str, data: bytes) -> None:
    """Writes a file in one step: temporary file in the same folder, fsync, rename.

    Args:
        path: The file; its folder is made if it is not there. What stood there stays until the new
            file is whole.
        data: What it shall hold.

    Raises:
        DiskFullError: If there is no room; nothing half-written stays.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def read_record(path: Path | str) -> dict[str, Any]:
    """Reads a record and checks that it is whole.

    Args:
        path: The file.

    Returns:
        The record as it was sealed, in the form that it has in memory.

    Raises:
        UserError: If the file is missing, is not JSON, has another schema version, lacks
            something, or does not match its checksum; or is no plain file, too large, nested too
            deeply, or has a key twice.
    """
    path = Path(path)
    return open_record(read_json(path, _AGAIN), str(path))


def open_record(stored: Any, where: str) -> dict[str, Any]:
    """Checks what stands in a file of a record.

    Args:
        stored: Plain JSON values, in the form that a record has on disk.
        where: The file, for messages.

    Returns:
        The record as it was sealed, in the form that it has in memory.

    Raises:
        UserError: As `read_record`.
    """
    if not isinstance(stored, dict):
        raise UserError(f"{where}: is not a record but {type(stored).__name__}", next_step=_AGAIN)
    if stored.get("schema") not in READABLE:
        raise UserError(
            f"{where}: has schema version {stored.get('schema')!r}",
            allowed=f"versions {', '.join(map(str, READABLE))}",
            next_step="use the version of pnnbench that wrote it",
        )
    if "checksum" not in stored:
        raise UserError(f"{where}: has no checksum, so it was never sealed", next_step=_AGAIN)
    try:
        computed = _checksum(stored)
    except (ValueError, RecursionError) as error:  # infinite numbers, halves of characters
        raise UserError(f"{where}: is not a JSON record ({error})", next_step=_AGAIN) from None
    if stored["checksum"] != computed:
        raise UserError(f"{where}: was changed: its checksum does not match", next_step=_AGAIN)
    try:
        record = unpack(stored)
        validate(record)
    except UserError as error:
        raise UserError(f"{where}: {error.what}", allowed=error.allowed, next_step=_AGAIN) from None
    return record


def is_finished(path: Path | str, *, parameters: bool = False) -> bool:
    """Whether a job is done, so that it can be skipped.

    Args:
        path: Where its record would be.
        parameters: Also ask that the parameters file beside the record matches its SHA-256.

    Returns:
        True only for a whole record of status ``"ok"``; a failure, a corrupt record or none
        gives False.
    """
    path = Path(path)
    if not path.is_file():
        return False
    try:
        record = read_record(path)
    except UserError:
        return False
    if record["status"] != "ok":
        return False
    return not parameters or file_problem(path, record, "parameters") is None


def beside(path: Path, record: dict[str, Any], part: str) -> Path:
    """Where a file of tensors of a record stands.

    Args:
        path: The record: a run's ``record.json``, or ``HASH.json`` among published ones.
        record: The record at that path.
        part: ``"parameters"`` or ``"outcomes"``.

    Returns:
        The file: beside a run's record, of a published one in the folder ``HASH`` beside it.
    """
    folder = path.parent if path.name == "record.json" else path.with_suffix("")
    return folder / str(record[part]["file"])


def file_problem(path: Path, record: dict[str, Any], part: str) -> str | None:
    """What is wrong with a file of tensors of a record, in a line.

    Args:
        path: The record.
        record: The record at that path.
        part: ``"parameters"`` or ``"outcomes"``.

    Returns:
        None where the record names no such file, or the file is there and is the one named.
    """
    if part not in record:
        return None
    file = beside(path, record, part)
    if not file.is_file():
        return f"the {part} file {file.name} is missing"
    if file_sha256(file) != record[part]["sha256"]:
        return f"the {part} file {file.name} does not match its SHA-256"
    return None
