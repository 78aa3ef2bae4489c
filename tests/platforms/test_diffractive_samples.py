"""The deployed stack: pixels as squares of samples, masks and gaps with errors of their own."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from pnnbench.errors import UserError
from pnnbench.platforms.base import Condition, Device, as_hardware, hold_transfer, operate
from pnnbench.platforms.diffractive import (
    DetectorPlane,
    Detectors,
    DiffractiveStack,
    Plane,
)
from pnnbench.platforms.fixed_optics import Imaging
from pnnbench.platforms.misalignment import MisalignmentEnvironment
from pnnbench.platforms.propagation import FreeSpace

EXACT = torch.complex128
N = 12
PLANE = Plane(N, pixel_um=8.0)
DETECTORS = Detectors(((1, 1), (1, 7), (7, 4)), 3)
Place = tuple[float, float, float, float]


def detectors(samples: int, dropped: float = 0.0) -> DetectorPlane:
    plane = PLANE.finer(samples)
    elements = [plane.gap(1.0, EXACT), plane.lens(3.0, EXACT), plane.gap(0.8, EXACT)]
    return DetectorPlane(elements, plane.n, DETECTORS.finer(samples), dropped)


def made(samples: int, surroundings: str = "opaque") -> DiffractiveStack:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return DiffractiveStack(
            PLANE,
            [0.4],
            detectors(1),
            surroundings=surroundings,
            samples=samples,
            fine_detector_plane=detectors(samples) if samples > 1 else None,
        )


def smooth_light(samples: int) -> Tensor:
    """Two smooth fields of power 1 before the first mask."""
    x = (torch.arange(N * samples) + 0.5) / samples - N / 2
    spot = torch.exp(-(x**2) / 16)
    field = torch.stack([spot[:, None] * spot, spot[:, None] * (x * spot)]).to(torch.complex64)
    return field / field.abs().square().sum((-2, -1), keepdim=True).sqrt()


def moved(stack: DiffractiveStack, place: Place, device: Device | None = None) -> Tensor:
    condition = Condition(device or Device.ideal(), MisalignmentEnvironment(*place))
    with torch.no_grad(), operate(stack, [condition]):
        return stack.transfer()


def test_the_model_in_training_is_coarse_and_what_is_deployed_is_fine() -> None:
    one, fine = made(1), made(3)
    coarse, light = smooth_light(1), smooth_light(3)
    with torch.no_grad():
        assert fine.training
        assert torch.equal(fine(coarse), one(coarse))
        with as_hardware(fine):
            measured = fine(light)
            assert fine.transfer().shape == (2, 3 * N, 3 * N)
        assert torch.equal(fine(coarse), one(coarse))
        assert torch.equal(fine.eval()(light), measured)
        assert torch.equal(one.eval()(coarse), fine.train()(coarse))
        assert float((measured - one(coarse)).abs().max()) > 1e-4
    for training, wrong in ((True, light), (False, coarse)):
        with pytest.raises(UserError, match="do not fit the masks"):
            fine.train(training)(wrong)


def test_aligned_pixels_are_squares_and_weights_are_shown_on_all_of_their_samples() -> None:
    stack = made(2).eval()
    weight = stack.ideal_weight().detach()
    expected = torch.from_numpy(np.kron(weight.numpy(), np.ones((2, 2), np.complex64)))
    assert torch.equal(stack.transfer(), expected)
    with torch.no_grad():
        found = stack(smooth_light(2))
        stack.override_weight(weight)
        assert torch.equal(stack(smooth_light(2)), found)
        stack.override_weight(None)
        with hold_transfer(stack):
            assert torch.equal(stack(smooth_light(2)), found)


@pytest.mark.parametrize("change", [{"samples": 2}, {"fine_detector_plane": nn.Identity()}])
def test_a_fine_stack_needs_fine_detectors_and_no_other_does(change: dict[str, object]) -> None:
    with pytest.raises(UserError, match="fine detector plane"):
        DiffractiveStack(PLANE, [0.4], detectors(1), **change)  # type: ignore[arg-type]


def inside(samples: int, place: Place) -> Tensor:
    """Samples of which all of the area lies on a mask that has moved."""
    rotation, shift_x, shift_y, scale = place
    middle = (torch.arange(N * samples, dtype=torch.float64) + 0.5) / samples - N / 2
    angle = math.radians(rotation)
    x, y = middle[None] - shift_x, middle[:, None] - shift_y
    on_x = (math.cos(angle) * x + math.sin(angle) * y) / scale
    on_y = (math.cos(angle) * y - math.sin(angle) * x) / scale
    reach = N / 2 - 1.0 / (samples * scale)
    return (on_x.abs() < reach) & (on_y.abs() < reach)


@settings(max_examples=40, deadline=None)
@given(
    rotation=st.floats(-180, 180),
    shift_x=st.floats(-4, 4),
    shift_y=st.floats(-4, 4),
    scale=st.floats(0.8, 1.25),
    samples=st.sampled_from([2, 3]),
    surroundings=st.sampled_from(["opaque", "clear"]),
)
def test_a_phase_mask_keeps_its_power_under_any_misalignment(
    rotation: float, shift_x: float, shift_y: float, scale: float, samples: int, surroundings: str
) -> None:
    place = (rotation, shift_x, shift_y, scale)
    power = moved(made(samples, surroundings).eval(), place).abs().square()
    within = inside(samples, place)
    assert int(within.sum()) > 20
    assert float((power[:, within].mean() - 1.0).abs()) < 0.05
    assert float(power.max()) < 1 + 1e-4


def overlap(samples: int, place: Place, masks: Tensor, fine: int = 24) -> Tensor:
    """Mean transmission on the area of each sample, by counting points on it."""
    rotation, shift_x, shift_y, scale = place
    side = N * samples * fine
    middle = (torch.arange(side, dtype=torch.float64) + 0.5) / (samples * fine) - N / 2
    angle = math.radians(rotation)
    x, y = middle[None] - shift_x, middle[:, None] - shift_y
    column = ((math.cos(angle) * x + math.sin(angle) * y) / scale + N / 2).floor().long()
    row = ((math.cos(angle) * y - math.sin(angle) * x) / scale + N / 2).floor().long()
    lies = (row >= 0) & (row < N) & (column >= 0) & (column < N)
    shown = masks[:, row.clamp(0, N - 1), column.clamp(0, N - 1)] * lies
    return shown.unflatten(-1, (-1, fine)).unflatten(-3, (-1, fine)).mean((-3, -1))


@pytest.mark.parametrize("samples", [2, 3])
@pytest.mark.parametrize(
    ("place", "bound"),
    [
        ((0.0, 1.0, -2.0, 1.0), 1e-5),
        ((0.0, 0.25, -0.625, 1.0), 1e-5),
        ((0.0, 0.3, 0.1, 1.05), 0.1),
        ((2.0, 0.3, 0.1, 1.0), 0.1),
        ((-2.0, 0.0, 0.5, 0.95), 0.1),
    ],
)
def test_moved_masks_are_the_overlap_of_areas(samples: int, place: Place, bound: float) -> None:
    """Counting is right to a point's share of a side; a turned square to an eighth of its angle."""
    stack = made(samples).eval()
    mean = overlap(samples, place, stack.ideal_weight().detach())
    power = overlap(samples, place, torch.ones(1, N, N)).sqrt()
    found = moved(stack, place)
    # Where the pixels of an area cancel, the phase of their mean is anything.
    certain = mean.abs() > 0.4 * power
    assert float(certain.float().mean()) > 0.6
    expected = power * mean / mean.abs().clamp(min=1e-9)
    assert float((found - expected)[certain].abs().max()) < 4 * bound
    assert float((found - expected)[certain].abs().mean()) < bound / 4


def test_each_mask_moves_by_itself_and_with_the_environment() -> None:
    for stack in (made(1), made(2).eval()):
        device = Device(
            {
                "": {
                    "rotation_deg": torch.tensor([3.0, 0.0]),
                    "shift_x_px": torch.tensor([0.0, 1.5]),
                    "log_scale": torch.tensor([0.0, math.log(1.1)]),
                }
            }
        )
        found = moved(stack, (1.0, 0.0, 0.5, 1.0), device)
        first = moved(stack, (4.0, 0.0, 0.5, 1.0))
        second = moved(stack, (1.0, 1.5, 0.5, 1.1))
        torch.testing.assert_close(found[0], first[0], rtol=0, atol=1e-5)
        torch.testing.assert_close(found[1], second[1], rtol=0, atol=1e-5)
        assert float((found[0] - second[0]).abs().max()) > 0.3
        # Many devices at once are one by one.
        other = Device.draw(stack, 1.0, 3)
        place = MisalignmentEnvironment(shift_y_px=0.5)
        with torch.no_grad(), operate(stack, [Condition(d, place) for d in (device, other)]):
            both = stack.transfer()
        for one, each in zip((device, other), both, strict=True):
            alone = moved(stack, (0.0, 0.0, 0.5, 1.0), one)
            torch.testing.assert_close(each, alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize("samples", [1, 2])
def test_a_gap_that_is_too_long_is_a_longer_gap(samples: int) -> None:
    stack, longer = made(samples).eval(), made(samples).eval()
    plane = PLANE.finer(samples)
    padding = plane.gap(0.4).padding
    areas = 2 if samples > 1 else 0
    gap = FreeSpace(plane.n, plane.pixel_um, plane.wavelength_nm, 0.45, padding, areas=areas)
    (longer.gaps if samples == 1 else longer.fine_gaps)[0] = gap
    light = smooth_light(samples)
    long = Device({"": {"gap_mm": torch.tensor([0.05])}})
    short = Device({"": {"gap_mm": torch.tensor([-0.05])}})
    with torch.no_grad():
        expected, nominal = longer(light), stack(light)
        with operate(stack, [Condition(long)]):
            torch.testing.assert_close(stack(light), expected, rtol=1e-4, atol=1e-6)
        with operate(stack, [Condition(d) for d in (long, Device.ideal(), short)]):
            three = stack(light.repeat(3, 1, 1)).unflatten(0, (3, 2))
    torch.testing.assert_close(three[0], expected, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(three[1], nominal, rtol=1e-4, atol=1e-6)
    assert float((three[0] - nominal).abs().max()) > 5e-5
    assert float((three[2] - nominal).abs().max()) > 5e-5


def test_a_gap_cannot_be_shorter_than_nothing() -> None:
    stack = made(1)
    with (
        pytest.raises(UserError, match="gap_mm"),
        operate(stack, [Condition(Device({"": {"gap_mm": torch.tensor([-0.5])}}))]),
    ):
        pass
    drawn = [stack.draw_errors(100.0, torch.Generator().manual_seed(s))["gap_mm"] for s in range(9)]
    assert min(float(gap) for gap in drawn) == pytest.approx(-0.4)


def test_finer_planes_and_detectors_are_the_same_areas() -> None:
    fine = PLANE.finer(3)
    assert (fine.n, fine.n * fine.pixel_um) == (3 * N, N * PLANE.pixel_um)
    mask = torch.zeros(N, N).flatten()
    mask[DETECTORS.pixels(N)] = 1.0
    there = torch.zeros(3 * N, 3 * N).flatten()
    there[DETECTORS.finer(3).pixels(3 * N)] = 1.0
    expected = torch.kron(mask.view(N, N), torch.ones(3, 3))
    assert torch.equal(there.view(3 * N, 3 * N), expected)


def test_an_image_is_shown_by_square_pixels_with_the_same_power() -> None:
    shown = torch.rand(3, 6, 6)
    found = Imaging([], 2 * N, 6, 2)(shown)
    start = N - 6
    expected = torch.zeros(3, 2 * N, 2 * N)
    expected[:, start : start + 12, start : start + 12] = torch.kron(shown, torch.ones(1, 2, 2)) / 2
    torch.testing.assert_close(found.real.float(), expected, rtol=0, atol=1e-6)
    power = found.abs().square().sum((1, 2))
    torch.testing.assert_close(power.float(), shown.square().sum((1, 2)))


def test_few_combinations_of_pixels_carry_the_power_of_a_detector() -> None:
    whole, few = detectors(3), detectors(3, dropped=1e-6)
    assert few.matrix.shape[1] < 0.9 * whole.matrix.shape[1]
    generator = torch.Generator().manual_seed(0)
    field = torch.randn(5, 3 * N, 3 * N, dtype=torch.complex64, generator=generator)
    field = field / field.abs().square().sum((1, 2), keepdim=True).sqrt()
    torch.testing.assert_close(few(field), whole(field), rtol=0, atol=2e-6)
