from __future__ import annotations

from pathlib import Path

import pytest

from pnnbench.errors import UserError
from pnnbench.records.runs import find_run, list_runs

from ..record_factory import make_failure, make_suite, write_job


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for record in [*make_suite(["BP", "BP on weights"], (0, 1)), make_failure("NAT", 0)]:
        write_job(tmp_path / "runs" / "mrr_mnist", record)
    return tmp_path / "runs"


def test_every_run_is_found_by_its_name_and_by_its_hash(runs: Path) -> None:
    listed = list_runs(runs)
    assert {run.name for run in listed} == {
        "mrr_mnist/BP/0",
        "mrr_mnist/BP/1",
        "mrr_mnist/BP on weights/0",
        "mrr_mnist/BP on weights/1",
        "mrr_mnist/NAT/0",
    }
    for run in listed:
        for name in (run.name, run.name.upper(), run.hash, run.hash[:8], str(run.folder)):
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
