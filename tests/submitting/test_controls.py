"""Four submissions that must be told apart, and from an honest one; they stand on no board."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save
from torch import Tensor

from pnnbench.commands.verifying import _verified
from pnnbench.data.datamodule import DataModule
from pnnbench.platforms.base import Device
from pnnbench.running.finished import job_folder
from pnnbench.running.job_specs import Job
from pnnbench.running.jobs import run_suite
from pnnbench.running.suites import load_suite
from pnnbench.submitting.controls import learned, left_out, other_devices, peeked
from pnnbench.submitting.verifying import verify_here
from pnnbench.workloads.base import Workload
from pnnbench.workloads.grid import Cell

from .packed import exchange, forge, write_run, write_submission

KEY = bytes(range(32))
BATCH = 64


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """A job on the mesh of 16 waveguides, which a device's errors spoil and training can mend."""
    path = tmp_path_factory.mktemp("suite") / "tiny.yaml"
    suite = {"suite": "tiny", "protocol": "pnnbench-2", "tier": "smoke", "seeds": [1]}
    path.write_text(yaml.safe_dump({**suite, "workloads": ["mzi-digits"], "methods": ["bp"]}))
    return load_suite(path).jobs[0]


def adam(
    workload: Workload, images: Tensor, labels: Tensor, cells: Sequence[Cell], steps: int
) -> None:
    """Trains a network on the ideal device, or on the devices of some cells in turn."""
    optimizer = torch.optim.Adam(
        [
            {"params": list(workload.controls().values()), "lr": 0.05},
            {"params": list(workload.digital_parameters().values()), "lr": 0.01},
        ]
    )
    generator = torch.Generator().manual_seed(0)
    devices = [workload.draw_device(c.severity, c.device_seed, c.law) for c in cells]
    workload.train()
    for i in range(steps):
        chosen = torch.randperm(len(labels), generator=generator)[:BATCH]
        device = devices[i % len(devices)] if devices else Device.ideal()
        with workload.operating(device):
            loss = workload.loss(workload(images[chosen]), (images[chosen], labels[chosen]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        workload.project_controls()


def counted(workload: Workload) -> list[Cell]:
    """The cells of the public grid that carry weight."""
    return [cell for cell in workload.cells("smoke") if cell.counts]


def honest(workload: Workload, data: DataModule) -> None:
    adam(workload, *data.train_tensors(), [], 120)


def untrained(workload: Workload, data: DataModule) -> None:
    """Nothing is done."""


def memoriser(workload: Workload, data: DataModule) -> None:
    adam(workload, *data.train_tensors(), counted(workload), 200)


def grid_peeker(workload: Workload, data: DataModule) -> None:
    adam(workload, *data.test_tensors(), counted(workload), 400)


def verified(
    folder: Path, job: Job, train: Callable[[Workload, DataModule], None]
) -> dict[str, Any]:
    run = write_run(folder / "run", job, train)
    write_submission(folder / "submission", [run])
    return verify_here(folder / "submission", key=KEY)


@pytest.mark.slow
def test_an_honest_one_bears_every_badge(job: Job, tmp_path: Path) -> None:
    found = verified(tmp_path, job, honest)
    assert found["badges"] == ["claimed", "recomputed", "held-out"]
    assert found["controls"]["learned"]
    assert not found["controls"]["images"]["peeked"]
    assert not found["held_out"]["differs"]


@pytest.mark.slow
def test_an_untrained_one_is_true_and_at_guessing(job: Job, tmp_path: Path) -> None:
    found = verified(tmp_path, job, untrained)
    assert found["confirmed"]
    assert found["controls"]["learned"] is False
    assert not found["held_out"]["memorised"]


@pytest.mark.slow
def test_a_memoriser_of_the_public_devices_is_told_by_held_out_ones(
    job: Job, tmp_path: Path
) -> None:
    found = verified(tmp_path, job, memoriser)
    assert found["confirmed"]
    told = found["held_out"]
    assert told["memorised"]
    assert told["public"] > told["high"]
    assert found["badges"] == ["claimed", "recomputed"]
    assert not found["controls"]["images"]["peeked"]


def test_a_grid_peeker_is_told_by_devices_and_images(job: Job, tmp_path: Path) -> None:
    found = verified(tmp_path, job, grid_peeker)
    assert found["held_out"]["memorised"]
    assert found["controls"]["images"]["peeked"], found["controls"]
    assert found["badges"] == ["claimed", "recomputed"]


def test_an_oracle_with_tensors_of_zeros_is_not_confirmed(submission: Path, tmp_path: Path) -> None:
    folder = tmp_path / "oracle"
    shutil.copytree(submission, folder)

    def perfect(record: dict[str, Any]) -> None:
        record["clean"] = 1.0
        for cell in record["cells"]:
            cell["value"] = 1.0
        for step in record["deployments"]:
            step["values"] = [1.0] * len(step["values"])
        record["data"]["n_test"] = 1
        record["training_device"]["value"] = 1.0

    for seed in (1, 2):
        tensors = load_file(folder / f"seed-{seed}" / "parameters.safetensors")
        tensors = {k: torch.zeros_like(t) for k, t in tensors.items()}
        tensors["conv1.bias"][0] = 0.001 * (seed - 1)  # no two alike
        exchange(folder, save(tensors), seed)
        forge(folder, perfect, seed)
    found = verify_here(folder)
    assert not found["confirmed"]
    assert found["badges"] == ["claimed"]
    assert found["controls"]["learned"] is False
    for seed in found["seeds"]:
        fields = {one["field"] for one in seed["differences"]}
        assert {"clean", "data.n_test", "cells[0]", "training_device.value"} <= fields


def test_learning_is_more_than_three_standard_errors_of_guessing() -> None:
    assert learned([0.5], 0.1, True, 100) is True
    assert learned([0.18], 0.1, True, 100) is False
    assert learned([0.5, None], 0.1, True, 100) is True
    assert learned([None], 0.1, True, 100) is False
    assert learned([0.4], 0.5, False, None) is True
    assert learned([0.6], 0.5, False, None) is False
    assert learned([0.5], None, True, 100) is None


def test_peeking_is_what_more_seeds_do_not_hide() -> None:
    assert peeked([1.0], [0.6], (64, 50))["peeked"]  # type: ignore[index]
    assert not peeked([0.8], [0.75], (64, 50))["peeked"]  # type: ignore[index]
    assert not peeked([0.7], [0.9], (64, 50))["peeked"]  # type: ignore[index]
    assert peeked([0.9] * 2, [0.8] * 2, (64, 50)) == peeked([0.9], [0.8], (64, 50))
    assert peeked([0.9], [None], (64, 0)) is None


def test_seeds_that_are_left_out_are_counted() -> None:
    assert [left_out(seeds) for seeds in ((0,), (0, 1, 2), (1, 2), (3, 17, 88))] == [0, 0, 1, 86]


def test_training_devices_that_are_not_those_of_the_seeds_are_named() -> None:
    numbers = {0: 0, 1: 4711, 2: None, 5: 0}
    records = {s: {"job": {"seeds": {"train_device": d}}} for s, d in numbers.items()}
    assert other_devices(records) == [{"seed": 1, "device": 4711}, {"seed": 5, "device": 0}]
    assert other_devices({}) == []


def test_a_row_that_chose_its_training_device_is_confirmed_and_says_so(tmp_path: Path) -> None:
    suite = {"suite": "tiny", "protocol": "pnnbench-2", "tier": "smoke", "seeds": [1]}
    suite |= {"workloads": ["mrr-digits"], "methods": ["pat"]}
    found = {}
    for device in (4711, None):
        path = tmp_path / f"{device}.yaml"
        chosen = {} if device is None else {"training_devices": [device]}
        path.write_text(yaml.safe_dump({**suite, **chosen}))
        loaded = load_suite(path)
        run_suite(loaded, tmp_path / "runs", say=lambda line: None)
        runs = [job_folder(tmp_path / "runs", job) for job in loaded.jobs]
        write_submission(tmp_path / str(device), runs)
        found[device] = verify_here(tmp_path / str(device))
    assert [one["confirmed"] for one in found.values()] == [True, True]
    assert found[4711]["controls"]["training_devices"] == [{"seed": 1, "device": 4711}]
    assert found[None]["controls"]["training_devices"] == []
    said = {device: _verified({**one, "row": "pat"}) for device, one in found.items()}
    assert "seed 1: trained on device 4711" in said[4711]
    assert "trained on device" not in said[None]
