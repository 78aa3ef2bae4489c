"""Resolution of the drivers: levels, gradients, and the same on every platform."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from pnnbench.errors import UserError
from pnnbench.platforms.base import Condition, Device, PhysicalLayer, operate
from pnnbench.platforms.diffractive import DiffractiveStack
from pnnbench.platforms.drivers import MAX_BITS, Driver
from pnnbench.platforms.freespace import FreeSpaceLayer
from pnnbench.platforms.mrr import PUBLISHED_CALIBRATION, MRRConv2d, MRRLinear
from pnnbench.platforms.mzi import MZIMesh

PLATFORMS: list[Any] = [MRRLinear, MRRConv2d, MZIMesh, FreeSpaceLayer, DiffractiveStack]
bits_of = st.integers(1, 12).map(float)
ends = st.floats(-10, 10, allow_nan=False, width=32)


@given(low=ends, span=st.floats(0.1, 10), bits=bits_of, seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_levels_are_the_nearest_of_so_many(low: float, span: float, bits: float, seed: int) -> None:
    driver = Driver(low, low + span)
    value = low + span * torch.rand(200, generator=torch.Generator().manual_seed(seed)).double()
    found = driver.nearest(value, torch.tensor(bits))
    step = span / (2**bits - 1)
    assert float((found - value).abs().max()) <= step / 2 * (1 + 1e-9)
    places = (found - low) / step
    torch.testing.assert_close(places, places.round(), rtol=0, atol=1e-6)
    assert len(places.round().unique()) <= 2**bits
    torch.testing.assert_close(driver.nearest(found, torch.tensor(bits)), found)


@given(turns=st.integers(-3, 3), bits=bits_of)
@settings(max_examples=30, deadline=None)
def test_a_period_makes_no_difference(turns: int, bits: float) -> None:
    driver = Driver(-math.pi, math.pi, periodic=True)
    value = torch.linspace(-3.0, 3.0, 37, dtype=torch.float64)
    here, there = (
        driver.nearest(v, torch.tensor(bits)) for v in (value, value + 2 * math.pi * turns)
    )
    torch.testing.assert_close(there - here, torch.full_like(here, 2 * math.pi * turns))
    assert bool((driver.reduced(value + 2 * math.pi * turns) - value).abs().max() < 1e-9)


@given(low=ends, bits=st.integers(1, 10), seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_settings_of_a_period_are_levels_inside_of_it(low: float, bits: int, seed: int) -> None:
    driver = Driver(low, low + 2 * math.pi, periodic=True)
    value = 50 * torch.randn(400, generator=torch.Generator().manual_seed(seed)).double()
    found = driver.setting(value, bits)
    assert driver.holds(found)
    assert len(torch.round(found / (2 * math.pi / 2**bits)).unique()) <= 2**bits
    turns = (driver.nearest(value, torch.tensor(float(bits))) - found) / (2 * math.pi)
    torch.testing.assert_close(turns, turns.round(), rtol=0, atol=1e-9)


def test_a_signed_weight_of_two_exposures_has_zero_among_its_levels() -> None:
    driver = Driver(-1.0, 1.0, exposures=2)
    found = driver.nearest(torch.linspace(-1, 1, 1001), torch.tensor(2.0)).unique()
    torch.testing.assert_close(found, torch.linspace(-1, 1, 7))


def test_bits_of_conditions_come_first_and_infinite_ones_change_nothing() -> None:
    driver, value = Driver(0.0, 5.0), torch.rand(3, 4)
    found = driver.nearest(value, torch.tensor([2.0, math.inf]))
    assert found.shape == (2, 3, 4)
    assert torch.equal(found[1], value)
    assert torch.equal(found[0], driver.nearest(value, torch.tensor(2.0)))


def test_rounding_is_seen_through_by_gradients_of_any_order() -> None:
    value = torch.rand(4, dtype=torch.float64, requires_grad=True)
    found = Driver(0.0, 1.0).nearest(value, torch.tensor([3.0, 5.0]))
    (first,) = torch.autograd.grad((found**3).sum(), value, create_graph=True)
    torch.testing.assert_close(first, (3 * found**2).sum(0))
    (second,) = torch.autograd.grad(first.sum(), value)
    torch.testing.assert_close(second, (6 * found).sum(0))


@pytest.mark.parametrize("platform", PLATFORMS)
def test_every_platform_is_set_in_bits(platform: Any) -> None:
    torch.manual_seed(0)
    layer, x = platform.example()
    network = nn.Sequential(layer)
    nominal = layer.environment_class()
    device = Device.draw(network, 0.1, 1)

    def measured(*bits: float) -> Tensor:
        places = [type(nominal)(control_bits=b) for b in bits]
        with torch.no_grad(), operate(network, [Condition(device, place) for place in places]):
            repeated = x.repeat(len(bits), *[1] * (x.dim() - 1))
            return network(repeated).unflatten(0, (len(bits), -1))

    together = measured(3.0, math.inf, 12.0)
    for bits, found in zip((3.0, math.inf, 12.0), together, strict=True):
        torch.testing.assert_close(found, measured(bits)[0], rtol=1e-4, atol=1e-5)
    coarse, exact, fine = together
    assert float((fine - exact).abs().max()) < 0.1 * float((coarse - exact).abs().max())
    # What it does is what the layer does with its controls at those levels.
    for name, driver in layer.drivers().items():
        control = getattr(layer, name)
        control.data = driver.nearest(control.detach(), torch.tensor(3.0))
    torch.testing.assert_close(measured(math.inf)[0], coarse, rtol=1e-4, atol=1e-5)


def test_training_at_a_resolution_sees_a_gradient() -> None:
    layer, x = MRRLinear.example()
    network = nn.Sequential(layer)
    place = layer.environment_class(control_bits=4.0)
    with operate(network, [Condition(Device.ideal(), place)]):
        network(x).square().sum().backward()
    grad = layer.get_parameter("current").grad
    assert grad is not None
    assert bool(grad.count_nonzero())


def test_what_has_no_range_or_driver_is_refused() -> None:
    class Bare(MRRLinear):
        def drivers(self) -> dict[str, Driver]:
            return PhysicalLayer.drivers(self)

    for layer, words in (
        (Bare(2, 2), "no driver of 'current'"),
        (MRRLinear(2, 2, calibration=PUBLISHED_CALIBRATION), "has no levels"),
    ):
        place = layer.environment_class(control_bits=4.0)
        network = nn.Sequential(layer)
        with (
            operate(network, [Condition(Device.ideal(), place)]),
            pytest.raises(UserError, match=words),
        ):
            network(torch.rand(1, 2))
    with pytest.raises(UserError, match="control_bits"):
        MZIMesh.environment_class(control_bits=MAX_BITS + 1)
    with pytest.raises(UserError, match="no levels"):
        Driver(1.0, 1.0)
