"""Boards of several suites joined: which rows meet, and that no figure of a row moves."""

from __future__ import annotations

from typing import Any

import pytest

from pnnbench.leaderboard.joining import join
from pnnbench.leaderboard.ranking import build
from pnnbench.records.index import Index

from ..record_factory import make_mesh_record, make_record, make_suite
from .test_training_devices import on_device

METHODS = ("BP", "NAT", "SAT")


def mine(label: str, name: str, seed: int, suite: str = "mine", **options: Any) -> dict[str, Any]:
    """A record of a row of an own suite."""
    record = make_record(label, seed, suite=suite, sealed=False, **options)
    record["job"]["method"]["label"] = name
    return record


def rows(records: list[dict[str, Any]], current: Index | None = None) -> dict[str, Any]:
    joined, asked = join(records, current)
    tables = build(joined, current=asked)
    assert len(tables) == 1
    return {row.method: row for row in tables[0].rows}


def test_an_own_row_stands_among_the_others_and_moves_none() -> None:
    board = make_suite(METHODS)
    alone = {row.method: row for table in build(board) for row in table.rows}
    own = [mine("BP on weights", "My method", seed) for seed in (0, 1, 2)]
    found = rows([*board, *own])
    assert set(found) == {*METHODS, "My method"}
    for label, row in alone.items():
        assert found[label].robust == row.robust
        assert found[label].clean == row.clean
        assert found[label].key["suite"] == "mine + mrr_mnist"


def test_the_same_job_counts_once_whatever_it_is_called() -> None:
    board = make_suite(METHODS)
    own = [mine("BP", "Backpropagation", seed) for seed in (0, 1, 2, 3)]
    found = rows([*board, *own])
    assert set(found) == {"Backpropagation", "NAT", "SAT"}
    assert found["Backpropagation"].seeds == (0, 1, 2, 3)


def test_rows_on_other_training_devices_are_two_rows() -> None:
    seeds = (0, 5)
    own = [make_mesh_record("PAT", seed, suite="a") for seed in seeds]
    three = [
        on_device(make_mesh_record("PAT", seed, suite="b", sealed=False), device, 0.03 * device)
        for seed in seeds
        for device in (0, 1, 2)
    ]
    alone = {row.robust for records in (own, three) for t in build(records) for row in t.rows}
    found = rows([*own, *three])
    assert set(found) == {"PAT (a)", "PAT (b)"}
    assert {row.robust for row in found.values()} == alone


def test_one_label_with_other_settings_is_two_rows() -> None:
    board = make_suite(METHODS)
    own = [mine("SAT", "SAT", seed) for seed in (0, 1, 2)]
    for record in own:
        record["job"]["method"]["params"] = {"rho": 0.5}
        record["job"]["hash"] = "0" * 15 + str(record["job"]["seed"])
    assert set(rows([*board, *own])) == {"BP", "NAT", "SAT (mine)", "SAT (mrr_mnist)"}


def test_other_tiers_data_and_protocols_stay_apart() -> None:
    board = make_suite(METHODS)
    for other in (
        {"tier": "quick"},
        {"fingerprint": "sha256:" + "00" * 32},
        {"protocol": "published"},
    ):
        own = [mine("BP on weights", "My method", seed, **other) for seed in (0, 1)]
        joined, asked = join([*board, *own])
        assert sorted(joined, key=id) == sorted([*board, *own], key=id)
        assert asked == {}
        assert len(build(joined)) == 2


def test_what_a_suite_no_longer_consists_of_stays_out() -> None:
    board = make_suite(METHODS)
    old, new = (mine("BP on weights", "My method", 0) for _ in range(2))
    old["job"]["method"]["params"] = {"lr": 9.0}
    old["job"]["hash"] = "f" * 16
    key = ("mine", "pnnbench-2", "mrr-mnist", "standard")
    asked = {key: {"My method": {0: new["job"]["hash"], 1: "e" * 16}, "Not begun": {0: "d" * 16}}}
    found = rows([*board, old, new], asked)
    assert found["My method"].params == {}
    assert found["My method"].seeds == (0,)
    assert found["My method"].missing == (1,)
    assert found["Not begun"].missing == (0,)
    assert not found["My method"].complete


def test_one_suite_is_left_as_it_is() -> None:
    board = make_suite(METHODS)
    joined, asked = join(board)
    assert joined == board
    assert asked == {}


def test_a_finished_job_stands_before_a_failure_of_the_same() -> None:
    board = make_suite(METHODS)
    own = [mine("SAT", "SAT", 0), mine("NAT", "NAT", 0)]
    own[0]["status"] = "error"
    own[0]["error"] = {"type": "OSError", "message": "gone"}
    assert rows([*own, *board])["SAT"].complete


@pytest.mark.parametrize("setup", [{"devices": {"kind": "measured"}}, {"axes": ["control-bits"]}])
def test_boards_of_other_devices_or_axes_stay_apart(setup):
    records = [make_record("BP"), make_record("BP", suite="mine")]
    assert len({r["job"]["suite"] for r in join(records)[0]}) == 1
    records[1] = {**records[1], "config": {**records[1]["config"], **setup}}
    kept, _ = join(records)
    assert sorted(r["job"]["suite"] for r in kept) == sorted(r["job"]["suite"] for r in records)
