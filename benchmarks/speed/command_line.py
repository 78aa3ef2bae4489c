"""CPU time of ``pnnbench --help`` and ``pnnbench leaderboard`` as whole processes.

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
    print(f"  {'python -c pass':<34}{statistics.median(bare):6.3f} s CPU")
    for tail in (["--help"], ["leaderboard", "leaderboards"]):
        times = [cpu_seconds([command, *tail]) for _ in range(args.runs + 1)][1:]
        print(
            f"  {'pnnbench ' + ' '.join(tail):<34}{statistics.median(times):6.3f} s CPU"
            f" ({min(times):.3f} to {max(times):.3f})   aim: < 0.5"
        )


if __name__ == "__main__":
    run_script(main)
