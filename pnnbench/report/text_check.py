"""Whether a text is the one that the records give, but for the rounding of another machine."""

from __future__ import annotations

import math
import re
from pathlib import Path

from pnnbench.leaderboard.board_check import LARGEST, ROUNDING
from pnnbench.records.findings import Finding

_NUMBER = re.compile(r"(\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)")
_BEFORE, _SHOWN = 24, 60


def compare(path: Path, made: str, next_step: str) -> Finding | None:
    """Holds a file against what is made of the records.

    Args:
        path: The file.
        made: What it should hold.
        next_step: The command that writes it.

    Returns:
        The finding, with the first difference; None where there is none.
    """
    try:
        stored = read_text(path)
    except (OSError, ValueError) as error:
        there = "is missing" if not path.exists() else f"cannot be read ({error!s:.100})"
        return Finding(path, "board", there, next_step)
    place = first_difference(stored, made)
    if place is None:
        return None
    line = stored.count("\n", 0, place[0]) + 1
    shown = [_around(text, at) for text, at in zip((stored, made), place, strict=True)]
    words = f"line {line} has {shown[0]!r}, its records give {shown[1]!r}"
    return Finding(path, "board", words, next_step)


def read_text(path: Path) -> str:
    """Reads a file of a board.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is no UTF-8 text, or far too large.
    """
    if path.stat().st_size > LARGEST:
        raise ValueError(f"{path.stat().st_size} bytes")
    return path.read_bytes().decode("utf-8")


def first_difference(stored: str, made: str) -> tuple[int, int] | None:
    """Where two texts differ first.

    Numbers differ where they are further apart than another machine's rounding may bring them: by
    `ROUNDING` in full precision, by a unit of the last place as they are shown.

    Args:
        stored: One text.
        made: The other.

    Returns:
        The places in both; None where the texts are the same.
    """
    if stored == made:
        return None
    left, right = _NUMBER.split(stored), _NUMBER.split(made)
    at = [0, 0]
    for k, (a, b) in enumerate(zip(left, right, strict=False)):
        if a != b and not (k % 2 and _close(a, b)):
            same = 0 if k % 2 else _common(a, b)
            return at[0] + same, at[1] + same
        at = [at[0] + len(a), at[1] + len(b)]
    return None if len(left) == len(right) else (at[0], at[1])


def _close(a: str, b: str) -> bool:
    if math.isclose(float(a), float(b), rel_tol=ROUNDING, abs_tol=ROUNDING**2):
        return "." in a or "." in b or int(float(a)) == int(float(b))
    places = [len(text.partition(".")[2]) for text in (a, b)]
    if places[0] != places[1] or not places[0] or "e" in (a + b).lower():
        return False
    return abs(float(a) - float(b)) < 1.5 * 10.0 ** -places[0]


def _common(a: str, b: str) -> int:
    return next(
        (i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(map(len, (a, b)))
    )


def _around(text: str, at: int) -> str:
    return text[max(at - _BEFORE, text.rfind("\n", 0, at) + 1) :][:_SHOWN].partition("\n")[0]
