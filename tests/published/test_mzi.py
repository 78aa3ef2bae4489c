from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from pnnbench.cli import main
from pnnbench.errors import UserError
from pnnbench.platforms.base import Device
from pnnbench.published import mzi
from pnnbench.published.measure import batch_statistics
from pnnbench.published.mzi import (
    LAMBDA_IMAGES,
    Images,
    accuracy,
    compare,
    features,
    lambda_all,
    lambda_phases,
    reproduce,
)
from pnnbench.published.mzi_checkpoint import load_checkpoint, load_error_device
from pnnbench.workloads.mzi import PORTS

from .released import write
from .released_mzi import outputs, random_errors, random_model

#: Accuracies on the error device with batch statistics and with frozen batch norm, in percent.
ON_ERROR_DEVICE = {
    "bp": (68.64, 68.98),
    "pat": (70.17, 69.43),
    "dat": (94.64, 94.66),
    "sat_in_silico": (92.31, 92.10),
}
#: Printed largest eigenvalues.
PRINTED_LAMBDA = {"bp": 93.5, "pat": 114.7, "dat": 252.4, "sat_in_silico": 0.3}
#: Largest eigenvalues over the optical phases.
PHASE_LAMBDA = {"bp": 0.692, "pat": 0.545, "dat": 1.625, "sat_in_silico": 0.123}
WITHOUT_DEVICE = {"clean_frozen", "clean_batch", "lambda_all_64", "lambda_all_10", "lambda_phases"}
QUANTITIES = WITHOUT_DEVICE | {"error_frozen", "error_batch", "couplers_frozen", "phases_frozen"}


@pytest.fixture(scope="module")
def released(reference_dir: Path) -> Path:
    return reference_dir / "checkpoints" / "mzi"


@pytest.fixture(scope="module")
def mnist(mnist_root: Path) -> Images:
    return Images.mnist(mnist_root)


@pytest.fixture(scope="module")
def noise() -> Images:
    """Random images: enough to run the protocol, meaningless as a task."""
    g = torch.Generator().manual_seed(0)
    return Images(
        test=torch.randn(40, 1, 28, 28, generator=g),
        labels=torch.randint(10, (40,), generator=g),
        fingerprint="none",
    )


@pytest.fixture
def noise_for_mnist(noise: Images, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Images, "mnist", classmethod(lambda cls, root=None: noise))


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in ("bp", "sat_in_silico") else [pytest.mark.slow])
        for name in ON_ERROR_DEVICE
    ],
)
def test_published_accuracy_on_the_error_device(released: Path, mnist: Images, name: str) -> None:
    workload = load_checkpoint(released / f"{name}.npz").workload()
    device = load_error_device(released / "error_device.npz")
    batch, frozen = ON_ERROR_DEVICE[name]
    h = features(workload, mnist.test)
    assert accuracy(workload, h, mnist.labels, device) == pytest.approx(frozen, abs=0.02)
    with batch_statistics(workload):
        h = features(workload, mnist.test)
    assert accuracy(workload, h, mnist.labels, device) == pytest.approx(batch, abs=0.02)


def test_printed_eigenvalue_of_a_released_file(released: Path, mnist: Images) -> None:
    checkpoint = load_checkpoint(released / "sat_in_silico.npz")
    sample = mnist.test[:LAMBDA_IMAGES], mnist.labels[:LAMBDA_IMAGES]
    printed, converged = lambda_all(checkpoint.workload(PORTS), *sample)
    assert converged
    assert printed == pytest.approx(0.299, rel=0.01)
    phases, converged = lambda_phases(checkpoint.workload(), *sample)
    assert converged
    assert phases == pytest.approx(PHASE_LAMBDA["sat_in_silico"], rel=0.01)


@pytest.mark.slow
def test_one_released_file_reproduces_all_its_values(released: Path, mnist_root: Path) -> None:
    report = reproduce(released / "sat_in_silico.npz", data_root=mnist_root)
    assert {row.quantity for row in report.rows} == QUANTITIES | {"published_lambda"}
    assert [row for row in report.rows if not row.within] == []
    values = {row.quantity: row.value for row in report.rows}
    assert values["published_lambda"] == values["lambda_all_64"] == pytest.approx(0.299, rel=0.01)
    assert values["lambda_phases"] == pytest.approx(0.123, rel=0.01)


@pytest.mark.slow
def test_all_recorded_values_of_the_released_models(released: Path, mnist_root: Path) -> None:
    calls: list[tuple[int, int]] = []
    report = reproduce(released, data_root=mnist_root, progress=lambda *c: calls.append(c))
    assert [row for row in report.rows if not row.within] == []
    assert report.compared == len(ON_ERROR_DEVICE) * 10
    assert report.notes == (
        "dat_sepn.npz: error-prediction networks are not deployed; not measured",
    )
    assert calls == [(i, 16) for i in range(1, 17)]
    values = {(row.checkpoint, row.quantity): row.value for row in report.rows}
    for name in ON_ERROR_DEVICE:
        batch, frozen = ON_ERROR_DEVICE[name]
        assert values[name, "error_batch"] == pytest.approx(batch, abs=0.02)
        assert values[name, "error_frozen"] == pytest.approx(frozen, abs=0.02)
        assert values[name, "lambda_all_64"] == pytest.approx(PRINTED_LAMBDA[name], rel=0.01)
        assert values[name, "lambda_phases"] == pytest.approx(PHASE_LAMBDA[name], rel=0.01)


@pytest.mark.slow
def test_files_without_a_record_are_measured_all_the_same(tmp_path: Path, noise: Images) -> None:
    model, errors = random_model(0), random_errors(1)
    checkpoint = load_checkpoint(write(tmp_path / "mine.npz", model))
    device = load_error_device(write(tmp_path / "device.npz", errors))

    def classes(part: dict[str, np.ndarray], batch: bool = False) -> torch.Tensor:
        return outputs(model, noise.test, part, batch_statistics=batch)[:, :10].argmax(1)

    def kept(*names: str) -> dict[str, np.ndarray]:
        return {name: errors[name] for name in names}

    cases = {
        "clean_frozen": classes({}),
        "clean_batch": classes({}, batch=True),
        "error_frozen": classes(errors),
        "error_batch": classes(errors, batch=True),
        "couplers_frozen": classes(kept("e_l", "e_r")),
        "phases_frozen": classes(kept("d_theta", "d_phi")),
    }
    for quantity, labels in cases.items():
        others = [theirs for name, theirs in cases.items() if name != quantity]
        assert all((theirs != labels).sum() > 2 for theirs in others)
        # Right in its own case, up to one image in rounding, and not in the others.
        report = compare([checkpoint], Images(noise.test, labels, ""), device)
        assert {row.quantity for row in report.rows} == QUANTITIES
        assert report.compared == 0
        assert report.ok
        assert report.notes == ()
        found = {row.quantity: row.value for row in report.rows}
        for other, theirs in cases.items():
            share = 100 * float((theirs == labels).float().mean())
            assert found[other] == pytest.approx(share, abs=2.6), (quantity, other)
        assert found["lambda_all_10"] >= found["lambda_phases"] > 0
        # More ports, another loss.
        assert found["lambda_all_64"] != pytest.approx(found["lambda_all_10"], rel=0.01)
        assert found["lambda_all_64"] > 0


def test_without_an_error_device_the_rest_is_measured(
    tmp_path: Path, noise_for_mnist: None
) -> None:
    write(tmp_path / "bp.npz", random_model(2))
    report = reproduce(tmp_path)
    assert {row.quantity for row in report.rows} == WITHOUT_DEVICE | {"published_lambda"}
    assert report.notes == (
        "no error_device.npz there: measured are clean accuracies and lambda only",
    )


def test_another_model_under_a_recorded_name_is_found_out(
    tmp_path: Path, noise_for_mnist: None
) -> None:
    write(tmp_path / "sat_in_situ.npz", random_model(3))
    write(tmp_path / "error_device.npz", random_errors(4))
    calls: list[tuple[int, int]] = []
    report = reproduce(tmp_path, progress=lambda *c: calls.append(c))
    verdicts = {row.quantity: row.within for row in report.rows}
    assert set(verdicts) == QUANTITIES | {"published_lambda"}
    assert set(verdicts.values()) == {False}
    assert not report.ok
    assert all(np.isfinite(row.value) for row in report.rows)
    assert calls == [(i, 4) for i in range(1, 5)]


def test_features_are_taken_in_the_published_batches(
    tmp_path: Path, noise: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (mzi.BATCH, mzi.LAMBDA_IMAGES) == (6000, 1000)
    workload = load_checkpoint(write(tmp_path / "a.npz", random_model(5))).workload()
    monkeypatch.setattr(mzi, "BATCH", 30)
    with batch_statistics(workload), torch.no_grad():
        expected = torch.cat([workload.prefix(noise.test[:30]), workload.prefix(noise.test[30:])])
        together = workload.prefix(noise.test)
        found = features(workload, noise.test)
    torch.testing.assert_close(found, expected)
    assert (found - together).abs().max() > 0.01


def test_accuracy_counts_all_images(tmp_path: Path, noise: Images) -> None:
    workload = load_checkpoint(write(tmp_path / "a.npz", random_model(6))).workload()
    h = features(workload, noise.test)
    with torch.no_grad():
        labels = workload.physical(h).argmax(1)
    labels[:7] = (labels[:7] + 1) % 10
    assert accuracy(workload, h, labels, Device.ideal()) == 100 * 33 / 40


def test_every_file_is_checked_before_anything_is_measured(
    tmp_path: Path, noise_for_mnist: None
) -> None:
    def check(message: str) -> None:
        with pytest.raises(UserError, match=message):
            reproduce(tmp_path, progress=lambda *_: pytest.fail("measured before the check"))

    write(tmp_path / "a.npz", random_model(7))
    (tmp_path / "b.npz").write_bytes(b"")
    check(r"b\.npz is not a readable npz")
    (tmp_path / "b.npz").unlink()
    write(tmp_path / "error_device.npz", {"e_l": np.zeros((64, 32))})
    check(r"error_device\.npz: no d_phi, d_theta, e_r")


def test_a_folder_without_a_model_is_a_user_error(tmp_path: Path) -> None:
    device = write(tmp_path / "error_device.npz", random_errors(8))
    networks = write(tmp_path / "mine_sepn.npz", {"cn1": np.ones(3)})
    for place in (tmp_path, device, networks):
        with pytest.raises(UserError, match="no model in"):
            reproduce(place)


@pytest.mark.slow
def test_command_prints_json(
    tmp_path: Path, noise_for_mnist: None, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "mine.npz", random_model(9))
    write(tmp_path / "mine_sepn.npz", {"cn1": np.ones(3)})
    write(tmp_path / "error_device.npz", random_errors(10))
    arguments = ["reproduce", "mzi", "--checkpoints", str(tmp_path), "--format", "json"]
    assert main(arguments) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["platform"] == "mzi"
    assert printed["ok"] is True
    assert printed["notes"] == [
        "mine_sepn.npz: error-prediction networks are not deployed; not measured"
    ]
    assert {row["quantity"] for row in printed["rows"]} == QUANTITIES
    assert {row["checkpoint"] for row in printed["rows"]} == {"mine"}

    (tmp_path / "mine.npz").rename(tmp_path / "bp.npz")
    assert main(arguments) == 1
    assert json.loads(capsys.readouterr().out)["ok"] is False

    write(tmp_path / "bp.npz", {"mesh.gamma": np.ones(64)})
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "bp.npz: no conv1.bias" in captured.err
