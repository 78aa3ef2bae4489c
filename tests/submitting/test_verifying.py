"""What a record says counts for nothing: each forged figure is told by its field."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save

from pnnbench.evaluation.harness import job_cells
from pnnbench.evaluation.points import MINIMUM_GAIN, is_minimum
from pnnbench.leaderboard.ranking import build
from pnnbench.lookup import only
from pnnbench.records.store import read_record
from pnnbench.submitting.differences import SHARPNESS, _sharpness
from pnnbench.submitting.held_out import scores_by_device
from pnnbench.submitting.received import Received, Seed
from pnnbench.submitting.verifying import Computed, compare_with, compute

from ..command import command
from .packed import exchange, zipped


@pytest.fixture(scope="module")
def made(submission: Path) -> tuple[Seed, Computed]:
    """The second seed of the submission, computed."""
    with only("own"):
        received = Received(submission)
        return received.seeds[1], compute(received, received.seeds[1])


def one_image(record: dict[str, Any]) -> float:
    return 1.0 / float(record["data"]["n_test"])


def move(record: dict[str, Any], path: str, change: Callable[[Any], Any]) -> None:
    *parts, last = path.split(".")
    inner: Any = record
    for part in parts:
        inner = inner[int(part) if part.isdigit() else part]
    key: Any = int(last) if last.isdigit() else last
    inner[key] = change(inner[key])


#: Field that is forged -> how, and the field that tells.
FORGED: list[tuple[str, Callable[[Any], Any], str]] = [
    ("clean", lambda v: v + 1 / 64, "clean"),
    ("cells.3.value", lambda v: v + 1 / 64, "cells[3]"),
    ("cells.3.value", lambda v: None, "cells[3]"),
    ("cells.3.counts", lambda v: not v, "cells[3].counts"),
    ("cells.3.level", lambda v: v + 1.0, "cells"),
    ("cells.3.unit", lambda v: "mm", "cells"),
    ("cells.3.device_seed", lambda v: 1_000_007, "cells"),
    ("deployments.0.values.2", lambda v: v + 1 / 64, "deployments[0].values[2]"),
    ("deployments.0.images", lambda v: v + 1, "deployments[0].images"),
    ("deployments.0.name", lambda v: "better", "deployments"),
    ("headline", lambda v: "frozen", "headline"),
    ("data.n_test", lambda v: 1, "data.n_test"),
    ("data.fingerprint", lambda v: "sha256:00000000", "data.fingerprint"),
    ("metric.name", lambda v: "mse", "metric.name"),
    ("metric.higher_is_better", lambda v: False, "metric.higher_is_better"),
    ("metric.chance", lambda v: 0.0, "metric.chance"),
    ("training_device.value", lambda v: v + 1 / 64, "training_device.value"),
    ("training_device.severity", lambda v: v / 2, "training_device.severity"),
    ("sharpness.lambda_max", lambda v: 0.9 * v, "sharpness.lambda_max"),
    ("sharpness.n_controls", lambda v: v + 1, "sharpness.n_controls"),
    ("sharpness.point.severity", lambda v: 1.0, "sharpness.point.severity"),
    ("sharpness.train_loss", lambda v: 1.01 * v, "sharpness.train_loss"),
    ("sharpness.at_guessing", lambda v: 1 - v, "sharpness.at_guessing"),
    ("sharpness.is_minimum", lambda v: 1 - v, "sharpness.is_minimum"),
    ("sharpness.lambda_max_high", lambda v: 2 * v, "sharpness.lambda_max_high"),
    ("sharpness.device_increase", lambda v: 0.9 * v, "sharpness.device_increase"),
    ("sharpness.ball_increase", lambda v: 0.9 * v, "sharpness.ball_increase"),
    ("extra.control_power_mw", lambda v: 0.9 * v, "extra.control_power_mw"),
    ("config.n_controls", lambda v: v - 1, "config.n_controls"),
    ("config.tier.test_images", lambda v: 8, "config.tier.test_images"),
    ("config.grid.0.severity", lambda v: 0.0, "config.grid[0].severity"),
    ("job.hash", lambda v: "0" * 16, "job.hash"),
    ("job.content", lambda v: "0" * 64, "job.content"),
    ("job.revision", lambda v: 99, "job.revision"),
    ("job.seeds.test_devices", lambda v: v[:1], "job.seeds.test_devices length"),
    ("job.seeds.init", lambda v: v + 1, "job.seeds.init"),
    ("provenance.method.access", lambda v: "in_situ", "provenance.method.access"),
    ("provenance.method.knows", lambda v: ["one device"], "provenance.method.knows length"),
    # Values of deployments stand in the order of the cells.
    ("cells", lambda v: [*v[1:], v[0]], "cells[0], order"),
]


@pytest.mark.parametrize(
    ("path", "change", "field"),
    FORGED,
    ids=[f"{i} {path}" for i, (path, _, _) in enumerate(FORGED)],
)
def test_a_forged_field_is_told(
    path: str, change: Callable[[Any], Any], field: str, made: tuple[Seed, Computed]
) -> None:
    seed, computed = made
    record = copy.deepcopy(seed.record)
    assert compare_with(record, seed, computed) == []
    move(record, path, change)
    assert field in {d.field for d in compare_with(record, seed, computed)}


def test_a_figure_of_sharpness_that_is_taken_out_is_told(made: tuple[Seed, Computed]) -> None:
    """Also where a gap says that there is none: what is left out is left out here too."""
    seed, computed = made
    measured = computed.measured["sharpness"]
    for key in sorted((SHARPNESS.keys() | {"is_minimum"}) & measured.keys()):
        record = copy.deepcopy(seed.record)
        del record["sharpness"][key]
        gap = {"part": f"sharpness.{key}", "type": "left-out", "message": "There is none."}
        record["gaps"] = [gap]
        assert f"sharpness.{key}" in {d.field for d in compare_with(record, seed, computed)}


def test_at_the_bar_of_a_minimum_rounding_decides() -> None:
    bar = 2.0 * 0.5 * MINIMUM_GAIN * 2.3
    figures = {"lambda_max": 0.5, "lambda_min": -0.1, "guessing_loss": 2.3}

    def told(square: float, recorded: int) -> list[str]:
        computed = figures | {"gradient_norm": square**0.5}
        computed["is_minimum"] = int(is_minimum(computed))
        return [d.field for d in _sharpness(computed | {"is_minimum": recorded}, computed)]

    assert told(1.01 * bar, 1) == told(0.99 * bar, 0) == []
    assert told(1.1 * bar, 1) == told(0.9 * bar, 0) == ["sharpness.is_minimum"]
    assert told(1.1 * bar, 0) == told(0.9 * bar, 1) == []


def test_at_the_end_of_its_range_a_scale_leaves_lambda_max_out() -> None:
    computed = {"softmax_scale": 19.9, "lambda_max_calibrated": 0.5}
    assert list(_sharpness({"softmax_scale": 20.0}, computed)) == []
    (found,) = _sharpness({"softmax_scale": 19.9}, computed)
    assert found.field == "sharpness.lambda_max_calibrated"


def test_the_score_is_that_of_a_board(made: tuple[Seed, Computed]) -> None:
    seed, computed = made
    workload, images = computed.workload, computed.data.test_tensors()[0]
    steps = {step["name"]: step["values"] for step in computed.measured["deployments"]}
    cells = job_cells(workload, "smoke", images)
    found = scores_by_device(cells, steps[workload.headline], workload.headline)
    assert found is not None
    (row,) = build([seed.record])[0].rows
    assert row.robust is not None
    assert found.mean() == pytest.approx(row.robust.mean, rel=1e-12)


def test_what_no_tensors_tell_is_claimed(made: tuple[Seed, Computed]) -> None:
    seed, computed = made
    record = copy.deepcopy(seed.record)
    record["cost"]["train_seconds"] = 0.001
    record["curves"]["train_loss"] = [0.0] * len(record["curves"]["train_loss"])
    record["provenance"]["git"] = {}
    assert compare_with(record, seed, computed) == []


def test_lambda_max_may_be_off_by_its_error_bound(made: tuple[Seed, Computed]) -> None:
    seed, computed = made
    record = copy.deepcopy(seed.record)
    figures = computed.measured["sharpness"]
    record["sharpness"]["lambda_max"] = (
        figures["lambda_max"] + 1.9 * figures["lambda_max_error_bound"]
    )
    # The bound that the record names does not count.
    record["sharpness"]["lambda_max_error_bound"] = 1e9
    assert compare_with(record, seed, computed) == []
    record["sharpness"]["lambda_max"] = 1.05 * figures["lambda_max"]
    (told,) = compare_with(record, seed, computed)
    assert told.field == "sharpness.lambda_max"


def test_fixed_and_derived_tensors_are_the_registrys(submission: Path, tmp_path: Path) -> None:
    """A read-out full scale of zero in the tensors does not switch the noise off."""
    folder = tmp_path / "scaled"
    shutil.copytree(submission, folder)
    tensors = load_file(folder / "seed-2" / "parameters.safetensors")
    scales = [name for name in tensors if name.endswith("full_scale")]
    tensors |= {name: torch.zeros_like(tensors[name]) for name in scales}
    exchange(folder, save(tensors), seed=2)
    with only("own"):
        received = Received(folder)
        seed = received.seeds[1]
        computed = compute(received, seed)
    told = {d.field for d in compare_with(seed.record, seed, computed)}
    assert told == {f"tensors.{name}" for name in scales}
    own = read_record(submission / "seed-2" / "record.json")
    assert computed.measured["clean"] == own["clean"]


def test_verify_in_a_process_of_its_own(
    submission: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No path, plug-in or variable of the user's reaches it; what it finds is written sealed."""
    evil = tmp_path / "evil"
    (evil / "evil-1.dist-info").mkdir(parents=True)
    (evil / "evil-1.dist-info" / "METADATA").write_text("Name: evil\nVersion: 1\n")
    (evil / "evil-1.dist-info" / "entry_points.txt").write_text(
        "[pnnbench.workloads]\nmrr-digits = evil:Workload\n"
    )
    for name in ("evil", "sitecustomize", "usercustomize", "torch"):
        (evil / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n")
    monkeypatch.setenv("PYTHONPATH", str(evil))
    monkeypatch.setenv("PYTHONSTARTUP", str(evil / "evil.py"))
    monkeypatch.setenv("PNNBENCH_MESH", "nonsense")
    command("new-key", tmp_path / "key", cwd=evil)
    out = tmp_path / "found.json"
    given = ("--key", tmp_path / "key", "--out", out, "--format", "json")
    packed = zipped(submission, tmp_path / "row.zip")
    told = json.loads(command("verify", packed, *given, cwd=evil).out)
    assert told["confirmed"]
    assert told["process"]["writes"] is False
    assert told["process"]["network"] in ("none", "no sockets")
    assert told["badges"] == ["claimed", "recomputed", "held-out"]
    assert not (tmp_path / "ran").exists()
    from pnnbench.records.verifications import badges_of, read_verification

    kept = read_verification(out)
    assert kept == told
    records = [read_record(submission / f"seed-{seed}" / "record.json") for seed in (1, 2)]
    assert badges_of(records, [kept]) == ("claimed", "recomputed", "held-out")
    refused = command("verify", submission, "--out", out, cwd=tmp_path, status=2).err
    assert "is there already" in refused


def test_what_is_no_submission_is_refused_before_a_process_starts(tmp_path: Path) -> None:
    refused = command("verify", tmp_path, cwd=tmp_path, status=2).err
    assert "no submission" in refused
    assert "pnnbench submit ROW makes one" in refused
