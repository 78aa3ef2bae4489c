"""CPU time of ``pnnbench --help`` and ``pnnbench leaderboard`` as whole processes.

One board is read and shown by itself: what lies beside it costs nothing. All boards of a folder
are shown together, so that their cost adds up.

Run: python benchmarks/speed/command_line.py [--runs 5]
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
from pathlib import Path

from pnnbench.script import run_script

ROOT = Path(__file__).resolve().parents[2]


def cpu_seconds(command: list[str]) -> float:
    """User and system time of one run, in s."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, capture_output=True, cwd=ROOT)  # noqa: S603
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Times and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    args = parser.parse_args()
    command = str(Path(sys.executable).with_name("pnnbench"))
    bare = [cpu_seconds([sys.executable, "-c", "pass"]) for _ in range(args.runs + 1)][1:]
    print(f"  {'python -c pass':<60}{statistics.median(bare):6.3f} s CPU")
    boards = sorted({path.parent for path in ROOT.glob("leaderboards/**/records")})
    each = [["leaderboard", str(board.relative_to(ROOT))] for board in boards]
    for tail in (["--help"], *each, ["leaderboard", "leaderboards"]):
        times = [cpu_seconds([command, *tail]) for _ in range(args.runs + 1)][1:]
        aim = "" if tail[-1] == "leaderboards" else "   aim: < 0.5"
        print(
            f"  {'pnnbench ' + ' '.join(tail):<60}{statistics.median(times):6.3f} s CPU"
            f" ({min(times):.3f} to {max(times):.3f}){aim}"
        )


if __name__ == "__main__":
    run_script(main)
