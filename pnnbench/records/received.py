"""Whether the files of a submission are those that it names: a light look, before it is verified.

What it claims beside them is for `pnnbench verify`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pnnbench.records.findings import Finding
from pnnbench.records.store import file_sha256

#: What a submission says of itself, beside the records of its seeds.
MANIFEST = "submission.json"
_LARGEST = 2**20


def check_files(folder: Path) -> Iterator[Finding]:
    """Holds the files of a submission against those that it names.

    Args:
        folder: A folder with `MANIFEST`.

    Yields:
        Files that are missing, not named, or not those that are named.
    """
    path = folder / MANIFEST
    ask = "ask its author for it again"
    try:
        if path.stat().st_size > _LARGEST:
            raise ValueError(f"{path.stat().st_size} bytes")
        content: Any = json.loads(path.read_text(encoding="utf-8"))
        named = {str(name): str(entry["sha256"]) for name, entry in content["files"].items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        words = f"names no files of a submission ({type(error).__name__}: {error})"
        yield Finding(path, "corrupt", words, ask)
        return
    there = {
        entry.relative_to(folder).as_posix(): entry
        for entry in sorted(folder.rglob("*"))
        if entry.is_file() and entry != path
    }
    for name in sorted(named.keys() - there.keys()):
        yield Finding(path, "mismatch", f"names {name!r:.80}, which is not there", ask)
    for name, file in there.items():
        if name not in named:
            words = f"is not among the files of {MANIFEST}"
            yield Finding(file, "mismatch", words, "take it out of the submission")
        elif not file.is_symlink() and file_sha256(file) != named[name]:
            words = f"is not the file that {MANIFEST} names: its SHA-256 differs"
            yield Finding(file, "mismatch", words, ask)


def submission_of(record: Path) -> Path:
    """The folder to verify a record with: of its submission, else of its run."""
    whole = record.parent.parent
    return whole if (whole / MANIFEST).is_file() else record.parent
