from __future__ import annotations

import copy
import math

import pytest
import torch

from pnnbench.evaluation.cell_outputs import shifted_cell
from pnnbench.platforms.base import Condition, Device, operate
from pnnbench.platforms.diffractive import DetectorPlane
from pnnbench.platforms.freespace import FreeSpaceLayer, Layout
from pnnbench.platforms.misalignment import MisalignmentEnvironment
from pnnbench.report import optics_pictures, style
from pnnbench.report import run_pictures as pictures
from pnnbench.workloads.diffractive import DiffractiveDigits
from pnnbench.workloads.freespace import FreeSpaceDigits, FreeSpaceMNIST

from ..evaluation.small import SmallRings
from ..evaluation.unchanged import same, state
from .overlaps import in_the_way
from .test_run_pictures import RECORD

NOMINAL = MisalignmentEnvironment()


def record_of(name: str) -> dict:
    record = copy.deepcopy(RECORD)
    record["job"]["workload"] = name
    record["job"]["method"]["label"] = "Random environment, published step, $ & co"
    return record


@pytest.fixture(scope="module")
def digits():
    generator = torch.Generator().manual_seed(0)
    return torch.rand(40, 1, 8, 8, generator=generator), torch.arange(40) % 10


@pytest.fixture(scope="module")
def freespace():
    torch.manual_seed(0)
    return FreeSpaceDigits()


@pytest.fixture(scope="module")
def diffractive():
    torch.manual_seed(0)
    return DiffractiveDigits()


# --- which pictures there are ------------------------------------------------------------------


def test_each_platform_gets_its_pictures(freespace, diffractive, digits):
    with style.styled():
        for workload, names in (
            (freespace, ["modulators"]),
            (diffractive, ["masks", "detectors"]),
            (SmallRings(), []),
        ):
            before = state(workload)
            figures = optics_pictures.optics_figures(workload, record_of("x"), *digits)
            same(before, state(workload))
            assert list(figures) == names


def test_no_text_overlaps_or_sticks_out(freespace, diffractive, digits, monkeypatch):
    mnist = FreeSpaceMNIST()
    with style.styled():
        for workload, name in (
            (freespace, "freespace-digits"),
            (mnist, "freespace-mnist"),
            (diffractive, "diffractive-digits"),
        ):
            record = record_of(name)
            figures = optics_pictures.optics_figures(workload, record, *digits)
            for figure in figures.values():
                assert in_the_way(figure, monkeypatch, 5) == []


def test_a_whole_run_draws_and_says_that_the_device_is_ideal(freespace, digits, tmp_path):
    images, labels = digits
    record = record_of("freespace-digits")
    before = state(freespace)
    drawn = pictures.draw_run(freespace, record, (images, labels), (images, labels), tmp_path)
    same(before, state(freespace))
    assert list(drawn) == ["confusion", "controls", "curve", "landscape", "modulators"]
    again = pictures.draw_run(freespace, record, (images, labels), (images, labels), tmp_path / "b")
    svg = drawn["modulators"].with_suffix(".svg")
    assert svg.read_bytes() == again["modulators"].with_suffix(".svg").read_bytes()
    assert svg.stat().st_size < 400_000
    cell = shifted_cell(freespace.perturbation_grid("smoke"))
    with style.styled():
        figure = pictures.confusion(torch.eye(10, dtype=torch.long), cell, record)
    remark = " ".join(text.get_text() for text in figure.texts[1:]).replace("\u00a0", " ")
    assert "rotation +0.726°" in remark
    assert "ideal device" in remark


# --- modulators --------------------------------------------------------------------------------


@pytest.mark.parametrize("sampling", ["bilinear", "nearest"])
def test_an_aligned_modulator_shows_the_weights_in_their_tiles(sampling):
    layer = FreeSpaceLayer(16, 14, Layout((4, 4), cell=(6, 5)), sampling=sampling)
    image = optics_pictures.modulator_image(layer, NOMINAL)
    assert image.shape == (18, 40)
    weight = layer.weight.detach().double()
    for k in range(12):  # the 13th and 14th stand on the second image
        a, b = divmod(k, 4)
        tile = image[6 * a + 1 : 6 * a + 5, 10 * b : 10 * b + 8]
        assert torch.equal(tile, weight[k].view(4, 4).repeat_interleave(2, dim=1))
    assert int((image != 0).sum()) == 12 * 32


@pytest.mark.parametrize(
    "place",
    [
        MisalignmentEnvironment(rotation_deg=2.0),
        MisalignmentEnvironment(shift_x_px=1.5, shift_y_px=-1.0),
        MisalignmentEnvironment(rotation_deg=-1.0, scale=1.07),
    ],
)
def test_a_misaligned_modulator_shows_what_the_light_meets(freespace, place):
    layer = freespace.network.fc2
    image = optics_pictures.modulator_image(layer, place)
    with operate(layer, [Condition(Device.ideal(), place)]):
        met = layer.transfer().detach().double()
    rows, columns = layer.layout.lattice(2)
    seen = layer.layout.by_cell(image[rows, columns].view(-1, 2).mean(-1))[:10]
    assert torch.allclose(seen, met, atol=1e-6)
    assert not torch.allclose(seen, layer.weight.detach().double(), atol=1e-2)


def test_a_layer_that_does_not_rotate_is_not_shown_rotated(monkeypatch):
    layer = FreeSpaceLayer(16, 4, Layout((4, 4), cell=(6, 5)), answers_to=("scale",))
    turned = MisalignmentEnvironment(rotation_deg=2.0)
    aligned = optics_pictures.modulator_image(layer, NOMINAL)
    assert torch.equal(optics_pictures.modulator_image(layer, turned), aligned)
    with style.styled():
        figure = optics_pictures.modulators({"fc2": layer}, record_of("x"))
        assert in_the_way(figure, monkeypatch, 5) == []
    titles = [ax.get_title(loc="left") for ax in figure.axes]
    assert titles == ["fc2, aligned", "fc2, held when others rotate"]


def test_frames_stand_around_the_aligned_weights(freespace):
    with style.styled():
        figure = optics_pictures.modulators(freespace.layers(), record_of("x"))
    first, turned, second, _ = figure.axes
    assert [ax.get_title(loc="left") for ax in (first, turned)] == [
        "fc1, aligned",
        "fc1, rotated by 2°",
    ]
    assert first.get_title(loc="right") == "12 of 36 outputs"
    assert second.get_title(loc="right") == "10 of 10 outputs"
    shown = torch.tensor(first.images[0].get_array().tolist(), dtype=torch.float64)
    low, high = first.images[0].get_clim()
    assert -low == high == pytest.approx(float(shown.abs().max()))
    inside = torch.zeros_like(shown, dtype=torch.bool)
    assert len(first.patches) == len(turned.patches) == 12
    for frame in first.patches:
        x, y = (round(v + 0.5) for v in frame.get_xy())
        inside[y : y + frame.get_height(), x : x + frame.get_width()] = True
    assert torch.equal(inside, shown != 0)
    assert len(second.patches) == 10


# --- masks -------------------------------------------------------------------------------------


def test_masks_show_phases_modulo_a_turn_in_micrometres(diffractive):
    stack = diffractive.network.stack
    phases = stack.phase.detach().clone()
    try:
        with torch.no_grad():
            stack.phase += 4 * math.pi
        with style.styled():
            figure = optics_pictures.masks({"stack": stack}, record_of("x"))
    finally:
        with torch.no_grad():
            stack.phase.copy_(phases)
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["Mask 1", "Mask 2"]
    for ax, phase in zip(figure.axes, phases, strict=True):
        image = ax.images[0]
        shown = torch.tensor(image.get_array().tolist())
        assert torch.allclose(torch.cos(shown - phase), torch.ones(32, 32), atol=1e-5)
        assert image.get_clim() == (0.0, 2 * math.pi)
        assert list(image.get_extent()) == [-128.0, 128.0, 128.0, -128.0]
        assert ax.get_xlabel() == "x (µm)"
    (bar,) = figure.axes[1].child_axes
    assert bar.get_ylabel() == "phase (rad)"
    assert [t.get_text() for t in bar.get_yticklabels()] == ["0", "π/2", "π", "3π/2", "2π"]


# --- light on the detectors --------------------------------------------------------------------


def test_light_in_the_squares_is_what_the_detectors_measure(diffractive, digits):
    images, _ = digits
    before = state(diffractive)
    plane = optics_pictures.detector_intensity(diffractive, images)
    same(before, state(diffractive))
    hooks = [m for m in diffractive.modules() if isinstance(m, DetectorPlane)]
    assert not hooks[0]._forward_pre_hooks
    side = 32 * diffractive.deployed_samples
    assert plane.shape == (40, side, side)
    squares = optics_pictures.detector_squares(diffractive)
    powers = torch.stack([plane[:, r : r + s, c : c + s].sum((1, 2)) for r, c, s in squares], 1)
    logits = diffractive.eval()(images).double()
    shares = powers / powers.sum(1, keepdim=True)
    # The detectors of the deployed stack leave out what little they may.
    assert torch.allclose(10 * shares, logits, atol=1e-2)
    assert float(plane.sum((1, 2)).max()) < 1.0  # absorbers and edges take some


def test_the_detector_of_the_class_is_thick_and_its_share_stands_above(diffractive, digits):
    images, labels = digits[0][:30], digits[1][:30] % 7
    with style.styled():
        figure = optics_pictures.detectors(diffractive, record_of("x"), images, labels)
    panels = figure.axes
    assert [ax.get_title(loc="left") for ax in panels] == [f"Class {k}" for k in range(7)]
    plane = 100 * optics_pictures.detector_intensity(diffractive, images)
    squares = optics_pictures.detector_squares(diffractive)
    clim = {ax.images[0].get_clim() for ax in panels}
    assert len(clim) == 1
    for k, ax in enumerate(panels):
        thick = [i for i, frame in enumerate(ax.patches) if frame.get_linewidth() > 1]
        assert thick == [k]
        row, column, side = squares[k]
        um = 8.0 / diffractive.deployed_samples
        assert ax.patches[k].get_xy() == pytest.approx((um * column - 128, um * row - 128))
        assert ax.patches[k].get_width() == pytest.approx(um * side)
        mean = plane[labels == k].mean(0)
        powers = [float(mean[r : r + s, c : c + s].sum()) for r, c, s in squares]
        assert ax.get_title(loc="right") == f"{100 * powers[k] / sum(powers):.0f} %"
        shown = torch.tensor(ax.images[0].get_array().tolist(), dtype=torch.float64)
        assert torch.allclose(shown, mean.clamp(min=next(iter(clim))[0]))
    remark = " ".join(text.get_text() for text in figure.texts[1:]).replace("\u00a0", " ")
    assert "mean of 30 test images" in remark
    assert "% of the input is detected" in remark
