"""Data that are a copy of a published set, by their fingerprint."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

from pnnbench.leaderboard.model import Table

#: Beside the hashes of the published files; the data themselves are not imported for it.
_MANIFEST = Path(__file__).parents[1] / "data" / "manifest.json"


@cache
def known_copies() -> dict[str, str]:
    """Fingerprint of each copy to what it is."""
    entries = json.loads(_MANIFEST.read_text(encoding="utf-8")).values()
    return {digest: words for e in entries for digest, words in e.get("copies", {}).items()}


def copy_text(table: Table) -> str:
    """Says that a table is of a copy that is another set than the published one.

    Args:
        table: The table.

    Returns:
        A sentence without a full stop; empty for the published files, and for data nobody knows.
    """
    digest = str(table.key["fingerprint"])
    words = known_copies().get(digest)
    if words is None:
        return ""
    return f"Data: {words} (fingerprint {digest[:15]}…); results on the original are another board"
