"""Records with a change, and the figures of a row."""

from __future__ import annotations

import copy

from pnnbench.leaderboard import ranking
from pnnbench.records.store import seal


def resealed(record: dict, change) -> dict:
    record = copy.deepcopy(record)
    record.pop("checksum")
    change(record)
    return seal(record)


def with_values(record: dict, value) -> dict:
    def change(r: dict) -> None:
        for cell in r["cells"]:
            cell["value"] = float(value(cell))

    return resealed(record, change)


def missing(record: dict, *parts: str) -> None:
    """Says in a record that some of its parts could not be measured."""
    record["schema"] = 2
    record["gaps"] = [{"part": p, "type": "not-finite", "message": "overflow"} for p in parts]


def second_revision(record: dict, change=lambda r: None) -> dict:
    def revise(r: dict) -> None:
        r["job"]["revision"] = 2
        change(r)

    return resealed(record, revise)


def figures_of(row: ranking.Row) -> dict:
    """What a row says of itself: everything but where it stands among others."""
    others = ("rank_low", "rank_high", "tied_with", "difference_to_baseline", "time_ratio")
    return {k: v for k, v in row.as_dict().items() if k not in others}
