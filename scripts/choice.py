"""One choice of the protocol, and how its values are written; read by scripts/protocol.py."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path

from pnnbench.records.folders import read_records
from pnnbench.registry import workload_class
from pnnbench.running.suite_text import read_yaml

ROOT = Path(__file__).resolve().parents[1]
T = "tests/"
LENGTHS = "benchmarks/lengths"
"""Where it is shown what a longer run changes, a folder for each suite."""
ONCE = ", x1"
"""What the label of a row at the suite's own length ends in there."""


@dataclasses.dataclass(frozen=True)
class Choice:
    """One choice of the protocol.

    Attributes:
        what: What is chosen.
        value: Its value with its unit.
        why: Source or reason.
        test: File and name of the test that holds it, ``file::name``; empty where it is a plain
            constant that is part of each job's hash.
    """

    what: str
    value: object
    why: str
    test: str = ""


def levels(values: Iterable[float]) -> str:
    """Numbers in one cell of a table."""
    return ", ".join(f"{value:g}" for value in values)


def tiers(name: str, field: str) -> str:
    """A field of a workload's tiers, in one cell of a table."""
    found = {tier: getattr(value, field) for tier, value in workload_class(name).tiers.items()}
    return "; ".join(f"{tier} {'all' if value is None else value}" for tier, value in found.items())


def longer(suite: str, above: str = "../") -> str:
    """What a run of twice the epochs changes in the order of a suite's rows, with a link.

    Args:
        suite: Name of the suite.
        above: The repository as seen from the page that the link stands on.

    Returns:
        The last sentence of the suite's report, and at which settings its rows were run; empty
        where no run of it is committed.
    """
    folder = ROOT / LENGTHS / suite
    if not (folder / "README.md").is_file():
        return ""
    told = (folder / "README.md").read_text(encoding="utf-8").strip().splitlines()[-1].rstrip(".")
    rows = read_yaml(ROOT / "benchmarks" / f"{suite}.yaml")["methods"]
    tuned = {f"{row['label']}{ONCE}": row["tuned"].items() for row in rows if "tuned" in row}
    ran = [record["job"]["method"] for record in read_records(folder / "records")]
    searched = all(
        row["label"] in tuned and tuned[row["label"]] <= row["params"].items()
        for row in ran
        if row["label"].endswith(ONCE)
    )
    settings = "the settings that were searched" if searched else "settings from before the search"
    return f"[{told}]({above}{LENGTHS}/{suite}/README.md), at {settings}"
