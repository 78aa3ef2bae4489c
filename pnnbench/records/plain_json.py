"""JSON as records have it: from a plain file, no larger than one can be, each key once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pnnbench.errors import UserError

#: Largest file that is read as a record, in bytes; one of 10,000 cells has a tenth.
LARGEST = 16 * 2**20


def read_json(path: Path, again: str) -> Any:
    """Reads a file of JSON.

    Args:
        path: The file.
        again: What to do where something is wrong with it, for the message.

    Returns:
        What it holds; a number that is too large for a float is infinite.

    Raises:
        UserError: If it is missing, no plain file, too large, not JSON, nested too deeply, or has
            a key twice or a number that JSON does not have.
    """
    text = _text_of(path, again)
    try:
        return json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_once)
    except ValueError as error:
        raise UserError(f"{path}: is not a JSON record ({error})", next_step=again) from None
    except RecursionError:
        raise UserError(f"{path}: is nested too deeply for a record", next_step=again) from None


def _text_of(path: Path, again: str) -> str:
    """The text of a record: of a plain file that is no larger than one can be."""
    try:
        if not path.is_file():
            if path.exists() or path.is_symlink():
                raise UserError(f"{path}: is not a plain file", next_step=again)
            raise UserError(f"{path}: there is no such record")
        size = path.stat().st_size
        if size > LARGEST:
            raise UserError(
                f"{path}: is too large for a record, {size} bytes",
                allowed=f"{LARGEST} bytes",
                next_step=again,
            )
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error})", next_step=again) from None


def _refuse_constant(name: str) -> float:
    raise ValueError(f"the number {name}")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON whose keys are there once: of two values a reader sees only one."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r:.60} is there twice")
    return found
