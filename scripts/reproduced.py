"""Writes what the authors' own files give into ``pnnbench/leaderboard/reproduced.json``.

Usage: for each platform ``pnnbench reproduce PLATFORM --checkpoints DIR --format json > FILE``,
then ``python scripts/reproduced.py FILE ...``. Platforms that are not given keep what is known of
them. `pnnbench claims` and the README show these values.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from pnnbench.errors import UserError
from pnnbench.leaderboard.claims import REPRODUCED
from pnnbench.records.store import write_whole
from pnnbench.script import run_script

COMMAND = (
    "pnnbench reproduce PLATFORM --checkpoints DIR --format json > FILE, then "
    "python scripts/reproduced.py FILE"
)


def summary(report: dict[str, Any]) -> dict[str, Any]:
    """What is kept of a report: counts, data, notes, and of each value where it stands.

    Args:
        report: What ``pnnbench reproduce --format json`` printed.

    Returns:
        ``rows`` has checkpoint, quantity, level, value, unit and the recorded value.
    """
    rows = report["rows"]
    return {
        "compared": report["compared"],
        "within": report["within"],
        "checkpoints": len({row["checkpoint"] for row in rows}),
        "data": report["data"],
        "notes": report["notes"],
        "rows": [
            [row[k] for k in ("checkpoint", "quantity", "level", "value", "unit", "recorded")]
            for row in rows
        ],
    }


def text_of(platforms: dict[str, Any]) -> str:
    """The file: one line for each value."""
    parts = []
    for name, part in sorted(platforms.items()):
        rows = ",\n".join(f"   {json.dumps(row, ensure_ascii=False)}" for row in part["rows"])
        rest = {key: value for key, value in part.items() if key != "rows"}
        head = json.dumps(rest, ensure_ascii=False)[:-1]
        parts.append(f'  {json.dumps(name)}: {head}, "rows": [\n{rows}\n  ]}}')
    body = ",\n".join(parts)
    return f'{{\n "command": {json.dumps(COMMAND)},\n "platforms": {{\n{body}\n }}\n}}\n'


def main() -> None:
    """Reads the reports and writes the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("reports", type=Path, nargs="+", help="what pnnbench reproduce printed")
    parser.add_argument("--out", type=Path, default=REPRODUCED)
    args = parser.parse_args()
    platforms: dict[str, Any] = {}
    if args.out.is_file():
        platforms = json.loads(args.out.read_text(encoding="utf-8"))["platforms"]
    for path in args.reports:
        try:
            report = json.loads(path.read_text(encoding="utf-8"))
            platforms[report["platform"]] = summary(report)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{path}: is no report ({type(error).__name__}: {error})",
                allowed="what pnnbench reproduce PLATFORM --checkpoints DIR --format json prints",
            ) from None
    write_whole(args.out, text_of(platforms).encode())


if __name__ == "__main__":
    run_script(main)
