from __future__ import annotations

import copy
import math

import pytest
import torch
import yaml
from torch import Tensor, nn

from pnnbench.data.datamodule import DataModule
from pnnbench.errors import UserError
from pnnbench.evaluation.cell_outputs import confusion_matrix, shifted_cell
from pnnbench.evaluation.gaps import LeftOutError, NotFiniteError
from pnnbench.evaluation.harness import evaluate_grid
from pnnbench.evaluation.landscape import measure_landscape
from pnnbench.evaluation.outputs import require_class_labels
from pnnbench.platforms.mrr import PUBLISHED_CALIBRATION, MRREnvironment, MRRLinear
from pnnbench.report import run_pictures as pictures
from pnnbench.report import style
from pnnbench.report.confusion_pictures import confusion
from pnnbench.running.jobs import data_module, job_folder, run_suite
from pnnbench.running.rebuilding import load_trained
from pnnbench.running.suites import load_suite
from pnnbench.workloads.grid import FIRST_TEST_DEVICE, Cell, device_axis
from pnnbench.workloads.mrr import MRRDigits
from pnnbench.workloads.networks import PhysicalNetwork

from ..evaluation.small import Quadratic, SmallRings
from ..evaluation.unchanged import same, state
from .overlaps import in_the_way

RECORD = {
    "job": {
        "workload": "small-rings",
        "tier": "smoke",
        "seed": 0,
        "method": {"name": "bp", "label": "BP"},
    },
    "curves": {"epoch": [0, 1, 2], "train_loss": [2.0, 0.7, 0.15]},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A real job: the smallest tier of the digits workload, trained, measured and reloaded."""
    folder = tmp_path_factory.mktemp("pictures")
    path = folder / "tiny.yaml"
    text = {
        "suite": "tiny",
        "protocol": "pnnbench-2",
        "tier": "smoke",
        "workloads": ["mrr-digits"],
        "seeds": [0],
        "methods": [{"method": "bp", "label": "BP", "epochs_factor": 4}],
    }
    path.write_text(yaml.safe_dump(text))
    job = load_suite(path).jobs[0]
    record = run_suite(load_suite(path), folder / "runs", say=lambda line: None)[0]
    assert record["status"] == "ok"
    data = data_module(job)
    workload = load_trained(job_folder(folder / "runs", job), record)
    return workload, record, data.train_tensors(), data.test_tensors()


# --- the whole run -----------------------------------------------------------------------------


def test_draw_run_writes_the_same_bytes_and_leaves_the_workload_alone(run, tmp_path):
    workload, record, train, test = run
    before = state(workload)
    drawn = pictures.draw_run(workload, record, train, test, tmp_path / "a")
    same(before, state(workload))
    assert list(drawn) == ["confusion", "controls", "curve", "landscape"]
    again = pictures.draw_run(workload, record, train, test, tmp_path / "b")
    for name, png in drawn.items():
        assert png == tmp_path / "a" / f"{name}.png"
        assert png.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
        svg = png.with_suffix(".svg")
        assert svg.read_bytes() == again[name].with_suffix(".svg").read_bytes()
        assert f"{name}: mrr-digits, BP, seed 0" in svg.read_text()
    assert len(list((tmp_path / "a").iterdir())) == 8


def test_no_text_overlaps_or_sticks_out(run, monkeypatch):
    workload, record, train, test = run
    record = copy.deepcopy(record)
    record["job"]["method"]["label"] = "BP on weights, SGD, published step, $ & co"
    cell = shifted_cell(workload.perturbation_grid("smoke"))
    measured = measure_landscape(workload, *train, count=32, points=5)
    with style.styled():
        for figure in (
            pictures.controls(workload, record),
            pictures.landscape(measured, workload, record),
            confusion(confusion_matrix(workload, *test, cell), cell, record),
            pictures.curve(record),
        ):
            assert in_the_way(figure, monkeypatch, 5) == []


def test_a_workload_that_does_not_classify_has_no_confusion_picture(tmp_path):
    x = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    workload = Quadratic(torch.tensor([1.0, -2.0, 0.5]))
    said = []
    sample = (x, x.sum(1))
    drawn = pictures.draw_run(workload, RECORD, sample, sample, tmp_path, said.append)
    assert list(drawn) == ["controls", "curve", "landscape"]
    assert said == []
    with pytest.raises(LeftOutError, match="Quadratic does not classify"):
        require_class_labels(workload, workload(x).detach(), x.sum(1), x)


def test_labels_that_are_not_the_classes_are_not_drawn_as_such(run, tmp_path):
    class Odd(MRRDigits):
        def metric(self):
            metric = super().metric()
            update = metric.update
            metric.update = lambda outputs, labels: update(outputs, labels % 2)
            return metric

    workload, record, train, (images, labels) = run
    odd = Odd(0)
    odd.network.load_state_dict(workload.network.state_dict())
    said = []
    drawn = pictures.draw_run(odd, record, train, (images, labels), tmp_path, said.append)
    assert list(drawn) == ["controls", "curve", "landscape"]
    assert said == ["no picture confusion: the labels are not the classes by which Odd is scored"]


def test_outputs_that_are_not_finite_belong_to_no_class(run):
    workload = MRRDigits(0)
    with torch.no_grad():
        workload.network.fc2.current[0, 0] = torch.nan
    cell = shifted_cell(workload.perturbation_grid("smoke"))
    with pytest.raises(NotFiniteError, match="of 64 of 64 images are not finite"):
        confusion_matrix(workload, *(part[:64] for part in run[3]), cell)


# --- confusion ---------------------------------------------------------------------------------


def test_confusion_has_the_accuracy_of_the_record(run):
    workload, record, _, (images, labels) = run
    cells = workload.perturbation_grid("smoke")
    assert len({cell["value"] for cell in record["cells"]}) > 5
    for i in (0, 7, 8, 12, len(cells) - 1):
        counts = confusion_matrix(workload, images, labels, cells[i])
        accuracy = float(counts.diagonal().sum() / counts.sum())
        assert accuracy == record["cells"][i]["value"], cells[i]
        assert counts.sum(1).tolist() == torch.bincount(labels, minlength=10).tolist()


def test_confusion_has_the_accuracy_of_the_harness_over_many_noise_blocks(run):
    workload = run[0]
    images, labels = DataModule(workload.data).test_tensors()
    assert len(images) == 360  # the last block of shot noise is not full
    cell = Cell("device", 0.5, "x", 0.5, FIRST_TEST_DEVICE, MRREnvironment())
    counts = confusion_matrix(workload, images, labels, cell)
    value = evaluate_grid(workload, images, labels, [cell])[0]
    assert int(counts.diagonal().sum()) / len(images) == value
    clean = workload(images).argmax(1)
    assert value != float((clean == labels).float().mean())


def test_rows_of_the_confusion_picture_are_shares_of_the_true_class(run):
    workload, record, _, test = run
    cell = shifted_cell(workload.perturbation_grid("smoke"))
    counts = confusion_matrix(workload, *test, cell)
    with style.styled():
        figure = confusion(counts, cell, record)
    ax = figure.axes[0]
    shares = torch.tensor(ax.images[0].get_array().tolist(), dtype=torch.float64)
    assert torch.allclose(shares.sum(1), torch.ones(10, dtype=torch.float64), atol=1e-6)
    assert torch.allclose(shares * counts.sum(1, keepdim=True), counts.double(), atol=1e-5)
    assert ax.images[0].get_clim() == (0.0, 1.0)
    assert len(ax.texts) == int((counts > 0).sum())
    accuracy = float(counts.diagonal().sum() / counts.sum())
    assert figure.texts[0].get_text().endswith(f"accuracy {accuracy:.4f}")
    remark = " ".join(text.get_text() for text in figure.texts[1:]).replace("\u00a0", " ")
    assert "temperature +0.1 °C" in remark
    assert "device 1000000 at severity 0.5" in remark


def test_the_shift_is_the_mildest_change_of_the_environment():
    cell = shifted_cell(MRRDigits().perturbation_grid("quick"))
    assert (cell.axis, cell.level, cell.severity, cell.device_seed) == (
        "temperature_fine",
        0.1,
        0.5,
        1_000_000,
    )
    assert cell.environment.temperature_degc == 22.1
    devices = device_axis((0.25, 0.5), [5, 6], MRREnvironment())
    assert shifted_cell(devices) == devices[0]
    with pytest.raises(UserError, match="empty"):
        shifted_cell([])


# --- landscape ---------------------------------------------------------------------------------


def test_landscape_picture_states_eigenvalues_units_and_images(run):
    workload, record, train, _ = run
    measured = measure_landscape(workload, *train, count=32, points=5)
    with style.styled():
        figure = pictures.landscape(measured, workload, record)
    first, second = (style.number_text(float(v)) for v in measured.eigenvalues)
    title = figure.texts[0].get_text()
    assert title == rf"Loss landscape: $λ_1$ = {first}, $λ_2$ = {second} /mA²"
    remark = " ".join(text.get_text() for text in figure.texts[1:]).replace("\u00a0", " ")
    assert "32 training images" in remark
    assert f"on {record['sharpness']['n_images']} of them" in remark
    ax = figure.axes[0]
    assert ax.get_xlabel() == "along $v_1$ (mA RMS per control)"
    assert ax.get_xlim() == pytest.approx((-0.005, 0.005))
    levels = [float(level) for level in ax.collections[0].levels]
    assert levels[0] <= float(measured.losses.min())
    assert levels[-1] >= float(measured.losses.max())


@pytest.mark.parametrize(
    ("low", "high", "log"),
    [(0.02, 0.07, False), (0.01, 0.9, True), (3e-3, 75.0, True), (0.0, 4.0, False), (1, 1, False)],
)
def test_loss_levels_are_round_and_span_the_losses(low, high, log):
    levels, norm = pictures._loss_levels(low, high)
    assert levels[0] <= low < high + 1e-12 <= levels[-1] + 1e-12
    assert 3 <= len(levels) <= 20
    assert levels == sorted(set(levels))
    assert (type(norm).__name__ == "LogNorm") == log


# --- controls ----------------------------------------------------------------------------------


def test_controls_show_every_ring_once_under_the_tuning_curve(run):
    workload, record, _, _ = run
    with style.styled():
        figure = pictures.controls(workload, record, bins=50)
    curve, *panels = figure.axes
    layers = workload.layers()
    assert [ax.get_ylabel().split("\n")[0] for ax in panels] == list(layers)
    line = curve.lines[0]
    calibration = layers["fc1"].calibration
    at = torch.tensor(line.get_xdata(), dtype=torch.float64)
    assert torch.allclose(torch.tensor(line.get_ydata()), calibration.weight(at))
    dip = float(at[torch.tensor(line.get_ydata()).argmin()])
    for ax in figure.axes:
        marked = [line for line in ax.lines if line.get_linestyle() == "--"]
        assert float(marked[0].get_xdata()[0]) == pytest.approx(dip, abs=0.005)
    assert f"dip at {dip:.2f} mA" in [text.get_text() for text in curve.texts]
    for ax, layer in zip(panels, layers.values(), strict=True):
        stairs = ax.patches[0].get_data()
        assert stairs.values.sum() == pytest.approx(1.0)
        assert (stairs.edges[0], stairs.edges[-1]) == (0.0, 5.0)
        current = layer.current.detach().double()
        expected = ((current >= stairs.edges[30]) & (current < stairs.edges[31])).double().mean()
        assert stairs.values[30] == pytest.approx(float(expected))
    assert panels[-1].get_xlabel() == "current (mA)"
    assert "4,488 controls" in figure.texts[1].get_text().replace("\u00a0", " ")


class Tower(PhysicalNetwork):
    """More layers than there is room for, without current limits."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            MRRLinear(4, 4, calibration=PUBLISHED_CALIBRATION) for _ in range(9)
        )

    def physical(self, h: Tensor) -> Tensor:
        for layer in self.layers:
            h = layer(h)
        return h


class DeepRings(SmallRings):
    def build_network(self) -> PhysicalNetwork:
        return Tower()


def test_many_layers_without_limits_share_one_histogram():
    workload = DeepRings()
    with style.styled():
        figure = pictures.controls(workload, RECORD)
    curve, panel = figure.axes
    assert panel.get_ylabel() == "all layers\n144"
    low, high = panel.get_xlim()
    currents = torch.cat([layer.current.detach().flatten() for layer in workload.network.layers])
    assert low < float(currents.min())
    assert high > float(currents.max())
    assert panel.patches[0].get_data().values.sum() == pytest.approx(1.0)
    assert math.isfinite(low + high)
    weights = torch.tensor(curve.lines[0].get_ydata())
    assert float(weights.min()) == pytest.approx(-1.0, abs=0.01)


# --- training curve ----------------------------------------------------------------------------


def test_curve_shows_the_loss_of_each_epoch():
    with style.styled():
        ax = pictures.curve(RECORD).axes[0]
    assert list(ax.lines[0].get_xdata()) == [1, 2, 3]
    assert list(ax.lines[0].get_ydata()) == [2.0, 0.7, 0.15]
    assert ax.get_yscale() == "log"


def test_curve_of_a_small_fall_starts_at_zero():
    record = {**RECORD, "curves": {"epoch": [0], "train_loss": [1.5]}}
    with style.styled():
        ax = pictures.curve(record).axes[0]
    assert ax.get_yscale() == "linear"
    assert ax.get_ylim()[0] == 0.0
    assert ax.lines[0].get_marker() == "o"
