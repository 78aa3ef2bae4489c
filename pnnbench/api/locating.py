"""Finds a trained network: a run, a record, a file of parameters, or a row of a board."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pnnbench.errors import UserError, check_kind, did_you_mean, fold
from pnnbench.records.next_steps import run_again
from pnnbench.records.parameters import FOLDER, find_parameters, read_parameters, record_of
from pnnbench.records.runs import ALLOWED, find_run, list_runs, names_of
from pnnbench.records.store import read_record
from pnnbench.registry import BOARDS

#: What a trained network may be called.
NAMED = f"{ALLOWED}, a record, a file of parameters, or BOARD/ROW"


@dataclass(frozen=True)
class Located:
    """A finished job.

    Attributes:
        path: Its record's file.
        record: Its record, of status ok.
    """

    path: Path
    record: dict[str, Any]

    @property
    def parameters(self) -> Path:
        """Its file of trained parameters, the one that the record names.

        Raises:
            UserError: If it is not here.
        """
        found = find_parameters(self.path, self.record)
        if found is None:
            raise UserError(
                f"the trained parameters of {self.path} are missing or not those of the record",
                allowed="a run of your own, or a row of a board with its folder parameters/",
                next_step=f"pnnbench doctor {self.path.parent}",
            )
        return found


def locate(source: str | Path | Mapping[str, Any], runs: str | Path = "runs") -> Located:
    """Finds a finished job and reads its record.

    Args:
        source: A run by folder or name (``quickstart/BP/0``) or the beginning of its hash; the file
            of a record; a file of parameters, a run's or a board's; a board and a row
            (``quickstart/SAT``), whose best seed is meant; or a record that has been read.
        runs: Folder of all runs.

    Returns:
        The job.

    Raises:
        UserError: If there is none of that name, or it did not finish.
    """
    path = _record_path(source, Path(runs))
    record = read_record(path)
    if record["status"] != "ok":
        raise UserError(
            f"{path.parent} did not finish: {record['status']}: {record['error']['message']}",
            allowed="a run of status ok",
            next_step=f"{run_again(record['job'])}: what failed is tried anew",
        )
    return Located(path, record)


def _record_path(source: str | Path | Mapping[str, Any], runs: Path) -> Path:
    if isinstance(source, Mapping):
        return _of_record(source, runs)
    step = "pnnbench.load_network(results.records[0]) for a run of some Results"
    check_kind("network", source, (str, Path), allowed=NAMED, next_step=step)
    given = Path(source)
    if given.suffix == ".safetensors":
        if not given.is_file():
            raise UserError(f"{given}: there is no such file", allowed=NAMED)
        found = record_of(given)
        if found is None:
            raise UserError(
                f"{given} stands alone: the record that says what it is is not beside it",
                allowed=f"RUN/parameters.safetensors, or BOARD/{FOLDER}/HASH.safetensors",
            )
        return found
    if given.suffix == ".json" and given.is_file():
        return given
    row = None if given.exists() else _of_row(str(source), runs)
    try:
        folder = find_run(str(source), runs)
    except UserError:
        if row is not None:
            return row
        for home in _homes():
            if read_parameters(home / given):
                return _in_folder(home / given)  # which says which rows there are
        raise
    return _in_folder(folder)


def _in_folder(folder: Path) -> Path:
    path = folder / "record.json"
    if path.is_file():
        return path
    inside = list_runs(folder)
    if inside:
        raise UserError(
            f"{folder} holds {len(inside)} runs, not one",
            allowed=ALLOWED,
            next_step=f"name one of them, such as {names_of(inside)[0]!r}",
        )
    rows = [row["row"] for row in read_parameters(folder)]
    if rows:
        raise UserError(
            f"{folder} is a board of {len(rows)} rows, not one run",
            allowed="; ".join(f"{folder.name}/{row}" for row in rows),
        )
    raise UserError(
        f"{folder} holds no run: there is no record.json in it",
        allowed=NAMED,
        next_step="pnnbench list runs",
    )


def _homes() -> Iterator[Path]:
    """Folders of boards: those here, then those that come with the project."""
    yield Path("leaderboards")
    if Path("leaderboards").resolve() != BOARDS.resolve():
        yield BOARDS


def _of_row(name: str, runs: Path) -> Path | None:
    """The record of the best seed of BOARD/ROW or BOARD/WORKLOAD/ROW; None for another name."""
    suite, _, rest = name.partition("/")
    asked = fold(rest)
    for home in _homes():
        rows = read_parameters(home / suite) if rest else []
        meant = [row for row in rows if asked in _spellings(row)]
        if len(meant) == 1:
            return home / suite / "records" / f"{meant[0]['hash']}.json"
        if meant:
            raise UserError(
                f"{len(meant)} rows are meant by {name!r}",
                allowed="; ".join(f"{suite}/{r['workload']}/{r['row']}" for r in meant),
            )
        if rows and "/" not in rest and not runs.is_dir():
            labels = [row["row"] for row in rows]
            raise UserError(
                f"the board {suite} has no row {rest!r}{did_you_mean(rest, labels)}",
                allowed="; ".join(labels),
            )
    return None


def _spellings(row: Mapping[str, Any]) -> tuple[str, str]:
    """What a row may be called, folded: its label, with the workload before it if need be."""
    return fold(row["row"]), fold(f"{row['workload']}/{row['row']}")


def _of_record(record: Mapping[str, Any], runs: Path) -> Path:
    """The file of a record that has been read: one whose parameters are at hand."""
    try:
        name = str(record["job"]["hash"])
    except (KeyError, TypeError):
        raise UserError("this mapping is no record: it has no job with a hash") from None
    places = [*sorted(runs.glob(f"*/{name}/record.json"))]
    for home in _homes():
        places += sorted(home.glob(f"*/records/{name}.json"))
    for path in places:
        if find_parameters(path, record) is not None:
            return path
    raise UserError(
        f"the parameters of job {name} are neither in {runs}/ nor on a board",
        allowed="a run folder, or a row of a board with its folder parameters/",
    )
