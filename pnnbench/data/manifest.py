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
        The entry; ``"fingerprint"`` is that of the resulting `ImageArrays`.
    """
    text = resources.files("pnnbench.data").joinpath("manifest.json").read_text(encoding="utf-8")
    entry: dict[str, Any] = json.loads(text)[name]
    return entry


def file_sha256(path: Path) -> str:
    """Hashes a file.

    Args:
        path: The file.

    Returns:
        ``"sha256:"`` and 64 hexadecimal digits.
    """
    with path.open("rb") as stream:
        return f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"
