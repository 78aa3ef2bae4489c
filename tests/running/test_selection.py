"""A part of a suite, or more than it."""

from __future__ import annotations

import dataclasses

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pnnbench.errors import UserError
from pnnbench.registry import SUITES
from pnnbench.running.selection import (
    estimate,
    find_rows,
    labels_of,
    select,
    supported,
    trainable,
)
from pnnbench.running.suites import load_suite
from tests.record_factory import make_record

LABELS = ["BP", "BP, equal gradients", "SAT", "SAT, adaptive", "Optical pruning"]


@pytest.fixture(scope="module")
def suite(tmp_path_factory):
    path = tmp_path_factory.mktemp("suite") / "tiny.yaml"
    content = {
        "suite": "tiny",
        "protocol": "pnnbench-1",
        "tier": "smoke",
        "workloads": ["mrr-digits", "mzi-digits"],
        "seeds": [3, 1],
        "methods": ["bp", {"method": "sat", "label": "SAT"}, "pat"],
    }
    path.write_text(yaml.safe_dump(content))
    return load_suite(path)


@pytest.mark.parametrize(
    ("given_texts", "rows"),
    [
        (["BP"], ["BP"]),
        (["bp, equal gradients"], ["BP, equal gradients"]),
        (["BP,equal_gradients"], ["BP, equal gradients"]),
        (["SAT, adaptive,BP"], ["BP", "SAT, adaptive"]),
        (["SAT,BP"], ["BP", "SAT"]),
        (["SAT,adaptive,SAT"], ["SAT", "SAT, adaptive"]),
        (["optical-PRUNING", "SAT"], ["SAT", "Optical pruning"]),
        (["BP,"], ["BP"]),
        ([], []),
    ],
)
def test_rows_by_label(given_texts, rows):
    assert find_rows(given_texts, LABELS) == rows


@given(st.lists(st.sampled_from(LABELS)))
def test_any_rows_in_any_order_in_one_text_or_several(chosen):
    expected = [label for label in LABELS if label in chosen]
    assert find_rows(chosen, LABELS) == expected


@pytest.mark.parametrize("text", ["BPP", "BP,adaptive", "SAT,x"])
def test_an_unknown_row_is_told(text):
    with pytest.raises(UserError, match="--only: unknown row") as caught:
        find_rows([text], LABELS)
    assert "Optical pruning" in caught.value.allowed


def test_the_quickstarts_rows_can_all_be_named():
    suite = load_suite(SUITES / "quickstart.yaml")
    labels = labels_of(suite)
    for label in labels:
        assert find_rows([label], labels) == [label]


def test_nothing_chosen_is_the_whole_suite(suite):
    assert select(suite) == suite


def test_chosen_rows_and_seeds(suite):
    found = select(suite, only=["sat,BP"], seeds=[7, 1])
    assert [(j.seed, j.workload, j.method.label) for j in found.jobs] == [
        (seed, workload, label)
        for seed in (7, 1)
        for workload in ("mrr-digits", "mzi-digits")
        for label in ("bp", "SAT")
    ]
    assert found.partial
    assert not suite.partial


def test_a_chosen_job_is_the_job_of_the_suite(suite):
    """Its hash is the same: what is finished stays finished."""
    whole = {job.spec()["hash"] for job in suite.jobs}
    for part in (
        select(suite, only=["SAT"]),
        select(suite, seeds=[1]),
        select(suite, only=["bp"], seeds=[3], add=[]),
    ):
        assert {job.spec()["hash"] for job in part.jobs} < whole
    other = select(suite, seeds=[2])
    assert not {job.spec()["hash"] for job in other.jobs} & whole


def test_added_methods_become_rows_at_every_seed_and_workload(suite):
    found = select(suite, only=["bp"], add=["NAT", "pnnbench.methods.bp_weights.BPWeights"])
    rows = [(j.seed, j.workload, j.method.label) for j in found.jobs]
    added = ("bp", "nat", "pnnbench.methods.bp_weights.BPWeights")
    assert sorted(rows) == sorted(
        (seed, workload, label)
        for seed in (3, 1)
        for workload in ("mrr-digits", "mzi-digits")
        for label in added
    )
    assert [seed for seed, *_ in rows] == [3] * 6 + [1] * 6
    nat = next(job for job in found.jobs if job.method.label == "nat")
    assert nat.method.params["sigma"] > 0
    # A registered class has one name, whatever path it was given by.
    assert found.jobs[-1].method.name == "bp-weights"


@pytest.mark.parametrize("add", [["bp"], ["NAT", "nat"], ["PAT"]])
def test_a_row_that_is_there_already_is_not_added(suite, add):
    with pytest.raises(UserError, match=r"the suite has a row '(bp|nat|pat)' already"):
        select(suite, add=add)


def test_a_row_with_the_same_settings_is_not_added(suite):
    with pytest.raises(UserError, match="the rows 'SAT' and 'sat' are the same method"):
        select(suite, add=["sat"])


def test_a_wrong_addition_is_told(suite):
    with pytest.raises(UserError, match=r"--add: unknown method 'natt'; did you mean 'nat'\?"):
        select(suite, add=["natt"])
    with pytest.raises(UserError, match=r"--add: cannot import 'no\.such'"):
        select(suite, add=["no.such.Class"])


def test_what_cannot_be_trained_is_left_out_with_a_line(suite):
    found, lines = supported(select(suite, add=["dat", "random-environment"]))
    assert lines == [
        "skipped: dat cannot train mrr-digits",
        "skipped: random-environment cannot train mzi-digits",
    ]
    pairs = {(job.method.label, job.workload) for job in found.jobs}
    assert ("dat", "mzi-digits") in pairs
    assert ("dat", "mrr-digits") not in pairs
    assert {("bp", w) for w in ("mrr-digits", "mzi-digits")} < pairs


def test_nothing_left_is_told_with_what_would_fit(suite):
    only = select(suite, add=["dat"], only=["bp"])
    jobs = tuple(j for j in only.jobs if (j.method.label, j.workload) == ("dat", "mrr-digits"))
    with pytest.raises(UserError, match="no job is left: dat cannot train mrr-digits") as caught:
        supported(dataclasses.replace(only, jobs=jobs))
    assert "dat on mzi-digits" in caught.value.allowed


def test_settings_are_checked_against_the_workload_before_work(suite):
    whole = select(suite, only=["bp"], add=["sat-environment"])

    def with_(**params):
        jobs = tuple(
            dataclasses.replace(
                job,
                method=dataclasses.replace(
                    job.method, params={**job.method.params, **params.get(job.method.label, {})}
                ),
            )
            for job in whole.jobs
        )
        return dataclasses.replace(whole, jobs=jobs)

    with pytest.raises(UserError, match=r"bp on mrr-digits: .*rad"):
        supported(with_(bp={"lr": "0.1 rad"}))
    wrong = with_(**{"sat-environment": {"parameters": "tilt"}})
    with pytest.raises(UserError, match=r"sat-environment on mrr-digits: .*'tilt'"):
        supported(wrong)
    assert supported(with_(**{"sat-environment": {"parameters": "temperature"}}))[0].jobs


def test_trainable_names_registered_workloads():
    assert "mzi-digits" in trainable("dat")
    assert "mrr-digits" not in trainable("dat")
    assert {"mrr-digits", "mzi-digits", "freespace-digits", "diffractive-digits"} <= set(
        trainable("bp")
    )


def test_the_time_is_that_of_finished_jobs_of_the_same_kind(suite):
    def record(**changes):
        made = make_record("SAT", sealed=False)
        made["job"] |= {"workload": "mrr-digits", "tier": "smoke", **changes}
        made["cost"] = {"train_seconds": 10.0, "evaluate_seconds": 3.0, "sharpness_seconds": 2.0}
        return made

    job = next(j for j in suite.jobs if (j.workload, j.method.name) == ("mrr-digits", "sat"))
    assert estimate(job, []) is None
    others = [record(workload="mzi-digits"), record(tier="quick")]
    others += [record(method={"name": "bp", "label": "BP", "params": {}})]
    assert estimate(job, others) is None
    assert estimate(job, [*others, record()]) == 15.0
    assert estimate(job, [record(epochs_factor=2.0)]) == 10.0
    assert estimate(job, [record(), record(epochs_factor=2.0)]) == 12.5
