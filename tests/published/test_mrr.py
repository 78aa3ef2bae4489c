from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from pnnbench.errors import UserError
from pnnbench.platforms.base import Condition, operate
from pnnbench.published.measure import batch_statistics
from pnnbench.published.mrr import (
    SWEEP_DEGC,
    SWEEP_IMAGES,
    Images,
    accuracy,
    compare,
    drift_device,
    drift_sweep,
    published_lambda,
    reproduce,
)
from pnnbench.published.mrr_checkpoint import load_checkpoint

from .released import as_currents, logits, random_model, write

RELEASED = (
    "01-Standard_BP",
    "02-Standard_NJ",
    "04-SAT",
    "04-SAT_Lorentz",
    "SAT_Lorentz-rho-1E-1",
    "SAT_Lorentz-rho-1E-32",
)
RECORDED_DRIFT = {
    "01-Standard_BP": "100 91 82 74 68 66 66 62 62 61 60 59 56 51 43 33 21 14 11 9 2",
    "02-Standard_NJ": "98 98 97 88 88 87 88 83 77 77 75 72 71 61 59 53 50 47 45 33 31",
    "04-SAT": "99 99 99 99 99 99 99 99 99 98 98 98 98 98 97 95 94 91 90 89 88",
    "04-SAT_Lorentz": "99 99 99 99 99 99 99 99 99 98 98 98 98 98 97 95 94 91 90 89 88",
}


@pytest.fixture(scope="module")
def released(reference_dir: Path) -> Path:
    return reference_dir / "checkpoints" / "mrr"


@pytest.fixture(scope="module")
def mnist(mnist_root: Path) -> Images:
    return Images.mnist(mnist_root)


@pytest.fixture(scope="module")
def noise() -> Images:
    """Random images: enough to run the protocol, meaningless as a task."""
    g = torch.Generator().manual_seed(0)
    return Images(
        test=torch.rand(1500, 1, 28, 28, generator=g),
        test_labels=torch.randint(10, (1500,), generator=g),
        train=torch.rand(20, 1, 28, 28, generator=g),
        train_labels=torch.randint(10, (20,), generator=g),
        fingerprint="none",
    )


@pytest.mark.parametrize("name", RECORDED_DRIFT)
def test_published_drift_sweep_to_the_digit(released: Path, mnist: Images, name: str) -> None:
    workload = load_checkpoint(released / f"{name}.npz").workload()
    with batch_statistics(workload):
        found = drift_sweep(
            workload, mnist.test[SWEEP_IMAGES], mnist.test_labels[SWEEP_IMAGES], SWEEP_DEGC
        )
    assert found == [float(v) for v in RECORDED_DRIFT[name].split()]


def test_signed_currents_do_not_give_the_published_sweep(released: Path, mnist: Images) -> None:
    workload = load_checkpoint(released / "04-SAT_Lorentz.npz").workload(signed=True)
    x, y = mnist.test[SWEEP_IMAGES], mnist.test_labels[SWEEP_IMAGES]
    with batch_statistics(workload):
        found = drift_sweep(workload, x, y, SWEEP_DEGC)
    assert found[0] == 99.0
    assert found[-1] < 70.0  # 88 on the positive branch


def test_published_eigenvalue_on_its_mismatched_network(released: Path, mnist: Images) -> None:
    checkpoint = load_checkpoint(released / "SAT_Lorentz-rho-1E-1.npz")
    variant = dataclasses.replace(checkpoint, lambda_variant=True).workload()
    x = (mnist.test[SWEEP_IMAGES] - 0.1307) / 0.3081
    value, converged = published_lambda(variant, x, mnist.test_labels[SWEEP_IMAGES])
    assert converged
    assert value == pytest.approx(64.21, rel=0.02)


@pytest.mark.slow
def test_all_recorded_values_of_the_released_models(released: Path, mnist_root: Path) -> None:
    calls: list[tuple[int, int]] = []
    report = reproduce(released, data_root=mnist_root, progress=lambda *c: calls.append(c))
    off = [row for row in report.rows if row.within is False]
    assert off == []
    assert report.ok
    checked = {(row.checkpoint, row.quantity) for row in report.rows if row.within}
    for name in RELEASED:
        assert {(name, q) for q in ("clean_frozen", "clean_batch", "lambda_1")} <= checked
        assert ((name, "drift") in checked) is (name in RECORDED_DRIFT)
    assert sum(row.quantity == "drift" and row.within is True for row in report.rows) == 4 * 21
    total = calls[-1][1]
    assert calls == [(i, total) for i in range(1, total + 1)]


@pytest.mark.parametrize("kind", ["weights", "currents"])
@pytest.mark.parametrize("batch", [False, True])
def test_drift_shifts_fc2_and_fc3_toward_the_dip(
    tmp_path: Path, noise: Images, kind: str, batch: bool
) -> None:
    weights = random_model(0)
    model = as_currents(weights, 1) if kind == "currents" else weights
    name = "a_Lorentz.npz" if kind == "currents" else "a.npz"
    workload = load_checkpoint(write(tmp_path / name, model)).workload(signed=True).double()
    currents = {n: layer.current.detach() for n, layer in workload.layers().items()}
    tensors = {n: torch.from_numpy(np.array(v)) for n, v in weights.items()}
    x = noise.test[:30].double()
    for change, offset in ((-1.3, -0.104), (1.3, -0.104), (0.0, 0.0)):
        expected = logits(currents, tensors, x, offset=offset, batch_statistics=batch)
        device = drift_device(workload.network, change)
        with torch.no_grad(), operate(workload.network, [Condition(device)]):
            if batch:
                with batch_statistics(workload):
                    found = workload(x)
            else:
                found = workload(x)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_accuracy_counts_all_images() -> None:
    network = torch.nn.Flatten()
    images = torch.zeros(250, 10)
    images[:, 3] = 1.0
    labels = torch.full((250,), 3)
    labels[:7] = 4
    assert accuracy(network, images, labels) == 100 * 243 / 250


def test_files_without_a_record_are_measured_all_the_same(tmp_path: Path, noise: Images) -> None:
    weights = random_model(8)
    write(tmp_path / "mine.npz", weights)
    write(tmp_path / "mine_Lorentz.npz", as_currents(weights, 9))
    models = [load_checkpoint(p) for p in sorted(tmp_path.iterdir())]
    report = compare(models, noise)
    assert report.compared == 0
    assert report.ok
    assert report.notes == ()
    values: dict[str, dict[str, list[float]]] = {}
    for row in report.rows:
        values.setdefault(row.checkpoint, {}).setdefault(row.quantity, []).append(row.value)
    mine, other = values["mine"], values["mine_Lorentz"]
    assert {q: len(v) for q, v in mine.items()} == {
        "drift": 21,
        "clean_frozen": 1,
        "clean_batch": 1,
        "drift_10k_frozen": 6,
        "drift_10k_batch": 6,
        "lambda_1": 1,
    }
    signed = other.pop("drift_signed")
    # The same model as weights and as signed currents, up to rounding of the stored numbers.
    assert other["lambda_1"][0] == pytest.approx(mine["lambda_1"][0], rel=1e-3)
    assert other["lambda_1"][0] > 0
    for quantity in ("drift", "clean_frozen", "clean_batch", "drift_10k_frozen"):
        np.testing.assert_allclose(other[quantity], mine[quantity], atol=1.01)
    assert signed[0] == pytest.approx(other["drift"][0], abs=1.01)
    assert signed != other["drift"]


def test_another_model_under_a_recorded_name_is_found_out(tmp_path: Path, noise: Images) -> None:
    model = random_model(12)
    model["fc1.weight"][0, :3] = (1.5, -1.5, 1.0)
    path = write(tmp_path / "01-Standard_BP-lambda.npz", model)
    calls: list[tuple[int, int]] = []
    report = compare([load_checkpoint(path)], noise, progress=lambda *c: calls.append(c))
    assert not report.ok
    verdicts = {row.quantity: row.within for row in report.rows}
    assert verdicts["clean_frozen"] is False
    assert verdicts["lambda_1"] is False
    assert verdicts["published_lambda"] is False
    assert verdicts["drift"] is None
    assert calls == [(i, 5) for i in range(1, 6)]
    assert report.notes == (f"{path.stem}: 2 weights outside [-1, 1] were clamped",)
    assert all(np.isfinite(row.value) for row in report.rows)


def test_every_file_is_checked_before_anything_is_measured(tmp_path: Path) -> None:
    write(tmp_path / "a.npz", random_model(13))
    (tmp_path / "b.npz").write_bytes(b"")
    with pytest.raises(UserError, match=r"b\.npz is not a readable npz"):
        reproduce(tmp_path, progress=lambda *_: pytest.fail("measured before the check"))
