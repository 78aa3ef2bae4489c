"""Writes the results of the README from records: ``python scripts/readme.py [--check]``.

What stands between ``<!-- results: NAME -->`` and ``<!-- end -->`` is made anew: the example of the
quickstart and the boards from the records in ``leaderboards/``, the claims from their verdicts, the
counts of reproduced values from ``pnnbench/leaderboard/reproduced.json``.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path

from pnnbench.api.tables import tables_of
from pnnbench.errors import UserError
from pnnbench.leaderboard.claims import Claims, read_claims, read_reproduced
from pnnbench.leaderboard.deployments import FROZEN
from pnnbench.leaderboard.model import Row, Table
from pnnbench.leaderboard.statistics import Interval
from pnnbench.leaderboard.verdicts import NOT_MEASURED, Decided, decide
from pnnbench.records.store import write_whole
from pnnbench.report.claims_text import escaped
from pnnbench.report.claims_view import counts, views
from pnnbench.report.comparing import rank
from pnnbench.report.formatting import (
    correlation,
    correlation_ends,
    count,
    curvature_unit,
    eigenvalue,
    is_share,
    plus_minus,
)
from pnnbench.report.text import render_table
from pnnbench.script import run_script

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
LEADERBOARDS = ROOT / "leaderboards"
QUICKSTART = "quickstart"
#: Board to its heading, in the order of the README; other boards follow by name.
TITLES = {
    "mrr_mnist": "Microrings",
    "mzi_mnist": "Interferometer meshes",
    "freespace_mnist": "Free space",
    "diffractive_mnist": "Diffraction",
}
#: Figure of sharpness to its words.
PREDICTORS = {
    "lambda_max": "λmax",
    "device_increase": "mean increase of the loss under the tests' own law of errors, on other "
    "devices",
}
#: Platform to the words of its files, in the order of the README.
FILES = {
    "mrr": "microring",
    "mzi": "mesh",
    "freespace": "free-space",
    "diffractive": "diffractive",
}


@lru_cache
def board(folder: Path) -> tuple[Table, ...]:
    """The tables of a committed board; none where there is no board."""
    return tuple(tables_of([folder])) if (folder / "records").is_dir() else ()


@lru_cache
def verdicts(folder: Path) -> tuple[Claims, tuple[Decided, ...]]:
    """The claims and their verdicts on the boards of a folder."""
    claims = read_claims()
    tables = [table for name in claims.boards for table in board(folder / name)]
    return claims, decide(claims, tables, read_reproduced())


def headline(folder: Path) -> Table | None:
    """The table of a board whose score is that of the protocol; None where there is no board."""
    return next((table for table in board(folder) if table.headline), None)


def quickstart(folder: Path) -> str:
    """The first table that the quickstart prints."""
    table = headline(folder / QUICKSTART)
    if table is None:
        return (
            "It prints the rows with their intervals, best first, and ends with the path of the "
            "page. No run of it is committed yet: `pnnbench run quickstart` makes one."
        )
    heading, scores = render_table([table]).split("\n\n")[:2]
    return f"```\n{heading}\n\n{scores}\n...\npage: runs/{QUICKSTART}/index.html\n```"


def reproduced(_: Path) -> str:
    """How many of the recorded values come out."""
    found = read_reproduced().counts
    parts = [
        f"{part['within']} of {part['compared']} on the {words} files ({part['checkpoints']} "
        "checkpoints)"
        for name, words in FILES.items()
        if (part := found.get(name))
    ]
    if not parts:
        return "No count of reproduced values is committed: `python scripts/reproduced.py`."
    return (
        f"Of the recorded values within their tolerances: {', '.join(parts)}. The values stand in "
        "[reproduced.json](pnnbench/leaderboard/reproduced.json), written by "
        "`python scripts/reproduced.py` from what these commands print."
    )


def claims(folder: Path) -> str:
    """The tally, and the verdicts that there are."""
    read, decided = verdicts(folder)
    tally = ", ".join(f"{number} {verdict}" for verdict, number in counts(decided).items())
    lines = [
        f"{len(decided)} published claims under {read.protocol}: {tally} "
        "([what each rests on](leaderboards/claims.md), `pnnbench claims`). A verdict is made from "
        f"records by a written rule; the {100 * read.confidence:g} % intervals of all "
        f"{read.family} comparisons hold together.",
    ]
    shown = [view for view in views(decided) if view.verdict != NOT_MEASURED]
    if shown:
        lines += ["", "| # | claim | verdict |", "| ---: | :--- | :--- |"]
        lines += [f"| {v.number} | {escaped(v.claim)} | {v.verdict} |" for v in shown]
    return "\n".join(lines)


def boards(folder: Path) -> str:
    """A section for each board, and which are not there yet."""
    names = [path.name for path in sorted(folder.iterdir()) if board(path)]
    names = [name for name in names if name != QUICKSTART]
    ordered = [name for name in TITLES if name in names]
    ordered += [name for name in names if name not in TITLES]
    parts = [section(folder, name) for name in ordered]
    lacking = [name for name in TITLES if name not in names]
    if lacking:
        which = "All boards" if len(lacking) == len(TITLES) else "These boards"
        parts.append(
            f"{which} on MNIST are still to be run under `{verdicts(folder)[0].protocol}`, each "
            f"by one command: {', '.join(f'`pnnbench run {name}`' for name in lacking)}."
        )
    return "\n\n".join(parts)


def section(folder: Path, name: str) -> str:
    """One board: its rows, its picture, and what it says of the claims."""
    table = headline(folder / name)
    if table is None:
        raise UserError(f"{folder / name} has no table of its headline deployment")
    seeds = max(len(row.seeds) for row in table.rows)
    devices = max(sum(d is not None for d in row.devices) for row in table.rows)
    key, place = table.key, f"leaderboards/{name}"
    deployed = "" if key["deployment"] == FROZEN else f", {key['deployment']} devices"
    unit = curvature_unit(table.control_unit) if table.control_unit else ""
    curvature = f"; λmax in {unit}" if unit else ""
    lines = [
        f"### {TITLES.get(name, name)}",
        "",
        f"`{key['workload']}`, {key['protocol']} revision {key['revision']}{deployed}: {seeds} "
        f"seeds x {devices} fresh devices ([page]({place}/index.html), "
        f"[all tables]({place}/README.md)). 95 % intervals, those of differences for all rows at "
        f"once{curvature}.",
        "",
        *_rows(table),
    ]
    if (folder / name / "pictures" / "degradation.png").is_file():
        lines += ["", f"![Accuracy under perturbation]({place}/pictures/degradation.png)"]
    predicted, said = _predicted(table), _said(folder, name)
    lines += ["", predicted] if predicted else []
    return "\n".join([*lines, *(["", *said] if said else [])])


def _rows(table: Table) -> list[str]:
    share = is_share(table.key["metric"])
    unit = " %" if share else ""
    baseline = next((row.baseline for row in table.rows if row.baseline), None)
    heads = ("rank", "method", f"clean{unit}", f"robust{unit}", f"worst tenth{unit}",
             f"vs {baseline or 'baseline'}", "λmax", "grad.")  # fmt: skip

    def difference(row: Row) -> str:
        if row.method == baseline:
            return "baseline"
        # Of an incomplete row no interval holds beside the others'.
        whole = row.simultaneous.mean is not None
        shown = row.simultaneous if whole else Interval(row.difference.mean)
        return plus_minus(shown, share=share, sign=True)

    lines = [f"| {' | '.join(heads)} |", "| ---: | :--- |" + " ---: |" * 6]
    for row in table.rows:
        figures = [plus_minus(x, share=share) for x in (row.clean, row.robust, row.worst_decile)]
        costs = [eigenvalue(row.lambda_max), count(row.cost.get("gradient_evaluations"))]
        cells = [rank(row), escaped(row.method), *figures, difference(row), *costs]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _predicted(table: Table) -> str:
    """A sentence on the rank correlation of sharpness and score, between rows and within them."""
    told = [
        f"{words} {' and '.join(_correlation(entry[part]) for part in ('rows', 'within'))}"
        for name, words in PREDICTORS.items()
        if (entry := table.correlations.get(name))
    ]
    if not told:
        return ""
    return (
        "Does sharpness predict the score? Spearman's correlation between the means of rows and "
        f"within rows, negative where the flatter is the more robust: {'; '.join(told)}."
    )


def _correlation(entry: Mapping[str, float | None]) -> str:
    if entry["rho"] is None:
        return "–"
    ends = correlation_ends(entry["low"], entry["high"])
    return correlation(entry["rho"]) + (f" ({ends})" if ends else "")


def _said(folder: Path, name: str) -> list[str]:
    """A sentence for each comparison of a decided claim that was made on the board."""
    lines = []
    for view in views(verdicts(folder)[1]):
        made = [test for test in view.tests if test.board == name and test.decides]
        if view.verdict == NOT_MEASURED or not made:
            continue
        parts = []
        for test in made:
            seen = f" (would have been seen: {test.seen})" if test.seen else ""
            figure = test.figure.partition(":")[0]
            parts.append(f"{test.rows}, {figure}: {test.difference}, {test.verdict}{seen}")
        told = escaped("; ".join(parts))
        lines.append(f"- **{escaped(view.claim)}** (claim {view.number}): {view.verdict}. {told}.")
    return lines


#: Name of each part of the README to what writes it from the folder of the boards.
PARTS: dict[str, Callable[[Path], str]] = {
    "quickstart": quickstart,
    "reproduced": reproduced,
    "claims": claims,
    "boards": boards,
}
_MARKED = re.compile(r"(<!-- results: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def written(text: str, folder: Path = LEADERBOARDS) -> str:
    """The README with its results made anew.

    Args:
        text: The README.
        folder: The boards.

    Returns:
        The text.

    Raises:
        UserError: If a part is not there exactly once, or is none that can be written.
    """
    names = re.findall(r"<!-- results: (\S+) -->", text)
    if sorted(names) != sorted(PARTS) or len(_MARKED.findall(text)) != len(PARTS):
        raise UserError(
            f"the README has the parts {', '.join(names) or 'none'}",
            allowed=f"each of {', '.join(PARTS)} once: <!-- results: NAME --> ... <!-- end -->",
        )
    return _MARKED.sub(lambda m: f"{m[1]}{PARTS[m[2]](folder)}\n{m[3]}", text)


def main() -> None:
    """Writes the README, or says whether it is what would be written."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing")
    args = parser.parse_args()
    text = README.read_text(encoding="utf-8")
    made = written(text)
    if made == text:
        return
    if args.check:
        raise UserError(
            f"{README.name} is not what the records say", next_step="python scripts/readme.py"
        )
    write_whole(README, made.encode())


if __name__ == "__main__":
    run_script(main)
