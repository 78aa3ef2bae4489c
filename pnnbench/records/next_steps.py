"""Commands that run a job again: those that a reader of a record, or of its folder, is told."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from pnnbench.errors import UserError
from pnnbench.records.index import hashes, read_index
from pnnbench.registry import SUITES

#: Folder of the jobs of ``pnnbench train``, which are of no suite.
TRAIN = "train"
#: Folder of the trials of a search, in that of its suite.
TRIALS = "tuning"


def suite_word(suite: str) -> str:
    """What stands for a suite in a command: its name, of an own one the file it lies in by custom.

    Args:
        suite: Its name.

    Returns:
        Such as ``quickstart``, or ``mine.yaml``.
    """
    return suite if (SUITES / f"{suite}.yaml").is_file() else f"{suite}.yaml"


def run_again(job: Mapping[str, Any]) -> str:
    """The command that runs a job.

    Args:
        job: The ``job`` part of a record.

    Returns:
        Such as ``pnnbench run quickstart``, ``pnnbench run mine.yaml``, or
        ``pnnbench train mrr-digits bp --seed 1``.
    """
    if job["suite"] != TRAIN:
        return shlex.join(["pnnbench", "run", suite_word(str(job["suite"]))])
    method = job["method"]
    words = ["pnnbench", "train", str(job["workload"]), str(method["name"])]
    words += ["--tier", str(job["tier"]), "--seed", str(job["seed"])]
    if "data" in job:
        words += ["--data-set", str(job["data"]["set"])]
    if job["epochs_factor"] != 1:
        words += ["--epochs-factor", f"{job['epochs_factor']:g}"]
    if "precision" in job:
        words += ["--precision", str(job["precision"])]
    for name, value in method["params"].items():
        if f" {name}=" in str(method["label"]):  # the others are at their defaults
            words += [f"--params.{name}", _text(value)]
    return shlex.join(words)


def _text(value: Any) -> str:
    """A value as YAML reads it back: of numbers 0.00001 and not 1e-05, which is a text there."""
    number = isinstance(value, float)
    return format(Decimal(repr(value)), "f") if number else json.dumps(value, ensure_ascii=False)


def go_on(folder: Path) -> str:
    """The command that goes on with a job that has left no record.

    Args:
        folder: The job's folder, ``RUNS/SUITE/HASH``; of a trial ``RUNS/SUITE/tuning/HASH``.

    Returns:
        The command; in words where the folder does not say all that it needs.
    """
    home, runs = folder.parent, folder.parent.parent
    if home.name == TRIALS:
        return shlex.join(["pnnbench", "tune", suite_word(runs.name), "--runs", str(runs.parent)])
    if home.name != TRAIN:
        return shlex.join(["pnnbench", "run", suite_word(home.name), "--runs", str(runs)])
    try:
        index = read_index(home)
    except UserError:  # which is a finding of its own
        index = {}
    for (_, _, workload, tier), rows in index.items():
        for label, jobs in rows.items():
            for seed, named in jobs.items():
                if folder.name not in hashes(named):
                    continue
                name, data = (*workload.split(" on ", 1), "")[:2]
                method, settings = (*label.split(" ", 1), "")[:2]
                words = ["pnnbench", "train", name, method, "--tier", tier, "--seed", str(seed)]
                words += [*(["--data-set", data] if data else []), "--runs", str(runs)]
                return shlex.join(words) + (f", with the settings {settings}" if settings else "")
    return f"the same `pnnbench train` command, with --runs {shlex.quote(str(runs))}"
