"""Who knows what: how much of the tests a method was told before it trained.

Records carry it under ``provenance.method``, computed from the class of the method.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

KNOWLEDGE = {
    "gaussian on controls": ("Gaussian", "a Gaussian on the controls"),
    "tested law": ("tested law", "the tested law"),
    "one device": ("one device", "one device"),
}
"""What a method can know of the tests, to the words of a column and of a sentence."""
TESTED_LAW = "tested law"
"""The law of the environments on the grid: who trains with it has seen what the tests draw from."""
NOTHING = "nothing"
"""Stands where a method knows nothing of the tests."""


def knows(records: Sequence[Mapping[str, Any]]) -> tuple[str, ...] | None:
    """What the method of some records knows of the tests.

    Args:
        records: Records of one row, finished or not.

    Returns:
        Names, in the order of `KNOWLEDGE`; empty if it knows nothing, None if no record says.
    """
    stated = [
        names
        for record in records
        if (names := record["provenance"].get("method", {}).get("knows")) is not None
    ]
    if not stated:
        return None
    found = {str(name) for names in stated for name in names}
    return (*(n for n in KNOWLEDGE if n in found), *sorted(found - KNOWLEDGE.keys()))


def knowledge_text(names: Sequence[str] | None, none: str) -> str:
    """Writes what a method knows as it stands in a column.

    Args:
        names: What `knows` found.
        none: Stands where no record says.

    Returns:
        Such as ``"nothing"`` or ``"Gaussian, one device"``.
    """
    if names is None:
        return none
    return ", ".join(KNOWLEDGE[n][0] if n in KNOWLEDGE else n for n in names) or NOTHING


def phrase(names: Sequence[str]) -> str:
    """Writes alternatives of what a method can know as they stand in a sentence.

    Args:
        names: Among `KNOWLEDGE`.

    Returns:
        Such as ``"the tested law or one device"``.
    """
    return " or ".join(KNOWLEDGE[name][1] for name in names)
