from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from pnnbench.errors import UserError
from pnnbench.platforms.base import Condition, Device, PhysicalLayer, StaticError, operate
from pnnbench.platforms.diffractive import DetectorPlane, Detectors, DiffractiveStack, Plane
from pnnbench.platforms.freespace import FreeSpaceLayer, Layout
from pnnbench.platforms.mrr import MRRConv2d, MRRLinear
from pnnbench.platforms.mzi import MZIMesh


def stack() -> PhysicalLayer:
    plane = Plane(8, pixel_um=8.0)
    return DiffractiveStack(plane, [0.5], DetectorPlane([], 8, Detectors(((1, 1), (4, 4)), 2)))


MAKERS: dict[str, Callable[[], PhysicalLayer]] = {
    "rings": lambda: MRRLinear(4, 3),
    "ring kernels": lambda: MRRConv2d(2, 3, 3),
    "mesh": lambda: MZIMesh(5),
    "mesh of fields": lambda: MZIMesh(4, detected=False),
    "free space": lambda: FreeSpaceLayer(4, 3, Layout((2, 2), cell=(4, 4))),
    "diffractive": stack,
}
ERRORS = [(kind, name) for kind, make in MAKERS.items() for name in make().static_errors()]

every_platform = pytest.mark.parametrize("kind", MAKERS)
every_error = pytest.mark.parametrize(("kind", "name"), ERRORS)


def network_of(kind: str) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(MAKERS[kind]())


def transfer(network: nn.Sequential, *devices: Device) -> Tensor:
    layer: Any = network[0]
    with torch.no_grad(), operate(network, [Condition(d) for d in devices]):
        found: Tensor = layer.transfer()
    return found


def law_of(kind: str, name: str) -> StaticError:
    return MAKERS[kind]().static_errors()[name]


def measured(kind: str, name: str, value: float) -> Device:
    shape = law_of(kind, name).shape
    return Device({"0": {name: torch.full(shape, value, dtype=torch.float64)}})


def test_each_platform_declares_its_errors() -> None:
    names = {kind: set(make().static_errors()) for kind, make in MAKERS.items()}
    misalignment = {"rotation_deg", "shift_x_px", "shift_y_px", "log_scale"}
    assert names == {
        "rings": {"detuning", "linewidth", "bias", "depth", "crosstalk"},
        "ring kernels": {"detuning", "linewidth", "bias", "depth", "crosstalk"},
        "mesh": {"theta", "phi", "e_l", "e_r"},
        "mesh of fields": {"theta", "phi", "e_l", "e_r"},
        "free space": misalignment | {"weight"},
        "diffractive": misalignment | {"phase", "gap_mm"},
    }


@every_platform
def test_the_description_holds_the_declaration(kind: str) -> None:
    layer = MAKERS[kind]()
    found = json.loads(json.dumps(layer.describe(), allow_nan=False))["errors"]
    for name, law in layer.static_errors().items():
        assert found[name]["shape"] == list(law.shape)
        assert found[name]["range"] == law.allowed
        assert found[name]["unit"]
        assert found[name]["meaning"]


@every_platform
@settings(deadline=None, max_examples=20)
@given(severity=st.floats(0.0, 1000.0), seed=st.integers(0, 10_000))
def test_whatever_is_drawn_is_possible(kind: str, severity: float, seed: int) -> None:
    network = network_of(kind)
    device = Device.draw(network, severity, seed)
    laws = MAKERS[kind]().static_errors()
    for name, value in device.errors["0"].items():
        assert value.shape == laws[name].shape
    assert torch.isfinite(torch.view_as_real(transfer(network, device) + 0j)).all()


@every_platform
@pytest.mark.parametrize("spread", [-0.1, math.nan, math.inf, 1001.0])
def test_a_spread_that_is_none_is_refused(kind: str, spread: float) -> None:
    layer, generator = MAKERS[kind](), torch.Generator()
    with pytest.raises(UserError, match="severity"):
        layer.draw_errors(spread, generator)
    with pytest.raises(UserError, match=r"sigma|severity"):
        layer.random_offsets(spread, generator)


@every_error
def test_each_error_changes_the_transfer_and_comes_in_any_precision(kind: str, name: str) -> None:
    if name == "gap_mm":
        return  # acts between the masks: tests/platforms/test_diffractive_samples.py
    network = network_of(kind)
    ideal = transfer(network, Device.ideal())
    double = measured(kind, name, 0.25)
    single = Device({"0": {name: double.errors["0"][name].float()}})
    found = transfer(network, double)
    assert found.dtype == ideal.dtype
    assert float((found - ideal).detach().abs().max()) > 1e-4
    assert torch.equal(found, transfer(network, single))
    whole = Device({"0": {name: torch.zeros(law_of(kind, name).shape, dtype=torch.int64)}})
    torch.testing.assert_close(transfer(network, whole), ideal, rtol=0, atol=1e-6)


@every_error
def test_a_device_that_lacks_an_error_has_none_of_it(kind: str, name: str) -> None:
    network = network_of(kind)
    devices = [measured(kind, name, 0.25), Device.ideal(), Device.draw(network, 0.1, 3)]
    together = transfer(network, *devices)
    for found, device in zip(together, devices, strict=True):
        torch.testing.assert_close(found, transfer(network, device), rtol=1e-5, atol=1e-5)


@every_error
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_an_error_that_is_not_finite_is_refused(kind: str, name: str, value: float) -> None:
    with pytest.raises(UserError, match=rf"layer '0': error '{name}' holds .*not finite"):
        transfer(network_of(kind), measured(kind, name, value))


@every_error
def test_a_single_value_that_is_not_finite_is_found(kind: str, name: str) -> None:
    value = torch.zeros(law_of(kind, name).shape)
    value.view(-1)[-1] = math.nan
    with pytest.raises(UserError, match="not finite"):
        transfer(network_of(kind), Device.ideal(), Device({"0": {name: value}}))


@every_error
def test_shapes_do_not_broadcast(kind: str, name: str) -> None:
    network, shape = network_of(kind), law_of(kind, name).shape
    others = {(1,), (1, *shape), shape[1:], shape[:-1], (*shape[:-1], 1)} - {shape}
    for other in others:
        with pytest.raises(UserError, match="has shape") as caught:
            transfer(network, Device({"0": {name: torch.zeros(other)}}))
        assert str(shape) in caught.value.allowed


@every_error
def test_only_real_numbers_are_errors(kind: str, name: str) -> None:
    network, shape = network_of(kind), law_of(kind, name).shape
    for dtype in (torch.complex64, torch.bool):
        with pytest.raises(UserError, match=f"{name}.* holds torch"):
            transfer(network, Device({"0": {name: torch.zeros(shape, dtype=dtype)}}))
    with pytest.raises(UserError, match=f"{name}.*0.25"):
        Device({"0": {name: 0.25}})  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("kind", "name", "possible", "impossible"),
    [
        ("mesh", "e_l", (-0.99, 0.99), (-1.0, 1.0, 1.2, -1.2)),
        ("mesh", "e_r", (-0.99, 0.99), (-1.0, 1.0, 5.0)),
        ("rings", "linewidth", (-0.99, 50.0), (-1.0, -1.5)),
        ("rings", "depth", (-2.11, 50.0), (-2.117, -3.0)),
        ("rings", "crosstalk", (0.0, 1.0), (-0.01, 1.01)),
        ("free space", "log_scale", (-2.3, 2.3), (-2.31, 2.31)),
        ("free space", "rotation_deg", (-180.0, 180.0), (-181.0, 181.0)),
        ("diffractive", "log_scale", (-2.3, 2.3), (-700.0, 700.0)),
        ("diffractive", "shift_x_px", (-1e4, 1e4), (-2e4, 2e4)),
    ],
)
def test_what_is_physically_impossible_is_refused_with_the_range(
    kind: str, name: str, possible: tuple[float, ...], impossible: tuple[float, ...]
) -> None:
    network, law = network_of(kind), law_of(kind, name)
    for value in possible:
        found = transfer(network, measured(kind, name, value))
        assert torch.isfinite(torch.view_as_real(found + 0j)).all()
    for value in impossible:
        with pytest.raises(UserError, match=f"error '{name}' holds {value:g}") as caught:
            transfer(network, measured(kind, name, value))
        assert law.allowed in caught.value.allowed


def test_a_value_is_held_against_the_range_as_the_layer_sees_it() -> None:
    almost = measured("mesh", "e_l", 1.0 - 1e-12)
    with pytest.raises(UserError, match="e_l"):
        transfer(network_of("mesh"), almost)  # 1 in single precision
    double = network_of("mesh").double()
    assert torch.isfinite(torch.view_as_real(transfer(double, almost))).all()


@every_platform
def test_a_name_that_is_not_declared_is_refused(kind: str, tmp_path: Path) -> None:
    network = network_of(kind)
    known = next(iter(MAKERS[kind]().static_errors()))
    value = torch.zeros(law_of(kind, known).shape)
    device = Device({"0": {f"{known}s": value}})
    message = f"layer '0': unknown device error '{known}s'; did you mean '{known}'"
    with pytest.raises(UserError, match=message.replace("?", r"\?")):
        transfer(network, device)
    with pytest.raises(UserError, match=message):
        transfer(network, Device.ideal(), device)
    device.save(tmp_path / "device.safetensors")
    assert "0" in Device.load(tmp_path / "device.safetensors").errors
    with pytest.raises(UserError, match=message):
        Device.load(tmp_path / "device.safetensors", network)
    assert network[0].operation is None


def test_a_device_of_another_platform_is_refused() -> None:
    for kind in MAKERS:
        for other in MAKERS:
            drawn = Device.draw(network_of(other), 0.1, 0)
            if {"mesh", "free space", "diffractive", "rings"} >= {kind, other} and kind != other:
                # Both optical platforms may be misaligned, but a stack has several masks.
                with pytest.raises(UserError, match=r"unknown device error|has shape"):
                    transfer(network_of(kind), drawn)


def test_a_layer_that_declares_nothing_has_no_errors() -> None:
    class Bare(MRRLinear):
        """Declares nothing."""

        def static_errors(self) -> dict[str, StaticError]:
            return PhysicalLayer.static_errors(self)

    with pytest.raises(UserError, match=r"has no device errors[\s\S]*static_errors"):
        Device.draw(nn.Sequential(Bare(2, 2)), 1.0, 0)


@pytest.mark.parametrize("kind", [kind for kind in MAKERS if kind != "diffractive"])
def test_errors_follow_a_layer_into_double_precision(kind: str) -> None:
    network = network_of(kind)
    device = Device.draw(network, 0.3, 1)
    single = transfer(network, device)
    double = transfer(network.double(), device)
    assert double.dtype == torch.promote_types(single.dtype, torch.float64)
    torch.testing.assert_close(double.to(single.dtype), single, rtol=1e-4, atol=1e-4)


@every_error
def test_no_error_may_be_beyond_all_measure(kind: str, name: str) -> None:
    layer = MAKERS[kind]()
    law = layer.static_errors()[name]
    value = torch.full(law.shape, 1e30)
    with pytest.raises(UserError, match="physically impossible"):
        law.checked("here", value, next(layer.parameters()))
    inside = torch.full(law.shape, max(law.low, -0.5) if law.open_ends else max(law.low, -1.0))
    if not law.open_ends:
        assert law.checked("here", inside, next(layer.parameters())).equal(inside)
