from __future__ import annotations

import math
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from torch import nn

from pnnbench.errors import UserError
from pnnbench.platforms.base import (
    Condition,
    Device,
    Environment,
    calibrating_full_scale,
    derive_seed,
    hold_transfer,
    operate,
    physical_layers,
    tapped,
)
from pnnbench.platforms.freespace import FreeSpaceLayer
from pnnbench.platforms.misalignment import MisalignmentEnvironment
from pnnbench.platforms.mrr import MRREnvironment, MRRLinear, RingCalibration
from pnnbench.platforms.mzi import MZIEnvironment, MZIMesh
from pnnbench.workloads.base import Workload
from pnnbench.workloads.diffractive import DiffractiveDigits
from pnnbench.workloads.freespace import FreeSpaceDigits
from pnnbench.workloads.mrr import MRRDigits
from pnnbench.workloads.mzi import MZIDigits

QUIET = RingCalibration(readout_noise=0.0)


def two_layers(calibration: RingCalibration | None = None) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        OrderedDict(
            first=MRRLinear(5, 4, calibration=calibration),
            act=nn.Tanh(),
            second=MRRLinear(4, 3, calibration=calibration),
        )
    )


def same_errors(a: Device, b: Device) -> bool:
    names = {(layer, name) for layer in a.errors for name in a.errors[layer]}
    if names != {(layer, name) for layer in b.errors for name in b.errors[layer]}:
        return False
    return all(torch.equal(a.errors[layer][n], b.errors[layer][n]) for layer, n in names)


def test_seeds_are_the_same_everywhere_and_differ_by_name() -> None:
    assert derive_seed("device", 3, "fc1") == 5961953855157249802
    seeds = {derive_seed("a", i) for i in range(1000)} | {derive_seed("b", i) for i in range(1000)}
    assert len(seeds) == 2000
    assert all(0 <= s < 2**63 for s in seeds)
    assert derive_seed("a", 12) != derive_seed("a1", 2)


def test_physical_layers_are_listed_in_module_order() -> None:
    network = two_layers()
    assert list(physical_layers(network)) == ["first", "second"]
    assert physical_layers(network)["second"] is network.second


def test_draws_name_their_device() -> None:
    network = two_layers()
    assert same_errors(Device.draw(network, 1.0, 7), Device.draw(two_layers(), 1.0, 7))
    assert not same_errors(Device.draw(network, 1.0, 7), Device.draw(network, 1.0, 8))
    torch.manual_seed(123)
    state = torch.get_rng_state()
    Device.draw(network, 1.0, 7)
    assert torch.equal(torch.get_rng_state(), state)


def test_draw_of_a_layer_does_not_depend_on_the_others() -> None:
    alone = nn.Sequential(OrderedDict(second=MRRLinear(4, 3)))
    both = Device.draw(two_layers(), 1.0, 7).errors["second"]
    single = Device.draw(alone, 1.0, 7).errors["second"]
    assert all(torch.equal(both[name], single[name]) for name in both)


def test_layers_of_one_shape_get_different_errors() -> None:
    network = nn.Sequential(MRRLinear(4, 4), MRRLinear(4, 4))
    device = Device.draw(network, 1.0, 0)
    assert not torch.equal(device.errors["0"]["detuning"], device.errors["1"]["detuning"])


def test_same_draw_is_scaled_with_the_severity() -> None:
    network = two_layers()
    one, half = Device.draw(network, 1.0, 7), Device.draw(network, 0.5, 7)
    for layer, errors in one.errors.items():
        for name, error in errors.items():
            torch.testing.assert_close(half.errors[layer][name], 0.5 * error)
            assert error.abs().max() > 0


def test_severity_zero_is_the_ideal_device() -> None:
    network = two_layers(QUIET)
    x = torch.randn(6, 5)
    device = Device.draw(network, 0.0, 7)
    assert all(not e.any() for errors in device.errors.values() for e in errors.values())
    with operate(network, [Condition(device)]):
        operated = network(x)
    with operate(network, [Condition(Device.ideal())]):
        ideal = network(x)
    assert torch.equal(operated, ideal)
    assert torch.equal(operated, network(x))


@pytest.mark.parametrize("severity", [-0.1, float("nan"), float("inf")])
def test_bad_severity_is_a_user_error(severity: float) -> None:
    with pytest.raises(UserError, match="device severity"):
        Device.draw(two_layers(), severity, 0)


def test_a_device_cannot_be_changed() -> None:
    offsets = torch.ones(3, 4)
    device = Device({"second": {"detuning": offsets}})
    offsets.zero_()
    assert device.errors["second"]["detuning"].all()
    with pytest.raises(TypeError):
        device.errors["second"] = {}  # type: ignore[index]
    with pytest.raises(TypeError):
        device.errors["second"]["detuning"] = offsets  # type: ignore[index]
    with pytest.raises(AttributeError):
        device.seed = 3  # type: ignore[misc]


def test_device_survives_a_file(tmp_path: Path) -> None:
    device = Device.draw(two_layers(), 0.25, 1_000_003)
    device.save(tmp_path / "device.safetensors")
    loaded = Device.load(tmp_path / "device.safetensors")
    assert same_errors(device, loaded)
    assert (loaded.seed, loaded.severity) == (1_000_003, 0.25)
    assert [p.name for p in tmp_path.iterdir()] == ["device.safetensors"]


def test_ideal_and_hand_made_devices_survive_a_file(tmp_path: Path) -> None:
    made = Device({"first": {"detuning": torch.full((4, 5), 0.3, dtype=torch.float64)}})
    for device in (Device.ideal(), made):
        device.save(tmp_path / "d.safetensors")
        loaded = Device.load(tmp_path / "d.safetensors")
        assert same_errors(device, loaded)
        assert (loaded.seed, loaded.severity) == (None, 0.0)
    assert loaded.errors["first"]["detuning"].dtype == torch.float64


def test_operate_needs_conditions_that_fit() -> None:
    network = two_layers()
    with pytest.raises(UserError, match="no condition"), operate(network, []):
        pass
    stranger = Device({"third": {"detuning": torch.zeros(1)}})
    with (
        pytest.raises(UserError, match="'third'"),
        operate(network, [Condition(Device.ideal()), Condition(stranger)]),
    ):
        pass
    assert network.first.operation is None


def test_operate_puts_layers_back_even_after_an_error_and_nests() -> None:
    network = two_layers(QUIET)
    x = torch.randn(2, 5)
    ideal = network(x)
    devices = [Device.draw(network, 1.0, s) for s in (0, 1)]
    with operate(network, [Condition(devices[0])]):
        outer = network(x)
        with operate(network, [Condition(devices[1])]):
            inner = network(x)
        assert torch.equal(network(x), outer)
    assert not torch.allclose(outer, inner)
    assert torch.equal(network(x), ideal)
    with pytest.raises(ZeroDivisionError), operate(network, [Condition(devices[0])]):
        raise ZeroDivisionError
    assert torch.equal(network(x), ideal)


def test_conditions_may_have_different_errors_and_environments() -> None:
    network = two_layers(QUIET)
    x = torch.randn(3, 5)
    warm = MRREnvironment(22.5)
    conditions = [
        Condition(Device.ideal()),
        Condition(Device.draw(network, 1.0, 0)),
        Condition(Device({"second": {"depth": torch.full((3, 4), -0.5)}}), warm),
        Condition(Device.ideal(), warm),
    ]
    with operate(network, conditions):
        together = network(x.repeat(4, 1)).unflatten(0, (4, 3))
    for condition, found in zip(conditions, together, strict=True):
        with operate(network, [condition]):
            torch.testing.assert_close(found, network(x))
    assert torch.pdist(together.flatten(1)).min() > 1e-3


def test_shot_noise_has_the_stated_standard_deviation_and_is_asked_for_by_layer() -> None:
    calibration = RingCalibration(readout_noise=0.04)
    layer = MRRLinear(3, 50, calibration=calibration)
    network = nn.Sequential(OrderedDict(bank=layer))
    layer.full_scale.fill_(2.5)
    x = torch.randn(400, 3)
    generator = torch.Generator().manual_seed(1)
    asked: list[tuple[str, tuple[int, ...]]] = []

    def shot(name: str, shape: tuple[int, ...]) -> torch.Tensor:
        asked.append((name, shape))
        return torch.randn(shape, generator=generator)

    quiet = network(x)
    with operate(network, [Condition(Device.ideal())] * 2, shot):
        noise = network(x.repeat(2, 1)).unflatten(0, (2, 400)) - quiet
    assert asked == [("bank", (2, 400, 50))]
    # One photodiode: twice its share; three inputs fit in one row of the bank.
    assert float(noise.detach().std()) == pytest.approx(2 * 0.04 * 2.5, rel=0.02)
    assert abs(float(noise.detach().mean())) < 0.004
    assert not torch.allclose(noise[0], noise[1])


def test_no_shot_noise_is_drawn_for_a_noiseless_read_out() -> None:
    network = two_layers(QUIET)
    x = torch.randn(3, 5)

    def shot(name: str, shape: tuple[int, ...]) -> torch.Tensor:
        raise AssertionError(name)

    with operate(network, [Condition(Device.ideal())], shot):
        assert torch.equal(network(x), network(x))


def test_full_scale_is_the_largest_light_whatever_the_controls() -> None:
    network = two_layers()
    batches = torch.randn(4, 10, 5, generator=torch.Generator().manual_seed(0)) * 3
    with torch.no_grad():
        network.first.bias.fill_(100.0)
        network.first.current.fill_(1.0)
    with calibrating_full_scale(network):
        for x in batches:
            network.first(x)
        assert float(network.first.full_scale) == 1.0  # only set at the end
    light = batches.abs()  # four inputs at a time: a bank has four columns
    peak = max(float(light[..., :4].sum(-1).max()), float(light[..., 4:].sum(-1).max()))
    assert float(network.first.full_scale) == pytest.approx(peak, rel=1e-4)
    assert float(network.second.full_scale) == 1.0  # never ran
    network(batches[0] * 100)
    assert float(network.first.full_scale) == pytest.approx(peak, rel=1e-4)
    assert "first.full_scale" in network.state_dict()


def test_held_transfer_gives_the_same_outputs_and_is_let_go() -> None:
    network = two_layers(QUIET)
    x = torch.randn(6, 5)
    conditions = [Condition(Device.draw(network, 1.0, s)) for s in (0, 1)]
    with operate(network, conditions):
        expected = network(x)
        with hold_transfer(network) as held:
            assert torch.equal(network(x), expected)
            assert set(held) == {"first", "second"}
            assert held["first"].shape == (2, 4, 5)
            assert not held["first"].requires_grad
            assert network.first.weight_override is held["first"]
        assert network.first.weight_override is None
    before = network(x)
    with torch.no_grad():
        network.first.current.mul_(0.9)
    assert not torch.allclose(network(x), before)


def test_overriding_a_weight_does_not_make_it_a_parameter() -> None:
    network = two_layers(QUIET)
    names = set(dict(network.named_parameters()))
    weight = nn.Parameter(torch.randn(4, 5))
    network.first.override_weight(weight)
    assert set(dict(network.named_parameters())) == names
    x = torch.randn(2, 5)
    torch.testing.assert_close(network.first(x), x @ weight.T + network.first.bias)
    network.first(x).sum().backward()
    assert weight.grad is not None
    assert network.first.current.grad is None


@pytest.mark.parametrize(
    "workload", [MRRDigits, MZIDigits, FreeSpaceDigits, DiffractiveDigits], ids=lambda w: w.name
)
def test_no_layer_is_programmed_with_what_is_not_finite(workload: type[Workload]) -> None:
    for name, layer in workload(0).layers().items():
        before = [getattr(layer, control).detach().clone() for control in layer.control_names]
        target = layer.ideal_weight().detach().clone()
        target.view(-1)[0] = torch.nan
        with pytest.raises(UserError, match="not finite"):
            layer.program(target)
        for control, value in zip(layer.control_names, before, strict=True):
            assert torch.equal(getattr(layer, control), value), name


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
    for noise, given in zip(found - quiet, batch.unflatten(0, (3, 2)), strict=True):
        expected = torch.full_like(noise, 2 * 0.1 * float(given.abs().sum(-1).max()))
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
