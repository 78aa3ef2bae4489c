"""Standard output: what a command found."""

from __future__ import annotations

import json
import shutil
import sys
from typing import Any

from pnnbench.api.folders import new_file as new_file
from pnnbench.api.folders import writable as writable
from pnnbench.report.visible import visible

#: Columns of a table that is not printed on a terminal.
WIDTH = 120


def out(text: str) -> None:
    """Prints a text, with a newline at its end and nothing that a terminal obeys."""
    text = visible(text)
    sys.stdout.write(text if text.endswith("\n") else text + "\n")
    sys.stdout.flush()


def aside(text: str) -> None:
    """Tells on standard error what is no result, with nothing that a terminal obeys."""
    sys.stderr.write(visible(text) + "\n")


def out_json(value: Any) -> None:
    """Prints a value as JSON."""
    out(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False, default=str))


def width() -> int:
    """Columns that a table may have: those of the terminal, 120 elsewhere."""
    if not sys.stdout.isatty():
        return WIDTH
    return shutil.get_terminal_size((WIDTH, 24)).columns
