"""Training in Python is training in a suite, to the same bits."""

from __future__ import annotations

import dataclasses
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

import pnnbench
from pnnbench.methods.bp import BP
from pnnbench.records.folders import read_placed
from pnnbench.running import loose_code
from pnnbench.workloads.base import Batch, Workload
from pnnbench.workloads.convert import TIERS
from pnnbench.workloads.mrr import MRRDigits


@pytest.mark.parametrize(
    ("label", "name", "params"), [("SAT", "sat", {"rho": 0.2}), ("PAT", "pat", {})]
)
def test_it_gives_what_the_job_of_a_suite_gives(
    small: Path, label: str, name: str, params: dict[str, float]
) -> None:
    ((path, record),) = [
        (path, record)
        for path, record in read_placed(small / "runs")
        if record["job"]["method"]["label"] == label
    ]
    method = pnnbench.method(name, **params)
    trained = pnnbench.train("mrr-digits", method, tier="smoke", seed=1)
    kept = load_file(path.parent / "parameters.safetensors")
    tensors = trained.workload.network.state_dict()
    assert tensors.keys() == kept.keys()
    for key, tensor in tensors.items():
        assert torch.equal(tensor, kept[key]), key
    assert list(trained.losses) == record["curves"]["train_loss"]
    assert trained.gradient_evaluations == record["cost"]["gradient_evaluations"]
    assert trained.hardware_queries == record["cost"]["hardware_queries"]
    assert (trained.device is None) == (label == "SAT")
    assert not trained.workload.training
    (measured,) = pnnbench.evaluate(trained, label=label, sharpness=True).records
    for part in ("clean", "cells", "deployments", "headline", "metric", "data", "sharpness"):
        assert measured[part] == record[part], part
    assert measured["training_device"] == record["training_device"]
    assert measured["parameters"]["sha256"] == record["parameters"]["sha256"]
    assert measured["provenance"]["method"] == record["provenance"]["method"]


def test_objects_stay_as_they_are_and_so_do_the_global_generators() -> None:
    workload = MRRDigits(1)
    before = {name: tensor.clone() for name, tensor in workload.state_dict().items()}
    for seed in (torch.manual_seed, random.seed, np.random.seed):
        seed(5)
    drawn = []
    for _ in range(2):
        states = torch.get_rng_state(), random.getstate(), np.random.get_state()  # noqa: NPY002
        drawn.append((torch.rand(2).tolist(), random.random(), np.random.rand()))  # noqa: NPY002, S311
        torch.set_rng_state(states[0])
        random.setstate(states[1])
        np.random.set_state(states[2])  # noqa: NPY002
        trained = pnnbench.train(workload, "bp", tier="smoke", seed=1)
    assert drawn[0] == drawn[1]
    assert all(torch.equal(before[k], v) for k, v in workload.state_dict().items())
    assert trained.workload is not workload
    named = pnnbench.train("mrr-digits", tier="smoke", seed=1)
    assert named.losses == trained.losses


def test_epochs_reports_and_going_on(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    short = pnnbench.train(
        "mrr-digits",
        tier="smoke",
        epochs=1,
        folder=tmp_path,
        report=lambda e, n, _: told.append((e, n)),
    )
    assert told == [(1, 1)]
    assert len(short.losses) == 1
    assert (tmp_path / "last.ckpt").is_file()
    again = pnnbench.train("mrr-digits", tier="smoke", epochs=1, folder=tmp_path)
    assert again.losses == short.losses  # finished already
    job = pnnbench.evaluate(pnnbench.train("mrr-digits", tier="smoke", epochs=2)).records[0]["job"]
    assert job["epochs_factor"] == 2.0


@pytest.mark.parametrize(
    ("other", "text"),
    [
        ({"method": pnnbench.method("bp", lr=0.5)}, "hyper-parameters differ"),
        ({"method": "nat"}, "method, hyper-parameters differ"),
        ({"epochs": 2}, "epochs differ"),
        ({"seed": 1}, "parameters at the start, seed differ"),
        ({"workload": "mzi-digits"}, "workload, parameters at the start"),
    ],
)
def test_a_folder_belongs_to_one_training(
    tmp_path: Path, other: dict[str, object], text: str
) -> None:
    first = {"workload": "mrr-digits", "method": "bp", "tier": "smoke", "epochs": 1}
    pnnbench.train(**first, folder=tmp_path)
    kept = (tmp_path / "last.ckpt").read_bytes()
    with pytest.raises(pnnbench.UserError, match=f"holds another training: {text}"):
        pnnbench.train(**{**first, **other}, folder=tmp_path)
    assert (tmp_path / "last.ckpt").read_bytes() == kept
    (tmp_path / "training.json").write_text("[]")
    with pytest.raises(pnnbench.UserError, match="cannot be read"):
        pnnbench.train(**first, folder=tmp_path)
    (tmp_path / "training.json").unlink()
    with pytest.raises(pnnbench.UserError, match=r"without training\.json"):
        pnnbench.train(**first, folder=tmp_path)


@pytest.fixture
def ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Code of these tests is a user's: ``tests`` is a package of torch-fidelity, too."""
    monkeypatch.setattr(loose_code, "is_loose", lambda m: m.startswith(("__main__", "tests.")))


class Mine(BP):
    """A method of somebody's own, whose folder it shall be."""

    def __init__(self, strength: float = 1.0, **more: Any) -> None:
        super().__init__(**more)
        self.strength = strength

    def loss(self, workload: Workload, batch: Batch) -> Tensor:
        return self.strength * super().loss(workload, batch)


def _refused(folder: Path, workload: Any, method: Any) -> str:
    with pytest.raises(pnnbench.UserError) as error:
        pnnbench.train(workload, method, tier="smoke", epochs=1, folder=folder)
    return str(error.value)


@pytest.mark.usefixtures("ours")
def test_a_folder_belongs_to_one_version_of_a_method(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = ("mrr-digits", Mine(lr=0.05))
    first = pnnbench.train(*given, tier="smoke", epochs=1, folder=tmp_path)
    again = pnnbench.train(*given, tier="smoke", epochs=1, folder=tmp_path)
    assert again.losses == first.losses
    for other in (Mine(lr=0.04), Mine(-1.0, lr=0.05)):
        assert "hyper-parameters differ" in _refused(tmp_path, "mrr-digits", other)
    monkeypatch.setattr(Mine, "loss", lambda self, w, batch: 2 * BP.loss(self, w, batch))
    assert "holds another training: code differ" in _refused(tmp_path, *given)


class Hidden(Mine):
    """It keeps its hyper-parameter where nobody finds it."""

    def __init__(self, push: float = 1.0) -> None:
        super().__init__()
        self._push = push


def test_a_hyper_parameter_that_cannot_be_found_is_refused_with_a_folder(tmp_path: Path) -> None:
    text = _refused(tmp_path / "kept", "mrr-digits", Hidden())
    assert "Hidden does not keep its hyper-parameter 'push'" in text
    assert not (tmp_path / "kept").exists()
    trained = pnnbench.train("mrr-digits", Hidden(), tier="smoke", epochs=1)
    (record,) = pnnbench.evaluate(trained, devices=1).records
    assert "push" not in record["job"]["method"]["params"]  # and not None, which it never was


@pytest.mark.usefixtures("ours")
def test_a_folder_belongs_to_one_loss_and_one_network(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    one, other = (
        pnnbench.physical(model, data="digits", loss=loss)
        for loss in (nn.CrossEntropyLoss(), lambda out, y: -F.cross_entropy(out, y))
    )
    pnnbench.train(one, "bp", tier="smoke", epochs=1, folder=tmp_path)
    assert "holds another training: code differ" in _refused(tmp_path, other, "bp")
    longer = {"smoke": dataclasses.replace(TIERS["smoke"], train_images=128)}
    loss = nn.CrossEntropyLoss()
    other = pnnbench.physical(model, data="digits", loss=loss, tiers=longer)
    assert "holds another training: network differ" in _refused(tmp_path, other, "bp")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"workload": "mrr-digit"}, "did you mean 'mrr-digits'"),
        ({"method": "st"}, "did you mean 'sat'"),
        ({"tier": "fast"}, "unknown tier 'fast'"),
        ({"seed": -1}, "seed is -1"),
        ({"epochs": 0}, "epochs is 0"),
        ({"epochs": 1.5}, "epochs is 1.5"),
        ({"method": "dat"}, "cannot train"),
    ],
)
def test_mistakes_read(arguments: dict[str, object], text: str) -> None:
    with pytest.raises(pnnbench.UserError) as error:
        pnnbench.train(**{"workload": "mrr-digits", "tier": "smoke", **arguments})
    assert text in str(error.value)


def test_an_amount_in_another_unit_is_refused_before_anything_is_trained() -> None:
    with pytest.raises(pnnbench.UserError, match="rad"):
        pnnbench.train("mrr-digits", pnnbench.method("sat", rho="0.1 rad"), tier="smoke")


def test_a_loss_that_is_no_number_reads() -> None:
    workload = MRRDigits(0)
    with torch.no_grad():
        next(iter(workload.digital_parameters().values())).fill_(float("nan"))
    with pytest.raises(pnnbench.UserError, match="the training diverged: the training loss"):
        pnnbench.train(workload, tier="smoke")
