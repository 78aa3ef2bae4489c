"""Writes the results of the README from records: ``python scripts/readme.py [--check]``.

What stands between ``<!-- results: NAME -->`` and ``<!-- end -->`` is made anew: the example of the
quickstart and the boards from the records in ``leaderboards/``, the claims from their verdicts, the
counts of reproduced values from ``pnnbench/leaderboard/reproduced.json``, the names of what there
is from the registry.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from choice import longer

from pnnbench.api.tables import tables_of
from pnnbench.errors import UserError
from pnnbench.leaderboard.claims import Claims, read_claims, read_reproduced
from pnnbench.leaderboard.deployments import FROZEN
from pnnbench.leaderboard.grid import guessing
from pnnbench.leaderboard.model import Row, Table
from pnnbench.leaderboard.statistics import Interval
from pnnbench.leaderboard.verdicts import NOT_MEASURED, Decided, decide
from pnnbench.records.searches import read_search
from pnnbench.records.store import write_whole
from pnnbench.registry import SUITES, method_class, registered, workload_class
from pnnbench.report.claims_view import ClaimView, counts, views
from pnnbench.report.comparing import rank
from pnnbench.report.copies import copy_text
from pnnbench.report.formatting import (
    correlation,
    correlation_ends,
    count,
    curvature_unit,
    eigenvalue,
    escaped,
    is_share,
    metric_title,
    number,
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
    "mrr_mnist_radius": "Radius of SAT on microrings",
    "mzi_mnist": "Interferometer meshes",
    "freespace_mnist": "Free space",
    "diffractive_mnist": "Diffraction",
    "cifar10_classify": "Classification of CIFAR-10 on microrings",
    "cifar10_reconstruct": "Compression of CIFAR-10 on microrings",
    "cifar10_generate": "Generation after CIFAR-10 on microrings",
}
#: Rows of a board that are shown whatever they are: so many from its head.
BEST = 3
#: Figure of sharpness to its words.
PREDICTORS = {
    "lambda_max": "λmax",
    "device_increase": "increase of the loss on other devices",
}
#: What a method may touch, to its words, in the order of the README.
ACCESS = {
    "in_silico": "methods in silico",
    "in_situ": "methods in situ",
    "in_situ_internal": "methods in situ that read fields inside too",
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
    """The first table of the quickstart's board."""
    table = headline(folder / QUICKSTART)
    if table is None:
        return (
            "The rows with their intervals, best first. No run of it is committed yet: "
            "`pnnbench run quickstart` makes one."
        )
    heading, scores = render_table([table]).split("\n\n")[:2]
    return f"```\n{heading}\n\n{scores}\n```"


def own(kind: str) -> list[str]:
    """Names of what this package registers itself, in order."""
    points = registered(kind).items()
    return sorted(name for name, point in points if point.value.startswith("pnnbench."))


def names(_: Path) -> str:
    """What there is: the workloads of each platform, methods by what they may touch."""
    found: dict[str, list[str]] = {f"workloads on `{name}`": [] for name in own("platforms")}
    for name in own("workloads"):
        found[f"workloads on `{workload_class(name).platform}`"].append(f"`{name}`")
    found |= {words: [] for words in ACCESS.values()}
    for name in own("methods"):
        found[ACCESS[method_class(name).access]].append(f"`{name}`")
    rows = [f"| {words} | {', '.join(listed)} |" for words, listed in found.items()]
    return "\n".join(["| | |", "| --- | --- |", *rows])


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
        lines += ["", "| # | claim | verdict | on |", "| ---: | :--- | :--- | :--- |"]
        lines += [f"| {v.number} | {escaped(v.claim)} | {v.verdict} | {_on(v)} |" for v in shown]
    return "\n".join(lines)


def _on(view: ClaimView) -> str:
    """The boards that a claim is decided on, with links."""
    made = dict.fromkeys(test.board for test in view.tests if test.measured_at_all)
    return ", ".join(f"[{name}](leaderboards/{name}/README.md)" for name in made)


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
        ready = [name for name in lacking if searched(SUITES / "search" / f"{name}.json")]
        steps = [f"`pnnbench run {name}`" for name in ready]
        steps += [f"`pnnbench tune {n}` and then `run {n}`" for n in lacking if n not in ready]
        parts.append(
            f"{which} are still to be run under `{verdicts(folder)[0].protocol}`, after "
            f"`pnnbench data mnist --download` or `cifar10`: {', '.join(steps)}."
        )
    return "\n\n".join(parts)


def searched(record: Path) -> bool:
    """Whether the search of a suite is at its end, not begun or in the middle."""
    return record.is_file() and all(
        {"chosen", "failed"} & row.keys() for row in read_search(record)["rows"].values()
    )


def section(folder: Path, name: str) -> str:
    """One board: its best rows, the baseline and what the claims name; its metric, its picture."""
    table = headline(folder / name)
    if table is None:
        raise UserError(f"{folder / name} has no table of its headline deployment")
    seeds = max(len(row.seeds) for row in table.rows)
    devices = max(sum(d is not None for d in row.devices) for row in table.rows)
    key, place = table.key, f"leaderboards/{name}"
    deployed = "" if key["deployment"] == FROZEN else f", {key['deployment']} devices"
    unit = curvature_unit(table.control_unit) if table.control_unit else ""
    curvature = f"; λmax in {unit}" if unit else ""
    rows = shown(table, _named(folder, name))
    part = (
        f"All {len(rows)} rows"
        if len(rows) == len(table.rows)
        else f"{len(rows)} of {len(table.rows)} rows: the best, the baseline and those that the "
        "claims name"
    )
    lines = [
        f"### {TITLES.get(name, name)}",
        "",
        f"`{key['workload']}`, {key['protocol']} revision {key['revision']}{deployed}: {seeds} "
        f"seeds x {devices} fresh devices. {_metric(table)}{curvature}. {part} ([all rows and "
        f"tables]({place}/README.md), [page with pictures]({place}/index.html)).",
        "",
        *_rows(table, rows),
    ]
    if copied := copy_text(table):
        lines += ["", f"{copied}."]
    if (folder / name / "pictures" / "degradation.png").is_file():
        lines += ["", f"![{_title(table)} under perturbation]({place}/pictures/degradation.png)"]
    predicted, lengthened = _predicted(table), longer(name, above="")
    if predicted:
        lines += ["", predicted]
    if lengthened:
        lines += ["", f"Is the run long enough? {lengthened}, with plain intervals."]
    return "\n".join(lines)


def shown(table: Table, claimed: Collection[str]) -> list[Row]:
    """The rows of a board that the README has, in the order of the board.

    Args:
        table: The board.
        claimed: Labels of the rows that claims name.

    Returns:
        The first `BEST`, the baseline, and those that are named.
    """
    baselines = {row.baseline for row in table.rows}
    return [
        row
        for place, row in enumerate(table.rows)
        if place < BEST or row.method in baselines or row.method in claimed
    ]


def _named(folder: Path, name: str) -> set[str]:
    """Labels of the rows that decide claims on a board."""
    return {
        label
        for one in verdicts(folder)[1]
        if one.verdict != NOT_MEASURED
        for outcome in one.outcomes
        if outcome.test.board == name and not outcome.test.beside
        for label in (outcome.test.row, outcome.test.against)
        if label
    }


def _title(table: Table) -> str:
    return metric_title(table.key["metric"])


def _metric(table: Table) -> str:
    """Says what the figures are, which way they point, and what guessing has."""
    metric = next((jobs[0]["metric"] for jobs in table.chosen.finished.values() if jobs), None)
    if metric is None:
        return _title(table)
    share = is_share(table.key["metric"])
    unit = " %" if share else ""
    direction = "higher" if metric["higher_is_better"] else "lower"
    chance = number(guessing(metric), share=share)
    return f"{_title(table)}, {direction} is better; guessing has {chance}{unit}"


def _settings(table: Table, row: Row) -> str:
    """Whether the settings of a row were searched, and at which tier if it is another one."""
    found = next((told for told in table.tuning if told.method == row.method), None)
    if found is not None and found.like is not None:
        if found.tuned:
            return escaped(", ".join((f"as {found.like}", *(f"own {name}" for name in found.own))))
        return "not searched"
    if found is None or not found.tuned:
        return "not searched"
    return "searched" if found.tier == table.key["tier"] else f"searched at tier `{found.tier}`"


def _rows(table: Table, rows: Sequence[Row]) -> list[str]:
    share = is_share(table.key["metric"])
    unit = " %" if share else ""
    baseline = next((row.baseline for row in table.rows if row.baseline), None)
    heads = ("rank", "method", "settings", f"clean{unit}", f"robust{unit}", f"worst tenth{unit}",
             f"vs {baseline or 'baseline'}", "λmax", "grad.")  # fmt: skip

    def difference(row: Row) -> str:
        if row.method == baseline:
            return "baseline"
        # Of an incomplete row no interval holds beside the others'.
        whole = row.simultaneous.mean is not None
        told = row.simultaneous if whole else Interval(row.difference.mean)
        return plus_minus(told, share=share, sign=True)

    lines = [f"| {' | '.join(heads)} |", "| ---: | :--- | :--- |" + " ---: |" * 6]
    for row in rows:
        figures = [plus_minus(x, share=share) for x in (row.clean, row.robust, row.worst_decile)]
        costs = [eigenvalue(row.lambda_max), count(row.cost.get("gradient_evaluations"))]
        named = [rank(row), escaped(row.method), _settings(table, row)]
        lines.append(f"| {' | '.join([*named, *figures, difference(row), *costs])} |")
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
        "Sharpness against score, Spearman's correlation between the means of rows and within "
        f"rows: {'; '.join(told)}."
    )


def _correlation(entry: Mapping[str, float | None]) -> str:
    if entry["rho"] is None:
        return "–"
    ends = correlation_ends(entry["low"], entry["high"])
    return correlation(entry["rho"]) + (f" ({ends})" if ends else "")


#: Name of each part of the README to what writes it from the folder of the boards.
PARTS: dict[str, Callable[[Path], str]] = {
    "quickstart": quickstart,
    "names": names,
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
