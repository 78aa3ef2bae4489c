"""Image tasks on microrings: their grids, what is learned, records, choice, every method."""

from __future__ import annotations

import copy
import math
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

import pnnbench
from pnnbench.data import DataModule
from pnnbench.errors import UserError
from pnnbench.evaluation.harness import measure_clean, measure_grid
from pnnbench.leaderboard.grid import guessing
from pnnbench.leaderboard.ranking import build
from pnnbench.platforms.mrr import MRREnvironment
from pnnbench.records.store import read_record
from pnnbench.registry import SUITES, method_class, registered
from pnnbench.running.job_specs import Job
from pnnbench.running.jobs import job_folder, run_suite
from pnnbench.running.rebuilding import data_of, load_trained
from pnnbench.running.selection import supported
from pnnbench.running.suites import Suite, load_suite
from pnnbench.running.training import fit
from pnnbench.running.trials import Trial, validation_cells
from pnnbench.running.tuning import finalists
from pnnbench.seeds import validation_devices
from pnnbench.submitting.remeasuring import remeasure
from pnnbench.workloads.base import Workload
from pnnbench.workloads.grid import OFFSET_CALIBRATED
from pnnbench.workloads.mrr_images import (
    STEPS_DEGC,
    MRRDigitsAutoencoder,
    MRRDigitsGAN,
    MRRDigitsResNet,
)

IMAGES: dict[str, type[Workload]] = {
    cls.name: cls for cls in (MRRDigitsResNet, MRRDigitsAutoencoder, MRRDigitsGAN)
}
#: Figures beside the metric.
ALSO = {
    "mrr-digits-autoencoder": {"psnr_db", "ssim"},
    "mrr-digits-gan": {"kid", "precision", "recall"},
}


def suite_of(folder: Path, **changes: Any) -> Suite:
    path = folder / "images.yaml"
    content = {
        "suite": "images",
        "protocol": "pnnbench-2",
        "tier": "smoke",
        "workloads": ["mrr-digits-autoencoder", "mrr-digits-gan"],
        "seeds": [1],
        "methods": ["bp"],
    }
    path.write_text(yaml.safe_dump({**content, **changes}))
    return load_suite(path)


@cache
def trained(name: str) -> pnnbench.TrainedNetwork:
    """A network after a hundred steps; a digital decoder needs larger ones than its usual."""
    method = pnnbench.method("bp", lr_digital=0.01)
    return pnnbench.train(name, method, tier="smoke", epochs=12)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Suite, Path]:
    """One job of each workload with figures beside its metric; read it, never change it."""
    folder = tmp_path_factory.mktemp("images")
    suite = suite_of(folder)
    run_suite(suite, folder, say=lambda line: None)
    return suite, folder


def record_of(done: tuple[Suite, Path], name: str) -> tuple[Path, dict[str, Any]]:
    suite, folder = done
    (job,) = [job for job in suite.jobs if job.workload == name]
    found = job_folder(folder, job)
    return found, read_record(found / "record.json")


@pytest.mark.parametrize("name", IMAGES)
def test_the_grid_is_the_published_sweep_and_the_devices(name: str) -> None:
    workload = IMAGES[name](0)
    cells = workload.perturbation_grid("smoke")
    warm = [c for c in cells if c.axis == "temperature_fine"]
    assert sorted({c.level for c in warm}) == list(STEPS_DEGC)
    assert (len(STEPS_DEGC), min(STEPS_DEGC), max(STEPS_DEGC)) == (11, -0.25, 0.25)
    nominal = MRREnvironment().temperature_degc
    assert all(
        c.environment.as_dict()["temperature_degc"] == pytest.approx(nominal + c.level)
        for c in warm
    )
    for headline in ("frozen", OFFSET_CALIBRATED):
        counted = {(c.axis, c.level) for c in cells if c.counts_when(headline)}
        assert {axis for axis, _ in counted} == {"device", "temperature_fine"}
        assert ("temperature_fine", 0.0) not in counted
    assert len({c.device_seed for c in cells}) == IMAGES[name].tiers["smoke"].n_devices


@pytest.mark.parametrize("name", IMAGES)
def test_a_short_training_is_better_than_guessing(name: str) -> None:
    workload, data = trained(name).workload, trained(name).data
    found = measure_clean(workload, *data.test_tensors())
    level = workload.chance
    assert found.value is not None
    assert level is not None
    if workload.higher_is_better:
        assert found.value > 3.0 * level
    else:
        assert found.value < 0.8 * level


@pytest.mark.parametrize("name", ALSO)
def test_records_are_read_and_measured_again(done: tuple[Suite, Path], name: str) -> None:
    folder, record = record_of(done, name)
    assert record["status"] == "ok"
    assert "data" not in record["job"]  # the set is the workload's own
    workload, data = load_trained(folder, record), data_of(record)
    again = remeasure(record, workload, data, lambda line: None)
    assert again["difference"] == 0.0
    also = {key.split("-")[0] for key in record.get("also", {})}
    assert also == ALSO[name]
    (step,) = record["deployments"]
    assert (step["name"], len(step["values"])) == (OFFSET_CALIBRATED, len(record["cells"]))
    assert step["values"] != [cell["value"] for cell in record["cells"]]
    assert step["queries"] % step["images"] == 0
    (found,) = again["deployments"]
    assert found == step
    claimed = copy.deepcopy(record)
    claimed["deployments"][0]["values"][0] += 0.5 * record["clean"]
    assert not remeasure(claimed, workload, data, lambda line: None)["within"]
    del claimed["deployments"]
    assert remeasure(claimed, workload, data, lambda line: None)["difference"] == math.inf
    assert {key.split("-")[0] for key in step["also"][0]} == ALSO[name]
    assert len(record["curves"]["validation_metric"]) == 1
    assert record["curves"]["validation_metric"][0] is not None
    assert record["training_device"]["value"] > 0.0
    kinds = {gap["part"]: gap["type"] for gap in record.get("gaps", [])}
    assert set(kinds.values()) <= {"left-out"}
    if name == "mrr-digits-gan":
        assert {"sharpness.lambda_max_calibrated", "sharpness.at_guessing"} <= set(kinds)
    assert record["sharpness"]["lambda_max"] > 0.0
    assert record["sharpness"]["ball_increase"] >= 0.0
    require_guessing_of_failed_seeds(record)


def test_devices_take_their_statistics_again_from_latent_vectors() -> None:
    """Each device from what it makes of them, and the network stays as it was."""
    workload, data = trained("mrr-digits-gan").workload, trained("mrr-digits-gan").data
    before = {n: v.clone() for n, v in workload.tensors().items()}
    cells = [c for c in workload.cells("smoke") if c.axis == "device"]
    images, targets = data.test_tensors()
    known = data.train_tensors()[0][: workload.offset_calibration_images]
    assert known.shape == (256, 16)
    frozen = measure_grid(workload, images, targets, cells)
    calibrated = measure_grid(workload, images, targets, cells, calibration=known)
    again = measure_grid(workload, images, targets, cells, calibration=known, cells_per_batch=1)
    for a, b, c in zip(frozen, calibrated, again, strict=True):
        assert a.value is not None
        assert b.value is not None
        assert a.value != b.value == pytest.approx(c.value, rel=1e-3)
        assert b.queries % len(known) == 0 < b.queries
    assert all((v == workload.tensors()[n]).all() for n, v in before.items())


def require_guessing_of_failed_seeds(record: dict[str, Any]) -> None:
    """Requires that a seed that failed makes a row worse, as far as guessing is."""
    level = record["metric"]["chance"]
    assert guessing(record["metric"]) == level
    worst = max(cell["value"] for cell in record["cells"])
    assert guessing(record["metric"], [worst]) == max(level, worst)
    failed = copy.deepcopy(record)
    failed["job"] |= {"seed": 2, "hash": "0" * 16}
    for key in ("cells", "clean", "also", "deployments", "headline", "metric", "sharpness"):
        failed.pop(key, None)
    failed |= {"status": "diverged", "error": {"type": "DivergedError", "message": "nan"}}
    for alone, both in zip(build([record]), build([record, failed]), strict=True):
        assert both.rows[0].robust.mean > alone.rows[0].robust.mean  # less is better


@pytest.mark.parametrize("better", [True, False])
def test_a_search_takes_the_lower_error_and_the_higher_accuracy(better: bool) -> None:
    values = [0.5, 0.1, 0.9]
    row = {
        "definition": {"rule": "robust score"},
        "trials": [
            {"point": i, "round": "first", "status": "ok", "value": v} for i, v in enumerate(values)
        ],
    }
    assert finalists(row, 1, higher_is_better=better) == ([2] if better else [1])


def test_trials_meet_validation_devices_and_images_of_latent_vectors(tmp_path: Path) -> None:
    suite = suite_of(tmp_path, workloads=["mrr-digits-gan"])
    workload = suite.jobs[0].make_workload()
    cells = validation_cells(workload, "smoke", validation_devices(2))
    assert {c.device_seed for c in cells} == set(validation_devices(2))
    assert isinstance(suite.jobs[0], Job)
    assert not isinstance(suite.jobs[0], Trial)


#: Hyper-parameters with which methods that measure many settings take seconds.
FEW: dict[str, dict[str, Any]] = {
    "evolution": {"population": 2, "parents": 1},
    "coordinate-search": {"coordinates": 1},
    "spsa": {"directions": 1},
    "lbfgs": {"iterations": 1},
}
#: Methods that cannot train these workloads, in one sentence before work starts.
REFUSED = {"dat", "dat-internal"}


@pytest.mark.parametrize(
    ("method", "name"),
    [
        pytest.param(method, name, marks=[] if name == MRRDigitsGAN.name else pytest.mark.slow)
        for method in registered("methods")
        for name in IMAGES
    ],
)
def test_every_method_trains_or_is_refused_before_work_starts(method: str, name: str) -> None:
    cls = IMAGES[name]
    workload, trainer = cls(0), method_class(method)(**FEW.get(method, {}))
    if method in REFUSED:
        with pytest.raises(UserError, match="cannot train"):
            trainer.check(workload)
        return
    trainer.check(workload)
    before = {n: p.detach().clone() for n, p in workload.controls().items()}
    data = DataModule(cls.data, batch_size=8, limit_train=16)
    fit(workload, trainer, data, epochs=1)
    moved = [n for n, p in workload.controls().items() if not (p == before[n]).all()]
    # One coordinate in each batch need not lower the loss.
    assert moved or method == "coordinate-search"
    assert all(bool(p.isfinite().all()) for p in workload.network.parameters())
    if isinstance(workload, MRRDigitsGAN):
        assert workload._steps == 2


def test_a_suite_says_whom_it_leaves_out(tmp_path: Path) -> None:
    suite, lines = supported(suite_of(tmp_path, methods=["bp", "dat"]))
    assert {job.method.name for job in suite.jobs} == {"bp"}
    assert lines == [f"skipped: dat cannot train {name}" for name in ALSO]


@pytest.mark.parametrize(
    ("name", "workload"),
    [
        ("digits_classify", "mrr-digits-resnet"),
        ("digits_reconstruct", "mrr-digits-autoencoder"),
        ("digits_generate", "mrr-digits-gan"),
    ],
)
def test_the_quick_suites_have_the_rows_and_seeds_of_the_quickstart(
    name: str, workload: str
) -> None:
    suite, quickstart = (load_suite(SUITES / f"{n}.yaml") for n in (name, "quickstart"))
    assert {(job.workload, job.tier) for job in suite.jobs} == {(workload, "quick")}
    rows = [(job.method.label, job.method.name, job.seed, job.epochs) for job in suite.jobs]
    epochs = IMAGES[workload].tiers["quick"].epochs
    assert rows == [
        (job.method.label, job.method.name, job.seed, round(epochs * job.method.epochs_factor))
        for job in quickstart.jobs
    ]
    digital = {job.method.params["lr_digital"] for job in suite.jobs}
    assert len(digital) == 1  # the same for all
