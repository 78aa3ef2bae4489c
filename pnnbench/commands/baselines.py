"""The finished rows of suites that ship, beside those of somebody's own suite."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pnnbench.api.tables import tables_of
from pnnbench.leaderboard.joining import SIGN
from pnnbench.leaderboard.model import Table
from pnnbench.records.folders import find_records
from pnnbench.registry import BOARDS, SUITES

Place = tuple[str, str, str]
"""Protocol, workload and tier."""


def shipped_suites() -> dict[str, tuple[set[Place], int]]:
    """The suites that ship.

    Returns:
        Name to where its rows stand, and to how many jobs it has.
    """
    import yaml

    found = {}
    for path in sorted(SUITES.glob("*.yaml")):
        text = yaml.safe_load(path.read_text(encoding="utf-8"))
        places = {(text["protocol"], name, text["tier"]) for name in text["workloads"]}
        size = len(text["workloads"]) * len(text["methods"]) * len(text["seeds"])
        found[path.stem] = (places, size)
    return found


def beside_baselines(tables: Sequence[Table], folder: Path) -> list[Table]:
    """Joins the boards of an own suite with the finished rows of suites that ship.

    Args:
        tables: Its boards.
        folder: Its run folder; suites that ship are looked for beside it, then among the published
            boards.

    Returns:
        The joined tables; empty where no suite that ships has finished rows of the same workload,
        tier, protocol and data.
    """
    mine = {table.key["suite"] for table in tables}
    places = {(t.key["protocol"], t.key["workload"], t.key["tier"]) for t in tables}
    sources = []
    for name, (where, _) in shipped_suites().items():
        if name in mine or not places & where:
            continue
        homes = (folder.parent / name, Path("leaderboards") / name, BOARDS / name)
        sources += [home for home in homes if find_records(home)][:1]
    if not sources:
        return []
    return [
        table
        for table in tables_of([folder, *sources], joined=True)
        if any(name in table.key["suite"].split(SIGN) for name in mine)
        and SIGN in table.key["suite"]
    ]
