"""From folders of records to the tables of a leaderboard, for the command line and for Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pnnbench.errors import UserError, check_kind, did_you_mean, unknown_name
from pnnbench.registry import BOARDS, SUITES

if TYPE_CHECKING:
    from pnnbench.leaderboard.model import Table

#: What names records.
_FOLDERS = "the path of a folder of runs or of a board, or the name of a board: 'quickstart'"


def board_folders(given: Sequence[str | Path] = ()) -> list[Path]:
    """Folders whose records make the boards that are meant.

    Args:
        given: Folders, or names of boards that come with the project; none for what is at hand.

    Returns:
        What was given; without it ``runs/`` unless it is empty, else the boards in
        ``leaderboards/``, else those that come with the project. Boards of older protocols lie a
        folder deeper and are shown where they are named.
    """
    if given:
        return [_folder(g) for g in given]
    if Path("runs").is_dir() and any(Path("runs").iterdir()):
        return [Path("runs")]
    for home in (Path("leaderboards"), BOARDS):
        boards = sorted(folder.parent for folder in home.glob("*/records"))
        if boards:
            return boards
    return []


def _folder(given: str | Path) -> Path:
    """A folder, or the board that comes with the project and has this name."""
    check_kind("folder", given, (str, Path), allowed=_FOLDERS)
    given = Path(given)
    shipped = BOARDS / given
    if given.exists():
        return given
    if (shipped / "records").is_dir():
        return shipped
    names = [folder.parent.name for folder in sorted(BOARDS.glob("*/records"))]
    raise UserError(
        f"{given}: there is no such file or folder, nor a board{did_you_mean(str(given), names)}",
        allowed="; ".join(["a folder of records", *names]),
        next_step="`pnnbench run SUITE.yaml` makes records",
    )


def tables_of(sources: Sequence[Path], *, joined: bool = False) -> list[Table]:
    """Makes the tables of folders of records, of the jobs that their suites consist of.

    Args:
        sources: Folders with records.
        joined: Whether suites that measure the same share a table.

    Returns:
        What ``ranking.build`` makes.
    """
    from pnnbench.leaderboard.badges import with_badges
    from pnnbench.leaderboard.joining import join
    from pnnbench.leaderboard.ranking import build
    from pnnbench.records.folders import read_records
    from pnnbench.records.index import read_claims, read_index
    from pnnbench.records.verifications import read_verifications

    records, current = read_records(sources), read_index(sources)
    if joined:  # claims are those of one suite
        together, asked = join(records, current)
        made = build(together, current=asked)
    else:
        made = build(records, current=current, claims=read_claims(sources))
    return with_tuning(with_badges(made, records, read_verifications(sources)), sources)


def leave_out(tables: Sequence[Table], names: Sequence[str], *, where: str) -> list[Table]:
    """The tables without the rows that know something of the tests, the others ranked anew.

    Args:
        tables: What `tables_of` made.
        names: What they know, among `pnnbench.leaderboard.knowledge.KNOWLEDGE`.
        where: Where the names were given, for the message.

    Returns:
        Those that still have a row.

    Raises:
        UserError: If a name is unknown, or no row is left.
    """
    from pnnbench.leaderboard.knowledge import KNOWLEDGE, phrase
    from pnnbench.leaderboard.ranking import without

    for name in names:
        if name not in KNOWLEDGE:
            raise unknown_name("knowledge", name, KNOWLEDGE, where=where)
    different = list(dict.fromkeys(names))
    kept = [table for table in (without(table, different) for table in tables) if table.rows]
    if not kept:
        raise UserError(
            f"{where} leaves no row: all know {phrase(different)}", allowed="fewer of these"
        )
    return kept


def with_tuning(tables: Sequence[Table], sources: Sequence[Path]) -> list[Table]:
    """The tables with what the records of searches say of their rows.

    Args:
        tables: What ``ranking.build`` made.
        sources: Folders with records, beside which a search's may be; else those that ship.

    Returns:
        The same tables. Only the headline of a ranked board has it, since trials are measured so,
        and only where the search is of the same protocol, revision and workload. A suite may be
        searched at another tier than it is run at: what is told of a row names that tier.
    """
    from dataclasses import replace

    from pnnbench.leaderboard.joining import SIGN
    from pnnbench.leaderboard.tuning import Ran, row_tuning
    from pnnbench.records.searches import find_search, read_search

    found: dict[str, dict[str, Any] | None] = {}
    made = []
    for table in tables:
        fitting = []
        for name in table.key["suite"].split(SIGN) if table.ranked and table.headline else ():
            if name not in found:
                path = find_search(name, sources, SUITES)
                found[name] = None if path is None else read_search(path)
            search = found[name]
            if search is not None and _same_board(search, table):
                fitting.append(search)
        rows = {row.method: Ran(row.name, row.params, row.epochs_factor) for row in table.rows}
        told = row_tuning(fitting, rows) if fitting else ()
        made.append(replace(table, tuning=told) if told else table)
    return made


def _same_board(search: Mapping[str, Any], table: Table) -> bool:
    same = all(search[key] == table.key[key] for key in ("protocol", "workload"))
    revisions = {str(row["definition"]["revision"]) for row in search["rows"].values()}
    return same and revisions == {table.key["revision"]}
