"""``pnnbench leaderboard``, and the page and pictures of a board."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pnnbench.api.tables import board_folders, leave_out, tables_of
from pnnbench.commands.mirroring import mirror_mode, say_upload
from pnnbench.commands.output import out, width, writable
from pnnbench.errors import UserError
from pnnbench.registry import BOARDS

if TYPE_CHECKING:
    from pnnbench.leaderboard.model import Table

_FIRST_RUN = "pnnbench run quickstart"
_BOARD = ("suite", "protocol", "workload", "tier")


def write_board(
    tables: Sequence[Table],
    folder: Path,
    wandb: str = "disabled",
    mirror_folder: Path | None = None,
    sources: Sequence[Path] = (),
    *,
    runs: Sequence[Path] = (),
    root: str | None = None,
) -> Path:
    """Draws a board, writes its page and mirrors it to Weights & Biases.

    Args:
        tables: Its tables.
        folder: Where page and pictures go.
        wandb: Mode of the mirror, as `mirror_mode` gives it.
        mirror_folder: Where the mirror keeps its files; the board's folder by default.
        sources: Folders of the records that it is made from.
        runs: Folders of runs whose trained networks are shown; none for records alone.
        root: Data folder; None for the default place.

    Returns:
        The page.
    """
    from pnnbench.report.figures import draw_suite
    from pnnbench.report.page import write_page

    drawn = draw_suite(tables, folder / "pictures")
    if runs:
        from pnnbench.commands.galleries import galleries

        drawn |= galleries(tables, runs, folder / "pictures", root)
    page = write_page(folder, tables, {n: p.read_text() for n, p in drawn.items()})
    if wandb != "disabled":
        from pnnbench.records.store import read_placed
        from pnnbench.report.mirror import log_leaderboard

        placed = read_placed(sources)
        warning = log_leaderboard(tables, page, wandb, folder=mirror_folder, placed=placed)
        if warning:
            sys.stderr.write(warning + "\n")
    return Path(page)


def leaderboard(options: Any) -> int:
    """``pnnbench leaderboard``."""
    from pnnbench.report.render import render

    sources = board_folders(options.records)
    if not sources:
        raise UserError(
            "no records: neither runs/ nor a board in leaderboards/ is here", next_step=_FIRST_RUN
        )
    if options.join and options.publish:
        raise UserError(
            "--join and --publish are given together", allowed="one of them: a board is one suite's"
        )
    wandb = mirror_mode(options.wandb) if options.wandb else "disabled"
    tables = tables_of(sources, joined=options.join)
    if not tables:
        raise UserError(f"no records in {', '.join(map(str, sources))}", next_step=_FIRST_RUN)
    if options.without:
        tables = _without(tables, options)
    if options.publish:
        writable("--publish", Path(options.publish))
    out(render(tables, options.format, width=width()))
    page = None
    if options.publish:
        page = _publish(sources, tables, Path(options.publish), wandb)
    elif wandb != "disabled":
        page = write_board(tables, _mirrored(), wandb, sources=sources)
    if sources[0].is_relative_to(BOARDS) and not options.records:
        line = f"there are no runs here: the boards that come with pnnbench; next: {_FIRST_RUN}\n"
        sys.stderr.write(line)
    if page is not None:
        say_page(page, options.format, "published" if options.publish else "page")
        say_upload(wandb, [*sources, _mirrored()])
    return 0


def _mirrored() -> Path:
    """Where the mirror of a board keeps its files, and the page where it is not published.

    Where there are no runs, none are pretended: ``runs/`` is what a board is made from by default.
    """
    return Path("runs" if Path("runs").is_dir() else ".") / "leaderboard"


def _without(tables: Sequence[Table], options: Any) -> list[Table]:
    """The tables without the rows that know what was named."""
    for flag in ("publish", "wandb"):
        if getattr(options, flag):
            raise UserError(
                f"--without and --{flag} are given together",
                allowed="one of them: a published or mirrored board has all rows",
            )
    return leave_out(tables, options.without, where="--without")


def say_page(page: Path, form: str, word: str = "page") -> None:
    """Names a page: on standard output below a table, else on standard error."""
    line = f"{word}: {page}"
    if form == "table":
        out(line)
    else:
        sys.stderr.write(line + "\n")


def _publish(sources: Sequence[Path], tables: Sequence[Table], folder: Path, wandb: str) -> Path:
    from pnnbench.leaderboard.best import RULE, best_jobs
    from pnnbench.records.index import read_claims, read_index, write_index
    from pnnbench.records.parameters import publish_parameters, read_parameters
    from pnnbench.records.published import ROOM, publish_records
    from pnnbench.records.searches import NAME, find_search
    from pnnbench.records.store import read_placed, write_whole
    from pnnbench.registry import PROTOCOL, SUITES
    from pnnbench.report.render import render

    names = sorted({table.key["suite"] for table in tables})
    if len(names) != 1:
        raise UserError(
            f"records of {len(names)} suites: {', '.join(names)}",
            allowed="one suite in one published folder",
            next_step=f"pnnbench leaderboard runs/{names[0]} --publish {folder}",
        )
    older = {job["hash"] for table in tables for job in table.older}
    search = find_search(names[0], sources, SUITES)
    if search is not None:
        write_whole(folder / NAME, search.read_bytes())
    placed = [(path, r) for path, r in read_placed(sources) if r["job"]["hash"] not in older]
    claims = read_claims(sources).get(names[0], ())
    first = [label for claim in claims for label in (claim.better, claim.than)]
    paths = {record["job"]["hash"]: path for path, record in placed}
    best = [
        (paths[b.record["job"]["hash"]], b.record, b.score)
        for b in best_jobs([record for _, record in placed])
    ]
    publish_parameters(best, folder, RULE, first=first)
    room = ROOM - sum(row["bytes"] for row in read_parameters(folder))
    left_out = publish_records(placed, folder / "records", room=room, first=first)
    if left_out:
        sys.stderr.write(
            f"note: tensors of one seed stay in the runs for {len(left_out)} rows: a published "
            f"board has {ROOM / 1e6:g} MB of them at most, rows of its claims first\n"
        )
    boards = {tuple(table.key[k] for k in _BOARD) for table in tables}
    index = {key: jobs for key, jobs in read_index(sources).items() if key in boards}
    if index:
        write_index(folder, names[0], index, claims=claims)
    page = write_board(tables, folder, wandb, _mirrored(), sources, runs=sources)
    readme = folder / "README.md"
    temporary = readme.with_suffix(".tmp")
    temporary.write_text(render(tables, "markdown"), encoding="utf-8")
    temporary.replace(readme)
    if PROTOCOL.is_file():  # beside the project's sources, not in an installed package
        write_whole(folder / PROTOCOL.name, _two_folders_down(PROTOCOL).encode())
    return page


def _two_folders_down(page: Path) -> str:
    """A page of ``docs/`` with its links as they lead on from ``leaderboards/SUITE/``."""
    text = page.read_text(encoding="utf-8").replace("](../", "](../../")
    return re.sub(r"\]\((?![./#]|\w+:)", f"](../../{page.parent.name}/", text)
