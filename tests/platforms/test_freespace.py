from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torchvision.transforms.functional as tvf
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.func import functional_call
from torchvision.transforms import InterpolationMode

from pnnbench.errors import UserError
from pnnbench.platforms.base import Condition, Device, hold_transfer, operate
from pnnbench.platforms.freespace import TOLERANCE, FreeSpaceLayer, Layout
from pnnbench.platforms.misalignment import MisalignmentEnvironment, taps
from pnnbench.workloads.optical_networks import FreeSpaceNet

from .test_misalignment import (
    PLACES,
    Place,
    apart_from_ties,
    at,
    whole_plane,
)

SMALL = Layout((3, 4), cell=(5, 7), cells=(2, 2))
#: Small angles and shifts too, where the published grids stand.
TURNED: list[Place] = [*PLACES[:6], (0.5, 0.0, 0.0, 1.0), (0.0, 0.0, 0.6, 1.0)]


def made(i: int, o: int, seed: int = 0, **options: object) -> FreeSpaceLayer:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layer = FreeSpaceLayer(i, o, **options)  # type: ignore[arg-type]
    layer.program(torch.rand(o, i, generator=torch.Generator().manual_seed(seed)) * 2 - 1)
    return layer


def first(**options: object) -> FreeSpaceLayer:
    return made(784, 144, **options)


def second(**options: object) -> FreeSpaceLayer:
    return made(144, 10, **options)


def digits(**options: object) -> FreeSpaceLayer:
    return made(64, 26, layout=Layout((8, 8), cell=(12, 10)), **options)


def small(**options: object) -> FreeSpaceLayer:
    return made(12, 9, layout=SMALL, **options)


LAYERS: list[Callable[..., FreeSpaceLayer]] = [first, second, digits, small]
#: Rows and columns of cells and tiles, and where a tile starts in its cell, written out by hand.
GEOMETRY: dict[Callable[..., FreeSpaceLayer], tuple[tuple[int, int], ...]] = {
    first: ((3, 4), (32, 30), (28, 28), (2, 1)),
    second: ((3, 4), (32, 30), (12, 12), (10, 9)),
    digits: ((3, 4), (12, 10), (8, 8), (2, 1)),
    small: ((2, 2), (5, 7), (3, 4), (1, 1)),
}


def corners(make: Callable[..., FreeSpaceLayer], outputs: int) -> list[tuple[int, int, int]]:
    """Image, first row and first column of the tile of each output; every column stands twice."""
    cells, cell, _, offset = GEOMETRY[make]
    places = []
    for k in range(outputs):
        image, inside = divmod(k, cells[0] * cells[1])
        row, column = divmod(inside, cells[1])
        places.append((image, row * cell[0] + offset[0], 2 * (column * cell[1] + offset[1])))
    return places


def shown(make: Callable[..., FreeSpaceLayer], weight: Tensor) -> Tensor:
    """The modulator images (images, rows, columns), drawn tile by tile."""
    cells, cell, (height, width), _ = GEOMETRY[make]
    places = corners(make, len(weight))
    images = weight.new_zeros(places[-1][0] + 1, cells[0] * cell[0], cells[1] * cell[1] * 2)
    for row, (image, top, left) in zip(weight, places, strict=True):
        tile = row.reshape(height, width)
        for twin in (0, 1):
            images[image, top : top + height, left + twin : left + 2 * width : 2] = tile
    return images


def read(make: Callable[..., FreeSpaceLayer], images: Tensor, outputs: int, both: bool) -> Tensor:
    """Weights (outputs, inputs) that stand where those of an aligned modulator would."""
    _, _, (height, width), _ = GEOMETRY[make]
    rows = []
    for image, top, left in corners(make, outputs):
        tile = images[image, top : top + height, left : left + 2 * width]
        rows.append((tile[:, ::2] + tile[:, 1::2]) / 2 if both else tile[:, ::2])
    return torch.stack([row.flatten() for row in rows])


def torchvision_warp(images: Tensor, place: Place, sampling: str) -> Tensor:
    rotation, x, y, scale = place
    return tvf.affine(
        images[:, None].double(),
        rotation,
        [x, y],  # type: ignore[list-item]
        scale,
        [0.0, 0.0],
        interpolation=InterpolationMode(sampling),
    )[:, 0]


def on(place: Place, device: Device | None = None) -> Condition:
    return Condition(device or Device.ideal(), MisalignmentEnvironment(*place))


def moved(layer: FreeSpaceLayer, *conditions: Condition) -> Tensor:
    with torch.no_grad(), operate(layer, conditions):
        return layer.transfer()


# --- the layout -------------------------------------------------------------------------------


def test_the_published_layout() -> None:
    assert first().layout == Layout((28, 28), cell=(32, 30), cells=(3, 4), column_pixels=2)
    assert first().layout.shape == second().layout.shape == (96, 240)
    assert first().layout.per_image == 12
    rows, columns = first().layout.lattice(1)
    assert (int(rows[0]), int(columns[0, 0])) == (2, 2)  # 2 rows and 1 doubled column in
    rows, columns = second().layout.lattice(1)
    assert (int(rows[0]), int(columns[0, 0])) == (10, 18)


@pytest.mark.parametrize("make", LAYERS)
def test_weights_stand_where_they_should(make: Callable[..., FreeSpaceLayer]) -> None:
    layer = make()
    outputs = len(layer.weight)
    numbers = 1.0 + torch.arange(layer.weight.numel(), dtype=torch.float64).view_as(layer.weight)
    images = shown(make, numbers)
    assert images.shape[1:] == layer.layout.shape
    table = layer.layout.table()[2:-2, 2:-2]
    per_image = layer.layout.per_image * layer.weight.shape[1]
    for i, image in enumerate(images):
        expected = image - 1 - i * per_image
        filled = image > 0
        assert torch.equal(table[filled].double(), expected[filled])
        if (i + 1) * layer.layout.per_image <= outputs:
            assert bool((table[~filled] == per_image).all())


def test_row_k_stands_in_image_k_over_12_in_cell_k_mod_12() -> None:
    layer = first(sampling="nearest", bias=False)
    with torch.no_grad():
        layer.weight.zero_()
        layer.weight[29, 5 * 28 + 7] = 1.0  # image 2, cell 5: row 1, column 1 of the cells
    images = shown(first, layer.weight.detach())
    assert images.nonzero().tolist() == [[2, 32 + 2 + 5, 2 * (30 + 1 + 7) + t] for t in (0, 1)]
    # Turned by 180 degrees it is in row 1, column 2 of the cells, tile turned too.
    found = moved(layer, on((180.0, 0, 0, 1)))
    assert found.nonzero().tolist() == [[24 + 6, (27 - 5) * 28 + (27 - 7)]]


# --- against torchvision ----------------------------------------------------------------------


@pytest.mark.parametrize("place", TURNED)
@pytest.mark.parametrize("make", LAYERS)
def test_bilinear_transfer_is_torchvisions_over_both_columns(
    make: Callable[..., FreeSpaceLayer], place: Place
) -> None:
    layer = make(bias=False)
    weight = layer.weight.detach()
    image = torchvision_warp(shown(make, weight), place, "bilinear")
    expected = read(make, image, len(weight), both=True).float()
    found = moved(layer, on(place))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert float((found - weight).abs().max()) > 0.1


@pytest.mark.parametrize("place", TURNED)
@pytest.mark.parametrize("make", LAYERS)
def test_nearest_transfer_is_torchvisions_at_the_first_column(
    make: Callable[..., FreeSpaceLayer], place: Place
) -> None:
    layer = make(bias=False, sampling="nearest")
    weight = layer.weight.detach()
    image = torchvision_warp(shown(make, weight), place, "nearest")
    clear = apart_from_ties(layer.layout.shape, place).expand(image.shape)
    expected = read(make, image, len(weight), both=False).float()
    clear = read(make, clear, len(weight), both=False)
    found = moved(layer, on(place))
    assert float(clear.float().mean()) > 0.9
    assert torch.equal(found[clear], expected[clear])


@settings(deadline=None, max_examples=25)
@given(
    rotation=st.floats(-180, 180),
    x=st.floats(-20, 20),
    y=st.floats(-20, 20),
    scale=st.floats(0.5, 2),
)
def test_any_misalignment_is_torchvisions(
    rotation: float, x: float, y: float, scale: float
) -> None:
    place, layer = (rotation, x, y, scale), small(bias=False)
    image = torchvision_warp(shown(small, layer.weight.detach()), place, "bilinear")
    expected = read(small, image, 9, both=True).float()
    torch.testing.assert_close(moved(layer, on(place)), expected, rtol=0, atol=2e-5)


# --- closed forms -----------------------------------------------------------------------------


@pytest.mark.parametrize("sampling", ["bilinear", "nearest"])
@pytest.mark.parametrize("make", LAYERS)
@pytest.mark.parametrize("rows", [1, -1, 2])
def test_a_whole_pixel_down_rolls_the_rows_and_lets_gaps_in(
    make: Callable[..., FreeSpaceLayer], rows: int, sampling: str
) -> None:
    layer = make(sampling=sampling)
    _, cell, (height, width), _ = GEOMETRY[make]
    if cell[0] - height < abs(rows):
        pytest.skip("tiles of neighbouring cells would meet")
    tiles = layer.weight.detach().view(-1, height, width)
    expected = torch.roll(tiles, rows, 1)
    if rows > 0:
        expected[:, :rows] = 0.0
    else:
        expected[:, rows:] = 0.0
    found = moved(layer, on((0.0, 0.0, float(rows), 1.0)))
    torch.testing.assert_close(found.view_as(tiles), expected, rtol=0, atol=1e-6)


def test_a_shift_to_the_right_is_in_modulator_columns_half_a_weight_each() -> None:
    tiles = second().weight.detach().view(10, 12, 12)
    left = torch.cat((torch.zeros(10, 12, 1), tiles[..., :-1]), -1)  # of each weight
    right = torch.cat((tiles[..., 1:], torch.zeros(10, 12, 1)), -1)

    def found(x: float, sampling: str) -> Tensor:
        return moved(second(sampling=sampling), on((0.0, x, 0.0, 1.0))).view_as(tiles)

    def check(a: Tensor, b: Tensor) -> None:
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6)

    check(found(2.0, "bilinear"), left)
    check(found(1.0, "bilinear"), (left + tiles) / 2)
    check(found(-1.0, "bilinear"), (right + tiles) / 2)
    check(found(0.5, "bilinear"), 0.25 * left + 0.75 * tiles)
    # As published: only the first column of a weight is met, so one side is a whole weight away.
    check(found(1.0, "nearest"), left)
    check(found(-1.0, "nearest"), tiles)
    check(found(-2.0, "nearest"), right)


@pytest.mark.parametrize("sampling", ["bilinear", "nearest"])
def test_upside_down_the_last_cell_comes_first(sampling: str) -> None:
    layer = first(sampling=sampling)
    weight = layer.weight.detach()
    expected = weight.view(12, 12, 784).flip(1, 2).view_as(weight)
    found = moved(layer, on((180.0, 0.0, 0.0, 1.0)))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("sampling", ["bilinear", "nearest"])
@pytest.mark.parametrize("make", LAYERS)
def test_in_the_nominal_environment_the_weights_are_met_exactly(
    make: Callable[..., FreeSpaceLayer], sampling: str
) -> None:
    layer = make(sampling=sampling)
    weight = layer.weight.detach()
    assert torch.equal(layer.transfer(), weight)
    assert torch.equal(moved(layer, on((0.0, 0.0, 0.0, 1.0))), weight)
    assert torch.equal(moved(layer, Condition(Device.draw(layer, 0.0, 1))), weight)
    almost = moved(layer, on((1e-6, 0.0, 0.0, 1.0)))  # takes the way over the modulator
    torch.testing.assert_close(almost, weight, rtol=0, atol=1e-5)


def test_nearest_sampling_does_not_see_rotations_below_a_quarter_degree() -> None:
    layer = first(sampling="nearest")
    weight = layer.weight.detach()
    table, pixels = layer.layout.table(), whole_plane(96, 240)
    still = taps(at((0.0, 0.0, 0.0, 1.0)), table, *pixels, "nearest")[0]
    # The outermost columns are 119.5 pixels from the centre: they move by half a pixel at 0.24.
    threshold = math.degrees(math.asin(0.5 / 119.5))
    assert threshold == pytest.approx(0.24, abs=0.001)
    for sign in (1, -1):
        inner, outer = (sign * threshold * f for f in (0.995, 1.02))
        turned = [taps(at((r, 0, 0, 1)), table, *pixels, "nearest") for r in (inner, outer)]
        assert torch.equal(turned[0][0], still)
        # The outermost columns are gaps, the weights beside them stand 117.5 from the centre.
        assert not torch.equal(turned[1][0], still)
        assert torch.equal(moved(layer, on((inner, 0.0, 0.0, 1.0))), weight)
        assert not torch.equal(moved(layer, on((sign * 0.25, 0.0, 0.0, 1.0))), weight)
    assert not torch.equal(moved(first(), on((0.01, 0.0, 0.0, 1.0))), weight)  # bilinear does


def test_far_away_there_is_nothing() -> None:
    for sampling in ("bilinear", "nearest"):
        found = moved(digits(sampling=sampling), on((0.0, 0.0, 1e4, 1.0)))
        assert torch.equal(found, torch.zeros(26, 64))


# --- operation --------------------------------------------------------------------------------


def snapshot(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and all buffers, those out of the state dict too."""
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    return {name: t.detach().clone() for name, t in tensors.items()}


@pytest.mark.parametrize("sampling", ["bilinear", "nearest"])
def test_operation_leaves_the_layers_bit_by_bit_as_they_were(sampling: str) -> None:
    net = FreeSpaceNet(first(sampling=sampling), second(sampling=sampling))
    before, state = snapshot(net), {k: v.clone() for k, v in net.state_dict().items()}
    assert {"fc1._table", "fc2._table", "fc1._rows"} <= before.keys() - state.keys()
    device = Device.draw(net, 1.0, 5)
    for places in ([(1.0, 0.5, -0.5, 1.05)], PLACES[:3]):
        with operate(net, [on(place, device) for place in places]):
            net(torch.rand(len(places), 1, 28, 28)).square().sum().backward()
    after = snapshot(net)
    assert before.keys() == after.keys()
    assert [k for k in before if not torch.equal(before[k], after[k])] == []
    assert [k for k, v in net.state_dict().items() if not torch.equal(v, state[k])] == []
    assert all(p.grad is not None and bool(p.grad.any()) for p in net.parameters())


def assorted(net: nn.Module) -> list[Condition]:
    devices = [Device.ideal(), Device.draw(net, 0.5, 1), Device.draw(net, 1.0, 2)]
    errors = {"fc1": {"rotation_deg": torch.tensor(0.7)}, "fc2": {"weight": torch.ones(10, 36)}}
    return [
        on((0.0, 0.0, 0.0, 1.0)),
        on((1.0, -0.5, 0.0, 1.0), devices[1]),
        on((0.0, 0.0, 0.0, 1.0), devices[2]),
        on((-2.0, 1.0, 1.5, 1.05)),
        on((0.0, 0.0, 0.5, 1.0), Device(errors)),
    ]


@pytest.mark.parametrize("sampling", ["bilinear", "nearest"])
def test_many_conditions_at_once_are_one_by_one(sampling: str) -> None:
    layout = Layout((8, 8), cell=(12, 10))
    net = FreeSpaceNet(
        made(64, 36, layout=layout, sampling=sampling),
        made(36, 10, layout=Layout((6, 6), cell=(12, 10)), sampling=sampling),
    )
    x, conditions = torch.rand(4, 1, 8, 8), assorted(net)
    with torch.no_grad(), operate(net, conditions):
        together = net(x.repeat(len(conditions), 1, 1, 1)).view(len(conditions), 4, 10)
        transfers = [layer.transfer() for layer in (net.fc1, net.fc2)]  # type: ignore[operator]
        with hold_transfer(net):
            held = net(x.repeat(len(conditions), 1, 1, 1)).view_as(together)
    assert torch.equal(held, together)
    for c, condition in enumerate(conditions):
        with torch.no_grad(), operate(net, [condition]):
            torch.testing.assert_close(net(x), together[c], rtol=1e-5, atol=1e-5)
            for layer, transfer in zip((net.fc1, net.fc2), transfers, strict=True):
                alone = layer.transfer()  # type: ignore[operator]
                torch.testing.assert_close(alone, transfer[c], rtol=0, atol=1e-6)
    for transfer in transfers:
        assert len({tuple(t.flatten().tolist()) for t in transfer}) >= 3  # they do differ


def test_errors_of_the_layer_add_to_the_environment() -> None:
    layer = digits()
    errors = {
        "rotation_deg": torch.tensor(0.5),
        "shift_x_px": torch.tensor(-1.0),
        "shift_y_px": torch.tensor(0.25),
        "log_scale": torch.tensor(math.log(1.02)),
    }
    found = moved(layer, on((1.0, 0.5, 0.5, 0.99), Device({"": errors})))
    expected = moved(layer, on((1.5, -0.5, 0.75, 0.99 * 1.02)))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    errors = {"weight": 0.1 * torch.randn(26, 64)}
    other = digits()
    other.weight.data += errors["weight"]
    found = moved(layer, on((1.0, 0.0, 0.0, 1.0), Device({"": errors})))
    torch.testing.assert_close(found, moved(other, on((1.0, 0.0, 0.0, 1.0))), rtol=0, atol=1e-6)


def test_a_layer_can_answer_to_the_scale_only_as_published() -> None:
    layer, full = second(answers_to=("scale",)), second()
    assert torch.equal(moved(layer, on((2.0, 1.0, -1.0, 1.0))), layer.weight)
    scaled = on((0.0, 0.0, 0.0, 1.05))
    assert torch.equal(moved(layer, on((2.0, 1.0, -1.0, 1.05))), moved(full, scaled))
    own = Device({"": {"rotation_deg": torch.tensor(1.0)}})
    assert torch.equal(
        moved(layer, on((2.0, 0.0, 0.0, 1.0), own)), moved(full, on((1.0, 0.0, 0.0, 1.0)))
    )


def test_the_output_is_the_product_with_the_transfer_plus_the_bias() -> None:
    layer, x = digits(), torch.randn(5, 64)
    with torch.no_grad(), operate(layer, [on((1.0, 0.5, 0.0, 1.0))]):
        expected = x.double() @ layer.transfer().double().T + layer.bias.double()
        torch.testing.assert_close(layer(x).double(), expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(layer(x), x @ layer.weight.T + layer.bias)


def test_misalignment_is_linear_in_the_weights() -> None:
    a, b, mixed = digits(seed=1), digits(seed=2), digits(seed=3)
    mixed.weight.data = 0.3 * a.weight.data - 0.6 * b.weight.data
    condition = on((1.7, 0.4, -0.8, 1.03))
    expected = 0.3 * moved(a, condition) - 0.6 * moved(b, condition)
    torch.testing.assert_close(moved(mixed, condition), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("sampling", ["bilinear", "nearest"])
@pytest.mark.parametrize("count", [1, 2])
def test_gradients_of_the_product_under_misalignment(sampling: str, count: int) -> None:
    layout = Layout((2, 3), cell=(3, 4), cells=(1, 2))
    layer = made(6, 3, layout=layout, sampling=sampling, bias=False).double()
    device = Device({"": {"weight": torch.rand(3, 6, dtype=torch.float64)}})
    conditions = [on((5.0, 0.6, -0.3, 1.1), device), on((0.0, 1.2, 0.0, 1.0))][:count]
    x = torch.randn(count, 6, dtype=torch.float64, requires_grad=True)
    weight = layer.weight.detach().clone().requires_grad_()

    def forward(weight: Tensor, x: Tensor) -> Tensor:
        with operate(layer, conditions):
            return functional_call(layer, {"weight": weight}, (x,))

    assert torch.autograd.gradcheck(forward, (weight, x))
    assert torch.autograd.gradgradcheck(forward, (weight, x))


def test_noise_is_a_share_of_the_calibrated_full_scale() -> None:
    layer = digits(bias=False, readout_noise=0.02)
    layer.full_scale.fill_(3.0)
    x = torch.rand(4, 64)
    with operate(layer, [on((0, 0, 0, 1))], shot=lambda _, shape: torch.ones(shape)):
        noisy = layer(x)
    torch.testing.assert_close(noisy - layer(x), torch.full((4, 26), 0.06), rtol=0, atol=1e-6)


# --- controls and devices ---------------------------------------------------------------------


def test_weights_stay_within_full_modulation() -> None:
    layer = digits()
    wanted = 3 * torch.randn(26, 64)
    layer.program(wanted)
    assert torch.equal(layer.weight, wanted.clamp(-1, 1))
    assert torch.equal(layer.project_weight(wanted), layer.weight)
    layer.weight.data.mul_(2.0)
    layer.project()
    assert float(layer.weight.detach().abs().max()) == 1.0
    assert [n for n, _ in layer.named_parameters()] == ["weight", "bias"]
    assert layer.control_names == ("weight",)


def test_initial_weights_are_those_of_a_linear_layer() -> None:
    torch.manual_seed(0)
    layer = FreeSpaceLayer(784, 144)
    assert float(layer.weight.detach().abs().max()) == pytest.approx(1 / 28, rel=1e-3)
    assert float(layer.weight.detach().std()) == pytest.approx(1 / 28 / 3**0.5, rel=0.01)


def two_layers() -> FreeSpaceNet:
    return FreeSpaceNet(digits(), made(26, 10, layout=Layout((13, 2), cell=(14, 4))))


def test_devices_are_drawn_once_for_each_layer_and_scale_with_the_severity() -> None:
    net = two_layers()
    one, again, half = (Device.draw(net, s, 7) for s in (1.0, 1.0, 0.5))
    assert set(one.errors) == {"fc1", "fc2"}
    for layer in one.errors:
        assert set(one.errors[layer]) == set(TOLERANCE)
        for name, value in one.errors[layer].items():
            assert torch.equal(value, again.errors[layer][name])
            assert torch.equal(0.5 * value, half.errors[layer][name])
            assert value.shape == ()
            assert bool(value)
    assert not torch.equal(one.errors["fc1"]["rotation_deg"], one.errors["fc2"]["rotation_deg"])
    other = Device.draw(net, 1.0, 8)
    assert not torch.equal(one.errors["fc1"]["shift_x_px"], other.errors["fc1"]["shift_x_px"])
    for errors in Device.draw(net, 0.0, 7).errors.values():
        assert all(not bool(value) for value in errors.values())


def test_the_spread_of_devices_is_the_tolerance() -> None:
    layer = small()
    generator = torch.Generator().manual_seed(0)
    draws = [layer.draw_errors(0.5, generator) for _ in range(4000)]
    for name, tolerance in TOLERANCE.items():
        values = torch.stack([d[name] for d in draws])
        assert float(values.std()) == pytest.approx(0.5 * tolerance, rel=0.05)
        assert abs(float(values.mean())) < 0.05 * tolerance
    offsets = layer.random_offsets(0.3, generator)["weight"]
    assert offsets.shape == layer.weight.shape
    assert 0.2 < float(offsets.std()) < 0.4


def test_devices_survive_a_file(tmp_path: Path) -> None:
    net = two_layers()
    device = Device.draw(net, 0.5, 3)
    device.save(tmp_path / "device.safetensors")
    back = Device.load(tmp_path / "device.safetensors")
    assert (back.seed, back.severity) == (3, 0.5)
    assert {k: set(v) for k, v in back.errors.items()} == {
        k: set(v) for k, v in device.errors.items()
    }
    x = torch.rand(3, 1, 8, 8)
    outputs = []
    for d in (device, back):
        with torch.no_grad(), operate(net, [Condition(d)]):
            outputs.append(net(x))
    assert torch.equal(*outputs)
    assert not torch.equal(outputs[0], net(x))


def test_the_description_is_plain_and_names_what_decides() -> None:
    found = json.loads(json.dumps(second(answers_to=("scale",)).describe(), allow_nan=False))
    assert found["shape"] == [10, 144]
    assert found["layout"] == {
        "tile": [12, 12],
        "cell": [32, 30],
        "cells": [3, 4],
        "column_pixels": 2,
    }
    assert (found["sampling"], found["answers_to"]) == ("bilinear", ["scale"])
    assert found["tolerance"] == TOLERANCE


# --- what is refused --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"in_features": 10}, "does not hold 10"),
        ({"in_features": 0}, "in_features"),
        ({"out_features": 0}, "out_features"),
        ({"layout": SMALL}, "does not hold 16"),
        ({"sampling": "bicubic"}, "bicubic"),
        ({"answers_to": ("scale", "tilt")}, "tilt"),
        ({"readout_noise": -0.1}, "readout_noise"),
        ({"readout_noise": math.nan}, "readout_noise"),
        ({"in_features": 1089}, "larger than its cell"),  # 33 x 33
    ],
)
def test_impossible_layers_are_refused(options: dict[str, object], text: str) -> None:
    with pytest.raises(UserError, match=text):
        FreeSpaceLayer(**{"in_features": 16, "out_features": 3, **options})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "options",
    [
        {"tile": (0, 3)},
        {"tile": (33, 3)},
        {"tile": (3, 31)},
        {"tile": (3, 3), "cell": (2, 30)},
        {"tile": (3, 3), "cells": (0, 4)},
        {"tile": (3, 3), "column_pixels": 0},
    ],
)
def test_impossible_layouts_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(UserError):
        Layout(**options)  # type: ignore[arg-type]


def test_a_device_of_another_network_is_refused() -> None:
    with pytest.raises(UserError, match="fc1"), operate(small(), [Condition(Device({"fc1": {}}))]):
        pass


@pytest.mark.parametrize("tile", [28, (28,), (28, 28, 28), (2.5, 2), [28, 28]])
def test_impossible_tiles_are_refused(tile: object) -> None:
    with pytest.raises(UserError, match="layout tile"):
        Layout(tile)  # type: ignore[arg-type]


def test_a_layer_says_what_it_answers_to() -> None:
    second = FreeSpaceLayer(144, 10, answers_to=("scale",))
    assert second.answers(MisalignmentEnvironment(rotation_deg=1.0, scale=1.1))
    assert not second.answers(MisalignmentEnvironment(rotation_deg=1.0))
    assert FreeSpaceLayer(144, 10).answers(MisalignmentEnvironment(rotation_deg=1.0))
    with pytest.raises(UserError, match="answers_to is 'scale'"):
        FreeSpaceLayer(144, 10, answers_to="scale")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("weight", "text"),
    [
        (torch.zeros(1, 64), "do not fit"),
        (torch.zeros(64), "do not fit"),
        (torch.zeros(()), "do not fit"),
        (torch.zeros(26, 64) + 0j, "real numbers"),
        (torch.full((26, 64), math.nan), "not finite"),
    ],
)
def test_what_cannot_be_programmed_is_refused(weight: Tensor, text: str) -> None:
    layer = digits()
    before = layer.weight.detach().clone()
    with pytest.raises(UserError, match=text):
        layer.program(weight)
    assert torch.equal(layer.weight.detach(), before)
    if text != "not finite":
        with pytest.raises(UserError, match=text):
            layer.project_weight(weight)


def test_misalignment_in_double_precision_is_so() -> None:
    layer = digits().double()
    place = on((1.0, 0.3, -0.2, 1.02))
    before = moved(layer, place)
    with torch.no_grad():
        layer.weight.mul_(1 + 1e-12)
    torch.testing.assert_close(moved(layer, place) - before, 1e-12 * before, rtol=0, atol=1e-15)
    # The same misalignment stated as an error of the layer, in double precision.
    own = Device({"": {"rotation_deg": torch.tensor(0.1, dtype=torch.float64)}})
    torch.testing.assert_close(
        moved(layer, on((0.0, 0.0, 0.0, 1.0), own)),
        moved(layer, on((0.1, 0.0, 0.0, 1.0))),
        rtol=0,
        atol=1e-14,
    )
    ones = torch.ones_like(layer.weight)
    with torch.no_grad():
        layer.weight.copy_(ones)
    inside = moved(layer, on((0.0, 0.0, 0.0, 0.9)))
    assert float(inside.max()) == pytest.approx(1.0, abs=1e-14)
