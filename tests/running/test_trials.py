"""A trial is chosen by what jobs never train on, on devices that nothing else meets."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any, ClassVar, cast

import pytest
import torch
import yaml

from pnnbench.data.datamodule import DataModule
from pnnbench.errors import UserError
from pnnbench.evaluation.harness import evaluate_grid
from pnnbench.leaderboard import ranking
from pnnbench.methods.bp import BP
from pnnbench.records.search_schema import TEST
from pnnbench.records.searches import TRIAL
from pnnbench.registry import registered, workload_class
from pnnbench.running.job_specs import Job
from pnnbench.running.jobs import data_module, run_jobs
from pnnbench.running.suites import load_suite
from pnnbench.running.trials import Trial, TrialCase, read_trial, result_of, scored
from pnnbench.running.trials import validation_cells as cells_of
from pnnbench.seeds import (
    FIRST_TEST_DEVICE,
    FIRST_VALIDATION_DEVICE,
    training_device_seed,
    trial_seed,
    validation_devices,
)
from pnnbench.workloads.base import Batch, Workload
from pnnbench.workloads.grid import test_devices as seeds_of_test_devices
from pnnbench.workloads.mrr import MRRDigits
from pnnbench.workloads.mrr_images import MRRDigitsAutoencoder

from ..record_factory import make_record


def trial(folder: Path, method: str = "bp", workload: str = "mrr-digits", **more: Any) -> Trial:
    path = folder / "s.yaml"
    suite = {"suite": "s", "protocol": "pnnbench-2", "seeds": [0], "tier": "smoke"}
    path.write_text(yaml.safe_dump({**suite, "workloads": [workload], "methods": [method]}))
    (job,) = load_suite(path).jobs
    fields = {f.name: getattr(job, f.name) for f in dataclasses.fields(Job)}
    return Trial(**{**fields, "seed": trial_seed(0), "devices": 2, **more})


@pytest.mark.parametrize("name", ["mzi-digits", "freespace-digits"])
def test_search_and_board_give_one_record_one_score(name: str) -> None:
    """A workload as it is made, measured by the search, and its cells as a board reads them."""
    cls = workload_class(name)
    workload = cls(0)
    data = DataModule(cls.data, limit_train=200, limit_test=200)
    workload.calibrate(data.train_tensors()[0])
    images, labels = data.test_tensors()
    cells = [cell for cell in workload.perturbation_grid("smoke") if cell.counts]
    found = scored(workload, images, labels, cells, data.train_tensors()[0])
    record = make_record("BP", sealed=False)
    record["job"]["revision"] = 2
    record["cells"] = [
        {**cell.as_dict(), "value": value, "counts": cell.counts}
        for cell, value in zip(cells, evaluate_grid(workload, images, labels, cells), strict=True)
    ]
    (row,) = ranking.rows([record])
    assert found["score"] == row.robust.mean
    assert set(found["axes"]) == {cell.axis for cell in cells}


@pytest.mark.parametrize("name", registered("workloads"))
def test_the_conditions_are_those_that_count_on_validation_devices(name: str) -> None:
    workload = workload_class(name)(0)
    tests = [c for c in workload.perturbation_grid("smoke") if c.counts_when(workload.headline)]
    cells = cells_of(workload, "smoke", validation_devices(3))

    def told(cell: Any) -> tuple[Any, ...]:
        return cell.axis, cell.level, cell.severity, cell.environment, cell.law

    assert {told(cell) for cell in cells} == {told(cell) for cell in tests}
    met = {cell.device_seed for cell in cells} - {None}
    assert met <= set(validation_devices(3))
    assert {c.device_seed is None for c in cells} == {c.device_seed is None for c in tests}
    assert all(FIRST_VALIDATION_DEVICE <= d < FIRST_TEST_DEVICE for d in met)


def test_images_and_devices_of_training_choice_and_test_do_not_meet(tmp_path: Path) -> None:
    job = trial(tmp_path)
    data = data_module(job)
    parts = [data.train_tensors()[0], data.validation_tensors()[0], data.test_tensors()[0]]
    arrays = data.arrays
    assert all(len(part) for part in parts)
    kept = len(arrays.train_targets) - len(parts[1])
    assert len(parts[0]) <= kept
    assert torch.equal(parts[1], arrays.train_inputs[kept:].float() / 255.0)
    assert torch.equal(parts[0], arrays.train_inputs[: len(parts[0])].float() / 255.0)
    assert torch.equal(parts[2], arrays.test_inputs[: len(parts[2])].float() / 255.0)
    devices = [
        {training_device_seed(job.device)},
        set(validation_devices(job.devices)),
        set(seeds_of_test_devices(job.config["tier"]["n_devices"])),
    ]
    assert not any(a & b for i, a in enumerate(devices) for b in devices[i + 1 :])
    assert job.device == trial_seed(0)  # a device that no suite trains on


def test_a_trial_is_another_job_than_the_suites_and_says_what_it_measures(tmp_path: Path) -> None:
    one = trial(tmp_path)
    base = Job(**{f.name: getattr(one, f.name) for f in dataclasses.fields(Job)})
    others = [
        trial(tmp_path, devices=3),
        trial(tmp_path, test_images=10),
        trial(tmp_path, seed=trial_seed(1)),
    ]
    hashes = {j.spec()["hash"] for j in (one, base, *others)}
    assert len(hashes) == 5
    assert trial(tmp_path).spec() == one.spec()


@pytest.mark.parametrize("method", ["bp", "pat"])
def test_a_trial_has_what_it_is_chosen_by_and_apart_its_test(tmp_path: Path, method: str) -> None:
    job, folder = trial(tmp_path, method, "mzi-digits"), tmp_path / "t"
    run_jobs([job], [folder], say=lambda line: None, case=TrialCase())
    record = read_trial(folder)
    assert record is not None
    assert not (folder / "record.json").exists()
    found = result_of(record, 0.1)
    assert found["status"] == "ok"
    for part in (found["validation"], found[TEST]):
        assert 0.0 <= part["score"] <= 1.0
    assert found["validation"]["devices"] == 2
    assert found["validation"]["images"] == job.config["tier"]["validation_images"]
    assert 0.0 <= found["validation"]["own_device"] <= 1.0
    assert "sharpness" not in record
    (folder / TRIAL).write_text((folder / TRIAL).read_text().replace('"ok"', '"okay"'))
    assert read_trial(folder) is None  # what was changed does not count


class Broken(BP):
    """A method whose loss is not a number."""

    def loss(self, workload: Workload, batch: Batch) -> torch.Tensor:
        return super().loss(workload, batch) * math.nan


def test_a_trial_that_diverges_stands_and_counts_as_guessing(tmp_path: Path) -> None:
    job, case, folder = trial(tmp_path, f"{__name__}.Broken"), TrialCase(), tmp_path / "t"
    run_jobs([job], [folder], say=lambda line: None, case=case)
    record = read_trial(folder)
    assert record is not None
    assert record["status"] == "diverged"
    found = result_of(record, 0.1)
    assert found["validation"]["score"] == found["validation"]["own_device"] == 0.1
    assert found[TEST]["score"] == 0.1
    with pytest.raises(UserError, match="chance level"):
        result_of(record, None)


class Burnt(MRRDigitsAutoencoder):
    """An encoder whose training devices, far off, give what the decoder makes nothing finite of."""

    training_severity: ClassVar[float] = 900.0

    def __init__(self, init_seed: int = 0) -> None:
        super().__init__(init_seed)
        cast(torch.nn.Module, self.network.decoder).register_forward_pre_hook(self._burn)

    @staticmethod
    def _burn(module: torch.nn.Module, inputs: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        (latent,) = inputs
        return (torch.where(latent.abs() > 1e3, torch.inf, latent),)


def test_a_training_device_without_a_finite_value_counts_as_guessing(tmp_path: Path) -> None:
    job, folder = trial(tmp_path, "bp", f"{__name__}.Burnt"), tmp_path / "t"
    run_jobs([job], [folder], say=lambda line: None, case=TrialCase())
    record = read_trial(folder)
    assert record is not None
    assert record["status"] == "ok", record["error"]
    found, chance = record["validation"], record["metric"]["chance"]
    assert found["own_device"] == max(chance, found["score"], found["clean"])


def test_a_cell_that_breaks_ends_the_trial_and_counts_as_nothing() -> None:
    """Outputs that are not finite are a result of the method; whatever else happens is none."""

    class Broken(MRRDigits):
        computed = 0

        def metric(self) -> Any:
            owner, metric = type(self), super().metric()
            compute = metric.compute

            def fails() -> Any:
                owner.computed += 1
                if owner.computed > 1:  # after the ideal device
                    raise RuntimeError("out of memory")
                return compute()

            metric.compute = fails
            return metric

    workload = Broken(0)
    data = DataModule("digits", limit_train=200, limit_test=50)
    workload.calibrate(data.train_tensors()[0])
    cells = cells_of(workload, "smoke", [FIRST_VALIDATION_DEVICE])
    with pytest.raises(RuntimeError, match="out of memory"):
        scored(workload, *data.test_tensors(), cells, data.train_tensors()[0])


def test_a_trial_without_a_clean_value_says_what_it_has() -> None:
    record = {"status": "ok", "validation": {"score": 0.5, "clean": None, "own_device": None}}
    assert TrialCase().outcome(record) == "done, 0.5000 on validation devices"
