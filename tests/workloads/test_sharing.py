from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pnnbench.data import DataModule
from pnnbench.errors import UserError
from pnnbench.methods.bp import BP
from pnnbench.platforms.base import Condition, Device, hold_transfer, operate
from pnnbench.running.training import fit
from pnnbench.workloads.convert import physical
from pnnbench.workloads.converted import physical_network

from .networks_of_users import images, made


class Mixes(nn.Module):
    """Takes the mean of the batch away between two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(64, 16), nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x.flatten(1))
        return self.second(h - h.mean(0, keepdim=True))


class Columns(nn.Module):
    """A sequence of eight, which comes first in the physical layer."""

    def __init__(self, normed: bool = False) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 5)
        self.norm = nn.LayerNorm(5) if normed else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.layer(x[:, 0].transpose(0, 1))).transpose(0, 1).mean(1)


class Noisy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.flatten(1) + torch.randn(()))


def hooked() -> nn.Module:
    """Somebody's own hook on a digital module, and a forward of their own, are of the network."""
    network = Mixes()
    network.act = nn.Identity()
    network.act.register_forward_hook(lambda module, inputs, out: None)
    network.act.forward = torch.nn.functional.relu
    return network


def unstored() -> nn.Module:
    norm = nn.BatchNorm1d(16, track_running_stats=False)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), norm, nn.Linear(16, 10))


@pytest.mark.parametrize("make", [Mixes, Columns, lambda: Columns(True), unstored, hooked])
@pytest.mark.parametrize("count", [1, 2])
@torch.no_grad()
def test_a_network_whose_images_depend_on_each_other_is_refused(make: Any, count: int) -> None:
    network = physical_network(make().eval(), "mzi")
    x = images(4)[0]
    network(x)  # alone and on no device it is what it is
    device = Device.draw(network, 0.1, 1)
    with (
        operate(network, [Condition(device)] * count),
        hold_transfer(network),
        pytest.raises(UserError, match="depend on what else is in its batch"),
    ):
        network(x.repeat(count, 1, 1, 1))


@pytest.mark.parametrize("make", [lambda: made().eval(), lambda: Noisy().eval(), Mixes])
@torch.no_grad()
def test_others_are_measured_and_left_as_they_are(make: Any) -> None:
    """The last is in training mode, in which batch norms mix the batch too."""
    network = physical_network(make(), "mzi")
    layers = [m for m in network.modules() if hasattr(m, "read_out_tap")]
    x = images(4)[0]
    with operate(network, [Condition(Device.draw(network, 0.1, i)) for i in (1, 2)]):
        before = [(m.operation, m.weight_override, len(m._forward_hooks)) for m in layers]
        network(x.repeat(2, 1, 1, 1))
        assert before == [(m.operation, m.weight_override, len(m._forward_hooks)) for m in layers]


class _Alone(nn.Module):
    """A network in a module, so that nothing of it is split off."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class _Centred(nn.Module):
    """Takes the mean of the batch away."""

    def forward(self, x: Tensor) -> Tensor:
        return x - x.mean(0)


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("first", [_Centred, lambda: nn.BatchNorm1d(64, track_running_stats=False)])
def test_images_that_mix_before_the_first_physical_layer_are_refused(
    first: Any, wrapped: bool
) -> None:
    model: nn.Module = nn.Sequential(nn.Flatten(), first(), nn.Linear(64, 10))
    workload = physical(_Alone(model) if wrapped else model, "mrr", data="digits")
    data = DataModule("digits", limit_train=32, limit_test=20)
    with pytest.raises(UserError, match="figures would follow the size of the batches"):
        fit(workload, BP(), data, epochs=1)
