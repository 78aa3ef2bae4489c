"""Whether the compiled passes change what is measured: the same seeds with them and without.

Training is chaotic: two paths that differ in the last digit end at other networks. Equal but for
rounding then means that scores differ by chance only. This trains the rows of a suite twice with
each seed, `PNNBENCH_COMPILE` 1 and 0, and prints the paired differences of clean and robust scores
in points, with 95 % intervals (Student's t over the seeds), and the spread of a pair beside that
between seeds.

Usage: python benchmarks/rounding.py [SUITE] [--runs FOLDER]

Without a suite: BP and NAT on `mrr-digits`, twelve seeds, ten minutes on one core. Jobs that have
finished are not run again.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from scipy import stats

import pnnbench
from pnnbench.errors import UserError
from pnnbench.script import run_script

SUITE = """suite: rounding
protocol: pnnbench-2
tier: quick
workloads: [mrr-digits]
seeds: [100, 101, 102, 103, 104, 105, 106, 107, 108, 109, 110, 111]
methods:
  - {method: bp, label: BP, params: {lr: 0.1}}
  - {method: nat, label: NAT, params: {lr: 0.1, sigma: 0.5}}
"""
SCORES = ("clean", "robust")


def scores(suite: Path, runs: Path, compiled: str) -> dict[tuple[str, int], dict[str, float]]:
    """Runs a suite in a process of its own.

    Args:
        suite: Its file.
        runs: Folder of its run folders.
        compiled: ``PNNBENCH_COMPILE`` of the process.

    Returns:
        (row, seed) -> `SCORES`.
    """
    command = [sys.executable, "-m", "pnnbench", "run", str(suite), "--runs", str(runs)]
    command += ["--pictures", "false", "--wandb", "disabled", "--adopt", "false"]
    environment = os.environ | {"PNNBENCH_COMPILE": compiled}
    quiet = subprocess.DEVNULL
    subprocess.run(command, check=True, env=environment, stdout=quiet)  # noqa: S603
    columns = pnnbench.load(runs).to_dict("runs")
    rows = zip(columns["row"], columns["seed"], *(columns[name] for name in SCORES), strict=True)
    return {(row, seed): dict(zip(SCORES, found, strict=True)) for row, seed, *found in rows}


def compared(with_: Sequence[float], without: Sequence[float]) -> str:
    """What two paths of the same seeds differ by, in hundredths of the metric's unit."""
    differences = [100 * (a - b) for a, b in zip(with_, without, strict=True)]
    low, high = stats.ttest_1samp(differences, 0.0).confidence_interval(0.95)
    spread, seeds = (statistics.stdev(each) for each in (differences, [100 * a for a in with_]))
    mean = f"{statistics.mean(differences):+.2f} ({low:+.2f} to {high:+.2f})"
    spreads = f"spread of a pair {spread:.2f}, between seeds {seeds:.2f}"
    return f"{mean}, {len(differences)} seeds; {spreads}"


def main() -> None:
    """Runs both and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("suite", nargs="?", type=Path)
    parser.add_argument("--runs", type=Path, default=Path("runs/rounding"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        suite = options.suite
        if suite is None:
            suite = Path(folder, "rounding.yaml")
            suite.write_text(SUITE)
        with_, without = (
            scores(suite, options.runs / name, compiled)
            for name, compiled in (("with", "1"), ("without", "0"))
        )
    both = sorted(with_.keys() & without.keys())
    for row in dict.fromkeys(row for row, _ in both):
        keys = [key for key in both if key[0] == row]
        if len(keys) < 2:
            raise UserError(f"{row}: {len(keys)} seed", allowed="2 or more, for an interval")
        for name in SCORES:
            pairs = ([each[key][name] for key in keys] for each in (with_, without))
            said = compared(*pairs)
            print(f"{row}, {name}: with minus without {said}")


if __name__ == "__main__":
    run_script(main)
