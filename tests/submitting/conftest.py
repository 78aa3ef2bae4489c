"""A small submission of two seeds, made once."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from pnnbench.running.finished import job_folder
from pnnbench.running.jobs import run_suite
from pnnbench.running.suites import load_suite

from .packed import write_submission

SUITE = {
    "suite": "tiny",
    "protocol": "pnnbench-2",
    "tier": "smoke",
    "workloads": ["mrr-digits"],
    "seeds": [1, 2],  # one in three is measured by PyHessian too
    "methods": [{"method": "bp", "label": "BP"}],
}


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Folders of two finished runs of one row."""
    folder = tmp_path_factory.mktemp("row")
    (folder / "tiny.yaml").write_text(yaml.safe_dump(SUITE))
    suite = load_suite(folder / "tiny.yaml")
    run_suite(suite, folder / "runs", say=lambda line: None)
    return [job_folder(folder / "runs", job) for job in suite.jobs]


@pytest.fixture(scope="session")
def submission(runs: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A submission of both; read it, never change it."""
    folder = tmp_path_factory.mktemp("made") / "submission"
    write_submission(folder, runs)
    return folder
