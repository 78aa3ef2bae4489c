"""Networks that draw in their passes: what is compared or replaced is drawn alike."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from pnnbench.data import DataModule
from pnnbench.errors import UserError
from pnnbench.methods.base import TrainingMethod
from pnnbench.methods.bp import BP
from pnnbench.methods.dat import DAT
from pnnbench.methods.environment import SATEnvironment
from pnnbench.methods.evolution import Evolution
from pnnbench.methods.nat import NATInSitu
from pnnbench.methods.pat import PAT
from pnnbench.methods.spsa import SPSA
from pnnbench.platforms.base import Device
from pnnbench.platforms.mzi import MZIMesh
from pnnbench.workloads.base import Workload
from pnnbench.workloads.convert import physical
from pnnbench.workloads.mzi import MZIDigits
from pnnbench.workloads.optical_networks import DigitsFront, MeshNet

from ..workloads.networks_of_users import images

X, Y = images(24)


class Notes(nn.Module):
    """Half of the features are dropped between two layers, and which ones is noted."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(64, 32), nn.Linear(32, 10)
        self.drop = nn.Dropout(0.5)
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.first(x.flatten(1))) + 1.0
        dropped = self.drop(h)
        self.seen.append((dropped == 0.0).detach())
        return self.last(dropped)


class Dropping(MeshNet):
    """A mesh whose features are dropped before it."""

    def __init__(self) -> None:
        super().__init__(DigitsFront(16), MZIMesh(16))
        self.drop = nn.Dropout(0.5)
        self.seen: list[Tensor] = []

    def physical(self, h: Tensor) -> Tensor:
        dropped = self.drop(torch.ones_like(h))
        self.seen.append((dropped == 0.0).detach())
        return super().physical(h * dropped)


class OnMesh(MZIDigits):
    def build_network(self) -> Dropping:
        return Dropping()


class UsedTwice(MZIDigits):
    def build_network(self) -> MeshNet:
        class Twice(MeshNet):
            def physical(self, h: Tensor) -> Tensor:
                return super().physical(self.mesh(h))

        return Twice(DigitsFront(16), MZIMesh(16))


def started(method: TrainingMethod) -> tuple[Workload, list[Tensor]]:
    torch.manual_seed(5)
    workload = OnMesh(0) if isinstance(method, DAT) else physical(Notes(), "mrr")
    seen = next(m for m in workload.modules() if isinstance(m, (Notes, Dropping))).seen
    workload.optimizers = lambda *args: torch.optim.SGD(  # type: ignore[method-assign]
        [{"params": list(workload.network.parameters())}], lr=1e-3
    )
    method.attach(workload)
    workload.train()
    seen.clear()
    return workload, seen


def one_batch(method: TrainingMethod, workload: Workload, number: int) -> Tensor:
    method.calls = number
    if method.access != "in_silico":
        method.hardware.start_step(number)
    return method.loss(workload, (X, Y))


@pytest.mark.parametrize(
    ("make", "passes"),
    [
        (PAT, 2),
        (lambda: PAT(placement="output"), 2),
        (NATInSitu, 2),
        (lambda: SPSA(directions=1), 2),
        (lambda: DAT(count=1, size="4k"), 3),
        (lambda: SATEnvironment(probe=0.5), 3),
        (lambda: SATEnvironment(probe=0.5, rho=0.0), 3),
    ],
)
def test_all_passes_of_a_batch_drop_the_same_and_batches_drop_anew(
    make: Callable[[], TrainingMethod], passes: int
) -> None:
    method = make()
    workload, seen = started(method)
    for number in (1, 2):
        one_batch(method, workload, number)
    assert len(seen) == 2 * passes
    half = len(seen) // 2
    assert all(torch.equal(seen[0], other) for other in seen[:half])
    assert all(torch.equal(seen[half], other) for other in seen[half:])
    assert not torch.equal(seen[0], seen[half])


def test_candidates_of_a_batch_drop_the_same() -> None:
    method = Evolution(population=3, parents=1)
    workload, seen = started(method)
    values = {name: p.detach() for name, p in method.trained(workload).items()}
    method.calls = 1
    losses = [method.measured_loss(workload, (X, Y), values)[0] for _ in range(3)]
    assert all(torch.equal(seen[0], other) for other in seen)
    assert max(losses) - min(losses) < 0.5 * losses[0]  # the detectors' noise alone
    method.calls = 2
    method.measured_loss(workload, (X, Y), values)
    assert not torch.equal(seen[0], seen[-1])


def test_on_an_ideal_quiet_device_the_gradient_is_that_of_back_propagation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(5)
    workload, method = physical(Notes(), "mrr"), PAT()
    monkeypatch.setattr(type(workload), "training_device", lambda self, seed: Device.ideal())
    for layer in workload.layers().values():
        layer.calibration = dataclasses.replace(layer.calibration, readout_noise=0.0)
    method.attach(workload)
    workload.train()
    controls = list(workload.controls().values())

    def slopes(loss: Callable[[], Tensor]) -> Tensor:
        torch.manual_seed(11)
        return torch.cat([g.flatten() for g in torch.autograd.grad(loss(), controls)])

    found = slopes(lambda: one_batch(method, workload, 1))
    expected = slopes(lambda: BP().loss(workload, (X, Y)))
    assert float((found - expected).abs().max()) <= 1e-4 * float(expected.abs().max())


def test_fused_states_are_of_layers_that_are_used_once() -> None:
    workload, method = UsedTwice(0), DAT(count=1, size="4k")
    method.attach(workload)
    workload.train()
    x, y = DataModule("digits", limit_train=8).train_tensors()
    with pytest.raises(UserError, match="mesh are used several times"):
        method.loss(workload, (x, y))
