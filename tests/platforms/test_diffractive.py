from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import torchvision.transforms.functional as tvf
from torch import Tensor, nn
from torch.func import functional_call
from torchoptics import Field
from torchvision.transforms import InterpolationMode

from pnnbench.errors import UserError
from pnnbench.platforms.absorbers import SaturableAbsorber, ThresholdAbsorber
from pnnbench.platforms.base import (
    Condition,
    Device,
    calibrating_full_scale,
    hold_transfer,
    operate,
)
from pnnbench.platforms.diffractive import (
    PHASE_RAD,
    DetectorPlane,
    Detectors,
    DiffractiveStack,
    Imaging,
    Plane,
)
from pnnbench.platforms.misalignment import MisalignmentEnvironment

from .test_misalignment import PLACES, Place, apart_from_ties

EXACT = torch.complex128
N = 16
PLANE = Plane(N, pixel_um=8.0)
GAPS = [1.5, 2.5]
CORNERS = ((2, 3), (2, 10), (9, 3), (8, 9))


def behind() -> list[nn.Module]:
    return [PLANE.gap(1.0, EXACT), PLANE.lens(3.0, EXACT, centre=6.0), PLANE.gap(2.0, EXACT)]


def made(seed: int = 0, masks: int = 2, **options: object) -> DiffractiveStack:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        plane = DetectorPlane(behind(), N, Detectors(CORNERS, 4))
        return DiffractiveStack(PLANE, GAPS[: masks - 1], plane, **options)  # type: ignore[arg-type]


def light(*shape: int, dtype: torch.dtype = torch.complex64, seed: int = 0) -> Tensor:
    """Random fields of power 1."""
    generator = torch.Generator().manual_seed(seed)
    field = torch.randn(*shape, N, N, dtype=dtype, generator=generator)
    return field / field.abs().square().sum((-2, -1), keepdim=True).sqrt()


def on(place: Place, device: Device | None = None) -> Condition:
    return Condition(device or Device.ideal(), MisalignmentEnvironment(*place))


def moved(stack: DiffractiveStack, *conditions: Condition) -> Tensor:
    with torch.no_grad(), operate(stack, conditions):
        return stack.transfer()


def close(a: Tensor, b: Tensor, atol: float) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=atol, check_dtype=False)


# --- fixed optics -----------------------------------------------------------------------------


def test_imaging_is_the_chain_of_its_elements() -> None:
    m = 6
    amplitude = torch.rand(3, m, m, generator=torch.Generator().manual_seed(0))
    field = torch.zeros(3, N, N, dtype=EXACT)
    field[:, 5:11, 5:11] = amplitude.to(EXACT)
    for element in behind():
        field = element(field)
    found = Imaging(behind(), N, m)(amplitude)
    assert found.dtype == EXACT  # that of the elements
    assert float((found - field).abs().max() / field.abs().max()) < 1e-5
    assert float((found - field.mT).abs().max() / field.abs().max()) > 0.1  # not symmetric


def test_the_detector_plane_is_the_chain_of_its_elements() -> None:
    field = light(3, dtype=EXACT)
    there = field
    for element in behind():
        there = element(there)
    power = there.abs().square()
    expected = torch.stack([power[:, r : r + 4, c : c + 4].sum((1, 2)) for r, c in CORNERS], 1)
    found = DetectorPlane(behind(), N, Detectors(CORNERS, 4))(field.to(torch.complex64))
    assert float((found - expected).abs().max() / expected.max()) < 1e-5
    assert len({round(float(p), 6) for p in expected[0]}) == 4


def test_fixed_optics_are_not_state() -> None:
    for module in (Imaging(behind(), N, 4), DetectorPlane(behind(), N, Detectors(CORNERS, 4))):
        assert not module.state_dict()
        assert len(list(module.buffers())) == 1


def test_detectors_are_squares() -> None:
    pixels = Detectors(((0, 1), (2, 2)), 2).pixels(4)
    assert pixels.tolist() == [1, 2, 5, 6, 10, 11, 14, 15]


@pytest.mark.parametrize("corner", [(13, 0), (0, 13), (-1, 0), (0, -1), (16, 16)])
def test_detectors_out_of_the_plane_are_refused(corner: tuple[int, int]) -> None:
    assert len(Detectors(((12, 12),), 4).pixels(N)) == 16
    with pytest.raises(UserError, match="out of the plane"):
        Detectors(((0, 0), corner), 4).pixels(N)
    with pytest.raises(UserError, match="out of the plane"):
        DetectorPlane([], N, Detectors((corner,), 4))


@pytest.mark.parametrize("m", [0, 17])
def test_images_larger_than_the_plane_are_refused(m: int) -> None:
    with pytest.raises(UserError, match="samples of the image"):
        Imaging([], N, m)


# --- the whole stack against other programs ---------------------------------------------------


def torchoptics(field: Tensor, z_mm: float) -> Tensor:
    at = Field(field, wavelength=532e-9, z=0.0, spacing=8e-6)
    pad = (N // 2, N // 2)
    return at.propagate_to_z(z_mm * 1e-3, propagation_method="ASM", asm_pad=pad).data


def by_hand(stack: DiffractiveStack, field: Tensor, masks: Tensor, density: float) -> Tensor:
    field, masks = field.to(EXACT), masks.to(EXACT)
    for i, mask in enumerate(masks):
        field = field if i == 0 else torchoptics(field, GAPS[i - 1])
        field = field * mask
        field = field * torch.exp(-density / 2 / (1 + field.abs().square() * N * N / 0.7))
    x = (torch.arange(N).double() - 6.0) * 8e-6
    square = x[:, None] ** 2 + x**2
    field = torchoptics(field, 1.0) * torch.exp(-1j * math.pi * square / (532e-9 * 3e-3))
    power = torchoptics(field, 2.0).abs().square()
    return torch.stack([power[:, r : r + 4, c : c + 4].sum((1, 2)) for r, c in CORNERS], 1)


@pytest.mark.parametrize("masks", [1, 2, 3])
def test_the_whole_stack_is_that_of_torchoptics(masks: int) -> None:
    stack = made(masks=masks, absorber=SaturableAbsorber(2.0, 0.7))
    field = light(3)
    expected = by_hand(stack, field, torch.exp(1j * stack.phase.detach().double()), 2.0)
    close(stack(field).detach(), expected, 1e-5 * float(expected.max()))
    # Under misalignment with a phase error too; masks by torchvision.
    errors = 0.4 * torch.randn(masks, N, N)
    place = (3.0, 0.4, -1.2, 1.05)
    bent = torch.exp(1j * (stack.phase.detach() + errors).double())
    turned = torch.stack([torchvision_warp(mask, place, "bilinear", 0.0) for mask in bent])
    expected = by_hand(stack, field, turned, 2.0)
    with torch.no_grad(), operate(stack, [on(place, Device({"": {"phase": errors}}))]):
        close(stack(field), expected, 3e-5 * float(expected.max()))


def test_a_stack_in_double_precision_is_more_exact() -> None:
    stack = made(absorber=SaturableAbsorber(2.0, 0.7), dtype=EXACT)
    stack.detector_plane.matrix = stack.detector_plane.matrix.to(EXACT)
    assert stack.transfer().dtype == EXACT
    exact = stack(light(3, dtype=EXACT)).detach()
    assert exact.dtype == torch.float64
    close(made(absorber=SaturableAbsorber(2.0, 0.7))(light(3, dtype=EXACT)).detach(), exact, 1e-6)


# --- moved masks ------------------------------------------------------------------------------


def torchvision_warp(mask: Tensor, place: Place, sampling: str, around: float) -> Tensor:
    """Real and imaginary part on their own, on a mask with three times its width around it."""
    rotation, x, y, scale = place
    margin = 3 * N
    parts = []
    for part, fill in ((mask.real, around), (mask.imag, 0.0)):
        wide = F.pad(part.double(), (margin,) * 4, value=fill)[None, None]
        warped = tvf.affine(
            wide,
            rotation,
            [x, y],  # type: ignore[list-item]
            scale,
            [0.0, 0.0],
            interpolation=InterpolationMode(sampling),
        )[0, 0]
        parts.append(warped[margin:-margin, margin:-margin])
    return torch.complex(*parts)


MOVES: list[Place] = [*PLACES[:6], (170.0, 5.3, 0.0, 0.7)]


@pytest.mark.parametrize("place", MOVES)
@pytest.mark.parametrize(("surroundings", "around"), [("opaque", 0.0), ("clear", 1.0)])
def test_bilinear_masks_are_torchvisions(place: Place, surroundings: str, around: float) -> None:
    stack = made(surroundings=surroundings)
    masks = torch.exp(1j * stack.phase.detach().double())
    expected = torch.stack([torchvision_warp(mask, place, "bilinear", around) for mask in masks])
    found = moved(stack, on(place))
    close(found, expected, 1e-5)
    # Interpolating phases instead would do something else.
    phases = torch.stack([torchvision_warp(p + 0j, place, "bilinear", 0.0) for p in stack.phase])
    assert float((torch.exp(1j * phases.real) - expected).detach().abs().max()) > 0.5


@pytest.mark.parametrize("place", MOVES)
@pytest.mark.parametrize(("surroundings", "around"), [("opaque", 0.0), ("clear", 1.0)])
def test_nearest_masks_are_torchvisions(place: Place, surroundings: str, around: float) -> None:
    stack = made(surroundings=surroundings, sampling="nearest")
    masks = stack.ideal_weight().detach()
    expected = torch.stack([torchvision_warp(mask, place, "nearest", around) for mask in masks])
    clear = apart_from_ties((N, N), place)
    assert clear.float().mean() > 0.9
    # A transmission goes to its difference from 1 and back where glass stands around.
    close(moved(stack, on(place))[:, clear], expected[:, clear], 2e-7 * around)


@pytest.mark.parametrize("sampling", ["bilinear", "nearest"])
@pytest.mark.parametrize("surroundings", ["opaque", "clear"])
@pytest.mark.parametrize(("rotation", "turns"), [(90.0, -1), (-90.0, 1), (180.0, 2)])
def test_a_quarter_turn_clockwise(
    rotation: float, turns: int, surroundings: str, sampling: str
) -> None:
    stack = made(sampling=sampling, surroundings=surroundings)
    expected = torch.rot90(stack.ideal_weight().detach(), turns, (-2, -1))
    close(moved(stack, on((rotation, 0.0, 0.0, 1.0))), expected, 1e-5)


@pytest.mark.parametrize("sampling", ["bilinear", "nearest"])
@pytest.mark.parametrize(("surroundings", "around"), [("opaque", 0.0), ("clear", 1.0)])
def test_whole_pixel_shifts_let_the_surroundings_in(
    surroundings: str, around: float, sampling: str
) -> None:
    stack = made(sampling=sampling, surroundings=surroundings)
    expected = torch.roll(stack.ideal_weight().detach(), (2, -3), (-2, -1))
    expected[:, :2] = around
    expected[:, :, -3:] = around
    close(moved(stack, on((0.0, -3.0, 2.0, 1.0))), expected, 1e-6)


def test_in_the_nominal_environment_the_masks_are_met_exactly() -> None:
    for surroundings in ("opaque", "clear"):
        stack = made(surroundings=surroundings)
        ideal = stack.ideal_weight().detach()
        close(ideal, torch.exp(1j * stack.phase.detach().double()), 1e-6)
        assert torch.equal(stack.transfer(), ideal)
        assert torch.equal(moved(stack, on((0.0, 0.0, 0.0, 1.0))), ideal)
        assert torch.equal(moved(stack, Condition(Device.draw(stack, 0.0, 1))), ideal)
        close(moved(stack, on((1e-6, 0.0, 0.0, 1.0))), ideal, 1e-5)


def test_a_mask_never_amplifies_and_neither_does_the_stack() -> None:
    stack, field = made(absorber=SaturableAbsorber(0.0)), light(8)
    for place in MOVES:
        with torch.no_grad(), operate(stack, [on(place)]):
            assert float(stack.transfer().abs().max()) <= 1 + 1e-5
            powers = stack(field)
        assert float(powers.min()) >= 0.0
        assert float(powers.sum(-1).max()) <= 1 + 1e-5


# --- operation --------------------------------------------------------------------------------


def snapshot(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and all buffers, those out of the state dict too."""
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    return {name: t.detach().clone() for name, t in tensors.items()}


@pytest.mark.parametrize("sampling", ["bilinear", "nearest"])
@pytest.mark.parametrize("surroundings", ["opaque", "clear"])
def test_operation_leaves_the_stack_bit_by_bit_as_it_was(sampling: str, surroundings: str) -> None:
    stack = made(sampling=sampling, surroundings=surroundings)
    before = snapshot(stack)
    assert {"_table", "gaps.0.h", "detector_plane.matrix", "phase", "full_scale"} <= before.keys()
    assert set(stack.state_dict()) == {"phase", "full_scale"}
    device = Device.draw(stack, 0.5, 5)
    for places in ([(1.0, 0.5, -0.5, 1.05)], PLACES[:3]):
        with operate(stack, [on(place, device) for place in places]):
            stack(light(2 * len(places))).square().sum().backward()
    after = snapshot(stack)
    assert before.keys() == after.keys()
    assert [k for k in before if not torch.equal(before[k], after[k])] == []
    assert stack.phase.grad is not None
    assert bool(stack.phase.grad.isfinite().all())
    assert bool(stack.phase.grad.any())


@pytest.mark.parametrize("sampling", ["bilinear", "nearest"])
@pytest.mark.parametrize("surroundings", ["opaque", "clear"])
def test_many_conditions_at_once_are_one_by_one(sampling: str, surroundings: str) -> None:
    stack = made(sampling=sampling, surroundings=surroundings)
    mixed = {"phase": torch.randn(2, N, N), "rotation_deg": torch.tensor([10.0, -4.0])}
    conditions = [
        on((0.0, 0.0, 0.0, 1.0)),
        on((4.0, -0.5, 0.0, 1.0), Device.draw(stack, 0.5, 1)),
        on((0.0, 0.0, 0.0, 1.0), Device.draw(stack, 1.0, 2)),
        on((-8.0, 1.0, 1.5, 1.05)),
        on((0.0, 0.0, 1.5, 1.0), Device({"": mixed})),
    ]
    x = light(3)
    with torch.no_grad(), operate(stack, conditions):
        transfer = stack.transfer()
        together = stack(x.repeat(5, 1, 1)).view(5, 3, 4)
        with hold_transfer(stack):
            assert torch.equal(stack(x.repeat(5, 1, 1)).view(5, 3, 4), together)
    assert transfer.shape == (5, 2, N, N)
    for c, condition in enumerate(conditions):
        with torch.no_grad(), operate(stack, [condition]):
            close(stack.transfer(), transfer[c], 1e-6)
            torch.testing.assert_close(stack(x), together[c], rtol=1e-4, atol=1e-7)
        for other in range(c):
            assert float((transfer[c] - transfer[other]).abs().max()) > 0.3
    # A device without phase errors in the batch is no other than one among its like.
    own = Device({"": {"rotation_deg": torch.tensor([10.0, 10.0])}})
    close(
        moved(stack, on((0, 0, 1.5, 1), own)),
        moved(stack, on((10, 0, 1.5, 1))),
        1e-5,
    )


def test_phase_errors_add_to_the_phase() -> None:
    stack, other = made(), made()
    error = torch.randn(2, N, N)
    other.phase.data += error
    for place in [(0.0, 0.0, 0.0, 1.0), (2.0, 0.3, 0.0, 1.0)]:
        found = moved(stack, on(place, Device({"": {"phase": error}})))
        close(found, moved(other, on(place)), 1e-6)


def test_phases_have_the_period_two_pi() -> None:
    stack, other, field = made(), made(), light(3)
    other.phase.data[0] += 2 * math.pi
    other.phase.data[1] -= 4 * math.pi
    for place in [(0.0, 0.0, 0.0, 1.0), (5.0, 0.5, 0.0, 1.0)]:
        with torch.no_grad(), operate(stack, [on(place)]), operate(other, [on(place)]):
            torch.testing.assert_close(stack(field), other(field), rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("surroundings", ["opaque", "clear"])
@pytest.mark.parametrize("sampling", ["bilinear", "nearest"])
def test_gradients_of_the_stack_under_misalignment(sampling: str, surroundings: str) -> None:
    n = 4
    plane = Plane(n, pixel_um=8.0)
    detectors = DetectorPlane([plane.gap(0.5, EXACT)], n, Detectors(((0, 0), (2, 2)), 2))
    detectors.matrix = detectors.matrix.to(EXACT)
    stack = DiffractiveStack(
        plane, [0.5], detectors, sampling=sampling, surroundings=surroundings, dtype=EXACT
    )
    field = torch.randn(2, n, n, dtype=EXACT)
    field[:, 0, :2] = 0.0  # dark pixels
    phase = torch.randn(2, n, n, dtype=torch.float64, requires_grad=True)
    conditions = [on((8.0, 0.4, -0.3, 1.1)), on((0.0, 1.0, 0.0, 1.0))]

    def forward(phase: Tensor) -> Tensor:
        with operate(stack, conditions):
            return functional_call(stack, {"phase": phase}, (field,))

    assert torch.autograd.gradcheck(forward, (phase,))
    assert torch.autograd.gradgradcheck(forward, (phase,))


def test_noise_is_a_share_of_the_calibrated_full_scale_however_dark_the_image_is() -> None:
    stack = made(readout_noise=0.02)
    x = light(3) * torch.tensor([1.0, 2.0, 0.1])[:, None, None]
    with torch.no_grad():
        with calibrating_full_scale(stack):
            clean = stack(x)
        with operate(stack, [on((0, 0, 0, 1))], shot=lambda _, shape: torch.ones(shape)):
            noisy = stack(x)
    close(noisy - clean, (0.02 * clean.max()).expand(3, 4), 1e-7)


# --- controls and devices ---------------------------------------------------------------------


def test_programmed_transmissions_come_back() -> None:
    stack, wanted = made(), made(3).ideal_weight().detach()
    stack.program(wanted)
    close(stack.ideal_weight().detach(), wanted, 1e-6)
    close(stack.project_weight(0.3 * wanted), wanted, 1e-6)
    assert [n for n, _ in stack.named_parameters()] == ["phase"]
    assert stack.control_names == ("phase",)


def test_initial_phases_are_all_over_the_circle() -> None:
    phase = made().phase.detach()
    assert phase.shape == (2, N, N)
    assert 0.0 <= float(phase.min()) < 0.1
    assert 6.1 < float(phase.max()) <= 2 * math.pi
    assert float(phase.mean()) == pytest.approx(math.pi, abs=0.25)


def test_devices_have_phase_errors_that_scale_with_the_severity() -> None:
    net = nn.ModuleDict({"a": made(), "b": made()})
    one, again, half = (Device.draw(net, s, 7) for s in (0.6, 0.6, 0.3))
    for name in ("a", "b"):
        assert set(one.errors[name]) == set(one.errors["a"]) == set(made().static_errors())
        for kind, value in half.errors[name].items():
            torch.testing.assert_close(2 * value, one.errors[name][kind])
            assert bool(value.all())
        error = one.errors[name]["phase"]
        assert error.shape == (2, N, N)
        assert torch.equal(error, again.errors[name]["phase"])
        torch.testing.assert_close(half.errors[name]["phase"], error / 2)
        assert float(error.std()) == pytest.approx(0.6 * PHASE_RAD, rel=0.1)
    assert not torch.equal(one.errors["a"]["phase"], one.errors["b"]["phase"])
    other = Device.draw(net, 0.6, 8)
    assert not torch.equal(one.errors["a"]["phase"], other.errors["a"]["phase"])
    assert not bool(Device.draw(net, 0.0, 7).errors["a"]["phase"].any())


def test_devices_survive_a_file(tmp_path: Path) -> None:
    net = nn.Sequential(made())
    device = Device.draw(net, 0.6, 3)
    device.save(tmp_path / "device.safetensors")
    back = Device.load(tmp_path / "device.safetensors")
    assert (back.seed, back.severity) == (3, 0.6)
    assert torch.equal(back.errors["0"]["phase"], device.errors["0"]["phase"])


def test_the_description_is_plain_and_names_what_decides() -> None:
    stack = made(absorber=ThresholdAbsorber(0.25), sampling="nearest", surroundings="clear")
    found = json.loads(json.dumps(stack.describe(), allow_nan=False))
    assert found == {
        "type": "DiffractiveStack",
        "shape": [2, N, N],
        "plane": {"n": N, "pixel_um": 8.0, "wavelength_nm": 532.0, "padding": 2},
        "gaps_mm": [1.5],
        "absorber": {"type": "ThresholdAbsorber", "threshold_share": 0.25},
        "sampling": "nearest",
        "surroundings": "clear",
        "samples": {"training": 1, "deployed": 1},
        "tolerances": {
            "phase_rad": 0.6,
            "rotation_deg": 0.5,
            "shift_um": 2.0,
            "log_scale": 0.005,
            "gap_mm": 0.05,
        },
        "readout_noise": 0.01,
        "errors": {name: law.describe() for name, law in stack.static_errors().items()},
    }
    assert made().describe()["absorber"] == {
        "type": "SaturableAbsorber",
        "optical_density": 2.0,
        "saturation": 1.0,
    }


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"sampling": "bicubic"}, "bicubic"),
        ({"surroundings": "murky"}, "murky"),
        ({"readout_noise": -1.0}, "readout_noise"),
    ],
)
def test_impossible_stacks_are_refused(options: dict[str, object], text: str) -> None:
    with pytest.raises(UserError, match=text):
        made(**options)


@pytest.mark.parametrize(
    ("plane", "gaps", "text"),
    [
        ({"padding": 0}, [1.0], "padding"),
        ({"pixel_um": 0.0}, [1.0], "pixel_um"),
        ({"n": 8.5}, [1.0], "samples along a side"),
        ({}, [-1.0], "distance_mm"),
    ],
)
def test_impossible_planes_are_refused(plane: dict[str, Any], gaps: list[float], text: str) -> None:
    with pytest.raises(UserError, match=text):
        DiffractiveStack(Plane(**{"n": 8, **plane}), gaps, nn.Identity())


def test_long_gaps_get_the_dark_that_keeps_open_space_open() -> None:
    plane = Plane(64, 4.0, 532.0)
    assert [plane.gap(z).padding for z in (0.0, 2.0, 3.8, 3.9, 5.0)] == [2, 2, 2, 3, 3]
    assert Plane(64, 4.0, 532.0, padding=1).gap(5.0).padding == 1  # periodic, as asked for
    assert Plane(64, 4.0, 532.0, padding=4).gap(2.0).padding == 4


@pytest.mark.parametrize("corners", [(), ((1.5, 2),), ((1, 2, 3),)])
def test_impossible_corners_are_refused(corners: Any) -> None:
    with pytest.raises(UserError, match=r"detector"):
        Detectors(corners, 2)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_stack_is_not_converted_to_half_precision(dtype: torch.dtype) -> None:
    stack = made()
    with pytest.raises(UserError, match=f"cannot be converted to {dtype}"):
        stack.to(dtype)
    with pytest.raises(UserError, match="cannot be converted"):
        nn.Sequential(stack).to(dtype)
    assert stack.phase.dtype == torch.float32
    assert stack.float().to("cpu") is stack


def test_a_converted_stack_is_one_that_was_made_in_that_precision() -> None:
    stack, exact = made(), made(dtype=EXACT)
    close(exact.phase.detach(), stack.phase.detach(), 0.0)  # the same draw
    coarse = {name: b.clone() for name, b in stack.named_buffers()}
    for convert in (stack.double(), stack.to(torch.float64)):
        assert convert is stack
        assert stack.dtype == EXACT
        found, wanted = dict(stack.named_buffers()), dict(exact.double().named_buffers())
        assert {n: b.dtype for n, b in found.items()} == {n: b.dtype for n, b in wanted.items()}
        assert all(torch.equal(b, wanted[n]) for n, b in found.items())
    for name, b in stack.float().named_buffers():
        assert b.dtype in (torch.float32, torch.complex64, torch.int32)
        close(b, coarse[name].to(b.dtype), 1e-6)


def test_a_stack_in_double_precision_is_so_when_misaligned() -> None:
    stack, fine = made(dtype=EXACT), made(dtype=EXACT)
    with torch.no_grad():
        fine.phase.add_(1e-11)
    place = on((1.0, 0.3, -0.2, 1.02))
    moved_by = moved(fine, place) - moved(stack, place)
    assert moved_by.dtype == EXACT
    expected = moved(stack, place) * 1e-11j
    torch.testing.assert_close(moved_by, expected, rtol=0, atol=1e-15)


@pytest.mark.parametrize("shape", [(2, N, 1), (2, 1, N), (2, N - 1, N), (2, N * N), (1, 2, N, N)])
def test_fields_of_another_size_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match="do not fit the masks"):
        made()(torch.zeros(shape, dtype=torch.complex64))


@pytest.mark.parametrize(
    ("weight", "text"),
    [
        (torch.ones(N, N) + 0j, "do not fit"),
        (torch.ones(2, 1, N) + 0j, "do not fit"),
        (torch.full((2, N, N), math.nan) + 0j, "not finite"),
    ],
)
def test_what_cannot_be_programmed_is_refused(weight: Tensor, text: str) -> None:
    stack = made()
    before = stack.phase.detach().clone()
    with pytest.raises(UserError, match=text):
        stack.program(weight)
    assert torch.equal(stack.phase.detach(), before)


def test_a_stack_has_gradients_where_there_is_no_light() -> None:
    for absorber in (SaturableAbsorber(), ThresholdAbsorber()):
        stack = made(absorber=absorber)
        x = light(3)
        x[0] = 0.0
        x[1, : N // 2] = 0.0
        x.requires_grad_()
        with operate(stack, [on((1.0, 0.5, 0.0, 1.1))]):
            stack(x).sum().backward()
        assert bool(torch.isfinite(torch.view_as_real(x.grad)).all())  # type: ignore[arg-type]
        assert bool(torch.isfinite(stack.phase.grad).all())


def test_a_dtype_that_is_not_complex_is_refused() -> None:
    with pytest.raises(UserError, match=r"dtype is torch\.float32"):
        made(dtype=torch.float32)


def test_a_mixed_precision_shortens_no_imaging() -> None:
    plane = Plane(8, 8.0)
    imaging = Imaging([plane.gap(1.0)], plane.n, 4)
    amplitude = torch.rand(2, 4, 4, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16):
        mixed = imaging(amplitude)
    assert torch.equal(mixed, imaging(amplitude))
