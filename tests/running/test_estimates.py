"""How long jobs and trials take is told from finished jobs that did as much."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from pnnbench.running.estimates import estimate, estimate_trial
from pnnbench.running.job_specs import Job
from pnnbench.running.search_file import Budget
from pnnbench.running.suites import load_suite

COST = {"train_seconds": 3.0, "evaluate_seconds": 2.0, "sharpness_seconds": 1.0}


def job_of(folder: Path, **more: object) -> Job:
    path = folder / "some.yaml"
    content = {
        "suite": "some",
        "protocol": "pnnbench-2",
        "tier": "smoke",
        "workloads": ["mzi-digits"],
        "seeds": [0],
        "methods": [{"method": "bp", **more}],
    }
    path.write_text(yaml.safe_dump(content))
    return load_suite(path).jobs[0]


def record_of(job: Job, cells: int = 10, n_test: int = 100) -> dict[str, Any]:
    return {
        "status": "ok",
        "protocol": job.protocol,
        "job": job.spec(),
        "config": dict(job.config),
        "cost": COST,
        "data": {"n_test": n_test},
        "cells": [{}] * cells,
    }


def test_the_time_of_a_job_follows_finished_ones(tmp_path: Path) -> None:
    job = job_of(tmp_path)
    assert estimate(job, []) is None
    assert estimate(job, [record_of(job)]) == pytest.approx(6.0)
    longer = job_of(tmp_path, epochs_factor=2)
    assert estimate(longer, [record_of(job)]) == pytest.approx(9.0)


def test_the_time_follows_the_epochs_of_a_job_which_are_whole_and_at_least_one(
    tmp_path: Path,
) -> None:
    job = job_of(tmp_path)
    assert job.epochs == 1
    for factor, epochs in ((0.25, 1), (1.4, 1), (2.4, 2)):
        other = job_of(tmp_path, epochs_factor=factor)
        assert other.epochs == epochs
        assert estimate(other, [record_of(job)]) == pytest.approx(3.0 * epochs + 3.0)
        assert estimate(job, [record_of(other)]) == pytest.approx(3.0 / epochs + 3.0)


def test_jobs_with_the_same_settings_tell_more_than_others_of_the_method(tmp_path: Path) -> None:
    def evolution(population: int, lr: float = 0.1) -> Job:
        params = {"population": population, "parents": 2, "lr": lr}
        return job_of(tmp_path, method="evolution", params=params)

    small, large = record_of(evolution(4)), record_of(evolution(64))
    large["cost"] = {**COST, "train_seconds": 30.0}
    for job, seconds in ((evolution(4), 6.0), (evolution(64, lr=0.3), 33.0)):
        assert estimate(job, [small, large]) == pytest.approx(seconds)
    assert estimate(evolution(16), [small, large]) == pytest.approx((6.0 + 33.0) / 2)


@pytest.mark.parametrize("key", ["protocol", "tier", "grid", "test_devices"])
def test_jobs_that_do_something_else_tell_nothing(tmp_path: Path, key: str) -> None:
    job = job_of(tmp_path)
    record = copy.deepcopy(record_of(job))
    if key == "protocol":
        record["protocol"] = "pnnbench-1"
    elif key == "tier":
        record["config"]["tier"]["test_images"] = 7
    else:
        record["config"][key] = record["config"][key][:1]
    assert estimate(job, [record]) is None
    assert estimate_trial(job, [record], Budget()) is None
    assert estimate(job, [record, record_of(job)]) == pytest.approx(6.0)


def test_a_trial_trains_as_a_job_and_measures_what_it_is_chosen_by(tmp_path: Path) -> None:
    job = job_of(tmp_path)
    workload = job.make_workload()
    held_out = workload.tier("smoke").validation_images
    counted = [cell for cell in workload.cells("smoke") if cell.counts]
    conditions = len({(c.axis, c.level, c.severity, c.environment) for c in counted})
    record = record_of(job, cells=len(workload.cells("smoke")), n_test=60)
    passes = held_out * conditions * 20 + 60 * len(counted)
    share = passes / (60 * len(workload.cells("smoke")))
    assert estimate_trial(job, [record], Budget()) == pytest.approx(3.0 + 2.0 * share)
    few = estimate_trial(job, [record], Budget(devices=1))
    assert few is not None
    assert 3.0 < few < 3.0 + 2.0 * share
    twice = {**record, "deployments": [{"name": "offset-calibrated"}]}
    assert estimate_trial(job, [twice], Budget()) == pytest.approx(3.0 + share)
