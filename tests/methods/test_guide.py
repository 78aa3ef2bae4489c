"""The examples of docs/methods.md, run as a reader would run them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint

from pnnbench.data import DataModule
from pnnbench.errors import check_range
from pnnbench.methods.candidates import CandidateMethod
from pnnbench.running.training import quiet
from pnnbench.submitting.conformance import check_method
from pnnbench.workloads.mrr import MRRDigits

from ..conftest import REPO_ROOT

TEXT = (REPO_ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
*CLASSES, SCRIPT = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


def names() -> dict[str, Any]:
    """What the page defines and imports."""
    found: dict[str, Any] = {
        "__name__": "guide",
        "check_range": check_range,
        "torch": torch,
        "pl": pl,
        "CandidateMethod": CandidateMethod,
        "EarlyStopping": EarlyStopping,
        "ModelCheckpoint": ModelCheckpoint,
        "DataModule": DataModule,
        "MRRDigits": MRRDigits,
    }
    for block in CLASSES:
        exec(compile(block, "docs/methods.md", "exec"), found)  # noqa: S102
    return found


@pytest.mark.parametrize("name", ["Shrinking", "TwoOptimizers", "OnePlusOne", "RandomSearch"])
def test_the_methods_of_the_page_pass_every_check(name: str) -> None:
    results = check_method(names()[name])
    assert [r.message for r in results if not r.passed] == []


def test_the_script_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = names()
    with quiet():
        exec(compile(SCRIPT, "docs/methods.md", "exec"), found)  # noqa: S102
    assert sum(len(part) for part in found["outputs"]) == 360
    assert list((tmp_path / "checkpoints").glob("*.ckpt"))
