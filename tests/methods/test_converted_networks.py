"""Every method meets networks of users: it trains them, or says in one sentence that it cannot."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from pnnbench.errors import UserError
from pnnbench.methods.base import TrainingMethod
from pnnbench.methods.pat import PAT, measured_outputs
from pnnbench.platforms.base import Device
from pnnbench.registry import method_class, registered
from pnnbench.workloads.base import Workload
from pnnbench.workloads.convert import physical

from ..pairs import in_turn
from ..workloads.networks_of_users import Classifier, images, made

METHODS = sorted(registered("methods"))


def dense() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Flatten(), nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 10)
        )


NETWORKS = {
    "mrr": lambda: physical(made(), "mrr"),
    "mrr scaled": lambda: physical(made(), "mrr", scale="per-layer"),
    "mzi": lambda: physical(made(), "mzi"),
    "freespace": lambda: physical(dense(), "freespace"),
    "lightning": lambda: physical(Classifier(), "mrr"),
}


def trainer(method: TrainingMethod, **options: Any) -> pl.Trainer:
    return pl.Trainer(
        max_steps=2,
        callbacks=[method],
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )


def loader(dtype: torch.dtype = torch.float32) -> DataLoader[tuple[Tensor, ...]]:
    x, y = images(32)
    return DataLoader(TensorDataset(x.to(dtype), y), 16)


def values(workload: Workload) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in workload.controls().items()}


@pytest.mark.parametrize(
    ("name", "network"),
    [
        pytest.param(name, network, marks=marks)
        for name, network, marks in in_turn(METHODS, NETWORKS, lambda name, network: True)
    ],
)
def test_a_method_trains_a_users_network_or_says_that_it_cannot(name: str, network: str) -> None:
    workload, method = NETWORKS[network](), method_class(name)()
    if not method.supports(workload):
        with pytest.raises(UserError, match="cannot train"):
            trainer(method).fit(workload, loader())
        return
    before, parameters = values(workload), dict(workload.named_parameters())
    trainer(method).fit(workload, loader())
    method.deploy(workload)
    assert all(p is parameters[n] for n, p in workload.named_parameters())
    assert any((p != before[n]).any() for n, p in workload.controls().items())
    assert all(bool(torch.isfinite(p).all()) for p in workload.parameters())
    outputs = workload.eval()(images(3)[0])
    assert outputs.shape == (3, 10)
    assert bool(torch.isfinite(outputs).all())


def test_methods_that_cannot_are_those_that_say_so() -> None:
    refused = {
        network: {n for n in METHODS if not method_class(n).supports(make())}
        for network, make in NETWORKS.items()
    }
    fields = {"dat", "dat-internal"}
    environment = {"sat-environment", "sat-outward", "random-environment"}
    assert refused["mrr"] == refused["mrr scaled"] == fields
    assert refused["mzi"] == fields | environment | {"pruning-weights"}
    assert refused["freespace"] >= fields | {"pruning"}


@pytest.mark.parametrize("network", ["mrr", "mzi", "freespace"])
@pytest.mark.parametrize("name", ["bp", "bp-weights", "nat", "sat", "pat"])
def test_a_network_in_double_precision_stays_so(name: str, network: str) -> None:
    model = (dense() if network == "freespace" else made()).double()
    workload = physical(model, network)
    trainer(method_class(name)()).fit(workload, loader())
    assert {p.dtype for p in workload.parameters()} == {torch.float64}
    assert workload(images(2)[0]).dtype == torch.float64


@torch.no_grad()
def test_what_a_layer_measures_stands_where_it_was_measured_each_time() -> None:
    workload = physical(made(), "mrr")
    method = PAT()
    method.attach(workload)
    x = images(4)[0]
    measured = method.hardware.measure(x)
    assert {name: len(uses) for name, uses in measured.uses.items()} == {
        "model.conv": 1,
        "model.grouped": 1,
        "model.twice": 2,
        "model.head": 1,
    }
    first, second = measured.uses["model.twice"]
    assert not torch.allclose(first, second, atol=1e-3)
    assert torch.equal(measured.read_outs["model.twice"], second)
    workload.network.model.drop.eval()  # else another mask is drawn
    again = method.hardware.measure(x)
    outputs = measured_outputs(workload, again, x, None, "read-out")
    torch.testing.assert_close(outputs, again.outputs, rtol=1e-5, atol=1e-5)


class Bare(nn.Module):
    """Adds its inputs to what a layer without a bias gives, in place or not."""

    def __init__(self, in_place: bool) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(64, 64, bias=False), nn.Linear(64, 10)
        self.in_place = in_place

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        h = self.first(x)
        h = h.add_(x) if self.in_place else h + x
        return self.second(torch.tanh(h))


def test_steps_in_place_change_no_reading() -> None:
    x, y = images(8)
    found = []
    for in_place in (False, True):
        workload = physical(made(Bare, in_place=in_place), "mrr")
        workload.calibrate(x)
        h = workload.prefix(x)
        measurement = workload.hardware(workload.training_device(0)).measure(h)
        outputs = measured_outputs(workload, measurement, h, None, "read-out")
        workload.loss(outputs, (x, y)).backward()
        gradients = [control.grad for control in workload.controls().values()]
        found.append([*measurement.read_outs.values(), outputs, *gradients])
    for plain, changed in zip(*found, strict=True):
        assert plain is not None
        assert torch.equal(plain, changed)


def test_a_layer_that_is_used_twice_has_the_gradient_of_both_uses() -> None:
    model = made().double().eval()
    workload = physical(model, "mrr")
    x, y = images(4)
    x = x.double()
    name = "network.model.twice.current"
    start = workload.controls()[name].detach().clone()
    direction = torch.randn(start.shape, generator=torch.Generator().manual_seed(0)).double()

    def loss(step: float) -> Tensor:
        moved = {name: (start + step * direction).requires_grad_()}
        value = workload.loss(workload.outputs_at(x, moved), (x, y))
        return value if step else torch.autograd.grad(value, moved[name])[0]

    with torch.enable_grad():
        slope = float((loss(0.0) * direction).sum())
    numeric = float((loss(1e-5) - loss(-1e-5)).detach()) / 2e-5
    assert slope == pytest.approx(numeric, rel=1e-6)


@torch.no_grad()
def test_a_trained_device_differs_from_the_digital_model() -> None:
    workload = physical(made().eval(), "mzi")
    x = images(4)[0]
    with workload.operating(Device.draw(workload.network, 0.1, 1)):
        assert float((workload(x) - physical(made().eval(), "mzi")(x)).abs().max()) > 1e-3
