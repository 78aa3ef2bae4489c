"""``pnnbench leaderboard``, and the page and pictures of a board."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from pnnbench.commands.output import out, width, writable
from pnnbench.errors import UserError

_FIRST_RUN = "pnnbench run quickstart"


def _sources(given: list[str]) -> list[Path]:
    if given:
        return [Path(g) for g in given]
    for default in (Path("runs"), Path("leaderboards")):
        if default.is_dir():
            return [default]
    raise UserError("no records: neither runs/ nor leaderboards/ is here", next_step=_FIRST_RUN)


def write_board(
    records: list[dict[str, Any]], folder: Path, wandb: str | None, mirror_folder: Path
) -> Path:
    """Draws a board, writes its page and mirrors it to Weights & Biases.

    Args:
        records: Its records.
        folder: Where page and pictures go.
        wandb: Mode of the mirror; None as the environment says.
        mirror_folder: Where the mirror keeps its files.

    Returns:
        The page.
    """
    from pnnbench.leaderboard.ranking import build
    from pnnbench.report.figures import draw_suite
    from pnnbench.report.page import write_page

    tables = build(records)
    drawn = draw_suite(records, folder / "pictures")
    page = write_page(folder, tables, {n: p.read_text() for n, p in drawn.items()})
    if wandb != "disabled":
        from pnnbench.report.mirror import log_leaderboard

        warning = log_leaderboard(tables, page, mode=wandb, folder=mirror_folder)
        if warning:
            sys.stderr.write(warning + "\n")
    return Path(page)


def leaderboard(options: Any) -> int:
    """``pnnbench leaderboard``."""
    from pnnbench.leaderboard.ranking import build
    from pnnbench.records.store import read_records
    from pnnbench.report.render import render

    sources = _sources(options.records)
    records = read_records(sources)
    if not records:
        raise UserError(f"no records in {', '.join(map(str, sources))}", next_step=_FIRST_RUN)
    if options.publish:
        writable("--publish", Path(options.publish))
    tables = build(records)
    out(render(tables, options.format, width=width()))
    page = None
    if options.publish:
        page = _publish(records, Path(options.publish), options.wandb or "disabled")
    elif options.wandb:
        folder = Path("runs") / "leaderboard"
        page = write_board(records, folder, options.wandb, folder)
    if page is not None:
        say_page(page, options.format, "published" if options.publish else "page")
    return 0


def say_page(page: Path, form: str, word: str = "page") -> None:
    """Names a page: on standard output below a table, else on standard error."""
    line = f"{word}: {page}"
    if form == "table":
        out(line)
    else:
        sys.stderr.write(line + "\n")


def _publish(records: list[dict[str, Any]], folder: Path, wandb: str) -> Path:
    from pnnbench.leaderboard.ranking import build
    from pnnbench.records.store import write_record
    from pnnbench.report.render import render

    names = sorted({record["job"]["suite"] for record in records})
    if len(names) != 1:
        raise UserError(
            f"records of {len(names)} suites: {', '.join(names)}",
            allowed="one suite in one published folder",
            next_step=f"pnnbench leaderboard runs/{names[0]} --publish {folder}",
        )
    current = {f"{record['job']['hash']}.json" for record in records}
    for old in (folder / "records").glob("*.json"):
        if old.name not in current:
            old.unlink()
    for record in records:
        write_record(folder / "records" / f"{record['job']['hash']}.json", record)
    page = write_board(records, folder, wandb, Path("runs") / "leaderboard")
    readme = folder / "README.md"
    temporary = readme.with_suffix(".tmp")
    temporary.write_text(render(build(records), "markdown"), encoding="utf-8")
    temporary.replace(readme)
    return page
