"""The search chooses on what jobs never train on, and on devices that nothing else meets."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import yaml

from pnnbench.errors import UserError
from pnnbench.running.jobs import data_module
from pnnbench.running.suites import load_suite
from pnnbench.seeds import FIRST_TEST_DEVICE, FIRST_VALIDATION_DEVICE, validation_devices
from pnnbench.workloads.mrr import MRRDigits

from .scripts import load_script

SEARCH = {
    "workload": "mrr-digits",
    "tier": "smoke",
    "seeds": [100],
    "train_images": 128,
    "epochs": 1,
    "devices": 2,
}


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return load_script("scripts/search.py")


@pytest.mark.parametrize("more", [{}, {"holdout": 400}, {"validation_images": 20}])
def test_it_chooses_on_the_images_that_jobs_hold_out(
    script: ModuleType, tmp_path: Path, more: dict[str, Any]
) -> None:
    suite = {"suite": "s", "protocol": "pnnbench-2", "seeds": [0], "methods": ["bp"]}
    path = tmp_path / "s.yaml"
    path.write_text(yaml.safe_dump({**suite, "tier": "smoke", "workloads": ["mrr-digits"]}))
    held, _ = data_module(load_suite(path).jobs[0]).validation_tensors()
    data, (images, labels) = script.split({**SEARCH, **more}, 100)
    assert len(images) == len(labels) == more.get("validation_images", len(held))
    assert torch.equal(images, held[: len(images)])
    # What it trains on is the beginning of the set, apart from all that is held out.
    trained, _ = data.train_tensors()
    assert len(trained) == 128
    assert torch.equal(trained, data.arrays.train_images[:128].float() / 255.0)
    assert len(data.arrays.train_images) - max(len(held), more.get("holdout", 0)) >= 128


@pytest.mark.parametrize(
    "change", [{"holdout": 10}, {"workload": "mzi-mnist-large-batch", "tier": "standard"}]
)
def test_a_search_on_images_of_the_training_is_refused(
    script: ModuleType, change: dict[str, Any]
) -> None:
    with pytest.raises(UserError, match="out of their training"):
        script.split({**SEARCH, **change}, 100)


def test_it_meets_validation_devices_only(script: ModuleType) -> None:
    cells = script.validation_cells(MRRDigits(0), "smoke", validation_devices(2))
    met = {cell.device_seed for cell in cells} - {None}
    assert met == {FIRST_VALIDATION_DEVICE, FIRST_VALIDATION_DEVICE + 1}
    assert max(met) < FIRST_TEST_DEVICE


@pytest.mark.parametrize("method", ["bp", "pat"])
def test_a_trial_has_a_score(script: ModuleType, method: str) -> None:
    found = script.run_seed(SEARCH, {"method": method, "params": {}}, 100)
    assert 0.0 <= found["score"] <= 1.0
    assert {"device", "clean"} <= found.keys()
