from __future__ import annotations

import copy
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from pnnbench.errors import UserError
from pnnbench.leaderboard import ranking
from pnnbench.leaderboard import statistics as st
from pnnbench.leaderboard.transfer import (
    device_figures,
    mean_cost,
    training_seconds,
    training_severity,
)
from pnnbench.records.store import seal

from ..record_factory import (
    MESH_METHODS,
    make_failure,
    make_mesh_record,
    make_mesh_suite,
    make_suite,
)


@pytest.fixture(scope="module")
def records() -> list[dict]:
    return make_mesh_suite()


@pytest.fixture(scope="module")
def rows(records) -> dict[str, ranking.Row]:
    return {row.method: row for row in ranking.build(records)[0].rows}


def changed(record: dict, change) -> dict:
    record = copy.deepcopy(record)
    change(record)
    return seal(record)


def test_training_and_fresh_devices_are_those_of_the_records(records, rows) -> None:
    """Recomputed from the raw records, apart from the code under test."""
    assert len(rows) == len(MESH_METHODS)
    for label in ("PAT", "BP"):
        mine = [r for r in records if r["job"]["method"]["label"] == label]
        trained = np.array([r["training_device"]["value"] for r in mine])
        fresh = np.array([[c["value"] for c in r["cells"] if c["severity"] == 0.15] for r in mine])
        assert fresh.shape == (3, 20)
        row = rows[label]
        low, high = stats.t.interval(0.95, 2, trained.mean(), stats.sem(trained))
        found = row.training_device
        assert (found.mean, found.low, found.high) == pytest.approx((trained.mean(), low, high))
        assert found.spans == ("seeds",)
        assert row.fresh_devices == st.crossed(fresh)
        assert row.fresh_devices.mean == pytest.approx(fresh.mean())
        assert row.transfer.mean == pytest.approx(fresh.mean() - trained.mean())
        assert row.transfer.spans == ("seeds", "devices")
    assert rows["PAT"].transfer.high < -0.05
    assert rows["BP"].transfer.low < 0.0 < rows["BP"].transfer.high


def test_the_grid_may_lack_the_severity_of_the_training_device() -> None:
    table = ranking.build(make_mesh_suite(["BP", "PAT"], severity=0.1))[0]
    assert table.training == {"severity": 0.1, "unit": "rad"}
    for row in table.rows:
        assert row.training_device.mean is not None
        assert row.fresh_devices == row.transfer == st.NOTHING


def test_fresh_devices_are_of_the_same_unit() -> None:
    def other_unit(r: dict) -> None:
        r["training_device"]["unit"] = "deg"

    table = ranking.build([changed(r, other_unit) for r in make_mesh_suite(["BP"])])[0]
    assert table.rows[0].training_device.mean is not None
    assert table.rows[0].fresh_devices == st.NOTHING


def test_seeds_without_a_training_device_do_not_enter_the_comparison(records) -> None:
    mine = [copy.deepcopy(r) for r in records if r["job"]["method"]["label"] == "DAT"]
    del mine[2]["training_device"]
    row = ranking.build([seal(r) for r in mine])[0].rows[0]
    assert row.seeds == (0, 1, 2)
    first = ranking.build(mine[:2])[0].rows[0]
    assert row.training_device == first.training_device
    assert row.fresh_devices == first.fresh_devices
    assert row.transfer == first.transfer
    assert row.clean != first.clean


def test_one_table_has_one_severity_of_training_devices() -> None:
    mixed = [make_mesh_record("BP"), make_mesh_record("PAT", severity=0.06)]
    with pytest.raises(UserError, match="differ in their severity of the training device"):
        ranking.build(mixed)


def test_one_seed_has_one_training_device() -> None:
    def elsewhere(r: dict) -> None:
        r["training_device"]["seed"] = r["job"]["seeds"]["train_device"] = 7

    with pytest.raises(UserError, match="differ in their training device at seed 0"):
        ranking.build([make_mesh_record("BP"), changed(make_mesh_record("PAT"), elsewhere)])


def test_tables_of_older_records_show_no_training_device() -> None:
    table = ranking.build(make_suite())[0]
    assert training_severity(make_suite()) is None
    assert (table.training, table.reference) == (None, None)
    assert "training_device" not in table.as_dict()
    for row in table.rows:
        assert (row.training_device, row.time_ratio, row.reference) == (st.NOTHING,) * 2 + (None,)
        assert not {"training_device", "fresh_devices", "time_ratio"} & set(row.as_dict())


def test_times_are_relative_to_bp_and_paired_by_seed(records, rows) -> None:
    seconds = {
        (r["job"]["method"]["label"], r["job"]["seed"]): r["cost"]["train_seconds"] for r in records
    }
    ratios = [seconds["DAT", seed] / seconds["BP", seed] for seed in (0, 1, 2)]
    row = rows["DAT"]
    assert row.reference == "BP"
    assert row.time_ratio.mean == pytest.approx(stats.gmean(ratios))
    low, high = np.exp(
        stats.t.interval(0.95, 2, np.mean(np.log(ratios)), stats.sem(np.log(ratios)))
    )
    assert (row.time_ratio.low, row.time_ratio.high) == pytest.approx((low, high))
    # The seeds differ by a fifth in both rows, which pairing takes out.
    assert high / low < 1.2
    assert rows["BP"].time_ratio == st.Interval(1.0)


def test_time_is_that_of_the_cpu_where_it_trained_on_one(records) -> None:
    """A machine that does something else in between stretches the clock, and no row's time."""
    record = copy.deepcopy(records[0])
    clock = record["cost"]["train_seconds"]
    assert training_seconds(record) == clock
    record["cost"]["train_cpu_seconds"] = clock / 8
    assert training_seconds(record) == clock / 8
    assert mean_cost([record])["train_seconds"] == clock / 8
    record["provenance"]["arithmetic"] = {"gpu": "a GPU"}
    assert training_seconds(record) == clock


def test_a_stretched_clock_moves_no_ratio(records) -> None:
    own = {"BP": 10.0, "DAT": 30.0}
    timed = [r for r in copy.deepcopy(records) if r["job"]["method"]["label"] in own]
    for record in timed:
        record["cost"]["train_cpu_seconds"] = own[record["job"]["method"]["label"]]
        record["cost"]["train_seconds"] *= 1 + 50 * (record["job"]["seed"] == 1)
    rows = {row.method: row for row in ranking.build([seal(r) for r in timed])[0].rows}
    assert rows["DAT"].time_ratio.mean == pytest.approx(3.0)


def test_only_seeds_that_both_have_are_paired(records) -> None:
    kept = [
        r
        for r in records
        if (r["job"]["method"]["label"], r["job"]["seed"]) in {("BP", 0), ("PAT", 0), ("PAT", 1)}
    ]
    rows = {row.method: row for row in ranking.build(kept)[0].rows}
    seconds = [r["cost"]["train_seconds"] for r in kept if r["job"]["seed"] == 0]
    assert rows["PAT"].time_ratio.mean == pytest.approx(seconds[1] / seconds[0])
    assert rows["PAT"].time_ratio.low is None


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["SAT", "BP, SGD", "BP", "BP, equal gradients"], "BP"),
        (["SAT", "BP, SGD"], "BP, SGD"),
        (["PAT", "SAT"], "SAT"),
    ],
)
def test_the_reference_is_bp_or_what_comes_nearest(labels: list[str], expected: str) -> None:
    table = ranking.build(make_mesh_suite(labels))[0]
    assert table.reference == expected
    assert table.rows[0].method == "SAT"
    assert {row.reference for row in table.rows} == {expected}


def test_a_row_without_results_has_no_time() -> None:
    failure = make_failure("NAT")
    failure["job"] |= {"suite": "mzi_mnist", "workload": "mzi-mnist"}
    table = ranking.build([*make_mesh_suite(["BP", "PAT"]), seal(failure)])[0]
    row = next(row for row in table.rows if row.method == "NAT")
    assert row.time_ratio == row.training_device == st.NOTHING
    assert row.as_dict()["time_ratio"] == {"reference": "BP", **st.NOTHING.as_dict()}


def test_passes_without_gradient_are_a_mean_only_where_all_count_them(records) -> None:
    mine = [copy.deepcopy(r) for r in records if r["job"]["method"]["label"] == "PAT"]
    mine[0]["cost"]["forward_evaluations"] = 5623
    assert mean_cost(mine)["forward_evaluations"] == pytest.approx(5621)
    assert mean_cost(mine)["hardware_queries"] == 5620 * 60
    del mine[1]["cost"]["forward_evaluations"]
    assert "forward_evaluations" not in mean_cost(mine)
    assert mean_cost([])["train_seconds"] is None


def test_json_has_the_figures_and_the_severity(records) -> None:
    table = ranking.build(records)[0]
    assert table.as_dict()["training_device"] == {"severity": 0.15, "unit": "rad"}
    row = next(row for row in table.rows if row.method == "SAT in situ").as_dict()
    assert list(row["training_device"]) == ["mean", "low", "high", "spans"]
    assert row["fresh_devices"]["mean"] < row["training_device"]["mean"]
    assert row["transfer"]["high"] < 0
    assert row["time_ratio"]["reference"] == "BP"
    assert row["cost"]["forward_evaluations"] == 5620


def test_a_device_without_a_value_takes_its_seed_out_and_nothing_else() -> None:
    """Of a metric without a chance level a missing value is not a number."""

    def figures(*lost: int) -> dict[str, Any]:
        stack = np.array([[[0.5, 0.4, 0.6], [0.3, 0.2, 0.1]]])
        for seed in lost:
            stack[0, seed, 1] = math.nan
        members = [
            {"training_device": {"severity": 1.0, "unit": "x", "value": v}} for v in (0.7, 0.8)
        ]
        group = ("device", 1.0, ())
        grid = SimpleNamespace(groups=(group,), levels={group: (1.0, "x")})
        return device_figures(members, stack, grid)

    assert figures()["transfer"].mean == pytest.approx(0.35 - 0.75)
    assert figures(0)["fresh_devices"].mean == pytest.approx(0.2)
    assert figures(0)["transfer"].mean == pytest.approx(0.2 - 0.8)
    assert figures(0, 1).keys() == {"training_device"}
