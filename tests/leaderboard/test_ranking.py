from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy import stats

from pnnbench.errors import UserError
from pnnbench.leaderboard import ranking
from pnnbench.leaderboard import statistics as st
from pnnbench.leaderboard.grid import curve_areas, read_grid
from pnnbench.leaderboard.score import device_scores, worst_mean
from pnnbench.leaderboard.tuning import RowTuning

from ..record_factory import (
    METHODS,
    RECALIBRATED,
    SILENT,
    make_later_suite,
    make_mesh_suite,
    make_record,
    make_suite,
)
from .changed import figures_of, missing, resealed, second_revision, with_values


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


def test_badges_and_searches_stay_with_the_rows_that_are_left() -> None:
    (whole, _) = ranking.build(make_later_suite())
    rows = tuple(dataclasses.replace(row, badges=("claimed",)) for row in whole.rows)
    told = tuple(RowTuning(row.method, 16) for row in rows)
    gone = ("gaussian on controls",)
    kept = ranking.without(dataclasses.replace(whole, rows=rows, tuning=told), gone)
    left = {row.method for row in kept.rows}
    assert left < {row.method for row in rows}
    assert {row.badges for row in kept.rows} == {("claimed",)}
    assert [t.method for t in kept.tuning] == [t.method for t in told if t.method in left]


def test_a_table_whose_rows_know_nothing_or_do_not_say_stays_as_it_is(table) -> None:
    assert ranking.without(table, ("tested law",)) is table
    (plain, _) = ranking.build(make_later_suite(["BP"]))
    assert ranking.without(plain, ("tested law", "one device")) is plain
