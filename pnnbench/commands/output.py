"""Standard output: what a command found."""

from __future__ import annotations

import json
import shutil
import sys
from typing import Any

from pnnbench.api.folders import new_file as new_file
from pnnbench.api.folders import writable as writable

#: Columns of a table that is not printed on a terminal.
WIDTH = 120


#: What a terminal obeys or turns around -> its code point: names in records may hold anything.
_SHOWN = {
    sign: ascii(chr(sign))[1:-1]
    for sign in (*range(32), *range(127, 160), *range(0x202A, 0x202F), *range(0x2066, 0x206A))
    if chr(sign) not in "\n\t"
}


def out(text: str) -> None:
    """Prints a text, with a newline at its end and nothing that a terminal obeys."""
    text = text.translate(_SHOWN)
    sys.stdout.write(text if text.endswith("\n") else text + "\n")
    sys.stdout.flush()


def out_json(value: Any) -> None:
    """Prints a value as JSON."""
    out(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False, default=str))


def width() -> int:
    """Columns that a table may have: those of the terminal, 120 elsewhere."""
    if not sys.stdout.isatty():
        return WIDTH
    return shutil.get_terminal_size((WIDTH, 24)).columns
