"""Which jobs of a row count: the newest, failed ones, those with gaps."""

from __future__ import annotations

import hashlib

import pytest

from pnnbench.leaderboard import ranking
from pnnbench.leaderboard import statistics as st
from pnnbench.records.store import canonical

from ..record_factory import (
    make_failure,
    make_record,
    make_suite,
)
from .changed import figures_of, missing, resealed

BOARD = ("mrr_mnist", "pnnbench-2", "mrr-mnist", "standard")


def at(record: dict, finished: str, **job: object) -> dict:
    """The same job run again at another time, with other settings where given."""

    def change(r: dict) -> None:
        r["provenance"]["finished"] = finished
        r["job"] |= job
        r["job"]["hash"] = hashlib.sha256(canonical([finished, r["job"]])).hexdigest()[:16]

    return resealed(record, change)


def test_the_newest_job_of_a_row_and_seed_counts_and_older_ones_are_named() -> None:
    early, late = "2026-01-01T10:00:00+00:00", "2026-01-02T10:00:00+00:00"
    edited = "1" * 64
    old = [at(make_record("SAT", seed), early, content="0" * 64) for seed in (0, 1)]
    new = at(make_record("NAT", 0), late, content=edited)
    new = resealed(new, lambda r: r["job"].update(method=old[0]["job"]["method"]))
    (table,) = ranking.build([*old, new])
    (row,) = table.rows
    # Seed 1 was trained with the older version: it is no part of the edited row.
    assert row.seeds == (0,)
    assert row.clean.mean == new["clean"]
    assert [(o["method"], o["seed"], o["hash"]) for o in table.older] == [
        ("SAT", seed, old[seed]["job"]["hash"]) for seed in (0, 1)
    ]
    # The suite knows better which jobs it consists of, also when an edit was taken back.
    current = {BOARD: {"SAT": {seed: old[seed]["job"]["hash"] for seed in (0, 1)}}}
    (table,) = ranking.build([*old, new], current=current)
    assert table.rows[0].seeds == (0, 1)
    assert [o["hash"] for o in table.older] == [new["job"]["hash"]]


def test_a_newer_failure_counts_and_a_killed_job_does_not() -> None:
    early, late = "2026-01-01T10:00:00+00:00", "2026-01-02T10:00:00+00:00"
    done = at(make_record("SAT", 0), early, content="0" * 64)
    for status, counts in (("error", True), ("killed", False)):
        failure = at(make_failure("SAT", 0, status), late, content="1" * 64)
        (row,) = ranking.rows([done, failure])
        assert bool(row.failed) is counts
        assert row.seeds == (() if counts else (0,))


def test_failed_seeds_count_as_guessing_and_the_row_stands_last() -> None:
    """The field case: a copy of BP that diverges at two of three seeds."""
    whole = make_suite(["BP", "NAT"])
    lucky = [make_record("SAT", 0), make_failure("SAT", 1), make_failure("SAT", 2)]
    table = ranking.build([*whole, *lucky])[0]
    row = table.rows[-1]
    assert (row.method, row.rank_low, row.complete) == ("SAT", None, False)
    alone = ranking.rows([make_record("SAT", 0)])[0]
    assert row.robust.mean == pytest.approx((alone.robust.mean + 2 * 0.1) / 3)
    assert row.clean == st.one_way([make_record("SAT", 0)["clean"]])
    assert all(1 <= r.rank_low <= r.rank_high <= 2 for r in table.rows[:-1])
    assert {row.simultaneous.low, row.rank_high} == {None}
    assert row.difference.mean is not None
    assert [(c.a, c.b) for c in table.comparisons] == [tuple(r.method for r in table.rows[:-1])]
    assert all("SAT" not in r.tied_with for r in table.rows)


def test_an_undefined_cell_counts_as_guessing() -> None:
    def gap(r: dict) -> None:
        r["cells"][0]["value"] = None
        missing(r, "cells[0]")

    def guess(r: dict) -> None:
        r["cells"][0]["value"] = 0.1

    (row,) = ranking.rows([resealed(make_record(), gap)])
    (expected,) = ranking.rows([resealed(make_record(), guess)])
    assert (row.without_value, expected.without_value) == (1, 0)
    assert figures_of(row) == figures_of(expected) | {"cells_without_value": 1}

    def without_chance(r: dict) -> None:
        gap(r)
        r["metric"] = {"name": "mse", "higher_is_better": False}

    rows = [resealed(make_record("SAT", 0), without_chance)]
    for label in ("BP", "NAT"):
        rows.append(resealed(make_record(label), lambda r: r.update(metric=rows[0]["metric"])))
    table = ranking.build(rows)[0]
    row = table.rows[-1]
    assert (row.method, row.undefined, row.complete, row.rank_low) == ("SAT", (0,), False, None)
    assert row.robust == st.NOTHING
    assert row.clean.mean is not None


def test_failed_jobs_are_listed_and_never_counted() -> None:
    whole = [r for r in make_suite(["SAT", "BP"]) if r["job"]["seed"] != 2]
    whole.append(make_record("BP", 2))
    failures = [make_failure("SAT", 2), make_failure("NAT", 0, "killed")]
    table = ranking.build([*whole, *failures])[0]
    rows = {row.method: row for row in table.rows}
    assert rows["SAT"].seeds == (0, 1)
    assert rows["SAT"].missing == (2,)
    assert not rows["SAT"].complete
    assert rows["SAT"].failed[0]["status"] == "diverged"
    assert rows["SAT"].failed[0]["seed"] == 2
    assert rows["NAT"].seeds == ()
    assert rows["NAT"].rank_low is None
    assert rows["NAT"].robust == st.NOTHING
    assert rows["NAT"].as_dict()["n_seeds"] == 0
    assert rows["BP"].complete
    assert table.rows[-1].method == "NAT"
    assert table.provenance["jobs"] == 5


def test_a_suite_says_which_jobs_it_consists_of() -> None:
    mine = make_record("SAT", 1)
    jobs = {0: "0" * 16, 1: mine["job"]["hash"], 2: "2" * 16}
    current = {BOARD: {"SAT": jobs, "NAT": dict.fromkeys((0, 1, 2), "3" * 16)}}
    rows = {r.method: r for r in ranking.rows([mine], current=current)}
    assert rows["SAT"].missing == (0, 2)
    assert rows["NAT"].missing == (0, 1, 2)
    assert not rows["NAT"].complete


def test_failures_alone_make_a_table_without_figures() -> None:
    tables = ranking.build([make_failure("SAT", 0, "timeout")])
    assert len(tables) == 1
    row = tables[0].rows[0]
    assert (row.method, row.failed[0]["status"], row.rank_low) == ("SAT", "timeout", None)
    assert ranking.build([]) == []


def test_an_older_job_that_knew_less_is_no_row_in_place_of_the_left_out_one() -> None:
    early, late = "2026-01-01T10:00:00+00:00", "2026-01-02T10:00:00+00:00"
    old = at(make_record("SAT"), early, content="0" * 64)
    new = at(make_record("SAT"), late, content="1" * 64)
    new["provenance"]["method"] = {"access": "in_silico", "knows": ["tested law"]}
    (table,) = ranking.build([old, new, make_record("BP")])
    assert [r.method for r in ranking.without(table, ("tested law",)).rows] == ["BP"]
