"""Runs are found by folder, by suite, row and seed, and by the beginning of their hash."""

from __future__ import annotations

from pathlib import Path

import pytest

from pnnbench.errors import UserError
from pnnbench.records.runs import find_run, list_runs
from pnnbench.records.store import write_record
from tests.record_factory import make_record

LABELS = ("BP", "BP 2x", "BP on weights", "SAT")


def add(runs, label="BP", seed=0, *, status="ok", hash_=None, **job):
    record = make_record(label, seed, sealed=False)
    record["job"] |= job
    if hash_:
        record["job"]["hash"] = hash_
    if status != "ok":
        record = {key: record[key] for key in ("schema", "protocol", "job", "provenance")}
        record |= {"status": status, "error": {"type": "ValueError", "message": "no"}}
    folder = runs / record["job"]["suite"] / record["job"]["hash"]
    write_record(folder / "record.json", record)
    return folder


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for label in LABELS:
        for seed in (0, 1):
            add(Path("runs"), label, seed)
    return Path("runs")


def refused(name, runs):
    with pytest.raises(UserError) as caught:
        find_run(name, runs)
    return caught.value


def test_runs_are_listed_in_order(runs):
    found = list_runs(runs)
    assert [run.name for run in found] == [
        f"mrr_mnist/{label}/{seed}" for label in LABELS for seed in (0, 1)
    ]
    assert {run.status for run in found} == {"ok"}
    assert found[0].names[1] == "mrr_mnist/mrr-mnist/BP/0"
    assert list_runs(runs / "nowhere") == []


def test_what_is_no_record_is_left_out(runs):
    for name, text in (("a", "{"), ("b", "[]"), ("c", '{"job": {"suite": 1}}'), ("d", "")):
        (runs / name).mkdir()
        (runs / name / "record.json").write_text(text)
    assert len(list_runs(runs)) == 2 * len(LABELS)


def test_every_listed_run_is_found_by_each_of_its_names(runs):
    for run in list_runs(runs):
        folder = str(run.folder)
        for name in (
            *run.names, run.name.upper(), run.name.replace(" ", "_"), f"runs/{run.name}",
            run.hash, run.hash[:6].upper(), f"mrr_mnist/{run.hash}", f"mrr_mnist/{run.hash[:6]}",
            folder, f"{folder}/", f"{folder}/record.json",
        ):  # fmt: skip
            assert find_run(name, runs).resolve() == run.folder.resolve(), name


def test_a_label_is_not_the_beginning_of_another(runs):
    assert find_run("mrr-mnist/bp/0", runs) != find_run("mrr-mnist/bp-2x/0", runs)


def test_a_name_that_is_nearly_right_gets_a_hint(runs):
    error = refused("mrr_mnist/SATT/0", runs)
    assert "there is no run 'mrr_mnist/SATT/0' in runs/; did you mean 'mrr_mnist/SAT/0'?" in str(
        error
    )
    assert error.next_step == "pnnbench list runs"
    assert "SUITE/ROW/SEED" in error.allowed
    assert "there is no run 'mrr_mnist/BP/7'" in refused("mrr_mnist/BP/7", runs).what


@pytest.mark.parametrize("name", ["000", "zzzz", "/", ".", "..", "~", "mrr_mnist/BP"])
def test_other_names_are_refused_or_folders(name, runs):
    if Path(name).is_dir():
        assert find_run(name, runs) == Path(name)
    else:
        assert "there is no run" in refused(name, runs).what


def test_two_runs_of_one_name_go_by_their_hashes(runs):
    """The same row with other settings is another job."""
    other = add(runs, "BP", 0, tier="quick", hash_="0123456789abcdef")
    error = refused("mrr_mnist/BP/0", runs)
    assert error.what == "2 runs are meant by 'mrr_mnist/BP/0'"
    assert "0123456789abcdef (mrr_mnist/mrr-mnist/BP/0, quick, ok)" in error.allowed
    assert find_run("0123", runs) == other


def test_several_workloads_are_told_apart_by_name(runs):
    other = add(runs, "BP", 0, workload="mzi-mnist", hash_="0123456789abcdef")
    assert "2 runs are meant" in refused("mrr_mnist/BP/0", runs).what
    assert find_run("mrr_mnist/mzi_mnist/bp/0", runs) == other


def test_one_job_of_several_suites_is_one_job(runs):
    """Its hash names it; where it finished comes first."""
    for suite, status in (("a", "error"), ("b", "ok"), ("c", "killed")):
        add(runs, suite=suite, status=status, hash_="fedcba9876543210")
    assert find_run("fedc", runs) == runs / "b" / "fedcba9876543210"
    assert find_run("a/BP/0", runs) == runs / "a" / "fedcba9876543210"


def test_where_no_run_is_it_says_so(tmp_path):
    error = refused("x/y/0", tmp_path)
    assert f"no runs in {tmp_path}/" in error.what
    assert "--runs" in error.next_step
