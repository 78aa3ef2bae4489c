"""Networks that another kind of layer turns into another function."""

from __future__ import annotations

import types
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pnnbench.data import DataModule
from pnnbench.errors import UserError
from pnnbench.methods.bp import BP
from pnnbench.running.training import fit
from pnnbench.workloads.convert import physical, physical_network

X, _ = DataModule("digits", limit_train=24).train_tensors()


class Kinds(nn.Module):
    """Puts a ReLU behind each linear layer but the last."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Flatten(), nn.Linear(64, 32), nn.Linear(32, 10)])

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
            if isinstance(layer, nn.Linear) and layer is not self.layers[-1]:
                x = torch.relu(x)
        return x


class Attributes(nn.Module):
    """Asks a layer what it has."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(64, 32), nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        h = self.a(x.flatten(1))
        return self.b(torch.relu(h) if hasattr(self.a, "in_features") else h)


class Counting(Attributes):
    """Divides by the number of its linear layers."""

    def forward(self, x: Tensor) -> Tensor:
        count = 1 + sum(isinstance(module, nn.Linear) for module in self.modules())
        return self.b(torch.relu(self.a(x.flatten(1)))) / count


class Plainly(Attributes):
    """Looks at nothing; with statistics and a buffer that no file keeps."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(32)
        self.register_buffer("shift", torch.full((32,), 0.5), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(torch.relu(self.norm(self.a(x.flatten(1))) + self.shift))


class Steps(Attributes):
    """Two levels, which rounding may take for one another now and then."""

    def forward(self, x: Tensor) -> Tensor:
        return self.b(torch.sign(self.a(x.flatten(1))))


class Drawing(Attributes):
    """Draws in evaluation too."""

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.a(x.flatten(1)))
        return self.b(h * torch.rand_like(h))


@pytest.mark.parametrize("platform", ["mrr", "mzi", "freespace"])
@pytest.mark.parametrize("make", [Kinds, Attributes, Counting])
def test_a_forward_that_looks_at_kinds_is_refused_before_the_training(
    make: Callable[[], nn.Module], platform: str
) -> None:
    workload = physical(make(), platform, data="digits", scale="per-layer")
    with pytest.raises(UserError, match="computes something else with physical layers") as caught:
        fit(workload, BP(), DataModule("digits", limit_train=32), epochs=1)
    assert "modules=" in caught.value.next_step


@pytest.mark.parametrize("platform", ["mrr", "mzi", "freespace"])
@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("make", [Attributes, Steps, Drawing])
def test_others_are_let_be_and_looked_at_once(
    make: Callable[[], nn.Module], double: bool, platform: str
) -> None:
    class Plain(make):  # type: ignore[misc,valid-type]
        def forward(self, x: Tensor) -> Tensor:
            if make is not Attributes:
                return super().forward(x)
            return self.b(F.relu(self.a(x.flatten(1))))

    model = Plain().double() if double else Plain()
    workload = physical(model, platform, data="digits", scale="per-layer")
    with torch.no_grad():
        for parameter in workload.network.parameters():  # trained already: weights are those of now
            parameter.mul_(0.9)
    workload.check_reached(X)
    assert workload.network._original is None
    workload.check_reached(X)


def test_a_network_that_has_moved_on_is_compared_as_it_is_now() -> None:
    """Trained, with other statistics, and in double precision since."""
    for make, same in ((Kinds, False), (Plainly, True)):
        workload = physical(make(), "mrr", data="digits", scale="per-layer")
        workload.double()
        with torch.no_grad():
            for value in (*workload.network.parameters(), *workload.network.buffers()):
                if value.is_floating_point():
                    value.mul_(1.1)
        with nullcontext() if same else pytest.raises(UserError, match="something else"):
            workload.check_reached(X)


def test_the_comparison_leaves_the_network_as_it_is() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.BatchNorm1d(16), nn.Linear(16, 10))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    workload = physical(model, "mrr", data="digits")
    kept = {name: value.clone() for name, value in workload.network.state_dict().items()}
    workload.check_reached(X)
    for state, then in ((model.state_dict(), before), (workload.network.state_dict(), kept)):
        assert all(torch.equal(state[name], value) for name, value in then.items())


def _tripled(module: nn.Module, forward: Callable[..., Tensor]) -> nn.Module:
    module.forward = types.MethodType(  # type: ignore[method-assign]
        lambda self, x: 3.0 * forward(self, x), module
    )
    return module


def test_a_layer_with_a_forward_of_its_own_stays_digital() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))
    _tripled(model[1], nn.Linear.forward)
    network = physical_network(model, "mrr")
    assert [line.why for line in network.report][:1] == ["it has a forward of its own"]
    torch.testing.assert_close(network(X), model(X), rtol=1e-4, atol=1e-5)


def test_a_sequence_with_a_forward_of_its_own_is_not_split() -> None:
    model: Any = _tripled(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), nn.Sequential.forward)
    network = physical_network(model, "mrr")
    torch.testing.assert_close(network(X), model(X), rtol=1e-4, atol=1e-5)
