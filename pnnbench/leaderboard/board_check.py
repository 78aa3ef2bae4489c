"""Whether the published figures of a board are those that its records give."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pnnbench.errors import UserError
from pnnbench.leaderboard.deployments import FROZEN
from pnnbench.leaderboard.model import Table
from pnnbench.records.findings import Finding
from pnnbench.records.folders import ASIDE
from pnnbench.records.inspecting import CURRENT, EARLIER

#: Numbers of a board, beside its page.
NUMBERS = "leaderboard.json"
#: Pages that a board has beside its numbers.
PAGES = ("leaderboard.md", "index.html")
#: Relative difference that another machine's rounding may make; a last digit shown is far above.
ROUNDING = 1e-6
#: Figures of earlier protocols that are the same by today's statistics, which have other intervals.
_LASTING = ("/mean", "n_seeds", "n_devices")
#: Largest file that is read, in bytes.
LARGEST = 64 * 2**20
_IDENTITY = ("suite", "protocol", "workload", "tier", "deployment", "method")


def check_board(folder: Path, tables: Sequence[Table]) -> Iterator[Finding]:
    """Holds the numbers of a published board against those that its records give.

    Every figure that stands in the file and in what is made from the records has to be the same, in
    rows and in cells; figures that only one side has are those of another version of the program.

    Args:
        folder: The board's folder, with `NUMBERS`.
        tables: What its records make.

    Yields:
        The first difference of each row and table, and those that only one side has or that are
        there twice.
    """
    path = folder / NUMBERS
    publish = republish(folder)
    if not path.exists():
        yield Finding(path, "board", "is missing beside the pages that it belongs to", publish)
        return
    try:
        if path.stat().st_size > LARGEST:
            raise ValueError(f"{path.stat().st_size} bytes")
        content = json.loads(path.read_text("utf-8"))
        stored = [(_identity(entry), entry) for entry in [*content["rows"], *content["tables"]]]
        twice = [key for key, count in Counter(key for key, _ in stored).items() if count > 1]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        words = f"holds no rows of a board ({type(error).__name__}: {error})"
        yield Finding(path, "corrupt", words, publish)
        return
    made = {_identity(entry): entry for table in tables for entry in _entries(table)}
    shown = dict(stored)
    for key in twice:
        yield Finding(path, "board", f"has {_words(key)} twice", publish)
    for key in [*shown, *(key for key in made if key not in shown)]:
        if key not in made:
            yield Finding(path, "board", f"has {_words(key)}, which no record gives", publish)
        elif key not in shown:
            yield Finding(path, "board", f"lacks {_words(key)}", publish)
        else:
            badges = [entry[key].get("badges", []) for entry in (shown, made)]
            differing = [
                found
                for found in differences(shown[key], made[key])
                if not found[0].startswith("badges")
                and (key[1] not in EARLIER or found[0].endswith(_LASTING))
            ]
            if badges[0] != badges[1]:  # a row without any does not name them
                differing.append(("badges", *badges))
            if differing:
                yield Finding(path, "board", f"{_words(key)}: {said(differing)}", publish)


def said(differing: Sequence[tuple[str, Any, Any]]) -> str:
    """The first of some differences in words, and how many more there are."""
    (where, found, right), more = differing[0], len(differing) - 1
    words = f"{where} is {found!r:.60}, its records give {right!r:.60}"
    return words + (f"; and {more} more" if more else "")


def republish(folder: Path) -> str:
    """The command that writes a board anew."""
    return f"pnnbench leaderboard {folder} --publish {folder}"


def is_current(tables: Sequence[Table]) -> bool:
    """Whether a board has a table of today's protocols; earlier pages are kept as they are."""
    return any(
        str(CURRENT.get(table.key["protocol"])) == str(table.key["revision"]) for table in tables
    )


def _entries(table: Table) -> Iterator[dict[str, Any]]:
    # As plain JSON, to the same types as in the file.
    for entry in (*(row.as_dict() for row in table.rows), table.as_dict()):
        yield json.loads(json.dumps(entry))


def _words(key: tuple[Any, ...]) -> str:
    kind = "the table" if key[-1] is None else "the row"
    return " ".join([kind, " · ".join(str(part) for part in key if part is not None)])


def _identity(row: Mapping[str, Any]) -> tuple[Any, ...]:
    # Boards that had one deployment only did not name it.
    return tuple(row.get(key, FROZEN if key == "deployment" else None) for key in _IDENTITY)


def differences(stored: Any, made: Any, where: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Where two plain JSON values differ by more than another machine's rounding.

    Args:
        stored: What stands in a file.
        made: What was made of the records. Of two mappings the keys that both have are compared.
        where: Place of the values, for the places of the differences.

    Yields:
        The place, and what stands there in the one and in the other.
    """
    if isinstance(stored, dict) and isinstance(made, dict):
        for key in stored.keys() & made.keys():
            yield from differences(stored[key], made[key], f"{where}/{key}".lstrip("/"))
    elif isinstance(stored, list) and isinstance(made, list) and len(stored) == len(made):
        for i, pair in enumerate(zip(stored, made, strict=True)):
            yield from differences(*pair, f"{where}[{i}]")
    elif not _same(stored, made):
        yield where, stored, made


def _same(stored: Any, made: Any) -> bool:
    numbers = [v for v in (stored, made) if isinstance(v, (int, float)) and type(v) is not bool]
    if len(numbers) == 2:
        return math.isclose(*numbers, rel_tol=ROUNDING, abs_tol=ROUNDING**2)
    return bool(stored == made)


def find_boards(root: Path) -> list[Path]:
    """Folders of published boards in a folder: those with records, and numbers or a page of them.

    Args:
        root: A board, or a folder of boards at any depth.

    Returns:
        The folders in a fixed order.
    """
    found = {path.parent for name in (NUMBERS, *PAGES) for path in root.rglob(name)}
    return sorted(
        folder
        for folder in found
        if (folder / "records").is_dir() and ASIDE not in (folder / NUMBERS).parts
    )


def unreadable(folder: Path, error: UserError) -> Finding:
    """The finding for a board whose records make no table."""
    return Finding(folder / NUMBERS, "board", error.what, error.next_step)
