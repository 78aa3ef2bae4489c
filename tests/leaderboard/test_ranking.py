from __future__ import annotations

import copy
import math

import numpy as np
import pytest
from scipy import stats

from pnnbench.errors import UserError
from pnnbench.leaderboard import ranking
from pnnbench.leaderboard import statistics as st
from pnnbench.leaderboard.grid import curve_areas, device_scores, read_grid, worst_mean
from pnnbench.records.store import seal

from ..record_factory import METHODS, make_failure, make_mesh_suite, make_record, make_suite


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


@pytest.fixture(scope="module")
def table() -> ranking.Table:
    tables = ranking.build(make_suite([*METHODS, "BP 2x"]))
    assert len(tables) == 1
    return tables[0]


def test_robust_is_the_mean_over_groups_without_those_at_chance(table) -> None:
    """Recomputed from the raw cells with dictionaries, apart from the code under test."""
    suite = make_suite([*METHODS, "BP 2x"])
    by_group: dict[tuple, list[list[float]]] = {}
    for record in suite:
        groups: dict[tuple, list[float]] = {}
        for cell in record["cells"]:
            groups.setdefault((cell["axis"], cell["level"]), []).append(cell["value"])
        for group, values in groups.items():
            by_group.setdefault(group, []).append(values)
    dead = set()
    for group, values in by_group.items():
        per_method = [np.mean(values[i : i + 3]) for i in range(0, len(values), 3)]
        if max(per_method) <= 0.15:
            dead.add(group)
    assert dead == {("temperature-wide", -2.0)}
    for label in ("SAT", "BP"):
        mine = [r for r in suite if r["job"]["method"]["label"] == label]
        means: list[float] = []
        for group in by_group:
            if group not in dead:
                values = [
                    c["value"] for r in mine for c in r["cells"] if (c["axis"], c["level"]) == group
                ]
                means.append(float(np.mean(values)))
        expected = np.mean(means)
        row = next(row for row in table.rows if row.method == label)
        assert row.robust.mean == pytest.approx(expected, abs=1e-12)
        assert row.robust.spans == ("seeds", "devices")
        assert row.robust.low < row.robust.mean < row.robust.high


def test_only_groups_where_every_method_is_at_chance_lose_their_weight(table) -> None:
    marks = {(g.axis, g.level): g.informative for g in table.groups}
    assert [group for group, informative in marks.items() if not informative] == [
        ("temperature-wide", -2.0)
    ]
    # SAT alone is above chance one degree away; that is what the grid is for.
    line = next(g for g in table.groups if (g.axis, g.level) == ("temperature-wide", -1.0))
    assert line.informative
    assert line.methods["BP"].mean < 0.15 < line.methods["SAT"].mean
    without = ranking.build(make_suite(["BP", "NAT"]))[0]
    assert sum(not g.informative for g in without.groups) == 3


def test_a_row_carries_the_figures_of_its_records(table) -> None:
    mine = [make_record("SAT", seed) for seed in (0, 1, 2)]
    row = next(row for row in table.rows if row.method == "SAT")
    clean = [r["clean"] for r in mine]
    low, high = stats.t.interval(0.95, 2, np.mean(clean), stats.sem(clean))
    assert (row.clean.mean, row.clean.low, row.clean.high) == pytest.approx(
        (np.mean(clean), low, high), rel=1e-9
    )
    eigenvalues = [r["sharpness"]["lambda_max"] for r in mine]
    assert row.lambda_max.mean == pytest.approx(stats.gmean(eigenvalues))
    assert row.seeds == (0, 1, 2)
    assert len(row.devices) == 20
    assert row.cost["gradient_evaluations"] == 18740
    assert row.cost["train_seconds"] == pytest.approx(
        np.mean([r["cost"]["train_seconds"] for r in mine])
    )
    assert row.complete


def test_worst_decile_is_the_mean_of_the_two_worst_of_twenty_devices(table) -> None:
    row = next(row for row in table.rows if row.method == "NAT")
    assert row.scores is not None
    per_seed = np.sort(row.scores.values, axis=1)[:, :2].mean(axis=1)
    assert row.worst_decile.mean == pytest.approx(per_seed.mean())
    assert row.worst_decile.mean < row.robust.mean
    assert row.worst_decile.spans == ("seeds",)
    scores = np.array([3.0, 1.0, 2.0])
    assert (worst_mean(scores, True), worst_mean(scores, False)) == (1.0, 3.0)
    assert worst_mean(np.arange(20.0), True) == 0.5
    assert worst_mean(np.arange(20.0), False) == 18.5


def test_area_under_the_curve_is_the_trapezoid_over_signed_levels() -> None:
    record = with_values(make_record(), lambda c: 0.9 - 0.1 * abs(c["level"]))
    record = resealed(record, lambda r: r.update(clean=0.9))
    areas = curve_areas(read_grid(record), record["clean"])
    # Straight lines from the clean point down: the mean of each side is its middle. On the
    # temperature axes level 0 is the devices of severity 0.1 at nominal conditions: 0.89.
    assert areas["device"] == pytest.approx(0.9 - 0.1 * 0.5)
    fine = [-0.25, -0.15, -0.05, 0.0, 0.05, 0.15, 0.25]
    expected = np.trapezoid([0.9 - 0.1 * abs(t) if t else 0.89 for t in fine], fine) / 0.5
    assert areas["temperature-fine"] == pytest.approx(expected)
    expected = np.trapezoid([0.7, 0.8, 0.89, 0.8], [-2.0, -1.0, 0.0, 1.0]) / 3.0
    assert areas["temperature-wide"] == pytest.approx(expected)
    flat = curve_areas(read_grid(with_values(record, lambda c: 0.4)), 0.4)
    assert all(area == pytest.approx(0.4) for area in flat.values())


def test_a_measured_level_zero_stands_instead_of_the_clean_value() -> None:
    def add(r: dict) -> None:
        for cell in list(r["cells"]):
            if cell["axis"] == "device" and cell["level"] == 0.1:
                r["cells"].append({**cell, "level": 0.0, "severity": 0.0})

    record = resealed(with_values(make_record(), lambda c: 0.5), add)
    assert curve_areas(read_grid(record), 0.9)["device"] == pytest.approx(0.5)


def test_groups_weigh_the_same() -> None:
    record = with_values(make_record(), lambda c: {"device": 0.9}.get(c["axis"], 0.3))
    grid = read_grid(record)
    scores = device_scores(grid.values, [True] * len(grid.groups))
    assert len(grid.groups) == 13  # 4 severities, 6 fine and 3 wide temperatures
    assert scores == pytest.approx(np.full(20, (4 * 0.9 + 9 * 0.3) / 13))
    assert device_scores(grid.values, [False] * len(grid.groups)) is None


def test_a_cell_without_a_device_counts_for_every_device() -> None:
    def ideal(r: dict) -> None:
        kept = [c for c in r["cells"] if c["axis"] == "device"]
        wide = {c["level"]: c for c in r["cells"] if c["axis"] == "temperature-wide"}
        kept += [{**c, "device_seed": None, "value": 0.5} for c in wide.values()]
        r["cells"] = kept

    grid = read_grid(resealed(make_record(), ideal))
    assert len(grid.devices) == 20
    shared = [grid.values[i] for i, g in enumerate(grid.groups) if g[0] == "temperature-wide"]
    assert len(shared) == 3
    assert all((values == 0.5).all() for values in shared)


def test_ranks_follow_paired_differences_to_the_baseline(table) -> None:
    by_label = {row.method: row for row in table.rows}
    assert table.rows[0].method == "SAT"
    assert by_label["SAT"].rank == 1
    assert "BP 2x" in by_label["BP"].tied_with
    assert "BP" in by_label["BP 2x"].tied_with
    for row in table.rows:
        better = [
            other
            for other in table.rows
            if other is not row and st.paired_difference(other.scores, row.scores).low > 0
        ]
        assert row.rank == 1 + len(better)
    assert {row.baseline for row in table.rows} == {"BP"}
    sat = by_label["SAT"]
    assert sat.difference.mean == pytest.approx(sat.robust.mean - by_label["BP"].robust.mean)
    assert sat.difference.low > 0 > by_label["BP on weights"].difference.high
    assert sat.difference == st.paired_difference(sat.scores, by_label["BP"].scores)
    ranks = [row.rank for row in table.rows]
    assert ranks == sorted(ranks)


def test_sharpness_correlates_with_robustness_over_jobs(table) -> None:
    suite = make_suite([*METHODS, "BP 2x"])
    by_label = {row.method: row for row in table.rows}
    sharp, robust = [], []
    for record in suite:
        row = by_label[record["job"]["method"]["label"]]
        sharp.append(record["sharpness"]["lambda_max"])
        robust.append(row.scores.values[row.seeds.index(record["job"]["seed"])].mean())
    found = table.correlations["lambda_max"]
    assert found["rho"] == pytest.approx(stats.spearmanr(sharp, robust).statistic)
    assert found["n_jobs"] == 18
    assert found["low"] < found["rho"] < found["high"] < 0
    assert "engine" not in table.correlations
    assert "top_eigenvalues" not in table.correlations


def test_json_row_has_the_published_layout(table) -> None:
    row = table.rows[0].as_dict()
    published = ["suite", "protocol", "workload", "method", "metric", "clean", "robust"]
    published += ["worst_decile", "lambda_max", "n_seeds", "n_devices", "cost"]
    assert list(row)[: len(published)] == published
    for name in ("clean", "robust", "worst_decile", "lambda_max"):
        assert list(row[name])[:3] == ["mean", "low", "high"]
    assert list(row["cost"]) == ["gradient_evaluations", "hardware_queries", "train_seconds"]
    assert (row["n_seeds"], row["n_devices"]) == (3, 20)
    assert row["difference_to_baseline"]["baseline"] == "BP"
    assert row["robust"]["spans"] == ["seeds", "devices"]


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


def test_another_metric_makes_another_table_and_lower_can_be_better() -> None:
    def as_error(r: dict) -> None:
        r["metric"] = {"name": "mse", "higher_is_better": False}
        for cell in r["cells"]:
            cell["value"] = 1.0 - cell["value"]

    errors = [resealed(record, as_error) for record in make_suite(["SAT", "BP"])]
    tables = ranking.build([*make_suite(["SAT", "BP"]), *errors])
    assert [table.key["metric"] for table in tables] == ["accuracy", "mse"]
    mse = tables[1]
    assert [(row.method, row.rank) for row in mse.rows] == [("SAT", 1), ("BP", 2)]
    assert all(group.informative for group in mse.groups)
    assert mse.rows[0].worst_decile.mean > mse.rows[0].robust.mean
    # Sharper still means worse, whichever way the metric points.
    assert mse.correlations["lambda_max"]["rho"] < 0


def test_the_published_protocol_is_never_ranked() -> None:
    table = ranking.build(make_suite(protocol="published"))[0]
    assert {row.rank for row in table.rows} == {None}
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
    assert (fair.key["protocol"], shown.key["protocol"]) == ("pnnbench-1", "published")
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


def test_two_jobs_for_one_method_and_seed_are_refused() -> None:
    other = resealed(make_record("SAT"), lambda r: r["job"].update(hash="a" * 16))
    with pytest.raises(UserError, match="2 finished jobs for seed 0"):
        ranking.build([make_record("SAT"), other])


def test_one_label_for_two_settings_is_refused() -> None:
    def rho(r: dict) -> None:
        r["job"]["method"]["params"] = {"rho": 0.2}

    with pytest.raises(UserError, match="names 2 different methods"):
        ranking.build([make_record("SAT", 0), resealed(make_record("SAT", 1), rho)])


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
    assert rows["NAT"].rank is None
    assert rows["NAT"].robust == st.NOTHING
    assert rows["NAT"].as_dict()["n_seeds"] == 0
    assert rows["BP"].complete
    assert table.rows[-1].method == "NAT"
    assert table.provenance["jobs"] == 5


def test_a_suite_can_say_what_it_expects() -> None:
    expected = {"mrr_mnist": {"SAT": [0, 1, 2], "NAT": [0, 1, 2]}}
    rows = {r.method: r for r in ranking.rows([make_record("SAT", 1)], expected=expected)}
    assert rows["SAT"].missing == (0, 2)
    assert rows["NAT"].missing == (0, 1, 2)
    assert not rows["NAT"].complete


def test_failures_alone_make_a_table_without_figures() -> None:
    tables = ranking.build([make_failure("SAT", 0, "timeout")])
    assert len(tables) == 1
    row = tables[0].rows[0]
    assert (row.method, row.failed[0]["status"], row.rank) == ("SAT", "timeout", None)
    assert ranking.build([]) == []


def test_one_seed_gives_intervals_over_devices_and_none_over_seeds() -> None:
    row = ranking.rows([make_record("SAT")])[0]
    assert row.robust.spans == ("devices",)
    assert row.robust.low is not None
    assert (row.clean.low, row.clean.high, row.clean.spans) == (None, None, ())
    assert row.worst_decile.low is None
    assert row.baseline is None
    assert row.as_dict()["difference_to_baseline"] is None


def test_everything_at_chance_leaves_nothing_to_rank() -> None:
    records = [with_values(r, lambda c: 0.1) for r in make_suite(["SAT", "BP"])]
    table = ranking.build(records)[0]
    assert not any(group.informative for group in table.groups)
    assert all(row.robust == st.NOTHING and row.rank is None for row in table.rows)
    assert not math.isnan(table.rows[0].clean.mean)


def test_the_equal_gradient_row_is_never_the_baseline() -> None:
    table = ranking.build(make_suite(["BP 2x", "SAT"]))[0]
    assert {row.baseline for row in table.rows} == {None}


def test_of_several_rows_of_bp_the_one_labelled_so_is_the_baseline() -> None:
    rows = ranking.rows(make_mesh_suite(["BP, SGD", "BP", "PAT"]))
    assert {row.baseline for row in rows} == {"BP"}

    def relabel(r: dict) -> None:
        r["job"]["method"]["label"] = "BP, Adam"

    others = [resealed(r, relabel) for r in make_mesh_suite(["BP"])]
    rows = ranking.rows([*others, *make_mesh_suite(["BP, SGD", "PAT"])])
    assert {row.baseline for row in rows} == {None}


def test_order_of_the_records_does_not_matter(table) -> None:
    suite = make_suite([*METHODS, "BP 2x"])
    again = ranking.build(list(reversed(suite)))[0]
    assert [row.as_dict() for row in again.rows] == [row.as_dict() for row in table.rows]
