from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pnnbench.errors import UserError
from pnnbench.records.runs import Run, find_run, list_runs, names_of

from ..record_factory import make_failure, make_suite, write_job


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for record in [*make_suite(["BP", "BP on weights"], (0, 1)), make_failure("NAT", 0)]:
        write_job(tmp_path / "runs" / "mrr_mnist", record)
    return tmp_path / "runs"


def test_every_run_is_found_by_its_name_and_by_its_hash(runs: Path) -> None:
    listed = list_runs(runs)
    names = names_of(listed)
    assert set(names) == {
        "mrr_mnist/BP/0",
        "mrr_mnist/BP/1",
        "mrr_mnist/BP on weights/0",
        "mrr_mnist/BP on weights/1",
        "mrr_mnist/NAT/0",
    }
    for run, own in zip(listed, names, strict=True):
        for name in (own, own.upper(), run.hash, run.hash[:8], str(run.folder)):
            assert find_run(name, runs) == run.folder


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("mrr_mnist/BPP/0", "BP"),
        ("mrr_mnist/BP/9", "did you mean"),
        ("mrr_mnits/BP/0", "mrr_mnist"),
        ("zzzz", "SUITE/ROW/SEED"),
    ],
)
def test_a_name_of_no_run_gets_a_hint(runs: Path, name: str, words: str) -> None:
    with pytest.raises(UserError) as caught:
        find_run(name, runs)
    assert words in str(caught.value)


def test_too_short_a_beginning_of_a_hash_names_nothing(runs: Path) -> None:
    with pytest.raises(UserError, match="4 digits or more"):
        find_run(list_runs(runs)[0].hash[:3], runs)


JOBS = [
    ("quickstart", "mrr-digits", "BP", 0, "aaaa000011112222", "ok"),
    ("quickstart", "mrr-digits", "BP, equal gradients", 0, "aaaa999911112222", "ok"),
    ("two", "mrr-digits", "my_method.X lr=0.1", 3, "bbbb000011112222", "error"),
    ("two", "mzi-digits", "my_method.X lr=0.1", 3, "cccc000011112222", "ok"),
    ("old", "mrr-digits", "SAT", 1, "dddd000011112222", "ok"),
    ("old", "mrr-digits", "SAT", 1, "dddd555511112222", "ok"),
]


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("named") / "runs"
    for suite, workload, label, seed, digits, status in JOBS:
        place = folder / suite / digits
        place.mkdir(parents=True)
        method = {"name": "x", "label": label, "params": {}}
        job = {"suite": suite, "workload": workload, "tier": "quick", "method": method}
        job |= {"seed": seed, "hash": digits}
        (place / "record.json").write_text(json.dumps({"job": job, "status": status}))
    (folder / "quickstart" / "broken").mkdir()
    (folder / "quickstart" / "broken" / "record.json").write_text("{")
    return folder


@pytest.mark.parametrize(
    ("name", "digits"),
    [
        ("quickstart/BP/0", JOBS[0][4]),
        ("QuickStart/bp/0", JOBS[0][4]),
        ("quickstart/BP, equal gradients/0", JOBS[1][4]),
        ("quickstart/bp-equal_gradients/0", JOBS[1][4]),
        ("two/mzi-digits/my_method.X lr=0.1/3", JOBS[3][4]),
        ("two/mrr_digits/My-Method.x LR=0.1/3", JOBS[2][4]),
        ("aaaa0", JOBS[0][4]),
        ("AAAA9", JOBS[1][4]),
        ("quickstart/aaaa9", JOBS[1][4]),
        ("dddd5555", JOBS[5][4]),
        ("bbbb000011112222", JOBS[2][4]),
        ("old/dddd555511112222", JOBS[5][4]),
    ],
)
def test_a_run_is_found_by_any_of_its_names(several: Path, name: str, digits: str) -> None:
    assert find_run(name, several).name == digits


def test_one_job_of_two_suites_is_one_run_by_its_hash(several: Path, tmp_path: Path) -> None:
    shutil.copytree(several, tmp_path / "runs")
    shutil.copytree(several / "old" / JOBS[4][4], tmp_path / "runs" / "quickstart" / JOBS[4][4])
    assert find_run(JOBS[4][4], tmp_path / "runs").name == JOBS[4][4]
    assert find_run("dddd0000", tmp_path / "runs").name == JOBS[4][4]
    with pytest.raises(UserError, match="3 runs are meant"):
        find_run("dddd", tmp_path / "runs")


def test_a_folder_is_a_name_too(several: Path) -> None:
    folder = several / "old" / "dddd000011112222"
    assert find_run(str(folder), several) == folder
    assert find_run(str(folder / "record.json"), several) == folder
    assert find_run("quickstart", several) == several / "quickstart"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("aaaa", ["2 runs are meant", JOBS[0][4], JOBS[1][4], "by its hash"]),
        ("old/SAT/1", ["2 runs are meant", "dddd0000", "dddd5555"]),
        ("two/my_method.X lr=0.1/3", ["2 runs", "two/mzi-digits/my_method.X lr=0.1/3, ok"]),
        ("quickstart/BPP/0", ["no run 'quickstart/BPP/0'", "did you mean 'quickstart/BP/0'"]),
        ("quickstart/BP/1", ["did you mean 'quickstart/BP/0'", "pnnbench list runs"]),
        ("aaa", ["there is no run 'aaa'", "4 digits or more"]),
        ("", ["there is no run"]),
    ],
)
def test_other_names_are_refused(several: Path, name: str, said: list[str]) -> None:
    with pytest.raises(UserError) as error:
        find_run(name, several)
    for part in said:
        assert part in str(error.value)


def test_without_runs_the_first_one_is_suggested(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="pnnbench run quickstart"):
        find_run("quickstart/BP/0", tmp_path / "nowhere")


def test_every_listed_name_finds_its_run(several: Path) -> None:
    known = list_runs(several)
    assert len(known) == len(JOBS), "what is no record is left out"
    names = names_of(known)
    assert names[names.index("quickstart/BP/0")] == "quickstart/BP/0"
    assert "two/mzi-digits/my_method.X lr=0.1/3" in names
    assert "old/dddd000011112222" in names
    for name, run in zip(names, known, strict=True):
        assert find_run(name, several) == run.folder


@given(st.lists(st.tuples(*[st.sampled_from("ab")] * 3, st.integers(0, 1)), max_size=8))
def test_names_are_unique(jobs: list[tuple[str, str, str, int]]) -> None:
    runs = [
        Run(Path(str(i)), suite, workload, "quick", label, seed, f"{i:016x}", "ok")
        for i, (suite, workload, label, seed) in enumerate(jobs)
    ]
    assert len(set(names_of(runs))) == len(runs)
