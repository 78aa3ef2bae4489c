"""The runs of one row: all seeds of a method with its settings on a workload."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pnnbench.errors import UserError, did_you_mean, fold
from pnnbench.records.index import board_of, hashes, read_index
from pnnbench.records.runs import ALLOWED, Run, list_runs
from pnnbench.records.store import read_record
from pnnbench.submitting.one_kind import difference_of

#: What a row may be called.
NAMED = f"the label of a row, SUITE/ROW or the name of its method; of a run of it, {ALLOWED}"


@dataclass(frozen=True)
class RunOfRow:
    """One seed of a row.

    Attributes:
        folder: Its folder.
        record: Its record, finished or a failure.
    """

    folder: Path
    record: dict[str, Any]

    @property
    def finished(self) -> bool:
        """Whether it was trained and measured."""
        return bool(self.record["status"] == "ok")


@dataclass(frozen=True)
class RowOfRuns:
    """All seeds of a row.

    Attributes:
        home: Run folder of its suite.
        runs: One run a seed, ascending.
        among: Folder of all runs in which it was looked for.
    """

    home: Path
    runs: tuple[RunOfRow, ...]
    among: Path

    @property
    def first(self) -> dict[str, Any]:
        """The first record, of those that finished."""
        return next((run.record for run in self.runs if run.finished), self.runs[0].record)

    @property
    def label(self) -> str:
        """Its label."""
        return str(self.first["job"]["method"]["label"])


def find_row(name: str, runs: Path) -> RowOfRuns:
    """Finds a row among finished and failed runs, and reads its records.

    Args:
        name: See `NAMED`; also the beginning of a label that no other row begins with.
        runs: Folder of runs, of one suite or of several.

    Returns:
        The row: of every seed the run that the suite consists of at present.

    Raises:
        UserError: If no row or more than one is meant, a record is not whole, or its seeds are not
            runs of one thing.
    """
    path = Path(name)
    if path.is_file() and path.name != "record.json":
        raise UserError(
            f"{path} is a file, maybe of a published record: what is packed are the runs of a row",
            allowed=NAMED,
            next_step="pnnbench list runs",
        )
    places = (path.parent,) if path.name == "record.json" else (path, runs / name)
    folder = next((p.resolve() for p in places if (p / "record.json").is_file()), None)
    known = list_runs(runs if folder is None else folder.parent)
    if not known:
        raise UserError(
            f"there is no row {name!r}: no runs in {runs}/",
            allowed=NAMED,
            next_step="run a suite, or give the folder of its runs with --runs",
        )
    if folder is None:
        meant = _meant(name, known, runs)
    else:
        meant = [run for run in known if run.folder == folder]
    rows = {_row(run) for run in meant}
    if len(rows) != 1:
        raise UserError(
            f"{len(rows)} rows are meant by {name!r}",
            allowed="; ".join("/".join(_row(run)) for run in _first_each(meant)),
            next_step="name one of them so, or by a run of it",
        )
    (row,) = rows
    return _read([run for run in known if _row(run) == row], runs)


def _row(run: Run) -> tuple[str, str, str, str]:
    return run.suite, run.workload, run.tier, run.label


def _first_each(runs: Sequence[Run]) -> Iterable[Run]:
    return {_row(run): run for run in reversed(runs)}.values()


def _spelled(text: str) -> str:
    return " ".join(fold(text).replace(",", " ").replace("-", " ").split())


def _meant(name: str, known: Sequence[Run], runs: Path) -> list[Run]:
    """The runs of the rows that are meant: by the first way of naming that fits any."""
    exact = [run for run in known if name in _names(run)]
    if exact:
        return exact
    spelled = _spelled(name.removeprefix(f"{runs}/").strip("/"))
    short = spelled.replace(" ", "")
    hexadecimal = len(short) >= 4 and set(short) <= set("0123456789abcdef")
    for found in (
        [run for run in known if spelled in map(_spelled, _names(run))],
        [run for run in known if hexadecimal and run.hash.startswith(short)],
        [run for run in _first_each(known) if fold(_method(run)) == fold(name)],
        [run for run in known if spelled and _spelled(run.label).startswith(spelled)],
    ):
        if found:
            return found
    labels = list(dict.fromkeys(run.label for run in known))
    raise UserError(
        f"there is no row {name!r} in {runs}/{did_you_mean(name, labels, _spelled)}",
        allowed="; ".join(labels),
        next_step="pnnbench list runs",
    )


def _names(run: Run) -> tuple[str, ...]:
    return (
        run.label,
        f"{run.suite}/{run.label}",
        f"{run.suite}/{run.workload}/{run.label}",
        "/".join(_row(run)),
        *run.names,
    )


def _method(run: Run) -> str:
    """Name of the method of a run; empty where its record is not whole."""
    try:
        return str(read_record(run.folder / "record.json")["job"]["method"]["name"])
    except UserError:
        return ""


def _read(runs: Sequence[Run], among: Path) -> RowOfRuns:
    home = runs[0].folder.parent
    read = [RunOfRow(run.folder, read_record(run.folder / "record.json")) for run in runs]
    rows = read_index(home).get(board_of(read[0].record), {})
    now = rows.get(runs[0].label, {})
    if now:  # the folder keeps jobs of earlier versions too
        count = {name for jobs in now.values() for name in hashes(jobs)}
        read = [run for run in read if run.record["job"]["hash"] in count] or read
    by_seed: dict[int, RunOfRow] = {}
    for run in read:
        seed = run.record["job"]["seed"]
        if seed in by_seed:
            raise UserError(
                f"the row {runs[0].label!r} has several runs of seed {seed}: "
                f"{by_seed[seed].folder} and {run.folder}",
                allowed="one run a seed: a suite without training_devices, as it stands at present",
                next_step="run its suite again, whose index says which runs count",
            )
        by_seed[seed] = run
    found = RowOfRuns(home, tuple(by_seed[seed] for seed in sorted(by_seed)), among)
    _refuse_mixture(found)
    return found


def _refuse_mixture(row: RowOfRuns) -> None:
    for run in row.runs:
        differs = difference_of(row.runs[0].record, run.record)
        if differs is not None:
            raise UserError(
                f"the seeds of {row.label!r} are not runs of one thing: {differs} differs between "
                f"{row.runs[0].folder} and {run.folder}",
                next_step="run its suite again, whose index says which runs count",
            )
