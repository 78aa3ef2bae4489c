"""Badges: only from verifications of the very records of a row."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from pnnbench.api.tables import tables_of
from pnnbench.errors import UserError
from pnnbench.leaderboard.badges import with_badges
from pnnbench.leaderboard.ranking import build
from pnnbench.records.folders import read_records
from pnnbench.records.store import seal
from pnnbench.records.verifications import read_verification, write_verification

from ..record_factory import make_suite, write_job


def verification(records: list[dict[str, Any]], *badges: str) -> dict[str, Any]:
    job = records[0]["job"]
    return {
        "format": 1,
        "pnnbench": "0.1.0",
        "submission": "0" * 64,
        "suite": job["suite"],
        "protocol": records[0]["protocol"],
        "workload": job["workload"],
        "tier": job["tier"],
        "row": job["method"]["label"],
        "seeds": [{"seed": r["job"]["seed"], "record": r["checksum"]} for r in records],
        "confirmed": True,
        "badges": list(badges),
        "controls": {},
        "held_out": {"memorised": False},
        "claimed": [],
        "versions": {},
    }


@pytest.fixture(scope="module")
def records() -> list[dict[str, Any]]:
    return [seal(record) for record in make_suite()]


def test_a_row_has_the_badges_of_its_own_records(records: list[dict[str, Any]]) -> None:
    label = records[0]["job"]["method"]["label"]
    own = [r for r in records if r["job"]["method"]["label"] == label]
    tables = build(records)
    assert with_badges(tables, records, []) == tables
    assert all("badges" not in row.as_dict() for table in tables for row in table.rows)
    found = with_badges(tables, records, [verification(own, "claimed", "recomputed")])
    badges = {row.method: row.badges for table in found for row in table.rows}
    assert badges.pop(label) == ("claimed", "recomputed")
    assert set(badges.values()) == {("claimed",)}
    row = next(row for row in found[0].rows if row.method == label)
    assert row.as_dict()["badges"] == ["claimed", "recomputed"]
    # What stands beside the badges is what stood there before.
    assert dataclasses.replace(row, badges=()) in tables[0].rows


def test_a_changed_or_unverified_record_takes_the_badge(records: list[dict[str, Any]]) -> None:
    label = records[0]["job"]["method"]["label"]
    own = [r for r in records if r["job"]["method"]["label"] == label]
    told = verification(own, "claimed", "recomputed")
    forged = [seal({**r, "clean": 0.99}) if r is own[0] else r for r in records]
    fewer = verification(own[1:], "claimed", "recomputed")
    for given, said in ((forged, told), (records, fewer)):
        found = with_badges(build(given), given, [said])
        assert next(r for r in found[0].rows if r.method == label).badges == ("claimed",)


@pytest.mark.parametrize(
    ("badge", "change"),
    [
        ("recomputed", {"confirmed": False}),
        ("recomputed", {"retrained": {"badge": "retrained"}}),
        ("held-out", {"held_out": {"memorised": True}}),
        ("held-out", {"held_out": {}}),
        ("held-out", {"confirmed": False}),
        ("retrained", {}),
        ("retrained", {"retrained": {"badge": None}}),
    ],
)
def test_a_badge_that_the_rest_does_not_bear_out_is_refused(
    badge: str, change: dict[str, Any], records: list[dict[str, Any]], tmp_path: Path
) -> None:
    path = tmp_path / "row.json"
    write_verification(path, verification(records[:2], "claimed"))
    assert read_verification(path)["badges"] == ["claimed"]
    write_verification(path, {**verification(records[:2], "claimed", badge), **change})
    with pytest.raises(UserError, match="badges"):
        read_verification(path)


def test_a_verification_that_differs_bears_no_badge(
    records: list[dict[str, Any]], tmp_path: Path
) -> None:
    told = verification(records[:2], "claimed", "recomputed")
    told["seeds"][0]["differences"] = [{"field": "clean"}]
    write_verification(tmp_path / "row.json", told)
    with pytest.raises(UserError, match="no recomputed"):
        read_verification(tmp_path / "row.json")


def test_boards_read_what_lies_beside_their_records(
    records: list[dict[str, Any]], tmp_path: Path
) -> None:
    for record in records:
        write_job(tmp_path / "runs", {k: v for k, v in record.items() if k != "checksum"})
    path = tmp_path / "runs" / "verifications" / "row.json"
    label = records[0]["job"]["method"]["label"]
    own = [r for r in read_records(tmp_path / "runs") if r["job"]["method"]["label"] == label]
    write_verification(path, verification(own, "claimed", "recomputed", "held-out"))
    assert read_verification(path)["row"] == label
    found = tables_of([tmp_path / "runs"])
    badges = {row.method: row.badges for row in found[0].rows}
    assert badges[label] == ("claimed", "recomputed", "held-out")
    path.write_text(path.read_text().replace("held-out", "retrained"))
    with pytest.raises(UserError, match="was changed"):
        tables_of([tmp_path / "runs"])
    with pytest.raises(UserError, match="badges"):
        write_verification(path, verification(own, "gold"))
