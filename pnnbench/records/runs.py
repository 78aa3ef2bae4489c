"""Runs by name: suite, row and seed, or the beginning of a hash, in place of the folder."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pnnbench.errors import UserError, did_you_mean
from pnnbench.records.folders import find_records
from pnnbench.records.index import workload_of
from pnnbench.records.plain_json import read_json

#: What a run may be called.
ALLOWED = "SUITE/ROW/SEED, a run folder, or the beginning of a hash (4 digits or more)"
_HASH = re.compile(r"(?:.*/)?([0-9a-f]{4,16})")


@dataclass(frozen=True)
class Run:
    """One job of a folder of runs.

    Attributes:
        folder: Its folder.
        suite: Name of the suite.
        workload: Name of the workload.
        tier: Name of the tier.
        label: Label of the row.
        seed: Repetition.
        hash: Hash of the job.
        status: Status of its record.
    """

    folder: Path
    suite: str
    workload: str
    tier: str
    label: str
    seed: int
    hash: str
    status: str

    @property
    def names(self) -> tuple[str, str]:
        """Such as ``quickstart/BP/0``, and the same with the workload before the row."""
        short = f"{self.suite}/{self.label}/{self.seed}"
        return short, f"{self.suite}/{self.workload}/{self.label}/{self.seed}"


def names_of(runs: Sequence[Run]) -> list[str]:
    """Names of some runs, each the shortest that is its own among them.

    Args:
        runs: The runs.

    Returns:
        One name per run: suite, row and seed; with the workload where another run has the same;
        with the hash where that is shared too.
    """
    counts = Counter(name for run in runs for name in run.names)
    return [
        next((name for name in run.names if counts[name] == 1), f"{run.suite}/{run.hash}")
        for run in runs
    ]


def list_runs(runs: Path) -> list[Run]:
    """Lists the jobs of a folder of runs; what is no record is left out.

    Args:
        runs: The folder.

    Returns:
        One entry per record file ``record.json``, by suite, workload, label and seed.
    """
    found = []
    for path in find_records(runs):
        if path.name != "record.json":
            continue
        try:
            record = read_json(path, "")
            job = record["job"]
            run = Run(
                path.parent,
                str(job["suite"]),
                workload_of(job),
                str(job["tier"]),
                str(job["method"]["label"]),
                int(job["seed"]),
                str(job["hash"]),
                str(record["status"]),
            )
        except (UserError, ValueError, ArithmeticError, KeyError, TypeError):
            continue
        found.append(run)
    return sorted(found, key=lambda r: (r.suite, r.workload, r.label, r.seed, r.hash))


def _spelling(name: str) -> str:
    """What counts in a name: case, and which of space, comma, ``-`` and ``_``, does not."""
    return re.sub(r"[\s,_-]+", "-", name.strip().strip("/").casefold())


def find_run(name: str, runs: Path) -> Path:
    """Finds the folder of a run.

    Args:
        name: A folder, also one inside the folder of all runs; suite, row and seed
            (``quickstart/BP/0``, with several workloads also ``SUITE/WORKLOAD/ROW/SEED``), or the
            beginning of a hash.
        runs: Folder of all runs.

    Returns:
        The folder; one that was named by its path is not looked into.

    Raises:
        UserError: If no run or more than one has that name.
    """
    path = Path(name)
    if name and path.is_dir():
        return path
    if path.name == "record.json" and path.is_file():
        return path.parent
    if name.strip("/. ") and (runs / name).is_dir():
        return runs / name
    known = list_runs(runs)
    if not known:
        raise UserError(
            f"there is no run {name!r}: no runs in {runs}/",
            allowed=ALLOWED,
            next_step="pnnbench run quickstart, or give the folder of all runs with --runs",
        )
    begun = _HASH.fullmatch(name.casefold())
    meant = _spelling(name.removeprefix(f"{runs}/"))
    for matches in (
        [run for run in known if name in run.names],
        [run for run in known if meant in map(_spelling, run.names)],
        [run for run in known if begun and run.hash.startswith(begun[1])],
    ):
        folders = {run.folder: run for run in matches}
        # One job that several suites have, by its whole hash or the same beginning, is one run.
        if len(folders) == 1 or (begun and len({run.hash for run in folders.values()}) == 1):
            return next(iter(folders))
        if folders:
            raise UserError(
                f"{len(folders)} runs are meant by {name!r}",
                allowed=", ".join(
                    f"{run.hash} ({run.names[1]}, {run.status})" for run in folders.values()
                ),
                next_step="name one of them by its hash",
            )
    names = [run.names[part] for part in (0, 1) for run in known]
    hint = did_you_mean(meant, names, _spelling)
    raise UserError(
        f"there is no run {name!r} in {runs}/{hint}",
        allowed=ALLOWED,
        next_step="pnnbench list runs",
    )
