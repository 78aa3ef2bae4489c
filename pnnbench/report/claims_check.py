"""Whether the published verdicts on the claims are those that the boards beside them give."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pnnbench.leaderboard.board_check import differences, said
from pnnbench.leaderboard.claims import Claims, read_claims, read_reproduced
from pnnbench.leaderboard.model import Table
from pnnbench.leaderboard.verdicts import decide
from pnnbench.records.findings import Finding
from pnnbench.report.claims_page import render_html
from pnnbench.report.claims_text import as_json, render_markdown
from pnnbench.report.text_check import compare, read_text

NAME = "claims.json"
_UNREADABLE = (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError)


def check_claims(root: Path, boards: Mapping[Path, Sequence[Table]]) -> Iterator[Finding]:
    """Decides the claims again, and holds the verdicts against the published ones.

    Args:
        root: A folder in which verdicts may be published, at any depth.
        boards: Folders of boards to what their records make. Verdicts that need others, which are
            not beside the file, are left alone.

    Yields:
        One finding for each file with the first difference.
    """
    read: Claims | None = None
    for path in sorted(root.rglob(NAME)):
        read = read or read_claims()
        beside = {name: path.parent / name for name in read.boards}
        there = {name: folder for name, folder in beside.items() if folder in boards}
        if there:
            tables = [table for folder in there.values() for table in boards[folder]]
            yield from _check(path, read, tables, there, whole=len(there) == len(beside))


def _check(
    path: Path,
    read: Claims,
    tables: Sequence[Table],
    there: Mapping[str, Path],
    *,
    whole: bool,
) -> Iterator[Finding]:
    step = f"pnnbench claims {' '.join(map(str, there.values()))} --publish {path.parent}"
    decided = decide(read, tables, read_reproduced())
    right = json.loads(json.dumps(as_json(read, decided)))
    decidable = {
        claim.number for claim in read.claims if {test.board for test in claim.tests} <= set(there)
    }
    try:
        stored: Any = json.loads(read_text(path))
        if not whole:
            for content in (stored, right):
                content["claims"] = [c for c in content["claims"] if c["number"] in decidable]
            del right["counts"]
        lacking = [(key, "missing", right[key]) for key in right if key not in stored]
        differing = [*lacking, *differences(stored, right)]
    except _UNREADABLE as error:
        words = f"holds no verdicts ({type(error).__name__}: {error!s:.100})"
        yield Finding(path, "corrupt", words, step)
        return
    if differing:
        yield Finding(path, "board", said(differing), step)
    if whole:
        pages = {
            "claims.md": render_markdown(read, decided),
            "claims.html": render_html(read, decided),
        }
        for name, text in pages.items():
            found = compare(path.with_name(name), text, step)
            if found is not None:
                yield found
