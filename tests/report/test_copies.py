from __future__ import annotations

from dataclasses import replace

from pnnbench.leaderboard.ranking import build
from pnnbench.report.copies import copy_text, known_copies
from pnnbench.report.notes import table_notes

from ..record_factory import make_suite


def test_a_board_of_a_copy_says_so() -> None:
    (table, *_) = build(make_suite(["BP"], (0, 1)))
    assert copy_text(table) == ""
    digest = next(iter(known_copies()))
    copied = replace(table, key={**table.key, "fingerprint": digest})
    (line,) = (note for note in table_notes(copied) if note.startswith("Data: "))
    assert "JPEG-coded" in line
    assert digest[:15] in line
