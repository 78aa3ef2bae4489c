"""Pictures of what the trained networks of boards give, from the tensors of their jobs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pnnbench.commands.output import aside
from pnnbench.errors import UserError

if TYPE_CHECKING:
    from pnnbench.leaderboard.model import Table

Placed = tuple[Path, dict[str, Any]]
"""The file of a job's parameters, and its record."""


def galleries(
    tables: Sequence[Table],
    sources: Sequence[Path],
    folder: Path,
    root: str | None,
    *,
    board: Path | None = None,
) -> dict[str, Path]:
    """Draws the galleries of boards whose trained networks are there.

    Of each board all rows at one seed, the first that most of them have. What cannot be drawn is
    told on standard error and takes nothing else with it. A published board that is drawn again
    where it lies keeps the pictures that show more rows than have their networks there, or whose
    data are not here.

    Args:
        tables: The tables of the boards.
        sources: Folders with their runs, or published boards.
        folder: Where the pictures go.
        root: Data folder; None for the default place.
        board: The board whose pictures they will be; the one around the folder by default.

    Returns:
        Name to the path of the SVG; empty where there are records alone.
    """
    from pnnbench.records.folders import read_placed
    from pnnbench.report.figures import free_prefix
    from pnnbench.report.galleries import NAMES

    found = [(_parameters(path, record), record) for path, record in read_placed(sources)]
    placed = [(path, record) for path, record in found if path is not None]
    home = folder.parent if board is None else board
    again = [source.resolve() for source in sources] == [home.resolve()]
    boards = [table for table in tables if table.headline]
    drawn: dict[str, Path] = {}
    for table in boards:
        words = [table.key[k] for k in ("suite", "workload", "tier")]
        prefix = free_prefix("-".join(words), drawn) if len(boards) > 1 else ""
        chosen = one_seed(table, placed)
        kept = {f"{prefix}{name}": home / folder.name / f"{prefix}{name}.svg" for name in NAMES}
        kept = {name: path for name, path in kept.items() if again and path.is_file()}
        if kept and len(chosen) < len(table.chosen.finished):
            aside("pictures of outputs stay: not all networks that they show are here")
            drawn |= kept
        elif chosen:
            try:
                drawn |= _board(chosen, folder, prefix, root)
            except UserError as error:  # the data are not here, or the networks are other ones
                said = "pictures of outputs stay" if kept else "no pictures of outputs"
                aside(f"{said}: {error.what}")
                drawn |= kept
    return drawn


def _parameters(path: Path, record: dict[str, Any]) -> Path | None:
    from pnnbench.records.parameters import find_parameters
    from pnnbench.records.store import beside

    if record["status"] != "ok":
        return None
    own = beside(path, record, "parameters")
    return own if own.is_file() else find_parameters(path, record)


def one_seed(table: Table, placed: Sequence[Placed]) -> list[Placed]:
    """Chooses one finished job of each row of a table, all of one seed.

    Args:
        table: The table.
        placed: Jobs whose parameters are at hand.

    Returns:
        The jobs in the order of the rows, of the first seed that most rows have; rows that do not
        have it are left out.
    """
    paths = {record["job"]["hash"]: path for path, record in placed}
    seeds: dict[int, list[Placed]] = {}
    for row in table.rows:
        for record in table.chosen.finished.get(row.method, []):
            if record["job"]["hash"] in paths:
                mine = seeds.setdefault(record["job"]["seed"], [])
                mine.append((paths[record["job"]["hash"]], record))
    return max((seeds[seed] for seed in sorted(seeds)), key=len, default=[])


def _board(
    chosen: Sequence[Placed], folder: Path, prefix: str, root: str | None
) -> dict[str, Path]:
    from pnnbench.report.galleries import Trained, draw_galleries
    from pnnbench.running.rebuilding import data_of, load_parameters

    data = data_of(chosen[0][1], root)
    trained = [
        Trained(record["job"]["method"]["label"], record, load_parameters(path, record))
        for path, record in chosen
    ]
    tensors = data.train_tensors(), data.test_tensors()
    return draw_galleries(trained, *tensors, folder, prefix, aside)
