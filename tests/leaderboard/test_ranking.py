from __future__ import annotations

import copy
import hashlib
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from pnnbench.errors import UserError
from pnnbench.leaderboard import ranking
from pnnbench.leaderboard import statistics as st
from pnnbench.leaderboard.grid import curve_areas, read_grid
from pnnbench.leaderboard.score import device_scores, worst_mean
from pnnbench.records.index import board_of
from pnnbench.records.store import canonical, job_hash, seal

from ..record_factory import (
    METHODS,
    RECALIBRATED,
    SILENT,
    make_failure,
    make_later_suite,
    make_mesh_suite,
    make_record,
    make_suite,
)

ROOT = Path(__file__).resolve().parents[2]
BOARD = ("mrr_mnist", "pnnbench-2", "mrr-mnist", "standard")


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


def test_robust_is_the_mean_over_the_groups_that_count(table) -> None:
    """Recomputed from the raw cells with dictionaries, apart from the code under test."""
    for label in ("SAT", "BP"):
        mine = [make_record(label, seed) for seed in (0, 1, 2)]
        by_group: dict[tuple, list[float]] = {}
        for cell in (c for r in mine for c in r["cells"]):
            if cell["counts"]:
                by_group.setdefault((cell["axis"], cell["level"]), []).append(cell["value"])
        assert len(by_group) == 12
        expected = np.mean([np.mean(values) for values in by_group.values()])
        row = next(row for row in table.rows if row.method == label)
        assert row.robust.mean == pytest.approx(expected, abs=1e-12)
        assert row.robust.spans == ("seeds", "devices")
        assert row.robust.low < row.robust.mean < row.robust.high


def test_what_counts_is_what_the_records_declare(table) -> None:
    marks = {(g.axis, g.level): g.counted for g in table.groups}
    assert [group for group, counted in marks.items() if not counted] == [SILENT]

    def torn(r: dict) -> None:
        r["cells"][0]["counts"] = False

    with pytest.raises(UserError, match="only some cells of"):
        ranking.build([resealed(make_record(), torn)])

    def silent(r: dict) -> None:
        for cell in r["cells"]:
            cell["counts"] = False

    with pytest.raises(UserError, match="differ in their weights of the cells"):
        ranking.build([make_record("BP"), resealed(make_record("SAT"), silent)])


def figures_of(row: ranking.Row) -> dict:
    """What a row says of itself: everything but where it stands among others."""
    others = ("rank_low", "rank_high", "tied_with", "difference_to_baseline", "time_ratio")
    return {k: v for k, v in row.as_dict().items() if k not in others}


def test_a_row_stands_alone(table) -> None:
    """Every row of the suites, alone and without each other row; committed boards stand apart."""
    for records in (make_suite([*METHODS, "BP 2x"]), make_mesh_suite()):
        (whole,) = ranking.build(records)
        expected = {row.method: figures_of(row) for row in whole.rows}
        for row in whole.rows:
            mine = [r for r in records if r["job"]["method"]["label"] == row.method]
            rest = [r for r in records if r["job"]["method"]["label"] != row.method]
            (alone,) = ranking.rows(mine)
            # Whether costs of hardware are shown is a matter of the table.
            shown = {k: v for k, v in figures_of(alone).items() if k in expected[row.method]}
            assert shown == {k: expected[row.method][k] for k in shown}
            for other in ranking.rows(rest):
                shown = {k: v for k, v in figures_of(other).items() if k in expected[other.method]}
                assert shown == {k: expected[other.method][k] for k in shown}


def test_a_third_row_never_turns_the_order_of_two() -> None:
    """The field case: two rows strong at different conditions, and one at neither."""

    def shaped(label: str, seed: int, low: float, high: float) -> dict:
        def change(r: dict) -> None:
            r["job"]["method"] |= {"label": label, "name": label.lower()}
            r["job"]["hash"] = f"{sum(map(ord, label)) % 256:02x}" * 7 + f"{seed:02x}"
            for i, cell in enumerate(r["cells"]):
                value = high if cell["level"] >= 0.5 else low
                cell["value"] = value + 0.001 * seed + 0.001 * (i % 2)

        return resealed(make_record("BP", seed), change)

    two = [shaped("A", s, 0.90, 0.10) for s in (0, 1)] + [
        shaped("B", s, 0.88, 0.145) for s in (0, 1)
    ]
    third = [shaped("C", s, 0.5, 0.2) for s in (0, 1)]
    before = ranking.rows(two)
    after = [row for row in ranking.rows([*two, *third]) if row.method != "C"]
    assert [row.method for row in before] == [row.method for row in after]
    assert [row.robust for row in before] == [row.robust for row in after]


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


def with_read_out_noise(record: dict, value: float) -> None:
    cell = {**record["cells"][0], "axis": "shot", "unit": "", "level": 0.0, "severity": 0.0}
    cell |= {"device_seed": None, "value": value, "counts": False}
    record["cells"].append(cell)


def test_at_level_0_stands_the_ideal_device_read_out_with_noise() -> None:
    """As all cells are; the clean value has no noise."""
    record = with_values(make_record(), lambda c: 0.5)
    noisy = read_grid(resealed(record, lambda r: with_read_out_noise(r, 0.5)))
    areas = curve_areas(noisy, 0.9)
    assert areas.keys() == {"device", "temperature-fine", "temperature-wide"}
    assert areas["device"] == pytest.approx(0.5)
    assert curve_areas(read_grid(record), 0.9)["device"].mean() > 0.5
    # The cell carries no weight.
    plain = read_grid(record)
    assert device_scores(noisy.values, noisy.weights) == pytest.approx(
        device_scores(plain.values, plain.weights)
    )


def test_groups_weigh_the_same() -> None:
    record = with_values(make_record(), lambda c: {"device": 0.9}.get(c["axis"], 0.3))
    grid = read_grid(record)
    scores = device_scores(grid.values, [True] * len(grid.groups))
    assert len(grid.groups) == 13  # 4 severities, 6 fine and 3 wide temperatures
    assert scores == pytest.approx(np.full(20, (4 * 0.9 + 9 * 0.3) / 13))
    assert device_scores(grid.values, [False] * len(grid.groups)) is None


def second_revision(record: dict, change=lambda r: None) -> dict:
    def revise(r: dict) -> None:
        r["job"]["revision"] = 2
        change(r)

    return resealed(record, revise)


def test_axes_weigh_the_same_from_the_second_revision_on() -> None:
    value = {"device": 0.9, "temperature-fine": 0.3, "temperature-wide": 0.6}
    record = second_revision(with_values(make_record(), lambda c: value[c["axis"]]))
    (row,) = ranking.rows([record])
    assert row.robust.mean == pytest.approx((0.9 + 0.3 + 0.6) / 3)
    grid = read_grid(record)
    assert sum(grid.weights) == pytest.approx(1.0)
    assert [g[0] for g, counts in zip(grid.groups, grid.counted, strict=True) if not counts] == [
        "temperature-wide"
    ]


def test_the_worst_tenth_is_never_above_the_mean_from_the_second_revision_on() -> None:
    """Conditions that all devices share count for the worst devices too."""

    def shared(r: dict) -> None:
        for cell in r["cells"]:
            if cell["axis"] == "device":
                cell["value"] = 0.9 + 1e-4 * (cell["device_seed"] % 10)
        fine = {c["level"]: c for c in r["cells"] if c["axis"] == "temperature-fine"}
        r["cells"] = [c for c in r["cells"] if c["axis"] == "device"]
        r["cells"] += [{**c, "device_seed": None, "value": 0.2} for c in fine.values()]

    for revise in (second_revision, resealed):
        (row,) = ranking.rows([revise(make_record(), shared)])
        above = row.worst_decile.mean > row.robust.mean
        assert above == (revise is resealed)


def test_revisions_never_share_a_table() -> None:
    later = [second_revision(record) for record in make_suite(["BP", "SAT"])]
    first, second = ranking.build([*make_suite(["BP"]), *later, make_failure("NAT")])
    assert (first.key["revision"], second.key["revision"]) == ("1", "2")
    assert [row.method for row in first.rows] == ["BP", "NAT"]
    assert {row.method for row in second.rows} == {"BP", "SAT"}


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
    assert "BP 2x" in by_label["BP"].tied_with
    assert "BP" in by_label["BP 2x"].tied_with
    for row in table.rows:
        apart = [c for c in table.comparisons if c.separated and row.method in (c.a, c.b)]
        assert row.rank_low == 1 + sum(c.b == row.method for c in apart)
        assert row.rank_high == len(table.rows) - sum(c.a == row.method for c in apart)
        assert len(row.tied_with) == len(table.rows) - 1 - len(apart)
    assert {row.baseline for row in table.rows} == {"BP"}
    sat = by_label["SAT"]
    assert sat.difference.mean == pytest.approx(sat.robust.mean - by_label["BP"].robust.mean)
    assert sat.difference.low > 0 > by_label["BP on weights"].difference.high
    assert sat.difference == st.paired_difference(sat.scores, by_label["BP"].scores)
    assert sat.simultaneous.mean == sat.difference.mean
    assert sat.simultaneous.low < sat.difference.low
    assert [row.robust.mean for row in table.rows] == sorted(
        (row.robust.mean for row in table.rows), reverse=True
    )


def test_sharpness_correlates_with_robustness_over_jobs(table) -> None:
    suite = make_suite([*METHODS, "BP 2x"])
    by_label = {row.method: row for row in table.rows}
    sharp, robust, labels = [], [], []
    for record in suite:
        labels.append(record["job"]["method"]["label"])
        row = by_label[labels[-1]]
        sharp.append(record["sharpness"]["lambda_max"])
        robust.append(row.scores.values[row.seeds.index(record["job"]["seed"])].mean())
    found = table.correlations["lambda_max"]
    assert found["rho"] == pytest.approx(stats.spearmanr(sharp, robust).statistic)
    assert found["n_jobs"] == 18
    assert (found["rows"]["n"], found["within"]["n"]) == (6, 18)
    means = [
        [
            np.mean([f(i) for i in range(18) if labels[i] == label])
            for label in dict.fromkeys(labels)
        ]
        for f in (lambda i: np.log(sharp[i]), lambda i: robust[i])
    ]
    assert found["rows"]["rho"] == pytest.approx(stats.spearmanr(*means).statistic)
    assert found["rows"]["low"] <= found["rows"]["rho"] < found["rows"]["high"]
    assert "engine" not in table.correlations
    assert "top" not in table.correlations


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


def missing(record: dict, *parts: str) -> None:
    """Says in a record that some of its parts could not be measured."""
    record["schema"] = 2
    record["gaps"] = [{"part": p, "type": "not-finite", "message": "overflow"} for p in parts]


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


@pytest.mark.parametrize(
    "mark",
    [
        {"at_guessing": 1},  # nothing was learnt
        {"is_minimum": 0},
        {"point": {"device_seed": 3, "severity": 1.0}, "is_minimum": 1},  # not the ideal device
        {"point": {"device_seed": None, "severity": 0.0}},  # whether it is a minimum is a gap
    ],
)
def test_sharpness_that_cannot_be_compared_enters_no_correlation(table, mark) -> None:
    def untrained(r: dict) -> None:
        r["sharpness"].update(mark)

    records = make_suite([*METHODS, "BP 2x"])
    marked = [resealed(r, untrained) if r["job"]["seed"] == 0 else r for r in records]
    assert ranking.build(marked)[0].correlations["lambda_max"]["n_jobs"] == 12
    # What is drawn is what is correlated; a row still says how sharp its networks are.
    for row in ranking.build(marked)[0].rows:
        assert 0 not in row.eigenvalues
        assert len(row.eigenvalues) == 2
        every = [r for r in marked if r["job"]["method"]["label"] == row.method]
        told = [r["sharpness"]["lambda_max"] for r in every if "at_guessing" not in mark]
        if told:
            assert row.lambda_max.mean == pytest.approx(float(np.exp(np.log(told).mean())))
    gone = [r for r in records if r["job"]["seed"] != 0]
    found = ranking.build(marked)[0].correlations["lambda_max"]["rho"]
    scores = {row.method: row.scores for row in table.rows}
    pairs = [
        (
            r["sharpness"]["lambda_max"],
            scores[r["job"]["method"]["label"]].values[r["job"]["seed"]].mean(),
        )
        for r in gone
    ]
    assert found == pytest.approx(stats.spearmanr(*zip(*pairs, strict=True)).statistic)


def test_a_minimum_on_the_ideal_device_and_a_missing_figure_leave_the_others() -> None:
    def told(r: dict) -> None:
        point = {"device_seed": None, "severity": 0.0}
        r["sharpness"].update(at_guessing=0, is_minimum=1, point=point, common_mode=1.0)
        if r["job"]["seed"] == 0:
            del r["sharpness"]["lambda_max_calibrated"]

    records = make_suite([*METHODS, "BP 2x"])
    whole = ranking.build(records)[0].correlations
    found = ranking.build([resealed(r, told) for r in records])[0].correlations
    assert found["lambda_max"] == whole["lambda_max"]
    fewer = sum(r["job"]["seed"] != 0 for r in records)
    assert found["lambda_max_calibrated"]["n_jobs"] == fewer < whole["lambda_max"]["n_jobs"]


def test_figures_that_were_not_measured_leave_the_others() -> None:
    def bare(r: dict) -> None:
        r["sharpness"] = {}
        r["clean"] = None
        missing(r, "sharpness", "clean")

    (row,) = ranking.rows([resealed(make_record("SAT", 0), bare), make_record("SAT", 1)])
    assert row.lambda_max.mean == make_record("SAT", 1)["sharpness"]["lambda_max"]
    assert row.clean.mean == pytest.approx((0.1 + make_record("SAT", 1)["clean"]) / 2)
    assert row.complete


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


def test_one_seed_gives_intervals_over_devices_and_none_over_seeds() -> None:
    row = ranking.rows([make_record("SAT")])[0]
    assert row.robust.spans == ("devices",)
    assert row.robust.low is not None
    assert (row.clean.low, row.clean.high, row.clean.spans) == (None, None, ())
    assert row.worst_decile.low is None
    assert row.baseline is None
    assert row.as_dict()["difference_to_baseline"] is None


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


def test_a_row_of_the_second_revision_stands_alone_in_every_deployment() -> None:
    records = make_later_suite(headline=RECALIBRATED)
    for place, table in enumerate(ranking.build(records)):
        for row in table.rows:
            mine = [r for r in records if r["job"]["method"]["label"] == row.method]
            (alone,) = ranking.build(mine)[place].rows
            shown = {k: v for k, v in figures_of(alone).items() if k in figures_of(row)}
            assert shown == {k: figures_of(row)[k] for k in shown}


def test_a_table_without_some_rows_ranks_the_others_and_changes_no_figure() -> None:
    whole = ranking.build(make_later_suite())[0]
    kept = ranking.without(whole, ("tested law", "one device"))
    assert kept.left_out == ("SAT", "Pruning")
    before = {row.method: row for row in whole.rows}
    assert [row.method for row in kept.rows] == [
        row.method for row in whole.rows if row.method not in kept.left_out
    ]
    for row in kept.rows:
        assert figures_of(row) == figures_of(before[row.method])
        assert row.difference == before[row.method].difference
        assert row.time_ratio == before[row.method].time_ratio
        assert row.rank_high <= len(kept.rows)
        assert not set(row.tied_with) & set(kept.left_out)
    assert len(kept.comparisons) == 3
    assert kept.rows[0].rank_low == 1
    assert whole.rows[0].method in kept.left_out
    assert kept.provenance["jobs"] == 12
    assert kept.correlations["lambda_max"]["n_jobs"] == 12
    assert all(set(group.methods) == {"NAT", "BP", "BP on weights"} for group in kept.groups)
    rest = [r for r in make_later_suite() if r["job"]["method"]["label"] not in kept.left_out]
    (alone, _) = ranking.build(rest)
    for row, same in zip(kept.rows, alone.rows, strict=True):
        assert (row.rank_low, row.rank_high) == (same.rank_low, same.rank_high)
        assert (row.method, row.tied_with) == (same.method, same.tied_with)


def test_times_stay_relative_to_a_row_that_is_left_out() -> None:
    records = make_mesh_suite(["NAT", "PAT"])
    for record in records:
        knows = ["gaussian on controls"] if record["job"]["method"]["name"] == "nat" else []
        record["provenance"]["method"] = {"access": "in_silico", "knows": knows}
    (whole,) = ranking.build(records)
    assert whole.reference == "NAT"
    (kept,) = ranking.without(whole, ("gaussian on controls",)).rows
    before = next(row for row in whole.rows if row.method == "PAT")
    assert figures_of(kept) == figures_of(before)
    assert (kept.reference, kept.time_ratio) == ("NAT", before.time_ratio)


def test_a_table_whose_rows_know_nothing_or_do_not_say_stays_as_it_is(table) -> None:
    assert ranking.without(table, ("tested law",)) is table
    (plain, _) = ranking.build(make_later_suite(["BP"]))
    assert ranking.without(plain, ("tested law", "one device")) is plain


def test_an_older_job_that_knew_less_is_no_row_in_place_of_the_left_out_one() -> None:
    early, late = "2026-01-01T10:00:00+00:00", "2026-01-02T10:00:00+00:00"
    old = at(make_record("SAT"), early, content="0" * 64)
    new = at(make_record("SAT"), late, content="1" * 64)
    new["provenance"]["method"] = {"access": "in_silico", "knows": ["tested law"]}
    (table,) = ranking.build([old, new, make_record("BP")])
    assert [r.method for r in ranking.without(table, ("tested law",)).rows] == ["BP"]


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
