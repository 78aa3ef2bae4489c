"""``pnnbench claims``: the published claims with their verdicts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pnnbench.api.tables import board_folders, tables_of
from pnnbench.commands.boards import say_page
from pnnbench.commands.output import out, width, writable
from pnnbench.registry import BOARDS


def claims(options: Any) -> int:
    """``pnnbench claims``."""
    from pnnbench.leaderboard.claims import read_claims, read_reproduced
    from pnnbench.leaderboard.verdicts import decide
    from pnnbench.report import claims_text

    read = read_claims()
    if options.publish:
        writable("--publish", Path(options.publish))
    given = options.records
    sources = board_folders(given) if given else committed(read.boards)
    decided = decide(read, tables_of(sources) if sources else [], read_reproduced())
    if options.format == "table":
        out(claims_text.render_table(read, decided, width()))
    elif options.format == "json":
        out(claims_text.render_json(read, decided))
    elif options.format == "markdown":
        out(claims_text.render_markdown(read, decided))
    if options.format == "html" or options.publish:
        from pnnbench.report import claims_page

        if options.format == "html":
            out(claims_page.render_html(read, decided))
        if options.publish:
            page = claims_page.write_claims(Path(options.publish), read, decided)
            say_page(page, options.format, "published")
    return 0


def committed(boards: tuple[str, ...]) -> list[Path]:
    """Folders of committed boards.

    Args:
        boards: Names of suites.

    Returns:
        Those of ``leaderboards/`` here, or else beside the project's sources, that are there.
    """
    here = Path("leaderboards")
    home = here if here.is_dir() else BOARDS
    return [folder for folder in (home / board for board in boards) if folder.is_dir()]
