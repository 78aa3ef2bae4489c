"""Networks whose physical layers are not what its passes go through."""

from __future__ import annotations

import functools
import random
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pnnbench.data import DataModule
from pnnbench.errors import UserError
from pnnbench.evaluation.harness import measure_grid
from pnnbench.methods.bp import BP
from pnnbench.platforms.base import Condition, operate
from pnnbench.platforms.mrr import MRRLinear
from pnnbench.running.training import fit
from pnnbench.workloads.convert import physical
from pnnbench.workloads.mrr import MRRDigits
from pnnbench.workloads.networks import PhysicalNetwork
from pnnbench.workloads.reached import check_reached

X, Y = DataModule("digits", limit_train=24).train_tensors()


class Reads(nn.Module):
    """A tied autoencoder, which reads the weight of a layer that it never calls."""

    def __init__(self) -> None:
        super().__init__()
        self.enc, self.head = nn.Linear(64, 16), nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.sigmoid(F.linear(x.flatten(1), self.enc.weight, self.enc.bias))
        return self.head(F.linear(h, self.enc.weight.t()))


class Keeps(nn.Module):
    """Keeps a function, which belongs to the network that it was made for."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(64, 16), nn.Linear(16, 10)
        self.run = lambda x: self.b(torch.relu(self.a(x.flatten(1))))

    def forward(self, x: Tensor) -> Tensor:
        return self.run(x)


class Lists(Keeps):
    """Keeps the functions of its layers in a list."""

    def __init__(self) -> None:
        super().__init__()
        flatten = functools.partial(torch.flatten, start_dim=1)
        self.steps = [flatten, self.a.forward, torch.relu, self.b.forward]

    def forward(self, x: Tensor) -> Tensor:
        for step in self.steps:
            x = step(x)
        return x


class Beside(nn.Module):
    """A head beside the one that is scored, in training alone; calls `forward` itself."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head, self.beside = nn.Linear(64, 16), nn.Linear(16, 10), nn.Linear(16, 10)
        self.norm, self.drop = nn.BatchNorm1d(16), nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        h = self.drop(torch.relu(self.norm(self.body.forward(x.flatten(1)))))
        return self.head(h) + (0.1 * self.beside(h) if self.training else 0.0)


class Early(PhysicalNetwork):
    """Calls a physical layer before the part that devices are met in."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2 = MRRLinear(64, 16), MRRLinear(16, 10)

    def prefix(self, x: Tensor) -> Tensor:
        return torch.relu(self.fc1(x.flatten(1)))

    def physical(self, h: Tensor) -> Tensor:
        return self.fc2(h)


class EarlyDigits(MRRDigits):
    def build_network(self) -> Early:
        return Early()


CASES: list[Any] = [
    (lambda: physical(Reads(), "freespace"), "'model.enc' is physical, and no pass"),
    (lambda: physical(Keeps(), "mrr"), "'model.a', 'model.b' are physical, and no pass"),
    (lambda: physical(Lists(), "mzi"), "'model.a', 'model.b' are physical, and no pass"),
    (lambda: EarlyDigits(0), r"'fc1' is physical and called in prefix\(\)"),
]


@pytest.mark.parametrize(("make", "words"), CASES)
def test_what_no_device_would_change_is_refused_before_any_work(make: Any, words: str) -> None:
    workload = make()
    cells = workload.perturbation_grid("smoke")[:2]
    with pytest.raises(UserError, match=words):
        measure_grid(workload, X, Y, cells)
    before = {name: value.clone() for name, value in workload.network.state_dict().items()}
    with pytest.raises(UserError, match=words):
        fit(workload, BP(), DataModule("digits", limit_train=32), epochs=1)
    assert workload.gradient_evaluations == 0
    for name, value in workload.network.state_dict().items():
        assert torch.equal(value, before[name])


@pytest.mark.parametrize("training", [False, True])
def test_a_network_is_left_as_it_was(training: bool) -> None:
    workload = physical(Beside(), "mrr")
    workload.network.train(training)
    workload.network.model.norm.train(not training)
    modes = [module.training for module in workload.modules()]
    before = {name: value.clone() for name, value in workload.network.state_dict().items()}
    torch.manual_seed(7)
    drawn = torch.rand(3)
    torch.manual_seed(7)
    check_reached(workload, X)
    assert torch.equal(torch.rand(3), drawn)
    assert [module.training for module in workload.modules()] == modes
    assert not any("forward" in vars(module) for module in workload.network.modules())
    for name, value in workload.network.state_dict().items():
        assert torch.equal(value, before[name])
    counted = (workload.gradient_evaluations, workload.forward_evaluations)
    assert counted == (0, 0)


class Skipping(nn.Module):
    """Leaves a layer out of a training pass now and then."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(64, 64), nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        h = x.flatten(1)
        drawn = random.random() + np.random.rand()  # noqa: NPY002, S311
        return self.b(h if self.training and drawn < 1.0 else self.a(h))


def test_generators_of_all_kinds_go_on_where_they_were() -> None:
    workload = physical(Skipping(), "mrr").train()
    random.seed(3)
    np.random.seed(3)  # noqa: NPY002
    drawn = random.random(), np.random.rand()  # noqa: NPY002, S311
    random.seed(3)
    np.random.seed(3)  # noqa: NPY002
    check_reached(workload, X)
    assert (random.random(), np.random.rand()) == drawn  # noqa: NPY002, S311


def test_a_look_changes_no_figure() -> None:
    """Shot noise follows the uses of a layer in a pass, which the look must not count."""
    images, labels = DataModule("digits", limit_test=40).test_tensors()
    found = []
    for looks in (0, 2):
        workload = MRRDigits(0)
        workload.calibrate(X)
        for _ in range(looks):
            check_reached(workload, images)
        workload.check_reached = lambda x: None  # type: ignore[method-assign]
        cells = workload.perturbation_grid("smoke")[:4]
        asked: list[tuple[str, tuple[int, ...]]] = []

        def shot(stream: str, shape: tuple[int, ...], asked: Any = asked) -> Tensor:
            asked.append((stream, shape))
            return torch.full(shape, 0.5)

        with operate(workload.network, [Condition(workload.draw_device(1.0, 1))], shot):
            outputs = workload.network(images)
        assert [stream for stream, _ in asked] == ["conv1", "fc1", "fc2"]
        readings = measure_grid(workload, images, labels, cells, calibration=X)
        found.append((outputs, [reading.value for reading in readings]))
    assert torch.equal(found[0][0], found[1][0])
    assert found[0][1] == found[1][1]


def test_what_a_pass_raises_is_left_to_the_pass() -> None:
    workload = physical(Reads(), "mrr")  # rings have no weight to read
    check_reached(workload, X)
    with pytest.raises(UserError, match="looks into a layer"):
        workload(X)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (
            nn.Sequential(nn.Flatten(), nn.Linear(60, 10)),
            r"cannot take inputs of shape \(1, 8, 8\)",
        ),
        (nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 10)), "cannot take inputs"),
        (nn.Sequential(nn.Flatten(), nn.Linear(64, 7)), r"shape \(32, 7\) for 10 classes"),
    ],
)
def test_a_network_of_another_size_is_refused(model: nn.Module, words: str) -> None:
    workload = physical(model, "mrr", data="digits")
    with pytest.raises(UserError, match=words):
        fit(workload, BP(), DataModule("digits", limit_train=32), epochs=1)


class Parameters(nn.Module):
    """Keeps parameters in a plain container."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.enc, self.k = nn.Linear(64, 10), nn.Parameter(torch.ones(10))
        self.kept: Any = {
            "weight": [self.enc.weight],
            "own": (self.k,),
            "deep": {"more": [[self.k]]},
        }[kind]

    def forward(self, x: Tensor) -> Tensor:
        return self.k * self.enc(x.flatten(1))


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("weight", "the weight of the layer 'enc' in kept, a list"),
        ("own", "a parameter in kept, a tuple"),
        ("deep", "a parameter in kept, a dict"),
    ],
)
def test_parameters_in_plain_containers_are_refused(kind: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        physical(Parameters(kind), "mrr")


def test_recurrent_layers_look_after_their_own() -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cells, self.head = nn.GRU(8, 12, batch_first=True), nn.Linear(12, 10)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.cells(x[:, 0])[0][:, -1])

    workload = physical(Recurrent(), "mrr")
    check_reached(workload, X)
    x = X[:3]
    torch.testing.assert_close(
        workload.outputs_at(x, {"network.model.head.bias": torch.ones(10)}),
        workload(x) - workload.network.model.head.bias + 1.0,
    )


def test_a_sequence_that_makes_rows_of_images_is_not_split() -> None:
    model = nn.Sequential(
        nn.Flatten(0, 2), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 10), nn.Unflatten(0, (-1, 8))
    )
    workload = physical(nn.Sequential(*model, MeanOfRows()), "mrr")
    cells = [c for c in workload.perturbation_grid("smoke") if c.axis == "device"][:3]
    readings = measure_grid(workload, X, Y, cells)
    assert [reading.error for reading in readings] == [None] * 3
    assert len(workload.prefix(X)) == len(X)


class MeanOfRows(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean(1)


def test_layers_with_one_bias_stay_digital() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.Linear(10, 10), nn.Linear(10, 10))
    model[2].bias = model[1].bias
    report = {line.name: str(line) for line in physical(model, "mrr").network.report}
    assert "shares its bias with" in report["1"]
    assert "shares its bias with" in report["2"]
    assert "MRRLinear" in report["3"]
