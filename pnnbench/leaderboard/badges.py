"""Badges of rows: what verifications found, where they are of the very records of the row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pnnbench.leaderboard.model import Row, Table
from pnnbench.records.verifications import badges_of


def with_badges(
    tables: Sequence[Table],
    records: Sequence[Mapping[str, Any]],
    verifications: Sequence[Mapping[str, Any]],
) -> list[Table]:
    """The tables with the badges of their rows.

    Args:
        tables: What ``ranking.build`` made.
        records: The sealed records that it made them of.
        verifications: What `pnnbench.records.verifications.read_verifications` found.

    Returns:
        The same tables, as they are where there is no verification. A row has a badge where each
        of its records has it by its checksum: a record that was changed, or added, has none.
    """
    if not verifications:
        return list(tables)

    def badged(row: Row) -> Row:
        own = [record for record in records if _is_of(record, row)]
        return replace(row, badges=badges_of(own, verifications))

    return [replace(table, rows=tuple(badged(row) for row in table.rows)) for table in tables]


def _is_of(record: Mapping[str, Any], row: Row) -> bool:
    """Whether a record is a finished one of a row."""
    job, key = record["job"], row.key
    return (
        record["status"] == "ok"
        and job["suite"] in key["suite"].split(" + ")
        and (record["protocol"], job["tier"]) == (key["protocol"], key["tier"])
        and record["data"]["fingerprint"] == key["fingerprint"]
        and (job["method"]["label"], job["method"]["name"]) == (row.method, row.name)
        and job["seed"] in row.seeds
    )
