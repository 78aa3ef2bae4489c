from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from pnnbench.errors import UserError
from pnnbench.platforms.base import Condition, Device, calibrating_full_scale, operate
from pnnbench.platforms.mrr import (
    PUBLISHED_CALIBRATION,
    MRRConv2d,
    MRREnvironment,
    MRRLinear,
    MRRWeightBank,
    RingCalibration,
)
from pnnbench.platforms.rings import Detection

QUIET = RingCalibration(readout_noise=0.0)
ERRORS = ("detuning", "linewidth", "bias", "depth")
#: One ring for each weight.
ALONE = dataclasses.replace(QUIET, bank_rows=0, bank_columns=0)


def tensor(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def linear(calibration: RingCalibration | None = QUIET, seed: int = 0) -> MRRLinear:
    torch.manual_seed(seed)
    return MRRLinear(7, 4, calibration=calibration)


def conv(calibration: RingCalibration | None = QUIET, seed: int = 0) -> MRRConv2d:
    torch.manual_seed(seed)
    return MRRConv2d(2, 3, 3, stride=2, padding=1, calibration=calibration)


BANKS = [pytest.param(linear, (7,), id="linear"), pytest.param(conv, (2, 5, 5), id="conv")]


def ring_by_hand(c: RingCalibration, current: float, celsius: float, e: dict[str, float]) -> float:
    """One ring in scalars; `neighbours` is the sum of I^2 of the rings beside it."""
    heated = c.tuning * (current**2 + e["crosstalk"] * e["neighbours"])
    resonance = heated + c.drift_nm_per_degc * (celsius - 22.0) + e["detuning"] * c.hwhm_nm
    u = (c.rest_detuning_nm - resonance) / (c.hwhm_nm * (1.0 + e["linewidth"]))
    return c.bias + e["bias"] - (c.depth + e["depth"]) / (1.0 + u * u)


# --- the tuning curve -------------------------------------------------------------------------


def test_weight_at_rest_at_half_width_and_at_the_dip() -> None:
    c = RingCalibration(bias=1.1, depth=2.2)
    dip = math.sqrt(c.rest_detuning_nm / c.tuning)
    half = [math.sqrt((c.rest_detuning_nm - s * c.hwhm_nm) / c.tuning) for s in (1, -1)]
    weights = c.weight(tensor(0.0, dip, *half))
    at_rest = 1.1 - 2.2 / (1 + (0.25 / 0.0636) ** 2)
    torch.testing.assert_close(weights, tensor(at_rest, -1.1, 0.0, 0.0))
    assert dip == pytest.approx(4.37, abs=0.005)


def test_default_quality_factor_is_the_stated_one() -> None:
    c = RingCalibration()
    assert 1550 / (2 * c.hwhm_nm) == pytest.approx(1e4, rel=0.25)
    # The stated 0.53 nm per mW, and 1 degC is 0.94 half widths.
    assert c.tuning / (c.resistance_ohm * 1e-3) == pytest.approx(0.53, abs=0.01)
    assert c.drift_nm_per_degc / c.hwhm_nm == pytest.approx(0.94, abs=0.01)


def test_published_law_is_the_same_layer_with_other_constants() -> None:
    x = torch.linspace(-4, 5.2, 2001, dtype=torch.float64)
    expected = 1 - 2 / (1 + (x / 0.15) ** 2)
    torch.testing.assert_close(PUBLISHED_CALIBRATION.weight(x), expected, rtol=0, atol=1e-14)
    w = torch.linspace(-1, 0.999, 501, dtype=torch.float64)
    inverse = 0.15 * torch.sqrt((1 + w) / (1 - w))
    torch.testing.assert_close(PUBLISHED_CALIBRATION.current(w), inverse)
    layer = linear(PUBLISHED_CALIBRATION).double()
    device = Device({"0": {"detuning": torch.full((4, 7), 0.08 / 0.15, dtype=torch.float64)}})
    shifted = 1 - 2 / (1 + ((layer.current - 0.08) / 0.15) ** 2)
    with operate(nn.Sequential(layer), [Condition(device)]):
        torch.testing.assert_close(layer.transfer(), shifted)
    warmer = Condition(Device.ideal(), MRREnvironment(23.0))
    with operate(nn.Sequential(layer), [warmer]):
        torch.testing.assert_close(layer.transfer(), shifted)


def test_published_law_reaches_its_ends_without_infinities() -> None:
    current = PUBLISHED_CALIBRATION.current(tensor(-1.5, -1.0, 1.0, 1.5))
    assert torch.isfinite(current).all()
    torch.testing.assert_close(
        PUBLISHED_CALIBRATION.weight(current), tensor(-1, -1, 1, 1), rtol=0, atol=1e-11
    )


@st.composite
def calibrations(draw: st.DrawFn) -> RingCalibration:
    detuning = draw(st.floats(0.1, 4.0))
    dip = draw(st.floats(2.0, 4.9))
    return RingCalibration(
        rest_detuning_nm=detuning,
        hwhm_nm=detuning / draw(st.floats(1.5, 6.0)),
        tuning=detuning / dip**2,
        bias=draw(st.floats(0.8, 1.3)),
        depth=draw(st.floats(1.5, 2.5)),
    )


@given(calibrations(), st.floats(0.0, 1.0))
@settings(deadline=None)
def test_inverse_round_trip(c: RingCalibration, position: float) -> None:
    low, high = c.weight_range()
    target = tensor(low + position * (high - low))
    current = c.current(target)
    assert c.min_current <= float(current) <= c.max_current
    assert float(c.detuning(current)) >= -1e-9  # the branch before the dip
    torch.testing.assert_close(c.weight(current), target, rtol=0, atol=1e-9)


@given(st.floats(-10, 10), st.sampled_from([QUIET, PUBLISHED_CALIBRATION]))
@settings(deadline=None)
def test_unreachable_targets_get_the_nearest_weight(target: float, c: RingCalibration) -> None:
    low, high = c.weight_range()
    current = c.current(tensor(target))
    assert torch.isfinite(current).all()
    nearest = min(max(target, low), high)
    assert float(c.weight(current)) == pytest.approx(nearest, abs=1e-9)


@st.composite
def drivers(draw: st.DrawFn) -> RingCalibration:
    """Rings whose driver may end before the dip, begin behind it, or never be before it."""
    exponent = draw(st.sampled_from([1, 2]))
    low = draw(st.floats(0.0 if exponent == 2 else -4.0, 4.0))
    high = low + draw(st.floats(0.2, 4.0))
    return RingCalibration(
        rest_detuning_nm=draw(st.floats(-1.0, 1.0)),
        hwhm_nm=draw(st.floats(0.05, 0.5)),
        tuning=draw(st.sampled_from([-1.0, 1.0])) * draw(st.floats(0.01, 0.2)),
        exponent=exponent,
        min_current=low,
        max_current=high,
    )


@given(drivers(), st.floats(-2.0, 2.0))
@settings(deadline=None, max_examples=300)
def test_the_range_is_what_the_driver_reaches(c: RingCalibration, target: float) -> None:
    low, high = c.weight_range()
    currents = torch.linspace(c.min_current, c.max_current, 4001, dtype=torch.float64)
    detuning = c.detuning(currents)
    reached = c.weight(currents[detuning >= 0] if bool((detuning > 0).any()) else currents)
    # Every current on the branch gives a weight in the range, and its ends are reached.
    assert float(reached.min()) >= low - 1e-9
    assert float(reached.max()) <= high + 1e-9
    for end in (low, high, min(max(target, low), high)):
        current = c.current(tensor(end))
        assert c.min_current <= float(current) <= c.max_current
        assert float(c.weight(current)) == pytest.approx(end, abs=1e-6)
    assert float(c.weight(c.current(tensor(target)))) == pytest.approx(
        min(max(target, low), high), abs=1e-6
    )


def test_a_dip_out_of_reach_is_out_of_range() -> None:
    c = dataclasses.replace(QUIET, max_current=3.0)
    low, high = c.weight_range()
    assert low == pytest.approx(float(c.weight(tensor(3.0))))
    assert low > c.bias - c.depth + 0.5
    bank = MRRLinear(3, 2, calibration=c)
    wanted = torch.full((2, 3), -1.0)
    projected = bank.project_weight(wanted)
    torch.testing.assert_close(projected, torch.full((2, 3), low))
    bank.program(wanted)
    torch.testing.assert_close(bank.ideal_weight().detach(), projected, rtol=0, atol=1e-5)
    assert high == QUIET.weight_range()[1]
    assert QUIET.weight_range()[0] == pytest.approx(QUIET.bias - QUIET.depth)


def test_projecting_lets_a_diverged_weight_through() -> None:
    bank = MRRLinear(3, 2, calibration=QUIET)
    weight = torch.zeros(2, 3)
    weight[0, 1] = math.nan
    assert int(bank.project_weight(weight).isnan().sum()) == 1
    with pytest.raises(UserError, match="do not fit"):
        bank.project_weight(weight[:1])
    with pytest.raises(UserError, match="real numbers"):
        bank.project_weight(weight + 0j)


def test_a_ring_without_current_has_a_gradient() -> None:
    for c in (QUIET, PUBLISHED_CALIBRATION):
        for rest in (0.0, c.rest_detuning_nm):  # 0: the laser stands in the dip
            bank = MRRLinear(4, 3, calibration=dataclasses.replace(c, rest_detuning_nm=rest))
            with torch.no_grad():
                bank.current.zero_()
            x = torch.zeros(2, 4, requires_grad=True)
            device = Device.draw(nn.Sequential(bank), 0.0, 0)
            with operate(bank, [Condition(Device({"": device.errors["0"]}))]):
                bank(x).square().sum().backward()
            assert x.grad is not None
            assert bank.current.grad is not None
            assert bool(torch.isfinite(x.grad).all())
            assert bool(torch.isfinite(bank.current.grad).all())


@pytest.mark.parametrize(
    "make",
    [
        lambda: MRRLinear(0, 3),
        lambda: MRRLinear(3, -1),
        lambda: MRRLinear(2.5, 3),  # type: ignore[arg-type]
        lambda: MRRConv2d(1, 2, 0),
        lambda: MRRConv2d(1, 2, 3, stride=0),
        lambda: MRRConv2d(1, 2, 3, padding=-1),
    ],
)
def test_banks_of_impossible_sizes_are_refused(make: Callable[[], MRRWeightBank]) -> None:
    with pytest.raises(UserError):
        make()


@pytest.mark.parametrize(
    "constants",
    [
        {"hwhm_nm": 0.0},
        {"hwhm_nm": -0.1},
        {"hwhm_nm": math.nan},
        {"depth": 0.0},
        {"resistance_ohm": -1.0},
        {"bank_rows": -1},
        {"bank_rows": 0},
        {"bank_columns": 2.5},
        {"readout_noise": -0.1},
        {"offset_spread_hwhm": -1.0},
        {"hwhm_spread": -0.1},
        {"floor_spread": math.inf},
        {"depth_spread": math.nan},
        {"exponent": 3},
        {"tuning": 0.0},
        {"min_current": 5.0},
        {"max_current": -1.0},
        {"min_current": -0.1},
        {"min_current": math.nan},
        {"max_current": math.nan},
        {"hwhm_nm": "wide"},
        {"depth": True},
    ],
)
def test_constants_out_of_range_are_user_errors(constants: dict[str, float]) -> None:
    with pytest.raises(UserError):
        RingCalibration(**constants)


@pytest.mark.parametrize("crosstalk", [-0.1, 0.6, math.nan])
def test_crosstalk_out_of_range_is_a_user_error(crosstalk: float) -> None:
    with pytest.raises(UserError, match="crosstalk"):
        MRREnvironment(crosstalk=crosstalk)


@pytest.mark.parametrize("temperature", [-41.0, 121.0, math.nan, "hot"])
def test_temperature_out_of_range_is_a_user_error(temperature: float) -> None:
    with pytest.raises(UserError, match="temperature_degc"):
        MRREnvironment(temperature)


# --- the layers on the ideal device -----------------------------------------------------------


def test_products_are_those_of_the_weights() -> None:
    bank, x = linear(), torch.randn(5, 7)
    w = QUIET.weight(bank.current)
    torch.testing.assert_close(bank(x), nn.functional.linear(x, w, bank.bias))
    kernel, images = conv(), torch.randn(5, 2, 9, 9)
    w = QUIET.weight(kernel.current)
    expected = nn.functional.conv2d(images, w, kernel.bias, stride=2, padding=1)
    torch.testing.assert_close(kernel(images), expected)
    assert MRRLinear(7, 4, bias=False).bias is None
    assert MRRLinear(7, 4, bias=False)(x).shape == (5, 4)


@pytest.mark.parametrize(("make", "shape"), BANKS)
def test_only_currents_and_the_digital_bias_are_trained(
    make: Callable[..., MRRWeightBank], shape: tuple[int, ...]
) -> None:
    bank = make()
    assert set(dict(bank.named_parameters())) == {"current", "bias"}
    assert bank.control_names == ("current",)
    assert bank.control_unit == "mA"


def test_fresh_banks_hold_the_usual_initial_weights() -> None:
    torch.manual_seed(0)
    bank = MRRLinear(400, 120)
    w = bank.ideal_weight().detach()
    bound = 1 / math.sqrt(400)
    assert float(w.abs().max()) == pytest.approx(bound, rel=0.01)
    assert float(w.std()) == pytest.approx(bound / math.sqrt(3), rel=0.02)
    assert float(bank.bias.abs().max()) <= bound
    assert bool(((bank.current >= 0) & (bank.current <= 5)).all())


@pytest.mark.parametrize(("make", "shape"), BANKS)
def test_programming_sets_the_weights(
    make: Callable[..., MRRWeightBank], shape: tuple[int, ...]
) -> None:
    bank = make()
    low, high = bank.calibration.weight_range()
    target = torch.empty_like(bank.current).uniform_(low, high)
    bank.program(target)
    torch.testing.assert_close(bank.ideal_weight().detach(), target, rtol=0, atol=2e-5)
    bank.program(torch.full_like(target, 5.0))
    torch.testing.assert_close(bank.ideal_weight().detach(), torch.full_like(target, high))
    with pytest.raises(UserError, match="do not fit"):
        bank.program(target[:1])
    with pytest.raises(UserError, match="not finite"):
        bank.program(torch.full_like(target, math.nan))


@pytest.mark.parametrize(("make", "shape"), BANKS)
def test_projection_keeps_currents_within_the_driver(
    make: Callable[..., MRRWeightBank], shape: tuple[int, ...]
) -> None:
    bank = make()
    with torch.no_grad():
        bank.current.copy_(torch.randn_like(bank.current) * 6)
    before = bank.current.detach().clone()
    bank.project()
    assert torch.equal(bank.current, before.clamp(0.0, 5.0))
    assert not torch.equal(bank.current, before)
    free = make(PUBLISHED_CALIBRATION)
    with torch.no_grad():
        free.current.copy_(before)
    free.project()
    assert torch.equal(free.current, before)


def test_power_is_the_heater_power_in_milliwatts() -> None:
    bank = MRRLinear(2, 1)
    with torch.no_grad():
        bank.current.copy_(torch.tensor([[2.0, 4.0]]))
    # (2 mA)^2 25 ohm = 0.1 mW and (4 mA)^2 25 ohm = 0.4 mW.
    assert float(bank.power_mw()) == pytest.approx(0.5)
    assert float(MRRLinear(2, 1, calibration=QUIET).power_mw()) > 0


def test_sensitivity_is_the_slope_of_the_weight_over_detuning() -> None:
    bank = linear().double()
    u = QUIET.detuning(bank.current.detach()).requires_grad_()
    (slope,) = torch.autograd.grad((QUIET.bias - QUIET.depth / (1 + u * u)).sum(), u)
    torch.testing.assert_close(bank.sensitivity().detach(), slope)
    # Steepest at u = 1 / sqrt(3): 2 d u / (1 + u^2)^2 = 3 sqrt(3) d / 8.
    bank.program(torch.full_like(bank.current, QUIET.bias - 0.75 * QUIET.depth))
    steepest = torch.full_like(bank.current, 3 * math.sqrt(3) / 8 * QUIET.depth)
    torch.testing.assert_close(bank.sensitivity().detach(), steepest)


# --- devices and environments -----------------------------------------------------------------


@pytest.mark.parametrize(("make", "shape"), BANKS)
def test_transfer_on_a_device_is_that_of_each_ring_by_hand(
    make: Callable[..., MRRWeightBank], shape: tuple[int, ...]
) -> None:
    bank = make().double()
    network = nn.Sequential(bank)
    device = Device.draw(network, 0.7, 3)
    for celsius, leak in ((22.0, 0.0), (20.5, 0.01), (22.25, 0.5)):
        with operate(network, [Condition(device, MRREnvironment(celsius, leak))]):
            found = bank.transfer().detach().flatten(1)
        rows = bank.current.detach().flatten(1)
        errors = {k: v.double() for k, v in device.errors["0"].items()}
        for i, row in enumerate(rows):
            for j, current in enumerate(row):
                # Four rings in a row of the bank: the next tile is another time, not a neighbour.
                beside = [row[k] for k in (j - 1, j + 1) if 0 <= k < len(row) and k // 4 == j // 4]
                ring = {
                    "neighbours": sum(float(k) ** 2 for k in beside),
                    "crosstalk": leak,
                } | {k: float(errors[k].flatten(1)[i, j]) for k in ERRORS}
                expected = ring_by_hand(QUIET, float(current), celsius, ring)
                assert float(found[i, j]) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("name", ERRORS)
@pytest.mark.parametrize(("make", "shape"), BANKS)
def test_every_error_changes_every_ring(
    make: Callable[..., MRRWeightBank], shape: tuple[int, ...], name: str
) -> None:
    bank = make()
    network = nn.Sequential(bank)
    drawn = Device.draw(network, 4.0, 0).errors["0"]
    assert set(drawn) == set(ERRORS)
    with operate(network, [Condition(Device({"0": {name: drawn[name]}}))]):
        changed = (bank.transfer() - bank.ideal_weight()).detach().abs()
    assert (changed > 1e-6).all()
    assert changed.max() > 1e-2


def test_spreads_are_the_measured_ones_times_the_severity() -> None:
    bank = MRRLinear(300, 300, calibration=ALONE)
    for severity in (1.0, 0.25):
        errors = bank.draw_errors(severity, torch.Generator().manual_seed(0))
        floor = errors["bias"] - errors["depth"]
        sd = {k: float(v.std()) / severity for k, v in {**errors, "floor": floor}.items()}
        assert sd["detuning"] == pytest.approx(0.16, rel=0.01)
        assert sd["linewidth"] == pytest.approx(0.175, rel=0.01)
        assert sd["floor"] == pytest.approx(0.045, rel=0.01)
        assert sd["depth"] == pytest.approx(0.11, rel=0.01)
    independent = [errors["detuning"], errors["linewidth"], floor, errors["depth"]]
    together = torch.corrcoef(torch.stack([e.flatten() for e in independent]))
    assert (together - torch.eye(4)).abs().max() < 0.02
    # As in the four fits: what is far from resonance and the depth go together.
    pair = torch.stack([errors["bias"].flatten(), errors["depth"].flatten()])
    assert float(torch.corrcoef(pair)[0, 1]) > 0.9
    wild = bank.draw_errors(100.0, torch.Generator().manual_seed(0))
    assert float(wild["linewidth"].min()) == pytest.approx(-0.7)


@pytest.mark.parametrize("bank", [(4, 4), (2, 3), (1, 1), (40, 50)])
def test_the_errors_of_a_ring_come_back_in_every_tile(bank: tuple[int, int]) -> None:
    rows, columns = bank
    c = dataclasses.replace(QUIET, bank_rows=rows, bank_columns=columns)
    layer = MRRConv2d(3, 10, 3, calibration=c)
    for error in layer.draw_errors(1.0, torch.Generator().manual_seed(0)).values():
        assert error.shape == layer.current.shape
        flat = error.flatten(1)
        for i in range(10):
            for j in range(27):
                assert flat[i, j] == flat[i % rows, j % columns]
        assert len(flat.unique()) == min(rows, 10) * min(columns, 27)


def test_tiled_errors_add_up_where_independent_ones_average_out() -> None:
    """The sum over a row of 400 weights: 100 times that of four rings, or the root of 400."""
    spread = {}
    for name, calibration in (("tiled", QUIET), ("alone", ALONE)):
        layer = MRRLinear(400, 4, calibration=calibration)
        sums = [
            layer.draw_errors(1.0, torch.Generator().manual_seed(k))["detuning"].sum(1)
            for k in range(100)
        ]
        spread[name] = float(torch.cat(sums).std())
    assert spread["alone"] == pytest.approx(0.16 * 20, rel=0.2)
    assert spread["tiled"] == pytest.approx(0.16 * 100 * 2, rel=0.2)


def test_crosstalk_of_a_device_and_of_its_environment_add_up() -> None:
    bank = linear().double()
    network = nn.Sequential(bank)
    device = Device({"0": {"crosstalk": torch.tensor(0.01, dtype=torch.float64)}})
    with operate(network, [Condition(device, MRREnvironment(crosstalk=0.02))]):
        both = bank.transfer()
    with operate(network, [Condition(Device.ideal(), MRREnvironment(crosstalk=0.03))]):
        torch.testing.assert_close(bank.transfer(), both, rtol=0, atol=1e-7)


@pytest.mark.parametrize(("make", "shape"), BANKS)
def test_temperature_is_an_equal_shift_of_all_resonances(
    make: Callable[..., MRRWeightBank], shape: tuple[int, ...]
) -> None:
    bank = make().double()
    network = nn.Sequential(bank)
    device = Device.draw(network, 0.5, 1)
    for change in (-2.0, -0.25, 0.25, 1.0):
        with operate(network, [Condition(device, MRREnvironment(22.0 + change))]):
            drifted = bank.transfer()
        shift = 0.06 * change / 0.0636
        errors = dict(device.errors["0"])
        errors["detuning"] = errors["detuning"].double() + shift
        with operate(network, [Condition(Device({"0": errors}))]):
            torch.testing.assert_close(bank.transfer(), drifted, rtol=0, atol=1e-12)
    # Heat moves a ring below the dip toward it, as more current does.
    with operate(network, [Condition(Device.ideal(), MRREnvironment(22.2))]):
        assert (bank.transfer() < bank.ideal_weight()).all()
    with operate(network, [Condition(Device.ideal(), MRREnvironment(21.8))]):
        assert (bank.transfer() > bank.ideal_weight()).all()


def test_random_offsets_shift_resonances_in_half_widths() -> None:
    bank = MRRLinear(300, 300, calibration=QUIET)
    errors = bank.random_offsets(0.3, torch.Generator().manual_seed(0))
    assert set(errors) == {"detuning"}
    assert float(errors["detuning"].std()) == pytest.approx(0.3, rel=0.01)
    with operate(nn.Sequential(bank), [Condition(Device({"0": errors}))]):
        u = QUIET.detuning(bank.current) - errors["detuning"]
        torch.testing.assert_close(bank.transfer(), QUIET.bias - QUIET.depth / (1 + u * u))
    quiet = bank.random_offsets(0.0, torch.Generator().manual_seed(0))
    assert not quiet["detuning"].any()


class Shot:
    """Shot noise that depends on the condition's number, not on who is measured with it."""

    def __init__(self, first: int = 0) -> None:
        self.first = first

    def __call__(self, layer: str, shape: tuple[int, ...]) -> Tensor:
        draws = []
        for i in range(shape[0]):
            g = torch.Generator().manual_seed(1000 * len(layer) + self.first + i)
            draws.append(torch.randn(shape[1:], generator=g))
        return torch.stack(draws)


@pytest.mark.parametrize("noise", [False, True])
@pytest.mark.parametrize(("make", "shape"), BANKS)
def test_many_conditions_at_once_are_each_alone(
    make: Callable[..., MRRWeightBank], shape: tuple[int, ...], noise: bool
) -> None:
    bank = make(RingCalibration())
    bank.full_scale.fill_(3.0)
    network = nn.Sequential(bank)
    conditions = [
        Condition(Device.draw(network, s, seed), MRREnvironment(celsius))
        for s, seed, celsius in ((1.0, 0, 22.0), (1.0, 1, 22.0), (0.1, 0, 21.0), (0.0, 2, 22.3))
    ]
    x = torch.randn(4, 6, *shape)
    with operate(network, conditions, Shot() if noise else None):
        together = network(x.flatten(0, 1)).unflatten(0, (4, 6))
    quiet = []
    for i, condition in enumerate(conditions):
        with operate(network, [condition], Shot(i) if noise else None):
            torch.testing.assert_close(together[i], network(x[i]), rtol=1e-5, atol=1e-5)
        with operate(network, [condition]):
            quiet.append(network(x[i]))
    if noise:
        added = (together - torch.stack(quiet)).std()
        share = bank.calibration.noise_of_sum(bank.current[0].numel())
        assert float(added) == pytest.approx(share * 3.0, rel=0.15)
    else:
        torch.testing.assert_close(together, torch.stack(quiet), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("count", [0, 1, 2])
@pytest.mark.parametrize(("make", "shape"), BANKS)
def test_gradients(make: Callable[..., MRRWeightBank], shape: tuple[int, ...], count: int) -> None:
    bank = make().double()
    network = nn.Sequential(bank)
    conditions = [
        Condition(Device.draw(network, 1.0, seed), MRREnvironment(21.5)) for seed in range(count)
    ]
    x = torch.randn(2 * max(count, 1), *shape, dtype=torch.float64, requires_grad=True)

    def run(x: Tensor, current: Tensor, bias: Tensor) -> Tensor:
        parameters = {"0.current": current, "0.bias": bias}
        if not conditions:
            return torch.func.functional_call(network, parameters, (x,))
        with operate(network, conditions):
            return torch.func.functional_call(network, parameters, (x,))

    inputs = (x, bank.current.detach().requires_grad_(), bank.bias.detach().requires_grad_())
    assert torch.autograd.gradcheck(run, inputs)
    assert torch.autograd.gradgradcheck(run, inputs, atol=1e-4)


def test_a_device_does_not_change_the_controls() -> None:
    bank = linear()
    before = bank.current.detach().clone()
    network = nn.Sequential(bank)
    with operate(network, [Condition(Device.draw(network, 1.0, 0))]):
        network(torch.randn(2, 7))
    assert torch.equal(bank.current, before)


def test_calibration_of_one_layer_does_not_leak_into_another() -> None:
    wide = dataclasses.replace(QUIET, hwhm_nm=0.1)
    a, b = linear(QUIET), linear(wide)
    current = torch.full((4, 7), 4.0)
    with torch.no_grad():
        a.current.copy_(current)
        b.current.copy_(current)
    by_hand = [1.116 - 2.117 / (1 + ((0.25 - 0.0131 * 16) / h) ** 2) for h in (0.0636, 0.1)]
    np.testing.assert_allclose(a.ideal_weight().detach(), by_hand[0], atol=1e-5)
    np.testing.assert_allclose(b.ideal_weight().detach(), by_hand[1], atol=1e-5)


# --- read-out ----------------------------------------------------------------------------------


def test_noise_of_a_sum_adds_up_over_the_tiles() -> None:
    single = RingCalibration(readout_noise=0.01)
    balanced = dataclasses.replace(single, detection="balanced")
    whole = dataclasses.replace(single, bank_rows=0, bank_columns=0)
    assert [single.noise_of_sum(n) for n in (1, 4, 5, 16)] == pytest.approx(
        [0.02, 0.02, 0.02 * math.sqrt(2), 0.04]
    )
    assert balanced.noise_of_sum(16) == pytest.approx(single.noise_of_sum(16) / math.sqrt(2))
    assert whole.noise_of_sum(16) == pytest.approx(0.02)
    with pytest.raises(UserError, match="detection is 'both'"):
        RingCalibration(detection="both")  # type: ignore[arg-type]


@pytest.mark.parametrize("detection", ["single-ended", "balanced"])
def test_noise_is_that_of_photodiodes_read_tile_by_tile(detection: Detection) -> None:
    """Against a simulation of the read-out itself: each photodiode with noise of its own."""
    calibration = RingCalibration(readout_noise=0.03, detection=detection)
    bank = MRRLinear(10, 1, bias=False, calibration=calibration)
    x = torch.rand(1, 10)
    bank.full_scale.fill_(float(bank._light(x).max()))
    generator = torch.Generator().manual_seed(0)
    weight = bank.ideal_weight().detach()[0]
    transmission = (1.0 + weight) / 2.0
    n, scale = 20_000, float(bank.full_scale)
    found = torch.zeros(n)
    for first in range(0, 10, calibration.bank_columns):
        part = slice(first, first + calibration.bank_columns)
        through, light = (x[0] * transmission)[part].sum(), x[0, part].sum()

        def photodiode(power: torch.Tensor) -> torch.Tensor:
            return power + 0.03 * scale * torch.randn(n, generator=generator)

        if detection == "single-ended":
            found += 2.0 * photodiode(through) - light
        else:
            found += photodiode(through) - photodiode(light - through)
    assert float(found.mean()) == pytest.approx(float(bank(x)), abs=0.01 * scale)
    share = float(found.std()) / scale
    assert share == pytest.approx(calibration.noise_of_sum(10), rel=0.03)


@pytest.mark.parametrize("columns", [0, 1, 3, 4])
def test_light_of_a_convolution_is_that_of_its_unrolled_matrix(columns: int) -> None:
    calibration = RingCalibration(bank_rows=columns and 2, bank_columns=columns)
    conv = MRRConv2d(2, 3, 3, padding=1, stride=2, calibration=calibration)
    x = torch.randn(2, 2, 6, 6)
    windows = F.unfold(x, 3, padding=1, stride=2).transpose(1, 2)
    matrix = MRRLinear(18, 3, calibration=calibration)
    expected = matrix._light(windows)
    found = conv._light(x).flatten(2).transpose(1, 2)
    torch.testing.assert_close(found, expected)
    parts = [
        windows[..., i : i + (columns or 18)].abs().sum(-1) for i in range(0, 18, columns or 18)
    ]
    torch.testing.assert_close(found, torch.stack(parts, -1))


def test_noise_is_the_same_whatever_the_weights() -> None:
    bank = MRRLinear(8, 3, bias=False)
    network = nn.Sequential(bank)
    x = torch.rand(5, 8)
    added = []
    for current in (0.5, 3.9):
        with torch.no_grad():
            bank.current.fill_(current)
        with calibrating_full_scale(network), torch.no_grad():
            network(x)
        with torch.no_grad():
            quiet = network(x)
            with operate(network, [Condition(Device.ideal())], Shot()):
                added.append(network(x) - quiet)
    torch.testing.assert_close(added[0], added[1], rtol=1e-4, atol=1e-5)
    assert bool(added[0].any())
