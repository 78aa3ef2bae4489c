"""The best job of a row, by the stated rule."""

from __future__ import annotations

import pytest

from pnnbench.leaderboard import ranking
from pnnbench.leaderboard.best import RULE, best_jobs, robust_score

from ..record_factory import RECALIBRATED, changed, make_failure, make_later_suite, make_suite


def test_it_is_the_seed_that_the_board_scores_highest() -> None:
    records = make_later_suite(seeds=(0, 1, 2), headline=RECALIBRATED)
    rows = [row for t in ranking.build(records) if t.headline for row in t.rows]
    best = {b.record["job"]["method"]["label"]: b for b in best_jobs(records)}
    assert set(best) == {row.method for row in rows}
    for row in rows:
        assert row.scores is not None
        means = dict(zip(row.scores.seeds, row.scores.values.mean(axis=1), strict=True))
        chosen = best[row.method]
        assert chosen.record["job"]["seed"] == max(means, key=lambda seed: means[seed])
        assert chosen.score == pytest.approx(max(means.values()), abs=1e-12)


def test_failures_are_none_and_workloads_are_rows_of_their_own() -> None:
    records = [*make_suite(["SAT"], seeds=(0, 1)), make_failure("BP", 0)]
    other = [changed(record, "job.workload", "mrr-digits") for record in records[:2]]
    found = best_jobs([*records, *other])
    assert [b.record["job"]["workload"] for b in found] == [
        "mrr-digits",
        records[0]["job"]["workload"],
    ]


def test_of_equal_ones_the_smaller_seed_and_without_a_score_the_clean_metric() -> None:
    records = make_suite(["SAT"], seeds=(0, 1, 2))
    same = [changed(r, "cells", records[0]["cells"]) for r in records]
    assert best_jobs(same[::-1])[0].record["job"]["seed"] == 0
    silent = [{**cell, "counts": False} for cell in records[0]["cells"]]
    without = [
        {**record, "cells": silent, "clean": clean}
        for record, clean in zip(records, (0.5, 0.9, 0.7), strict=True)
    ]
    (best,) = best_jobs(without)
    assert (best.record["job"]["seed"], best.score) == (1, None)
    assert robust_score(without[0]) is None
    metric = {**records[0]["metric"], "higher_is_better": False}
    (lowest,) = best_jobs([{**record, "metric": metric} for record in without])
    assert lowest.record["job"]["seed"] == 0


def test_the_rule_says_that_it_is_chosen_by_test_results() -> None:
    assert "chosen by test results" in RULE
