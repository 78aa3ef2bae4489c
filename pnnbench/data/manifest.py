"""The hashes that the data of the package must have."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any


@cache
def manifest(name: str) -> dict[str, Any]:
    """Reads the entry of one data set from ``manifest.json``.

    Args:
        name: Name of the set.

    Returns:
        The entry. ``"files"`` has the digest of each file; ``"fingerprint"``, where it is known,
        is that of the resulting `Arrays`.
    """
    text = resources.files("pnnbench.data").joinpath("manifest.json").read_text(encoding="utf-8")
    entry: dict[str, Any] = json.loads(text)[name]
    return entry


def file_digest(path: Path, algorithm: str) -> str:
    """Hashes a file.

    Args:
        path: The file.
        algorithm: ``"sha256"``, or ``"md5"`` for files whose publishers give no other.

    Returns:
        The algorithm, a colon and hexadecimal digits.
    """
    with path.open("rb") as stream:
        return f"{algorithm}:{hashlib.file_digest(stream, algorithm).hexdigest()}"
