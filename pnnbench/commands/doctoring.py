"""``pnnbench doctor``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pnnbench.commands.output import out, out_json
from pnnbench.errors import UserError

if TYPE_CHECKING:
    from pnnbench.records.findings import Finding


def doctor(options: Any) -> int:
    """``pnnbench doctor``."""
    from pnnbench.records.doctor import examine
    from pnnbench.records.surroundings import set_aside
    from pnnbench.report.formatting import counted

    folder = Path(options.runs)
    findings, placed = examine(folder)
    if not options.quick:
        findings += _boards(folder, placed)
        if any(record["status"] == "ok" for _, record in placed):
            from pnnbench.running.registry_check import check_registry

            findings += check_registry(placed, options.data)
    moved = set_aside(folder, findings) if options.fix else []
    gone = [done.path for done, _ in moved]
    left = [f for f in findings if not any(f.path.is_relative_to(path) for path in gone)]
    faults = sum(finding.fault for finding in left)
    if options.format == "json":
        out_json([finding.as_dict() for finding in left])
        return 1 if faults else 0
    for finding in left:
        out(str(finding))
    for done, target in moved:
        out(f"moved aside  {done.path}: to {target}")
    notes = len(left) - faults
    said = counted(faults, "finding")
    out(said + (f", {counted(notes, 'note')}" if notes else ""))
    return 1 if faults else 0


def _boards(folder: Path, placed: Sequence[tuple[Path, dict[str, Any]]]) -> Iterator[Finding]:
    """Published figures and pages in a folder that their records do not give."""
    from pnnbench.leaderboard.board_check import check_board, find_boards, unreadable

    made = {}
    for board in find_boards(folder):
        from pnnbench.api.tables import tables_of
        from pnnbench.leaderboard.parameters_check import check_parameters
        from pnnbench.report.page_check import check_pages

        try:
            tables = tables_of([board])
            records = [record for path, record in placed if path.is_relative_to(board)]
            found = [
                *check_board(board, tables),
                *check_parameters(board, tables, records),
                *check_pages(board, tables),
            ]
            made[board] = tables
        except UserError as error:
            found = [unreadable(board, error)]
        except Exception as error:  # one bad board does not hide what else is wrong
            words = f"makes no table ({type(error).__name__}: {str(error)[:200]})"
            found = [unreadable(board, UserError(words))]
        yield from found
    if made:
        from pnnbench.report.claims_check import check_claims

        yield from check_claims(folder, made)
