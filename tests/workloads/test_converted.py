from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pnnbench.errors import UserError
from pnnbench.evaluation.noise import NOISE_BLOCK, DeviceNoise
from pnnbench.platforms.base import Condition, Device, operate, physical_layers
from pnnbench.platforms.mrr import MRRConv2d, MRRLinear, RingCalibration
from pnnbench.platforms.mzi_layers import MZIConv2d, MZILinear
from pnnbench.workloads.converted import Gained, physical_network

from .networks_of_users import Residual, images, made

PLATFORMS = ["mrr", "mzi"]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("platform", PLATFORMS)
def test_a_converted_network_is_the_network(platform: str, training: bool) -> None:
    model = made().double().train(training)
    before = copy.deepcopy(model.state_dict())
    network = physical_network(model, platform)
    x = images()[0].double()
    outputs = []
    for each in (model, network):
        torch.manual_seed(1)  # of the dropout
        outputs.append(each(x))
        assert outputs[-1].dtype == torch.float64
    torch.testing.assert_close(*outputs, rtol=0, atol=1e-9)
    if not training:
        assert all(torch.equal(v, before[n]) for n, v in model.state_dict().items())
    assert {m.training for m in network.model.modules()} == {training}
    torch.testing.assert_close(network.model.norm.running_mean, model.norm.running_mean)
    assert torch.equal(network.model.shift, model.shift)


def test_the_kinds_of_layers_and_the_report() -> None:
    network = physical_network(made(), "mrr", scale="per-layer")
    kinds = {name: type(layer) for name, layer in physical_layers(network.model).items()}
    assert kinds == {
        "conv.layer": MRRConv2d,
        "grouped.layer": MRRConv2d,
        "twice.layer": MRRLinear,
        "head.layer": MRRLinear,
    }
    lines = {line.name: str(line) for line in network.report}
    assert list(lines) == ["conv", "norm", "grouped", "twice", "head"]
    assert lines["norm"] == "norm: BatchNorm2d stays digital: no layer of mrr is like it"
    assert lines["conv"].startswith("conv: Conv2d -> MRRConv2d 4 x 1 x 3 x 3, largest error ")
    assert "gain 0." in lines["conv"]
    assert all(line.error < 1e-5 for line in network.report)
    meshes = physical_network(made(), "mzi")
    assert {type(layer) for layer in physical_layers(meshes).values()} == {MZIConv2d, MZILinear}


def test_a_module_that_is_used_twice_stays_one() -> None:
    network = physical_network(made(), "mrr")
    assert network.model.twice is network.model.alias
    assert isinstance(network.model.twice, MRRLinear)


@torch.no_grad()
def test_each_use_of_a_layer_has_noise_of_its_own() -> None:
    network = physical_network(made().eval(), "mrr")
    streams: list[str] = []

    def noise(name: str, shape: tuple[int, ...]) -> Tensor:
        streams.append(name)
        return torch.zeros(shape)

    with operate(network, [Condition(Device.ideal())], noise):
        network(images()[0])
        network(images()[0])
    once = ["model.conv", "model.grouped", "model.twice", "model.twice use 2", "model.head"]
    assert streams == once * 2


class Patches(nn.Module):
    """Four patches of an image are four rows of the first layer."""

    def __init__(self) -> None:
        super().__init__()
        self.each, self.head = nn.Linear(16, 6), nn.Linear(24, 10)

    def forward(self, x: Tensor) -> Tensor:
        rows = torch.relu(self.each(x.reshape(-1, 16)))
        return self.head(rows.reshape(len(x), 24))


@pytest.mark.parametrize("platform", ["mrr", "mzi", "freespace"])
@pytest.mark.parametrize("devices", [(1,), (1, 1), (1, 2)])
@torch.no_grad()
def test_noise_of_rows_goes_with_their_image(platform: str, devices: tuple[int, ...]) -> None:
    network = physical_network(made(Patches).eval(), platform)
    x = images(2 * NOISE_BLOCK)[0]
    conditions = [Condition(Device.draw(network, 0.1, seed)) for seed in devices]

    def outputs(batch: int) -> Tensor:
        noise, found = DeviceNoise(devices), []
        with operate(network, conditions, noise):
            for noise.start in range(0, len(x), batch):
                part = x[noise.start : noise.start + batch]
                shown = part.repeat(len(devices), 1, 1, 1)
                found.append(network(shown).unflatten(0, (len(devices), -1)))
        return torch.cat(found, 1)

    whole = outputs(len(x))
    assert (whole - outputs(len(x) // 4)).abs().max() < 1e-5 * whole.abs().max()
    noise = DeviceNoise(devices)
    chosen = torch.tensor([0, 3, NOISE_BLOCK + 1])
    with operate(network, conditions, noise), noise.only(chosen, len(x)):
        some = network(x[chosen].repeat(len(devices), 1, 1, 1)).unflatten(0, (len(devices), -1))
    assert (whole[:, chosen] - some).abs().max() < 1e-5 * whole.abs().max()


@torch.no_grad()
def test_rows_of_an_image_are_told_to_the_noise_apart_from_images() -> None:
    network = physical_network(made(Patches).eval(), "mrr")
    asked: dict[str, tuple[int, ...]] = {}

    def noise(name: str, shape: tuple[int, ...]) -> Tensor:
        asked[name] = shape
        return torch.zeros(shape)

    with operate(network, [Condition(Device.ideal())] * 2, noise):
        network(images(6)[0])
    assert asked == {"model.each": (2, 3, 4, 6), "model.head": (2, 3, 10)}


@pytest.mark.parametrize("platform", PLATFORMS)
@torch.no_grad()
def test_devices_together_are_devices_alone(platform: str) -> None:
    network = physical_network(made().eval(), platform)
    x = images(6)[0]
    devices = [Device.draw(network, 0.1, seed) for seed in (1, 2)]
    with operate(network, [Condition(d) for d in devices]):
        together = network(x.repeat(2, 1, 1, 1)).unflatten(0, (2, 6))
    for block, device in zip(together, devices, strict=True):
        with operate(network, [Condition(device)]):
            torch.testing.assert_close(network(x), block, rtol=1e-4, atol=1e-5)


def test_the_digital_start_of_a_sequence_is_split_off() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(72, 10), nn.ReLU())
    network = physical_network(model, "mrr", "2")
    x = images(3)[0]
    assert network.prefix(x).shape == (3, 72)
    torch.testing.assert_close(network(x), model(x), rtol=0, atol=1e-4)
    assert physical_network(model, "mrr").prefix(x) is x
    # A module that is used on both sides, or hooks of the whole, cannot be split.
    act = nn.ReLU()
    shared = nn.Sequential(act, nn.Flatten(), nn.Linear(64, 10), act)
    assert physical_network(shared, "mrr").prefix(x) is x
    torch.testing.assert_close(physical_network(shared)(x), shared(x), rtol=0, atol=1e-4)


class Scales(nn.Module):
    """Scales its inputs in place."""

    def __init__(self, *after: nn.Module) -> None:
        super().__init__()
        self.after = nn.Sequential(*after)

    def forward(self, x: Tensor) -> Tensor:
        x *= 0.5
        x -= 0.2
        return self.after(x)


def in_place(split: bool) -> nn.Module:
    layers = nn.Flatten(), nn.Linear(64, 10)
    return nn.Sequential(Scales(), *layers) if split else Scales(*layers)


@pytest.mark.parametrize("split", [True, False])
@pytest.mark.parametrize("context", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_a_network_that_works_in_place_leaves_its_inputs(context: Any, split: bool) -> None:
    model = in_place(split)
    network = physical_network(model, "mrr")
    with context():
        x = images(6)[0]
        expected = model(x.clone())
        before = x.clone()
        h = network.prefix(x)
        kept = h.clone()
        for _ in range(2):
            torch.testing.assert_close(network.physical(h), expected, rtol=0, atol=1e-4)
        assert torch.equal(x, before)
        assert torch.equal(h, kept)


@torch.no_grad()
def test_a_network_that_works_in_place_is_judged_by_its_mixing_alone() -> None:
    network = physical_network(in_place(False).eval(), "mrr")
    x = images(4)[0]
    with operate(network, [Condition(Device.ideal())]):
        outputs = network(x)
    assert torch.equal(outputs, network(x))


@pytest.mark.parametrize("platform", ["mrr", "mzi", "freespace"])
def test_the_network_itself_may_be_the_layer(platform: str) -> None:
    model = nn.Linear(6, 3)
    network = physical_network(model, platform)
    x = torch.rand(5, 6)
    torch.testing.assert_close(network(x), model(x), rtol=0, atol=1e-5)


def test_inputs_come_in_the_precision_of_the_network() -> None:
    network = physical_network(made().double(), "mrr")
    assert network(images(4)[0]).dtype == torch.float64
    assert {p.dtype for p in network.parameters()} == {torch.float64}


def test_what_is_frozen_stays_frozen() -> None:
    model = made()
    model.twice.weight.requires_grad_(False)
    model.head.bias.requires_grad_(False)
    for scale in (None, "per-layer"):
        network = physical_network(model, "mrr", scale=scale)
        for name, layer in physical_layers(network.model).items():
            assert layer.current.requires_grad == (not name.startswith("twice"))
        assert not network.model.head.bias.requires_grad
        assert network.model.twice.bias.requires_grad


def test_weights_beyond_the_rings_are_refused_with_the_way_out() -> None:
    model = made().eval()
    with torch.no_grad():
        model.head.weight.mul_(20.0)
    with pytest.raises(UserError, match=r"'head' has a weight of .* beyond the range") as caught:
        physical_network(model, "mrr")
    assert "scale='per-layer'" in caught.value.next_step
    network = physical_network(model, "mrr", scale="per-layer")
    x = images(4)[0]
    torch.testing.assert_close(network(x), model(x), rtol=1e-3, atol=1e-3)
    head = network.model.head
    assert isinstance(head, Gained)
    reach = 0.9 * RingCalibration().weight_range()[1]
    assert float(head.layer.ideal_weight().detach().abs().max()) == pytest.approx(reach, rel=1e-4)
    # Meshes have a gain of their own: any weight will do.
    torch.testing.assert_close(physical_network(model, "mzi")(x), model(x), rtol=1e-4, atol=1e-3)


def test_a_weight_at_the_end_of_the_range_is_programmed_without_a_scale() -> None:
    low, high = RingCalibration().weight_range()
    model = nn.Linear(2, 1)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[low, high]]))
    assert physical_network(model, "mrr").report[0].error < 1e-5


class Sequences(nn.Module):
    """Attention-like: the batch is not in the first dimension of the linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x.transpose(0, 1)).transpose(0, 1).flatten(1)


@torch.no_grad()
def test_a_batch_that_is_not_first_is_refused_where_devices_share_it() -> None:
    network = physical_network(Sequences(), "mrr")
    x = torch.rand(6, 4, 8)
    network(x)
    device = Device.draw(network, 0.5, 1)
    with operate(network, [Condition(device)] * 2), pytest.raises(UserError, match="batch"):
        network(x.repeat(2, 1, 1))


class Peeking(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x.flatten(1), self.linear.weight)


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.linear(x.flatten(1))
        return y, y


class Faulty(Peeking):
    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x.flat)  # type: ignore[attr-defined]


def test_what_a_network_must_not_do_reads() -> None:
    x = images(3)[0]
    with pytest.raises(UserError, match=r"looks into a layer .* 'weight'"):
        physical_network(Peeking())(x)
    with pytest.raises(UserError, match="the network gives tuple"):
        physical_network(Pair())(x)
    with pytest.raises(AttributeError, match="flat"):
        physical_network(Faulty())(x)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: physical_network("net"), "the network is 'net'"),  # type: ignore[arg-type]
        (lambda: physical_network(torch.compile(Residual())), "compiled"),
        (lambda: physical_network(Residual(), "diffractive"), "no layer conversion"),
        (lambda: physical_network(Residual(), "mr"), "did you mean 'mrr'"),
        (lambda: physical_network(Residual(), "mrr", ports=4), "unknown option 'ports'"),
        (lambda: physical_network(Residual(), scale="per-row"), "per-layer"),
        (lambda: physical_network(nn.Sequential(nn.BatchNorm2d(3))), "no layer becomes physical"),
        (lambda: physical_network(nn.ReLU()), "no layer becomes physical"),
    ],
)
def test_what_cannot_be_converted_reads(make: Any, words: str) -> None:
    with pytest.raises(UserError, match=words):
        make()
