"""Measures by simulation what the comparisons of a board promise, and writes docs/statistics.md.

Run: python benchmarks/statistics [--boards 16000] [--text]

A quarter of an hour on one core. The figures go to benchmarks/statistics/results.json; the page
and the line of the README are written from them. ``--text`` writes them again without measuring.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from measure import measure
from page import RESULTS, write_texts

from pnnbench.script import run_script


def _say(text: str) -> None:
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")


def _write(path: Path, text: str) -> None:
    temporary = path.with_suffix(".tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--boards", type=int, default=16_000, help="boards per case, at least 400")
    parser.add_argument("--text", action="store_true", help="write the texts without measuring")
    args = parser.parse_args()
    if args.boards < 400:
        parser.error(f"--boards is {args.boards}; allowed: at least 400")
    if not args.text:
        _write(RESULTS, json.dumps(measure(args.boards, _say), indent=1) + "\n")
    for path, text in write_texts(json.loads(RESULTS.read_text(encoding="utf-8"))).items():
        _write(path, text)
        print(path)


if __name__ == "__main__":
    run_script(main)
