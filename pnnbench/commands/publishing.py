"""Publishing a board: everything is made first, then put in place, all of it or nothing."""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pnnbench.errors import DiskFullError, UserError, disk_full

if TYPE_CHECKING:
    from pnnbench.leaderboard.model import Table
    from pnnbench.records.placing import Part

_BOARD = ("suite", "protocol", "workload", "tier")


@contextmanager
def drawing(sources: Sequence[Path], folder: Path | None = None) -> Iterator[None]:
    """Context in which a board is made from records, which may hold figures that nothing can draw.

    Args:
        sources: The folders of the records.
        folder: Where the board shall go; None where it is only shown.

    Raises:
        UserError: As it was raised, or in place of any other exception.
    """
    try:
        yield
    except (UserError, BrokenPipeError):
        raise
    except Exception as error:
        if disk_full(error):
            raise DiskFullError(folder) from error
        kept = f"; {folder} is as it was" if folder else ""
        named = " ".join(map(str, sources))
        raise UserError(
            f"the board of {named} cannot be made: {type(error).__name__}: {error!s:.300}{kept}",
            next_step=f"pnnbench doctor {sources[0]}",
        ) from error


def publish(
    sources: Sequence[Path],
    tables: Sequence[Table],
    folder: Path,
    draw: Callable[[Path], object],
) -> None:
    """Makes a folder hold a board: page, pictures, records, parameters.

    Args:
        sources: Folders of the records, the folder itself among them or not.
        tables: What the records make.
        folder: The folder of the board.
        draw: Draws page and pictures into a folder.

    Raises:
        UserError: If the records are of several suites, or something cannot be made or written;
            the folder is as it was then.
    """
    from pnnbench.records.placing import Part, place

    names = sorted({table.key["suite"] for table in tables})
    if len(names) != 1:
        raise UserError(
            f"records of {len(names)} suites: {', '.join(names)}",
            allowed="one suite in one published folder",
            next_step=f"pnnbench leaderboard runs/{names[0]} --publish {folder}",
        )
    _require_board(folder, names[0], sources)
    with drawing(sources, folder):
        pages = _pages(tables, draw)
        stale = _stale_pictures(sources, folder, pages)
        parts, left_out = _measured(names[0], sources, tables, folder)
        place(folder, *parts, Part(pages, stale))
    if left_out:
        from pnnbench.records.published import ROOM

        sys.stderr.write(
            f"note: tensors of one seed stay in the runs for {len(left_out)} rows: a published "
            f"board has {ROOM / 1e6:g} MB of them at most, rows of its claims first\n"
        )


def _require_board(folder: Path, suite: str, sources: Sequence[Path]) -> None:
    """Refuses a folder that holds something else, whose files would be replaced and removed.

    Raises:
        UserError: If it is a folder of runs, the board of another suite, or neither a board nor
            empty.
    """
    from pnnbench.records.verifications import FOLDER

    if not folder.is_dir():
        return
    held, known = "", _suites_of(folder)
    if any(folder.glob("*/record.json")):
        held = "runs"
    elif folder.resolve() in [source.resolve() for source in sources]:
        return  # it is made again where it lies, whatever is damaged in it
    elif known - {suite}:
        held = f"the board of {', '.join(sorted(known - {suite}))}"
    elif not known:
        others = [path.name for path in folder.iterdir() if not path.name.startswith(".")]
        held = "files that are of no board" if set(others) - {FOLDER} else ""
    if held:
        raise UserError(
            f"{folder} holds {held}, which publishing {suite} would replace or remove",
            allowed=f"a folder that is new or empty, or the board of {suite}",
            next_step=f"pnnbench leaderboard runs/{suite} --publish leaderboards/{suite}",
        )


def _suites_of(folder: Path) -> set[str]:
    """Suites of the board in a folder: by its index, else its numbers, else a record."""
    from pnnbench.leaderboard.board_check import NUMBERS
    from pnnbench.records.index import NAME
    from pnnbench.records.plain_json import read_json
    from pnnbench.records.published import FOLDER

    for path in (folder / NAME, folder / NUMBERS, *sorted((folder / FOLDER).glob("*.json"))):
        try:
            told = read_json(path, "")
            return {str(row["suite"]) for row in told.get("rows", [told.get("job", told)])}
        except (UserError, KeyError, TypeError, AttributeError):
            continue
    return set()


def _measured(
    suite: str, sources: Sequence[Path], tables: Sequence[Table], folder: Path
) -> tuple[list[Part], list[str]]:
    """What was measured, and labels of the rows whose tensors find no room."""
    from pnnbench.leaderboard.best import RULE, best_jobs
    from pnnbench.records.folders import read_placed
    from pnnbench.records.index import NAME, index_text, read_claims, read_index
    from pnnbench.records.parameters import parameter_files, parameter_room
    from pnnbench.records.placing import Part
    from pnnbench.records.published import record_files
    from pnnbench.records.searches import NAME as SEARCH
    from pnnbench.records.searches import find_search
    from pnnbench.registry import SUITES

    older = {job["hash"] for table in tables for job in table.older}
    placed = [(path, r) for path, r in read_placed(sources) if r["job"]["hash"] not in older]
    claims = read_claims(sources).get(suite, ())
    first = [label for claim in claims for label in (claim.better, claim.than)]
    paths = {record["job"]["hash"]: path for path, record in placed}
    best = [
        (paths[b.record["job"]["hash"]], b.record, b.score)
        for b in best_jobs([record for _, record in placed])
    ]
    parameters = parameter_files(best, folder, RULE, first=first)
    room = parameter_room(parameters, folder)
    records, left_out = record_files(placed, folder, room=room, first=first)
    told: dict[str, bytes] = {}
    search = find_search(suite, sources, SUITES)
    if search is not None:
        told[SEARCH] = search.read_bytes()
    boards = {tuple(table.key[k] for k in _BOARD) for table in tables}
    index = {key: jobs for key, jobs in read_index(sources).items() if key in boards}
    if index:
        told[NAME] = index_text(suite, index, claims).encode()
    return [parameters, records, Part(told)], left_out


def _pages(tables: Sequence[Table], draw: Callable[[Path], object]) -> dict[str, bytes]:
    """Page and pictures, the table as the folder's own page, and the protocol."""
    from pnnbench.registry import PROTOCOL
    from pnnbench.report.reading import board_page

    with tempfile.TemporaryDirectory(prefix="pnnbench-board-") as name:
        draw(Path(name))
        drawn = sorted(path for path in Path(name).rglob("*") if path.is_file())
        files = {str(path.relative_to(name)): path.read_bytes() for path in drawn}
    files["README.md"] = board_page(tables).encode()
    if PROTOCOL.is_file():  # beside the project's sources, not in an installed package
        files[PROTOCOL.name] = _two_folders_down(PROTOCOL).encode()
    return files


def _stale_pictures(sources: Sequence[Path], folder: Path, pages: dict[str, bytes]) -> list[Path]:
    """Pictures of other records. A board that is drawn again where it lies keeps all it has."""
    if folder.resolve() in [source.resolve() for source in sources]:
        return []
    there = sorted((folder / "pictures").glob("*"))
    pictures = [path for path in there if path.suffix in (".svg", ".png")]
    return [path for path in pictures if f"pictures/{path.name}" not in pages]


def _two_folders_down(page: Path) -> str:
    """A page of ``docs/`` with its links as they lead on from ``leaderboards/SUITE/``."""
    text = page.read_text(encoding="utf-8").replace("](../", "](../../")
    return re.sub(r"\]\((?![./#]|\w+:)", f"](../../{page.parent.name}/", text)
