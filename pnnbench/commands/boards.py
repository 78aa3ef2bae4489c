"""``pnnbench leaderboard``, and the page and pictures of a board."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pnnbench.api.tables import board_folders, leave_out, tables_of
from pnnbench.commands.mirroring import mirror_mode, say_upload
from pnnbench.commands.output import out, width, writable
from pnnbench.commands.publishing import drawing, publish
from pnnbench.errors import UserError
from pnnbench.registry import BOARDS

if TYPE_CHECKING:
    from pnnbench.leaderboard.model import Table

_FIRST_RUN = "pnnbench run quickstart"


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
    page = _draw(tables, folder, runs, root)
    _mirror(tables, page, wandb, mirror_folder, sources)
    return page


def _draw(
    tables: Sequence[Table],
    folder: Path,
    runs: Sequence[Path] = (),
    root: str | None = None,
    board: Path | None = None,
) -> Path:
    """Draws page and pictures into a folder, from where they may be put into that of a board."""
    from pnnbench.report.figures import draw_suite
    from pnnbench.report.page import write_page

    drawn = draw_suite(tables, folder / "pictures")
    if runs:
        from pnnbench.commands.galleries import galleries

        drawn |= galleries(tables, runs, folder / "pictures", root, board=board)
    return Path(write_page(folder, tables, {n: p.read_text() for n, p in drawn.items()}))


def _mirror(
    tables: Sequence[Table],
    page: Path,
    wandb: str,
    mirror_folder: Path | None,
    sources: Sequence[Path],
) -> None:
    """Mirrors a board that was written to Weights & Biases, unless that is disabled."""
    if wandb != "disabled":
        from pnnbench.records.folders import read_placed
        from pnnbench.report.mirror import log_leaderboard

        placed = read_placed(sources)
        warning = log_leaderboard(tables, page, wandb, folder=mirror_folder, placed=placed)
        if warning:
            sys.stderr.write(warning + "\n")


def leaderboard(options: Any) -> int:
    """``pnnbench leaderboard``."""
    from pnnbench.records.placing import unmade
    from pnnbench.report.render import render

    sources = board_folders(options.records)
    if not sources:
        raise UserError(
            "no records: nothing is in runs/, and no board in leaderboards/ is here",
            next_step=_FIRST_RUN,
        )
    if options.join and options.publish:
        raise UserError(
            "--join and --publish are given together", allowed="one of them: a board is one suite's"
        )
    wandb = mirror_mode(options.wandb) if options.wandb else "disabled"
    with drawing(sources):
        tables = tables_of(sources, joined=options.join)
    if not tables:
        raise UserError(f"no records in {', '.join(map(str, sources))}", next_step=_FIRST_RUN)
    if options.without:
        tables = _without(tables, options)
    board = Path(options.publish) if options.publish else None
    with drawing(sources):
        text = render(tables, options.format, width=width())
    page = None
    with unmade(*([board] if board else [])):
        if board:
            writable("--publish", board)
        out(text)
        if board:
            publish(sources, tables, board, lambda to: _draw(tables, to, sources, board=board))
    if board:
        page = board / "index.html"
        _mirror(tables, page, wandb, _mirrored(), sources)
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
