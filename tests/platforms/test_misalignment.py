from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision.transforms.functional as tvf
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision.transforms import InterpolationMode

from pnnbench.errors import UserError
from pnnbench.platforms.misalignment import (
    FIELDS,
    Misalignment,
    MisalignmentEnvironment,
    check_sampling,
    lookup,
    sample,
    taps,
)

Place = tuple[float, float, float, float]
PLACES: list[Place] = [
    (1.3, 0.0, 0.0, 1.0),
    (0.0, 1.3, 0.0, 1.0),
    (0.0, 0.0, -1.7, 1.0),
    (0.0, 0.0, 0.0, 1.13),
    (-2.0, 1.2, -0.7, 0.95),
    (37.0, -3.1, 4.2, 1.4),
    (170.0, 40.3, 0.0, 0.7),
]


def at(*places: Place) -> Misalignment:
    columns = torch.tensor(places, dtype=torch.float64).T
    return Misalignment(*columns)


def whole_plane(rows: int, columns: int) -> tuple[Tensor, Tensor]:
    grid = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    return grid[0].flatten(), grid[1].flatten()


def warped(image: Tensor, misalignment: Misalignment, sampling: str) -> Tensor:
    """Images (C, rows, columns) that stand where a modulator with one image has moved."""
    shape = image.shape
    table = lookup(torch.arange(image.numel()).view(shape), image.numel())
    index, share = taps(misalignment, table, *whole_plane(*shape), sampling)
    return sample(image.reshape(-1, 1), index, share).view(-1, *shape)


def torchvision_warp(image: Tensor, place: Place, sampling: str) -> Tensor:
    rotation, x, y, scale = place
    moved = tvf.affine(
        image[None, None].double(),
        rotation,
        [x, y],  # type: ignore[list-item]
        scale,
        [0.0, 0.0],
        interpolation=InterpolationMode(sampling),
    )
    return moved[0, 0]


def sources_by_complex_numbers(shape: tuple[int, int], place: Place) -> np.ndarray:
    """Source (x + i y) of every pixel, from the first pixel; i turns x, right, into y, down."""
    rotation, x, y, scale = place
    rows, columns = np.indices(shape)
    centre = complex((shape[1] - 1) / 2, (shape[0] - 1) / 2)
    p = columns + 1j * rows - centre
    turned = (p - complex(x, y)) * np.exp(-1j * math.radians(rotation)) / scale
    return turned + centre


def apart_from_ties(shape: tuple[int, int], place: Place) -> Tensor:
    source = sources_by_complex_numbers(shape, place)
    parts = np.stack((source.real, source.imag))
    return torch.from_numpy((np.abs(parts - np.floor(parts) - 0.5) > 1e-3).all(0))


@pytest.mark.parametrize("place", PLACES)
def test_sources_are_those_of_plane_geometry(place: Place) -> None:
    shape = (13, 22)
    y, x = at(place).sources(shape, *whole_plane(*shape))
    expected = torch.from_numpy(sources_by_complex_numbers(shape, place)).flatten()
    torch.testing.assert_close(torch.complex(x[0], y[0]), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("shape", [(12, 20), (13, 8)])
def test_bilinear_sampling_is_that_of_torchvision(place: Place, shape: tuple[int, int]) -> None:
    image = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    expected = torchvision_warp(image, place, "bilinear")
    found = warped(image.double(), at(place), "bilinear")[0]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert float((expected - image).abs().max()) > 0.1  # it did move


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("shape", [(12, 20), (13, 8)])
def test_nearest_sampling_is_that_of_torchvision(place: Place, shape: tuple[int, int]) -> None:
    image = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    expected = torchvision_warp(image, place, "nearest").float()
    found = warped(image, at(place), "nearest")[0]
    clear = apart_from_ties(shape, place)
    assert clear.float().mean() > 0.9
    assert torch.equal(found[clear], expected[clear])


@settings(deadline=None, max_examples=40)
@given(
    rotation=st.floats(-180, 180),
    x=st.floats(-30, 30),
    y=st.floats(-30, 30),
    scale=st.floats(0.3, 3),
    sampling=st.sampled_from(["bilinear", "nearest"]),
)
def test_any_misalignment_is_torchvisions(
    rotation: float, x: float, y: float, scale: float, sampling: str
) -> None:
    place, shape = (rotation, x, y, scale), (9, 14)
    image = torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) + 1
    found = warped(image, at(place), sampling)[0]
    expected = torchvision_warp(image, place, sampling)
    clear = torch.ones(shape, dtype=torch.bool)
    if sampling == "nearest":
        clear = apart_from_ties(shape, place)
    torch.testing.assert_close(found[clear], expected[clear], rtol=0, atol=1e-5)


@settings(deadline=None, max_examples=40)
@given(rotation=st.floats(-180, 180), x=st.floats(-60, 60), y=st.floats(-60, 60))
def test_shares_are_those_of_a_mean(rotation: float, x: float, y: float) -> None:
    table = lookup(torch.arange(77).view(7, 11), 77)
    index, share = taps(at((rotation, x, y, 1.1)), table, *whole_plane(7, 11))
    assert index.shape == share.shape == (1, 77, 4)
    torch.testing.assert_close(share.sum(-1), torch.ones(1, 77), rtol=0, atol=1e-6)
    assert float(share.min()) >= 0.0
    assert 0 <= int(index.min()) <= int(index.max()) <= 77


@pytest.mark.parametrize("sampling", ["bilinear", "nearest"])
@pytest.mark.parametrize(("rotation", "turns"), [(90.0, -1), (-90.0, 1), (180.0, 2)])
def test_a_quarter_turn_clockwise(rotation: float, turns: int, sampling: str) -> None:
    # rot90 with k = 1 turns counterclockwise as an image is looked at.
    for n in (6, 7):
        image = torch.randn(n, n, dtype=torch.float64)
        found = warped(image, at((rotation, 0, 0, 1)), sampling)[0]
        torch.testing.assert_close(found, torch.rot90(image, turns), rtol=0, atol=1e-6)


@pytest.mark.parametrize("sampling", ["bilinear", "nearest"])
@pytest.mark.parametrize(("x", "y"), [(0, 2), (0, -1), (3, 0), (-2, 1), (0, 9), (-30, 0)])
def test_a_whole_pixel_shift_moves_to_the_right_and_down(x: int, y: int, sampling: str) -> None:
    image = torch.randn(6, 8)
    expected = torch.zeros_like(image)
    for i in range(6):
        for j in range(8):
            if 0 <= i - y < 6 and 0 <= j - x < 8:
                expected[i, j] = image[i - y, j - x]
    torch.testing.assert_close(warped(image, at((0, x, y, 1)), sampling)[0], expected)


def test_magnification_above_one_enlarges() -> None:
    dot = torch.zeros(9, 9)
    dot[4, 6] = 1.0  # two to the right of the centre
    found = warped(dot, at((0, 0, 0, 1.5)), "nearest")[0]
    assert found[4, 7] == 1.0
    assert found[4, 6] == 0.0  # 1.33 from the centre before
    # Linear interpolation of a ramp is exact: inside, the image is the ramp divided by the scale.
    ramp = (torch.arange(9.0) - 4).expand(9, 9).contiguous()
    found = warped(ramp, at((0, 0, 0, 1.25)), "bilinear")[0]
    torch.testing.assert_close(found, ramp / 1.25, rtol=0, atol=1e-5)


def test_shifts_come_after_rotation_and_scale() -> None:
    # R(90) of a dot right of the centre stands below it; the shift is not turned with it.
    dot = torch.zeros(9, 9)
    dot[4, 5] = 1.0
    found = warped(dot, at((90, 1, 0, 2)), "nearest")[0]
    assert found[6, 5] == 1.0


def test_nearest_sampling_rounds_half_to_even_and_is_piecewise_constant() -> None:
    ramp = torch.arange(1.0, 9.0)[None]  # 1 x 8

    def shifted(x: float) -> list[float]:
        return warped(ramp, at((0, x, 0, 1)), "nearest")[0, 0].tolist()

    assert shifted(0.4) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert shifted(0.6) == shifted(1.4) == [0, 1, 2, 3, 4, 5, 6, 7]
    assert shifted(0.5) == [1, 1, 3, 3, 5, 5, 7, 7]  # sources -0.5, 0.5, 1.5: to 0, 0, 2


def test_many_misalignments_at_once_are_one_by_one() -> None:
    image = torch.randn(7, 9)
    for sampling in ("bilinear", "nearest"):
        together = warped(image, at(*PLACES), sampling)
        assert together.shape == (len(PLACES), 7, 9)
        for place, found in zip(PLACES, together, strict=True):
            assert torch.equal(found, warped(image, at(place), sampling)[0])


def test_without_misalignment_every_pixel_shows_itself() -> None:
    image = torch.randn(5, 6)
    for sampling in ("bilinear", "nearest"):
        assert torch.equal(warped(image, at((0, 0, 0, 1)), sampling)[0], image)
    assert at((0, 0, 0, 1)).aligned
    for place in [(1e-3, 0, 0, 1), (0, 1e-3, 0, 1), (0, 0, 1e-3, 1), (0, 0, 0, 0.999)]:
        assert not at(place).aligned
        assert not at((0, 0, 0, 1), place).aligned


# --- sums of the table ------------------------------------------------------------------------


def gather_by_loops(values: Tensor, index: Tensor, weight: Tensor) -> Tensor:
    rows = []
    for c in range(len(index)):
        table = values if values.dim() == 2 else values[c]
        table = torch.cat((table, torch.zeros(1, table.shape[1], dtype=table.dtype)))
        rows.append((weight[c].to(table.dtype)[..., None] * table[index[c].long()]).sum(1))
    return torch.stack(rows)


def gather_arguments(many: bool) -> tuple[Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(3)
    shape = (2, 5, 3) if many else (5, 3)
    values = torch.randn(shape, dtype=torch.float64, generator=g)
    index = torch.randint(0, 6, (2, 4, 4), generator=g, dtype=torch.int32)
    index[0, 0] = 5  # nothing but the row of zeros
    index[1, 1, :2] = 2  # one row twice
    return values, index, torch.rand(2, 4, 4, generator=g)


@pytest.mark.parametrize("many", [False, True])
def test_sample_is_a_weighted_sum_of_rows(many: bool) -> None:
    arguments = gather_arguments(many)
    found = sample(*arguments)
    torch.testing.assert_close(found, gather_by_loops(*arguments), rtol=0, atol=1e-12)
    assert torch.equal(found[0, 0], torch.zeros(3, dtype=torch.float64))


@pytest.mark.parametrize("many", [False, True])
def test_sample_can_be_differentiated_twice(many: bool) -> None:
    values, index, weight = gather_arguments(many)
    values.requires_grad_()
    # The gather is linear: only a function of it has a second derivative to get wrong.
    for function in (lambda v: sample(v, index, weight), lambda v: sample(v, index, weight) ** 3):
        assert torch.autograd.gradcheck(function, (values,))
        assert torch.autograd.gradgradcheck(function, (values,))


def test_gradients_of_sample_can_be_differentiated_twice() -> None:
    values, index, weight = gather_arguments(False)
    values.requires_grad_()

    def slope_squared(v: Tensor) -> Tensor:
        (slope,) = torch.autograd.grad((sample(v, index, weight) ** 3).sum(), v, create_graph=True)
        return slope**2

    assert torch.autograd.gradcheck(slope_squared, (values,))
    assert torch.autograd.gradgradcheck(slope_squared, (values,))


def test_sample_and_its_gradient_are_transposes() -> None:
    values, index, weight = gather_arguments(False)
    values.requires_grad_()
    g = torch.randn(2, 4, 3, dtype=torch.float64)
    (back,) = torch.autograd.grad(sample(values, index, weight), values, g)
    torch.testing.assert_close(
        (back * values).sum(), (g * gather_by_loops(values, index, weight)).sum()
    )


# --- adding up --------------------------------------------------------------------------------


def environment(**fields: float) -> dict[str, Tensor]:
    return {k: torch.tensor(v) for k, v in MisalignmentEnvironment(**fields).as_dict().items()}


def test_a_layers_own_misalignment_is_added_and_scales_multiply() -> None:
    errors = {
        "rotation_deg": torch.tensor(0.5),
        "shift_x_px": torch.tensor(-1.0),
        "shift_y_px": torch.tensor(0.25),
        "log_scale": torch.tensor(math.log(1.1)),
        "weight": torch.ones(3),  # of no concern here
    }
    found = Misalignment.of(
        environment(rotation_deg=1.0, shift_x_px=2.0, shift_y_px=-0.5, scale=0.9), errors
    )
    assert found.rotation_deg.tolist() == [1.5]
    assert found.shift_x_px.tolist() == [1.0]
    assert found.shift_y_px.tolist() == [-0.25]
    assert found.scale.tolist() == pytest.approx([0.99], abs=1e-6)
    assert found.scale.dtype == torch.float64


def test_a_layer_that_does_not_answer_to_a_field_keeps_its_own_error() -> None:
    env = environment(rotation_deg=1.0, shift_y_px=2.0, scale=0.9)
    errors = {"rotation_deg": torch.tensor(0.25), "log_scale": torch.tensor(0.0)}
    found = Misalignment.of(env, errors, ("scale",))
    assert (found.rotation_deg.tolist(), found.shift_y_px.tolist()) == ([0.25], [0.0])
    assert found.scale.tolist() == pytest.approx([0.9])
    found = Misalignment.of(env, {}, ("rotation_deg", "shift_y_px"))
    assert (found.rotation_deg.tolist(), found.scale.tolist()) == ([1.0], [1.0])


def test_conditions_stay_apart() -> None:
    env = {k: v.expand(3) for k, v in environment().items()}
    env["shift_x_px"] = torch.tensor([0.0, 1.0, 2.0])
    found = Misalignment.of(env, {"shift_x_px": torch.tensor([0.5, 0.0, -2.0])})
    assert found.shift_x_px.tolist() == [0.5, 1.0, 0.0]
    assert {len(getattr(found, name)) for name in FIELDS} == {3}


# --- what is refused --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        {"scale": 0.0},
        {"scale": -1.0},
        {"scale": 11.0},
        {"rotation_deg": 181.0},
        {"rotation_deg": math.nan},
        {"shift_x_px": math.inf},
        {"shift_y_px": -2e4},
        {"shift_y_px": "1"},
    ],
)
def test_impossible_environments_are_refused(fields: dict[str, float]) -> None:
    with pytest.raises(UserError, match=next(iter(fields))):
        MisalignmentEnvironment(**fields)


def test_an_unknown_sampling_is_refused_with_those_there_are() -> None:
    assert check_sampling("nearest") == "nearest"
    with pytest.raises(UserError, match="bicubic") as caught:
        check_sampling("bicubic")
    assert caught.value.allowed == "bilinear, nearest"


def test_the_table_has_a_border_of_nothing() -> None:
    table = lookup(torch.arange(6).view(2, 3), 6)
    assert table.dtype == torch.int32
    assert torch.equal(table, F.pad(torch.arange(6).view(2, 3), (2, 2, 2, 2), value=6).int())
