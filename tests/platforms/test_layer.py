from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from pnnbench.errors import UserError
from pnnbench.platforms.base import (
    Condition,
    Device,
    Environment,
    operate,
    physical_layers,
    tapped,
)
from pnnbench.platforms.freespace import FreeSpaceLayer
from pnnbench.platforms.misalignment import MisalignmentEnvironment
from pnnbench.platforms.mrr import MRREnvironment, MRRLinear, RingCalibration
from pnnbench.platforms.mzi import MZIEnvironment, MZIMesh

from .test_base import QUIET, two_layers


def test_an_environment_of_another_platform_is_refused() -> None:
    networks = {
        MRREnvironment: two_layers(),
        MZIEnvironment: nn.Sequential(MZIMesh(4)),
        MisalignmentEnvironment: nn.Sequential(FreeSpaceLayer(4, 2)),
    }
    for own, network in networks.items():
        for other in (*networks, Environment):
            condition = Condition(Device.ideal(), other())
            if other is own:
                with operate(network, [condition]):
                    pass
                continue
            with (
                pytest.raises(UserError, match=f"answers to {other.__name__}") as caught,
                operate(network, [Condition(Device.ideal()), condition]),
            ):
                pass
            assert caught.value.allowed == own.__name__


def test_layers_of_two_platforms_each_see_their_own_environment() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(MRRLinear(4, 4), MZIMesh(4), FreeSpaceLayer(4, 2))
    ideal = [layer.transfer() for layer in physical_layers(network).values()]
    for place, moved in ((MRREnvironment(25.0), 0), (MisalignmentEnvironment(scale=1.1), 2)):
        conditions = [Condition(Device.ideal(), place), Condition(Device.ideal())]
        with operate(network, conditions):
            found = [layer.transfer() for layer in physical_layers(network).values()]
        for i, (transfer, expected) in enumerate(zip(found, ideal, strict=True)):
            same = torch.allclose(transfer[0], expected, rtol=0, atol=1e-6)
            assert same == (i != moved)
            torch.testing.assert_close(transfer[1], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("value", [math.nan, math.inf, -273.2, 1e5])
def test_a_temperature_that_cannot_be_is_refused(value: float) -> None:
    with pytest.raises(UserError, match="temperature_degc"):
        MRREnvironment(value)


def test_environments_come_in_the_precision_of_the_layer() -> None:
    for dtype in (torch.float32, torch.float64):
        network = two_layers(QUIET).to(dtype)
        with operate(network, [Condition(Device.ideal(), MRREnvironment(22.1))]):
            seen = network.first.operation.environment["temperature_degc"]
        assert seen.dtype == dtype
        assert float(seen) == float(torch.tensor(22.1, dtype=dtype))


def test_a_batch_that_cannot_be_shared_out_is_refused() -> None:
    networks = {
        5: two_layers(QUIET),
        4: nn.Sequential(MZIMesh(4)),
        9: nn.Sequential(FreeSpaceLayer(9, 2)),
    }
    for width, network in networks.items():
        conditions = [Condition(Device.draw(network, 0.1, seed)) for seed in range(3)]
        with (
            pytest.raises(UserError, match="a batch of 4 inputs for 3 conditions"),
            operate(network, conditions),
        ):
            network(torch.rand(4, width))


def ones(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    return torch.ones(shape)


@pytest.mark.parametrize("scale", [math.nan, math.inf, 0.0, -1.0])
def test_a_full_scale_that_is_none_is_refused_where_it_is_used(scale: float) -> None:
    network = two_layers(RingCalibration())
    network.second.full_scale.fill_(scale)
    x = torch.randn(3, 5)
    network(x)
    with operate(network, [Condition(Device.ideal())], ones, auto_range=True):
        assert torch.isfinite(network(x)).all()
    with (
        pytest.raises(UserError, match=r"'second' has a full scale of[\s\S]*calibrate"),
        operate(network, [Condition(Device.ideal())], ones),
    ):
        network(x)


def test_an_instrument_ranges_each_condition_for_itself() -> None:
    layer = MRRLinear(3, 4, bias=False, calibration=RingCalibration(readout_noise=0.1))
    conditions = [Condition(Device.ideal())] * 3
    x = torch.randn(2, 3)
    batch = torch.cat((x, 100.0 * x, 0.0 * x))
    with torch.no_grad():
        quiet = layer(batch).unflatten(0, (3, 2))
        with operate(layer, conditions, ones, auto_range=True):
            found = layer(batch).unflatten(0, (3, 2))
        for i in range(3):
            with operate(layer, conditions[:1], ones, auto_range=True):
                alone = layer(batch[2 * i : 2 * i + 2])
            torch.testing.assert_close(found[i], alone, rtol=1e-5, atol=1e-5)
    for noise, signal in zip(found - quiet, quiet, strict=True):
        expected = torch.full_like(noise, 0.1 * float(signal.abs().max()))
        torch.testing.assert_close(noise, expected, rtol=1e-3, atol=1e-5)
    assert not found[2].any()  # a dark batch has nothing to range on, and no noise


def test_an_output_that_is_not_finite_leaves_the_range_of_the_others() -> None:
    layer = MRRLinear(3, 4, bias=False, calibration=RingCalibration(readout_noise=0.1))
    x = torch.randn(3, 3)
    x[1] = math.nan
    with torch.no_grad(), operate(layer, [Condition(Device.ideal())], ones, auto_range=True):
        found, alone = layer(x), layer(x[[0, 2]])
    torch.testing.assert_close(found[[0, 2]], alone, rtol=1e-5, atol=1e-5)
    assert found[1].isnan().all()


def test_a_tap_on_an_unknown_layer_is_refused() -> None:
    network = two_layers()
    for taps in ({"fields": {"frist": nn.Identity()}}, {"read_outs": {"frist": nn.Identity()}}):
        with (
            pytest.raises(UserError, match="unknown layer 'frist'; did you mean 'first'"),
            tapped(network, **taps),  # type: ignore[arg-type]
        ):
            pass
    assert network.first.read_out_tap is None
