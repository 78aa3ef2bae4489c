"""What may not be compared never shares a table."""

from __future__ import annotations

import copy
import hashlib

import pytest

from pnnbench.errors import UserError
from pnnbench.leaderboard import ranking
from pnnbench.leaderboard import statistics as st
from pnnbench.records.index import board_of
from pnnbench.records.store import job_hash, seal

from ..record_factory import (
    METHODS,
    make_failure,
    make_record,
    make_suite,
)
from .changed import resealed, second_revision

BOARD = ("mrr_mnist", "pnnbench-2", "mrr-mnist", "standard")


@pytest.fixture(scope="module")
def table() -> ranking.Table:
    tables = ranking.build(make_suite([*METHODS, "BP 2x"]))
    assert len(tables) == 1
    return tables[0]


def test_revisions_never_share_a_table() -> None:
    later = [second_revision(record) for record in make_suite(["BP", "SAT"])]
    first, second = ranking.build([*make_suite(["BP"]), *later, make_failure("NAT")])
    assert (first.key["revision"], second.key["revision"]) == ("1", "2")
    assert [row.method for row in first.rows] == ["BP", "NAT"]
    assert {row.method for row in second.rows} == {"BP", "SAT"}


@pytest.mark.parametrize(
    "options",
    [
        {"protocol": "published"},
        {"tier": "quick"},
        {"suite": "other"},
        {"fingerprint": "sha256:" + "00" * 32},
    ],
)
def test_what_may_not_be_compared_never_shares_a_table(options: dict) -> None:
    tables = ranking.build([*make_suite(["SAT", "BP"]), *make_suite(["SAT", "BP"], **options)])
    assert len(tables) == 2
    assert all(len(table.rows) == 2 for table in tables)
    assert all(len(row.seeds) == 3 for table in tables for row in table.rows)


@pytest.mark.parametrize("indexed", [False, True])
def test_a_failure_stands_beside_the_jobs_that_read_the_same_data(indexed: bool) -> None:
    seeds = (0, 1, 2)
    new = [make_record("BP", s) for s in seeds] + [make_record("SAT", s) for s in (0, 1)]
    bad = make_failure("SAT", 2)
    early = {key: value for key, value in bad.items() if key not in ("data", "metric", "checksum")}
    old = [make_record("BP", s, fingerprint="sha256:" + "aa" * 32) for s in seeds]
    index = {label: {s: make_record(label, s)["job"]["hash"] for s in seeds} for label in METHODS}
    current = {BOARD: index} if indexed else None
    for failure in (bad, seal(early)):
        (alone,) = ranking.build([*new, failure], current=current)
        found = ranking.build([*old, *new, failure], current=current)
        assert len(found) == 2
        (table,) = (t for t in found if t.key == alone.key)
        assert [r.as_dict() for r in table.rows] == [r.as_dict() for r in alone.rows]
        (row,) = (r for r in table.rows if r.method == "SAT")
        assert not row.complete
        assert [f["seed"] for f in row.failed] == [2]


def test_another_metric_makes_another_table_and_lower_can_be_better() -> None:
    def as_error(r: dict) -> None:
        r["metric"] = {"name": "mse", "higher_is_better": False}
        for cell in r["cells"]:
            cell["value"] = 1.0 - cell["value"]

    errors = [resealed(record, as_error) for record in make_suite(["SAT", "BP"])]
    tables = ranking.build([*make_suite(["SAT", "BP"]), *errors])
    assert [table.key["metric"] for table in tables] == ["accuracy", "mse"]
    mse = tables[1]
    assert [(row.method, row.rank_low) for row in mse.rows] == [("SAT", 1), ("BP", 2)]
    assert [row.rank_high for row in mse.rows] == [1, 2]
    (pair,) = mse.comparisons
    assert (pair.a, pair.separated) == ("SAT", True)
    assert pair.difference.mean < 0.0
    assert pair.superiority.share > 0.5
    assert [g.counted for g in mse.groups] == [g.counted for g in tables[0].groups]
    assert mse.rows[0].worst_decile.mean > mse.rows[0].robust.mean
    # Sharper still means worse, whichever way the metric points.
    assert mse.correlations["lambda_max"]["rho"] < 0


def test_the_published_protocol_is_never_ranked() -> None:
    table = ranking.build(make_suite(protocol="published"))[0]
    assert {row.rank_low for row in table.rows} == {None}
    assert (table.comparisons, table.resolution) == ((), None)
    assert all(not row.tied_with for row in table.rows)
    # No score either, so that nothing can be sorted by one: rows stand by name.
    assert [row.method for row in table.rows] == sorted(METHODS)
    assert not table.ranked
    for row in table.rows:
        assert row.robust == row.worst_decile == row.difference == st.NOTHING
        assert (row.scores, row.baseline) == (None, None)
        assert row.clean.mean is not None
        assert row.lambda_max.mean is not None
        assert row.as_dict()["difference_to_baseline"] is None
    assert table.correlations == {}
    assert all(set(group.methods) == set(METHODS) for group in table.groups)
    assert table.as_dict()["ranked"] is False
    assert "ranked" not in ranking.build(make_suite(["BP"]))[0].as_dict()


def test_published_records_leave_the_ranking_as_it_is(table) -> None:
    suite = make_suite([*METHODS, "BP 2x"])
    published = make_suite([*METHODS, "BP 2x"], protocol="published")
    fair, shown = ranking.build([*published, *suite])
    assert (fair.key["protocol"], shown.key["protocol"]) == ("pnnbench-2", "published")
    assert [row.as_dict() for row in fair.rows] == [row.as_dict() for row in table.rows]


def test_jobs_on_other_devices_or_grids_are_refused() -> None:
    with pytest.raises(UserError, match="differ in their test devices"):
        ranking.build([make_record("SAT"), make_record("BP", devices=range(1000, 1010))])

    def fewer(r: dict) -> None:
        r["cells"] = [c for c in r["cells"] if c["axis"] != "temperature-wide"]

    with pytest.raises(UserError, match="differ in their perturbation grid"):
        ranking.build([make_record("SAT"), resealed(make_record("BP"), fewer)])
    torn = resealed(make_record("SAT"), lambda r: r["cells"].pop())
    with pytest.raises(UserError, match="lacks the cell"):
        ranking.build([torn])


def on_data(record: dict, name: str, fingerprint: str, *, brought: bool = True) -> dict:
    """The record as one of a job on another data set."""
    record = copy.deepcopy(record)
    record.pop("checksum", None)
    if brought:
        record["job"]["data"] = {"name": name, "set": name}
    record["data"] = {**record["data"], "name": name, "fingerprint": fingerprint}
    record["job"]["content"] = hashlib.sha256(fingerprint.encode()).hexdigest()
    record["job"]["hash"] = job_hash(record["job"])
    return seal(record)


@pytest.mark.parametrize("brought", [False, True])
def test_results_on_different_fingerprints_never_share_a_row(brought: bool) -> None:
    own = make_suite(("BP", "SAT"), (0, 1))
    others = [
        [on_data(r, "kmnist", "sha256:" + sign * 64, brought=brought) for r in own] for sign in "ab"
    ]
    records = [*own, *others[0], *others[1]]
    tables = ranking.build(records)
    assert len({table.key["fingerprint"] for table in tables}) == 3
    for table in tables:
        named = brought and table.key["data"] == "kmnist"
        assert table.key["workload"] == ("mrr-mnist on kmnist" if named else "mrr-mnist")
        for row in table.rows:
            assert len(row.seeds) == 2
            of_row = {
                r["data"]["fingerprint"] for found in table.chosen.finished.values() for r in found
            }
            assert of_row == {table.key["fingerprint"]}
    alone = {t.key["fingerprint"]: t.rows for t in ranking.build(own)}
    for table in tables:
        if table.key["fingerprint"] in alone:
            for row, mine in zip(table.rows, alone[table.key["fingerprint"]], strict=True):
                assert row.robust == mine.robust


def test_a_board_of_a_data_set_that_was_brought_is_found_in_the_index() -> None:
    own = make_suite(("BP",), (0,))
    other = [on_data(own[0], "kmnist", "sha256:" + "a" * 64)]
    key = board_of(other[0])
    assert key == ("mrr_mnist", "pnnbench-2", "mrr-mnist on kmnist", "standard")
    current = {BOARD: {"BP": {0: own[0]["job"]["hash"]}}, key: {"BP": {0: other[0]["job"]["hash"]}}}
    tables = ranking.build([*own, *other], current=current)
    assert [table.rows[0].seeds for table in tables] == [(0,), (0,)]
    assert all(not table.older for table in tables)


def test_the_names_of_a_data_set_are_not_in_the_hash() -> None:
    record = make_record("BP", 0)
    here, there = (on_data(record, n, "sha256:" + "a" * 64) for n in ("here", "there"))
    assert here["job"]["hash"] == there["job"]["hash"] != record["job"]["hash"]
