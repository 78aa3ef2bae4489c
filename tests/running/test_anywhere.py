"""Training and measuring away from the CPU: on a device that is not there, and on a GPU.

The first refuses mixed devices and computes the CPU's own bits; the second runs where there is one.
"""

from __future__ import annotations

import dataclasses
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pnnbench.accelerator import choose
from pnnbench.data import DataModule
from pnnbench.evaluation.harness import job_cells, measure_clean, measure_grid
from pnnbench.evaluation.readings import Reading
from pnnbench.evaluation.sharpness import measure_sharpness
from pnnbench.metrics.extractors import extractor
from pnnbench.registry import method_class, registered, workload_class
from pnnbench.running import jobs
from pnnbench.running.jobs import run_suite
from pnnbench.running.rebuilding import data_of, load_trained
from pnnbench.running.suites import load_suite
from pnnbench.running.training import deployed, fit, seed_generators
from pnnbench.submitting.remeasuring import remeasure
from pnnbench.workloads import pooling_op
from pnnbench.workloads.base import Workload
from tests.pretended import DEVICE, pretended

WORKLOADS = [
    "mrr-digits",
    "mrr-digits-resnet",
    "mrr-digits-autoencoder",
    "mrr-digits-gan",
    "mzi-digits",
    "freespace-digits",
    "diffractive-digits",
]
FEW: dict[str, dict[str, Any]] = {
    "evolution": {"population": 2, "parents": 1},
    "coordinate-search": {"coordinates": 2},
    "spsa": {"directions": 1},
    "lbfgs": {"iterations": 2},
    "dat": {"count": 1},
    "dat-internal": {"count": 1},
}
#: On these each platform's own code meets a way of training of each kind.
OFTEN = {
    "mrr-digits": ("bp-weights", "evolution", "pruning", "sat-environment"),
    "mrr-digits-resnet": ("sat",),
    "mrr-digits-autoencoder": ("nat",),
    "mrr-digits-gan": ("bp",),
    "mzi-digits": ("dat-internal", "nat-in-situ"),
    "freespace-digits": ("random-environment",),
    "diffractive-digits": ("pat",),
}
BUILT = {name: workload_class(name)(0) for name in WORKLOADS}
PAIRS = [
    pytest.param(
        workload,
        method,
        id=f"{workload} {method}",
        marks=[] if method in OFTEN[workload] else [pytest.mark.slow],
    )
    for workload in WORKLOADS
    for method in registered("methods")
    if method_class(method).supports(BUILT[workload])
]
#: On a GPU: every workload once, every method once.
ON_GPU = [
    *((workload, "bp") for workload in WORKLOADS),
    *(("mrr-digits", m) for m in registered("methods") if m not in ("bp", "dat", "dat-internal")),
    *(("mzi-digits", m) for m in ("dat", "dat-internal", "nat", "pat")),
    *(("freespace-digits", m) for m in ("sat-environment", "pat")),
]


def on_gpu() -> AbstractContextManager[torch.device]:
    """A context of the GPU; the test is skipped where there is none."""
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    return nullcontext(choose("cuda"))


@pytest.fixture(autouse=True)
def fresh_extractors() -> Any:
    yield
    extractor.cache_clear()  # an extractor stays where it was used last


@dataclasses.dataclass(frozen=True)
class Found:
    """What a short training and its measurement come to."""

    losses: list[float]
    tensors: dict[str, Tensor]
    outputs: Tensor
    readings: list[Reading]
    errors: list[dict[str, Any]]


def data(workload: Workload, train: int = 16, holdout: int = 8) -> DataModule:
    return DataModule(
        workload.data_set,
        batch_size=8,
        holdout=holdout,
        limit_train=train,
        limit_test=max(16, workload.least_images),
    )


def found(workload: str, method: str, place: torch.device) -> Found:
    """Trains, calibrates and measures a workload on a device."""
    cls = workload_class(workload)
    fresh, trainer = cls(0), method_class(method)(**FEW.get(method, {}))
    images = data(fresh)
    state = fit(fresh, trainer, images, epochs=1, device=place)
    assert next(fresh.parameters()).device.type == "cpu"
    trained = deployed(fresh, cls(0)).to(place)
    device = None if trainer.access == "in_silico" else trained.training_device(0)
    trained.calibrate(images.train_tensors()[0], device=device)
    test = images.test_tensors()
    cells = job_cells(trained, "smoke", test[0])
    chosen = [cells[0], cells[len(cells) // 2], cells[-1]]
    again = images.train_tensors()[0][:8] if trained.offset_calibration_images else None
    readings = [measure_clean(trained, *test), *measure_grid(trained, *test, chosen)]
    readings += measure_grid(trained, *test, chosen[:1], calibration=again)
    with torch.no_grad():
        outputs = trained(test[0]).cpu()
    drawn = trained.draw_device(0.5, 3).errors_in(trained.layers())
    return Found(
        state.losses,
        {name: value.cpu() for name, value in trained.tensors().items()},
        outputs,
        readings,
        [{n: e.cpu() for n, e in errors.items()} for errors in drawn.values()],
    )


def assert_same(here: Found, there: Found, *, rtol: float) -> None:
    """Holds two against each other.

    Where products are rounded in another way, a parameter without a slope, such as a bias before a
    batch norm, goes anywhere with Adam: then only what is made of all of them is compared.
    """
    torch.testing.assert_close(here.losses, there.losses, rtol=rtol, atol=0)
    torch.testing.assert_close(here.errors, there.errors, rtol=0, atol=0)  # draws are draws
    for mine, yours in zip(here.readings, there.readings, strict=True):
        for reading in (mine, yours):
            if reading.error is not None:
                raise reading.error
        if rtol == 0.0:
            assert (mine.value, mine.also) == (yours.value, yours.also)
    if rtol == 0.0:
        torch.testing.assert_close(here.outputs, there.outputs, rtol=0, atol=0)
        torch.testing.assert_close(here.tensors, there.tensors, rtol=0, atol=0)


@pytest.fixture(autouse=True)
def by_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Away from the CPU there is no pooled norm in C: here it is left out too."""
    monkeypatch.setattr(pooling_op, "missing", lambda: "as on a GPU")


@pytest.mark.parametrize(("workload", "method"), PAIRS)
def test_a_job_is_the_same_on_a_device_that_is_not_there(workload: str, method: str) -> None:
    here = found(workload, method, torch.device("cpu"))
    with pretended() as place:
        there = found(workload, method, place)
    # Away from the CPU there is no mesh in C, and no product of waves part by part.
    exact = not workload.startswith(("mzi", "diffractive"))
    assert_same(here, there, rtol=0.0 if exact else 1e-4)


def sharpness(workload: str, place: torch.device, check: bool = False) -> dict[str, Any]:
    """Sharpness of an untrained, calibrated workload on a device, and on one of its devices.

    `check` asks PyHessian too, which knows the CPU and CUDA alone, and needs more products.
    """
    fresh = workload_class(workload)(0).to(place)
    # The metric is taken of both samples.
    images = data(fresh, max(16, fresh.least_images), max(8, fresh.least_images))
    sample = images.train_tensors()
    fresh.calibrate(sample[0])
    figures = measure_sharpness(
        fresh,
        *sample,
        seed=0,
        held_out=images.validation_tensors(),
        check=check,
        devices=[fresh.draw_device(fresh.sharpness_point[0], seed) for seed in (3, 4)],
        ball_steps=1,
        max_products=100 if check else 12,
        chunk=5,
    )
    return {name: value for name, value in figures.items() if name != "point"}


@pytest.mark.slow
@pytest.mark.parametrize("workload", WORKLOADS)
def test_sharpness_is_the_same_on_a_device_that_is_not_there(workload: str) -> None:
    here = sharpness(workload, torch.device("cpu"))
    with pretended() as place:
        there = sharpness(workload, place)
    assert here.keys() == there.keys()
    for name, value in here.items():
        assert there[name] == pytest.approx(value, rel=1e-3, abs=1e-5), name


def resumed(workload: str, method: str, place: torch.device, folder: Path) -> list[Any]:
    """Losses and tensors of two epochs in two parts, and in one."""
    ends: list[Any] = []
    for parts in ((1, 2), (2,)):
        for epochs in parts:
            seed_generators(0)
            fresh = workload_class(workload)(0)
            # Nothing may depend on the end of the training, so that both parts are of one.
            whole = {"first_phase": 0.0} if method == "dat" else {}
            trainer = method_class(method)(**FEW.get(method, {}), **whole)
            where = folder / str(parts)
            images = data(fresh)
            trainer.schedule = "constant"
            state = fit(fresh, trainer, images, epochs=epochs, folder=where, device=place)
        ends.append((state.losses, fresh.tensors()))
    return ends


@pytest.mark.parametrize(
    ("workload", "method"), [("mrr-digits-gan", "bp"), ("mrr-digits", "bp-weights")]
)
def test_training_goes_on_where_it_was_on_a_device_that_is_not_there(
    workload: str, method: str, tmp_path: Path
) -> None:
    with pretended() as place:
        parts, whole = resumed(workload, method, place, tmp_path)
    torch.testing.assert_close(parts, whole, rtol=0, atol=0)


def test_a_device_that_is_not_there_refuses_tensors_of_the_cpu() -> None:
    with pretended() as place:
        there = torch.arange(3.0).to(place)
        assert there.device == DEVICE
        assert (there * 2.0).sum().item() == 6.0
        with pytest.raises(RuntimeError, match="one device"):
            there + torch.ones(3)
        with pytest.raises((RuntimeError, TypeError)):
            there.numpy()


SUITE = """
suite: anywhere
protocol: pnnbench-2
tier: smoke
workloads: [mrr-digits]
seeds: [0]
methods: [{method: bp, label: BP}]
"""


def suite_jobs(tmp_path: Path, precision: str = "") -> Any:
    path = tmp_path / "anywhere.yaml"
    path.write_text(SUITE + precision)
    return load_suite(path)


@pytest.mark.filterwarnings("ignore:for .* copying from a non-meta")
@pytest.mark.slow
def test_a_whole_job_runs_on_a_device_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite = suite_jobs(tmp_path)
    (here,) = run_suite(suite, tmp_path / "here", say=str)
    monkeypatch.setattr(jobs, "place_of", lambda job, accelerator: DEVICE)
    with pretended():
        (there,) = run_suite(suite, tmp_path / "there", say=str)
    assert there["status"] == "ok", there["error"]
    assert [gap["part"] for gap in there["gaps"]] == ["sharpness.lambda_max_pyhessian"]
    for name in ("clean", "cells", "curves", "deployments", "training_device", "earlier"):
        assert here.get(name) == there.get(name), name
    assert here["parameters"]["sha256"] == there["parameters"]["sha256"]


def test_a_record_is_confirmed_on_a_device_that_is_not_there(tmp_path: Path) -> None:
    (record,) = run_suite(suite_jobs(tmp_path), tmp_path / "here", say=str)
    run = tmp_path / "here" / "anywhere" / record["job"]["hash"]
    with pretended() as place:
        found = remeasure(record, load_trained(run, record).to(place), data_of(record), str)
    assert found["difference"] == 0.0


@pytest.mark.gpu
@pytest.mark.parametrize(("workload", "method"), ON_GPU)
def test_a_job_agrees_on_a_gpu(workload: str, method: str) -> None:
    with on_gpu() as place:
        there = found(workload, method, place)
        assert_same(found(workload, method, torch.device("cpu")), there, rtol=1e-2)


@pytest.mark.gpu
@pytest.mark.parametrize("workload", WORKLOADS)
def test_outputs_agree_on_a_gpu(workload: str) -> None:
    with on_gpu() as place:
        fresh = workload_class(workload)(0)
        images = data(fresh)
        fresh.calibrate(images.train_tensors()[0])
        inputs, _ = images.test_tensors()
        with torch.no_grad():
            here = fresh(inputs)
            there = fresh.to(place)(inputs).cpu()
        torch.testing.assert_close(here, there, rtol=1e-4, atol=1e-4)


@pytest.mark.gpu
@pytest.mark.parametrize("workload", ["mrr-digits-resnet", "mzi-digits"])
def test_sharpness_agrees_on_a_gpu(workload: str) -> None:
    with on_gpu() as place:
        here = sharpness(workload, torch.device("cpu"), check=True)
        there = sharpness(workload, place, check=True)
    assert here.keys() == there.keys()
    for name in (
        "train_loss",
        "gradient_norm",
        "lambda_max",
        "lambda_max_pyhessian",
        "ball_increase",
        "device_increase",
    ):
        assert there[name] == pytest.approx(here[name], rel=1e-2, abs=1e-5), name


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("workload", "method"), [("mrr-digits-gan", "bp"), ("mzi-digits", "dat"), ("mrr-digits", "sat")]
)
def test_training_goes_on_where_it_was_on_a_gpu(workload: str, method: str, tmp_path: Path) -> None:
    with on_gpu() as place:
        parts, whole = resumed(workload, method, place, tmp_path)
    torch.testing.assert_close(parts, whole, rtol=1e-5, atol=1e-6)


@pytest.mark.gpu
def test_a_record_of_one_device_is_confirmed_on_the_other(tmp_path: Path) -> None:
    with on_gpu() as place:
        suite = suite_jobs(tmp_path)
        (here,) = run_suite(suite, tmp_path / "here", say=str, accelerator="cpu")
        (there,) = run_suite(suite, tmp_path / "there", say=str, accelerator="cuda")
        assert here["job"] == there["job"]  # the device is no part of the hash
        assert "device" not in here["provenance"]["arithmetic"]
        assert there["provenance"]["arithmetic"]["device"] == "cuda"
        assert there["cost"]["peak_gpu_memory_bytes"] > 0
        for record, folder, other in ((here, "here", place), (there, "there", None)):
            run = tmp_path / folder / "anywhere" / record["job"]["hash"]
            workload = load_trained(run, record)
            if other is not None:
                workload = workload.to(other)
            assert remeasure(record, workload, data_of(record), str)["within"]


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
def test_mixed_precision_trains_on_a_gpu(precision: str, tmp_path: Path) -> None:
    with on_gpu():
        suite = suite_jobs(tmp_path, f"precision: {precision}\n")
        (record,) = run_suite(suite, tmp_path / "runs", say=str, accelerator="cuda")
    assert record["status"] == "ok", record["error"]
    assert record["job"]["precision"] == precision
    assert record["provenance"]["arithmetic"]["training_precision"] == precision
