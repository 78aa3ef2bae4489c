from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from pnnbench.cli import main
from pnnbench.errors import UserError
from pnnbench.platforms.base import Condition, Device, operate, physical_layers
from pnnbench.platforms.misalignment import MisalignmentEnvironment
from pnnbench.published import diffractive
from pnnbench.published.diffractive import SWEEPS, Images, Recognition, compare, reproduce
from pnnbench.published.diffractive_checkpoint import load_checkpoint
from pnnbench.published.printed import recorded

from .released import write
from .released_diffractive import random_model, shares

#: The published curve of the released network trained with backpropagation, in percent.
CURVE = {0.0: 98, 0.4: 98, 0.5: 91, 0.6: 50, 0.7: 26, 0.8: 22.5, 0.9: 13, 1.0: 6.5}
#: Recorded values of the two released files: all, every fifth image and the curve.
COMPARED = 3 + 16 + 11 + 16


@pytest.fixture(scope="module")
def released(reference_dir: Path) -> Path:
    return reference_dir / "checkpoints" / "d2nn"


@pytest.fixture(scope="module")
def mnist(mnist_root: Path) -> Images:
    return Images.mnist(mnist_root)


@pytest.fixture(scope="module")
def noise() -> Images:
    """Random images: enough to run the protocol, meaningless as a task."""
    g = torch.Generator().manual_seed(0)
    return Images(
        test=torch.rand(10, 1, 28, 28, generator=g),
        labels=torch.randint(10, (10,), generator=g),
        fingerprint="none",
    )


@pytest.fixture
def few_angles(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sweeps at few angles, the curve on images 4 and 5."""
    full, fifth, curve = SWEEPS
    few = (
        dataclasses.replace(full, angles=(0.0, 1.0)),
        dataclasses.replace(fifth, angles=(-2.0, 0.3)),
        dataclasses.replace(curve, angles=(0.2, 1.0), images=slice(4, 6)),
    )
    monkeypatch.setattr(diffractive, "SWEEPS", few)


@pytest.fixture
def noise_for_mnist(noise: Images, few_angles: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Images, "mnist", classmethod(lambda cls, root=None: noise))


def test_published_curve_of_the_released_network(released: Path, mnist: Images) -> None:
    network = load_checkpoint(released / "standard_bp.npz").network()
    chosen = torch.zeros(10_000, dtype=torch.bool)
    chosen[2400:2600] = True
    recognition = Recognition(network, mnist, dict.fromkeys(CURVE, chosen))
    recognition.run(slice(2000, 3000))
    found = {angle: 100 * int(c.sum()) / 200 for angle, c in recognition.correct.items()}
    assert found == CURVE


@pytest.mark.parametrize("name", ["standard_bp", "sat"])
def test_released_networks_compute_what_the_files_say(
    released: Path, mnist: Images, name: str
) -> None:
    path = released / f"{name}.npz"
    with np.load(path) as file:
        model = dict(file)
    network = load_checkpoint(path).network(torch.complex128)
    for degrees in (0.0, -0.8):
        expected = shares(model, mnist.test[:5], degrees)
        condition = Condition(Device.ideal(), MisalignmentEnvironment(rotation_deg=degrees))
        with torch.no_grad(), operate(network, [condition]):
            found = network(mnist.test[:5]) / network.gain
        torch.testing.assert_close(found.double(), expected, rtol=0, atol=2e-5)


@pytest.mark.slow
def test_all_recorded_values_of_the_released_networks(released: Path, mnist_root: Path) -> None:
    calls: list[tuple[int, int]] = []
    report = reproduce(released, data_root=mnist_root, progress=lambda *c: calls.append(c))
    assert [row for row in report.rows if row.within is False] == []
    assert report.compared == COMPARED
    assert len(report.rows) == 2 * (3 + 16 + 11)
    assert calls == [(i, 20) for i in range(1, 21)]
    values = {(row.checkpoint, row.quantity, row.level): row.value for row in report.rows}
    assert values["standard_bp", "full", 0] == pytest.approx(97.51, abs=0.05)
    assert values["standard_bp", "full", 0.5] == pytest.approx(92.62, abs=0.05)
    assert values["standard_bp", "full", 1] == pytest.approx(12.28, abs=0.05)
    assert values["sat", "sweep", 1.5] == pytest.approx(83.9, abs=0.06)


@pytest.mark.parametrize("degrees", [0.0, 0.3, 0.7, -2.0])
def test_network_computes_what_the_files_say(tmp_path: Path, noise: Images, degrees: float) -> None:
    model = random_model(0)
    model["distances_m"] = np.array([4.1e-3, 2.2e-3, 3.9e-3, 5.3e-3])
    expected = shares(model, noise.test[:3], degrees)
    checkpoint = load_checkpoint(write(tmp_path / "mine.npz", model))
    condition = Condition(Device.ideal(), MisalignmentEnvironment(rotation_deg=degrees))
    for dtype, tolerance in ((torch.complex128, 1e-6), (torch.complex64, 1e-4)):
        network = checkpoint.network(dtype)
        with torch.no_grad(), operate(network, [condition]):
            found = network(noise.test[:3]) / network.gain
        torch.testing.assert_close(found.double(), expected, rtol=0, atol=tolerance)
    moved = (shares(model, noise.test[:3], 0.0) - expected).abs().max()
    assert (moved > 0.01) == (abs(degrees) >= 0.45)


def test_sweeps_are_measured_as_they_say(
    tmp_path: Path, noise: Images, few_angles: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = random_model(1)
    right = {a: shares(model, noise.test, a).argmax(1) for a in (0.0, 1.0, -2.0)}
    # As labels, what the network says at 1 degree.
    images = Images(noise.test, right[1.0], "")
    assert (right[0.0] != right[1.0]).sum() > 3
    monkeypatch.setattr(diffractive, "BLOCK", 4)
    monkeypatch.setattr(diffractive, "CHUNK", 3)
    calls: list[tuple[int, int]] = []
    checkpoint = load_checkpoint(write(tmp_path / "mine.npz", model))
    report = compare([checkpoint], images, lambda *c: calls.append(c))
    assert calls == [(1, 3), (2, 3), (3, 3)]
    hits = {a: 100.0 * (r == right[1.0]) for a, r in right.items()}
    assert {(r.quantity, r.level): r.value for r in report.rows} == {
        ("full", 0.0): pytest.approx(float(hits[0.0].mean())),
        ("full", 1.0): 100.0,
        ("sweep", -2.0): pytest.approx(float(hits[-2.0][::5].mean())),
        ("sweep", 0.3): pytest.approx(float(hits[0.0][::5].mean())),
        ("curve", 0.2): pytest.approx(float(hits[0.0][4:6].mean())),
        ("curve", 1.0): 100.0,
    }
    assert report.compared == 0
    assert report.ok


def test_light_is_followed_once_where_masks_are_equal(
    tmp_path: Path, noise: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = load_checkpoint(write(tmp_path / "mine.npz", random_model(2))).network()
    passes: list[int] = []
    physical = network.physical
    monkeypatch.setattr(network, "physical", lambda h: (passes.append(len(h)), physical(h))[1])
    every = torch.ones(10, dtype=torch.bool)
    some = torch.arange(10) < 4
    chosen = {0.0: some, 0.2: every, 0.4: some, 0.5: some}
    recognition = Recognition(network, noise, chosen)
    recognition.run(slice(0, 1000))
    assert sorted(passes) == [4, 10]
    assert torch.equal(recognition.correct[0.2], recognition.correct[0.4])
    assert not recognition.correct[0.5][4:].any()
    assert physical_layers(network)["stack"].weight_override is None


def test_a_series_without_its_images_is_left_out(tmp_path: Path, noise: Images) -> None:
    checkpoint = load_checkpoint(write(tmp_path / "mine.npz", random_model(3)))
    few = Images(noise.test[:2], noise.labels[:2], "")
    assert {row.quantity for row in compare([checkpoint], few).rows} == {"full", "sweep"}


def test_recorded_values_belong_to_sweeps(tmp_path: Path) -> None:
    entries = recorded("diffractive")
    assert entries["source"]
    levels = {sweep.quantity: set(sweep.angles) for sweep in SWEEPS}
    assert set(entries["units"]) == set(levels)
    for entry in entries["checkpoints"].values():
        for quantity, pairs in entry.items():
            assert {at for at, _ in pairs} == levels[quantity]
    curve = dict(entries["checkpoints"]["standard_bp"]["curve"])
    assert {angle: curve[angle] for angle in CURVE} == CURVE
    assert load_checkpoint(write(tmp_path / "mine.npz", random_model(4))).recorded == {}


def test_another_network_under_a_recorded_name_is_found_out(
    tmp_path: Path, noise_for_mnist: None
) -> None:
    write(tmp_path / "sat.npz", random_model(5))
    write(tmp_path / "mine.npz", random_model(6))
    report = reproduce(tmp_path)
    assert {row.checkpoint for row in report.rows if row.recorded is not None} == {"sat"}
    assert not report.ok
    assert [row.checkpoint for row in report.rows] == ["mine"] * 6 + ["sat"] * 6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"phase_1": None}, "no phase_1"),
        ({"phase_0": np.ones((64, 64))}, r"phase_0 has shape \(64, 64\)"),
        ({"phase_0": np.full((128, 128), np.inf)}, "phase_0 holds values that are not finite"),
        ({"distances_m": np.array([4.0, -2.0, 4.0, 5.0])}, "distances_m are 4, -2, 4, 5"),
        ({"distances_m": np.array([4.0, 2.0, 40.0, 5.0])}, "distances_m are 4, 2, 40, 5"),
        ({"phase_2": np.ones((128, 128))}, "unknown phase_2"),
    ],
)
def test_wrong_files_are_user_errors_before_anything_is_measured(
    tmp_path: Path,
    noise_for_mnist: None,
    change: dict[str, np.ndarray | None],
    message: str,
) -> None:
    write(tmp_path / "a.npz", random_model(7))
    model = {k: v for k, v in (random_model(8) | change).items() if v is not None}
    write(tmp_path / "b.npz", model)
    with pytest.raises(UserError, match=message) as raised:
        reproduce(tmp_path, progress=lambda *_: pytest.fail("measured before the check"))
    assert "b.npz" in raised.value.what


def test_what_is_not_there_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no npz file in"):
        reproduce(tmp_path)
    with pytest.raises(UserError, match="no folder"):
        reproduce(tmp_path / "nowhere")
    write(tmp_path / "mine.npz", random_model(9))
    with pytest.raises(UserError, match=r"(?i)mnist"):
        reproduce(tmp_path, data_root=tmp_path)


def test_command_prints_json(
    tmp_path: Path, noise_for_mnist: None, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "mine.npz", random_model(10))
    arguments = ["reproduce", "diffractive", "--checkpoints", str(tmp_path), "--format", "json"]
    assert main(arguments) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["platform"] == "diffractive"
    assert printed["ok"] is True
    assert {row["quantity"] for row in printed["rows"]} == {"full", "sweep", "curve"}

    (tmp_path / "mine.npz").rename(tmp_path / "standard_bp.npz")
    assert main(arguments) == 1
    assert json.loads(capsys.readouterr().out)["ok"] is False

    (tmp_path / "standard_bp.npz").write_bytes(b"")
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "standard_bp.npz is not a readable npz" in captured.err
