"""The list of hostile submissions, which the other files of this folder fill."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

#: Takes a copy of a good submission and spoils it; may return another path to verify.
Spoil = Callable[[Path], Path | None]
RECORD, PARAMETERS = "seed-1/record.json", "seed-1/parameters.safetensors"
CASES: dict[str, list[tuple[str, Spoil]]] = {}


def case(kind: str, name: str) -> Callable[[Spoil], Spoil]:
    """Adds a case to the list."""

    def add(spoil: Spoil) -> Spoil:
        CASES.setdefault(kind, []).append((name, spoil))
        return spoil

    return add
