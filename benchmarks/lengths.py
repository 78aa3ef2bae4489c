"""Whether a suite is long enough: the order of its rows at half, once and twice the epochs.

Run the suites in benchmarks/lengths with `pnnbench run`, then

    python benchmarks/lengths.py runs/lengths_mzi_mnist [--keep benchmarks/lengths/mzi_mnist]

With --keep the records go into that folder, with the text beside them.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Sequence
from pathlib import Path

from pnnbench.errors import UserError
from pnnbench.leaderboard.grid import Record
from pnnbench.leaderboard.model import Row
from pnnbench.leaderboard.ranking import build
from pnnbench.leaderboard.statistics import Interval, paired_difference
from pnnbench.records.folders import read_placed
from pnnbench.records.store import write_record, write_whole
from pnnbench.script import run_script

FACTORS = (0.5, 1.0, 2.0)
"""Multiples of the tier's epochs."""


def told_apart(difference: Interval) -> int:
    """Sign of a difference whose interval leaves zero out, else 0."""
    if difference.low is None or difference.high is None:
        return 0
    return (difference.low > 0.0) - (difference.high < 0.0)


def name_of(row: Row) -> str:
    """The row without its length."""
    return row.method.rsplit(", x", 1)[0]


def percent(interval: Interval, sign: str = "") -> str:
    """Mean and half width in percent or points."""
    if interval.mean is None:
        return "–"
    if interval.low is None or interval.high is None:
        return f"{100 * interval.mean:{sign}.1f}"
    return f"{100 * interval.mean:{sign}.1f} ±{50 * (interval.high - interval.low):.1f}"


def report(rows: Sequence[Row]) -> str:
    """The scores at each length, the differences of all pairs, and what a longer run changes.

    Args:
        rows: Complete rows of one board, labelled ``"NAME, xFACTOR"``.

    Returns:
        Markdown.
    """
    found = {(name_of(row), row.epochs_factor): row for row in rows}
    names = list(dict.fromkeys(name for name, _ in found))
    missing = [f"{n}, x{f:g}" for n in names for f in FACTORS if (n, f) not in found]
    if missing:
        raise UserError(f"no finished row {missing[0]}", next_step="run the suite to its end")
    head = "| | " + " | ".join(f"x{factor:g}" for factor in FACTORS) + " |"
    rule = "| :--- |" + " ---: |" * len(FACTORS)
    lines = ["Robust score in percent, 95 % intervals:", "", head, rule]
    for name in names:
        cells = [percent(found[name, factor].robust) for factor in FACTORS]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    lines += ["", "Differences of pairs in points, plain 95 % intervals:", "", head, rule]
    turned, settled, opened = [], [], []
    for a, b in itertools.combinations(names, 2):
        found_at = {}
        for factor in FACTORS:
            left, right = found[a, factor].scores, found[b, factor].scores
            if left is None or right is None:
                raise UserError(f"{a} or {b} has no score at x{factor:g}")
            found_at[factor] = paired_difference(left, right)
        pair = f"{a} − {b}"
        lines.append(f"| {pair} | " + " | ".join(percent(found_at[f], "+") for f in FACTORS) + " |")
        once, twice = told_apart(found_at[1.0]), told_apart(found_at[2.0])
        if once * twice < 0:
            turned.append(pair)
        elif once and not twice:
            opened.append(pair)
        elif twice and not once:
            settled.append(pair)
    pairs = len(names) * (len(names) - 1) // 2
    lines += [
        "",
        f"From once to twice the epochs, of {pairs} pairs {len(turned)} turn their order"
        + (f" ({'; '.join(turned)})" if turned else "")
        + f", {len(opened)} are told apart at once the epochs alone"
        + (f" ({'; '.join(opened)})" if opened else "")
        + f", {len(settled)} at twice alone"
        + (f" ({'; '.join(settled)})" if settled else "")
        + ".",
    ]
    return "\n".join(lines) + "\n"


def page(records: Sequence[Record], where: str) -> str:
    """The report of one suite of lengths with its title.

    Args:
        records: Its records.
        where: Where they lie, for messages.

    Returns:
        Markdown.

    Raises:
        UserError: If they are of several boards, or a row is missing.
    """
    tables = [table for table in build(records) if table.headline]
    if len(tables) != 1:
        raise UserError(f"{where} has {len(tables)} boards", allowed="one suite of lengths")
    rows = [row for row in tables[0].rows if row.complete]
    key = tables[0].key
    seeds = sorted({len(row.seeds) for row in rows})
    return (
        f"# {key['workload']}, {key['tier']}: is the suite long enough?\n\n"
        f"Protocol {key['protocol']}, revision {key['revision']}; {seeds[0]} seeds. "
        f"Written by `python benchmarks/lengths.py runs/{key['suite']}`.\n\n{report(rows)}"
    )


def main() -> None:
    """Prints the report, and keeps it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, help="folder of records of one suite of lengths")
    parser.add_argument("--keep", type=Path, help="folder for records and report")
    args = parser.parse_args()
    placed = read_placed(args.runs)
    text = page([record for _, record in placed], str(args.runs))
    print(text)
    if args.keep is not None:
        for _, record in placed:
            write_record(args.keep / "records" / f"{record['job']['hash']}.json", record)
        write_whole(args.keep / "README.md", text.encode())


if __name__ == "__main__":
    run_script(main)
