"""Errors and distances: less is better in every order, and what failed is never better."""

from __future__ import annotations

import numpy as np
import pytest

from pnnbench.errors import UserError
from pnnbench.leaderboard.best import best_jobs
from pnnbench.leaderboard.ranking import build
from pnnbench.leaderboard.tuning import order
from pnnbench.records.index import Claim
from pnnbench.records.store import seal
from pnnbench.report import style
from pnnbench.report.figures import scores
from pnnbench.report.page import render_html
from pnnbench.report.render import render

from ..record_factory import IMAGE_SUITES, make_image_record, make_image_suite

SUITE = "cifar10_generate"
CHANCE = IMAGE_SUITES[SUITE][1]
LABELS = ("BP", "NAT", "SAT")


def failure(label: str, seed: int) -> dict:
    whole = make_image_record(label, seed, suite=SUITE, sealed=False)
    kept = ("schema", "protocol", "job", "config", "data", "metric", "provenance")
    record = {key: whole[key] for key in kept}
    record["error"] = {"type": "Diverged", "message": "the loss is not finite"}
    return seal({**record, "status": "diverged"})


@pytest.fixture(scope="module")
def table():
    claims = {SUITE: (Claim("SAT", "BP"), Claim("BP", "NAT"))}
    return build(make_image_suite(LABELS, range(4), suite=SUITE), claims=claims)[0]


def test_the_smallest_score_stands_first(table) -> None:
    assert [row.method for row in table.rows] == ["SAT", "NAT", "BP"]
    means = [row.robust.mean for row in table.rows]
    assert means == sorted(means)
    assert [(row.rank_low, row.rank_high) for row in table.rows] == [(1, 1), (2, 2), (3, 3)]
    for row in table.rows:
        assert row.worst_decile.mean > row.robust.mean
    for pair in table.comparisons:
        assert pair.difference.mean < 0.0
        assert pair.superiority.share > 0.9
    sat = table.rows[0]
    assert sat.difference.high < 0.0
    assert sat.superiority.share > 0.9


def test_claims_of_the_suite_go_the_right_way(table) -> None:
    assert [line.verdict for line in table.claims] == ["shown", "the other way round"]
    assert all(line.smallest > 0.0 for line in table.claims)
    assert table.resolution.smallest > 0.0


def test_failed_seeds_count_as_guessing_and_never_as_better() -> None:
    records = make_image_suite(["BP", "SAT"], range(3), suite=SUITE)
    failed = [r for r in records if (r["job"]["method"]["label"], r["job"]["seed"]) != ("SAT", 2)]
    row = next(r for r in build([*failed, failure("SAT", 2)])[0].rows if r.method == "SAT")
    assert not row.complete
    lost = row.scores.values[row.scores.seeds.index(2)]
    assert np.allclose(lost, CHANCE)
    whole = next(r for r in build(records)[0].rows if r.method == "SAT")
    assert row.robust.mean > whole.robust.mean


def test_a_failed_seed_of_a_row_worse_than_guessing_is_as_bad_as_its_worst() -> None:
    records = make_image_suite(["BP"], range(2), suite=SUITE)
    for record in records:
        record.pop("checksum")
        for cell in record["cells"]:
            cell["value"] += 2 * CHANCE
    row = build([*(seal(r) for r in records), failure("BP", 2)])[0].rows[0]
    finished = row.scores.values[:2]
    assert float(row.scores.values[2].min()) == pytest.approx(float(finished.max()))
    assert finished.max() > CHANCE


def test_a_cell_without_a_value_counts_as_guessing_or_as_the_worst_beside_it() -> None:
    record = make_image_record("SAT", suite=SUITE, sealed=False)
    cell = next(c for c in record["cells"] if c["counts"])
    index = record["cells"].index(cell)
    cell["value"] = None
    cell.pop("also")
    record["gaps"] = [{"part": f"cells[{index}]", "type": "not-finite", "message": "m"}]
    table = build([seal(record)])[0]
    group = next(g for g in table.groups if (g.axis, g.level) == (cell["axis"], cell["level"]))
    others = [
        c["value"]
        for c in record["cells"]
        if (c["axis"], c["level"]) == (cell["axis"], cell["level"]) and c["value"] is not None
    ]
    expected = (sum(others) + CHANCE) / (len(others) + 1)
    assert group.methods["SAT"].mean == pytest.approx(expected)


def test_sharper_still_means_worse(table) -> None:
    records = make_image_suite(LABELS, range(4), suite=SUITE)
    sharp = {"SAT": 1.0, "NAT": 10.0, "BP": 100.0}
    for record in records:
        record.pop("checksum")
        record["sharpness"] = {"lambda_max": sharp[record["job"]["method"]["label"]]}
    made = build([seal(record) for record in records])[0]
    assert made.correlations["lambda_max"]["rho"] < -0.5


def test_the_best_jobs_and_settings_have_the_least() -> None:
    best = {job.record["job"]["method"]["label"]: job for job in best_jobs(
        make_image_suite(["BP"], range(4), suite=SUITE)
    )}  # fmt: skip
    row = build(make_image_suite(["BP"], range(4), suite=SUITE))[0].rows[0]
    assert best["BP"].score == pytest.approx(float(row.scores.values.mean(axis=1).min()))
    assert order([3.0, 1.0, 2.0], higher_is_better=False) == [1, 2, 0]


def test_texts_and_pictures_say_which_way_and_colour_what_is_better(table) -> None:
    for form in ("table", "markdown"):
        assert "lower is better" in render([table], form)
    page = render_html([table])
    assert "metric FID, lower is better" in page
    row = page.partition(">SAT<")[2].partition("</tr>")[0]
    assert 'class="num good"' in row
    with style.styled():
        figure = scores(table)
    (axes,) = figure.axes
    assert axes.get_xlabel() == "FID"
    assert any(line.get_xdata()[0] == CHANCE for line in axes.lines)


def test_a_board_with_failures_says_what_the_figures_beside_are_over() -> None:
    records = make_image_suite(["BP", "SAT"], range(2), suite=SUITE)
    shown = render(build([*records, failure("SAT", 2)]), "table")
    assert "figures beside the metric are over the seeds that finished" in shown


def test_levels_of_guessing_that_differ_by_rounding_make_one_board() -> None:
    """As of one seed on a processor and one on a GPU."""

    def records(factor: float) -> list[dict]:
        made = [make_image_record("BP", s, suite=SUITE, sealed=False) for s in range(2)]
        made[1]["metric"] = {**made[1]["metric"], "chance": factor * CHANCE}
        return [seal(record) for record in made]

    assert len(build(records(1 + 1e-6))[0].rows[0].seeds) == 2
    with pytest.raises(UserError, match="differ in their metric"):
        build(records(1.05))
