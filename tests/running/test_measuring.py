"""What a job keeps when a part of it fails, and how it goes on."""

from __future__ import annotations

import copy
import json
import math
import os
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from pnnbench.cli import main
from pnnbench.errors import DiskFullError
from pnnbench.lookup import only
from pnnbench.records.doctor import examine
from pnnbench.records.findings import Finding
from pnnbench.records.outcomes import read_outcomes
from pnnbench.records.store import is_finished, read_record
from pnnbench.running.cases import BOARD, BoardCase
from pnnbench.running.jobs import data_module, job_folder, run_suite
from pnnbench.running.rebuilding import load_trained
from pnnbench.running.suites import load_suite
from pnnbench.running.watching import ValidationCurve
from pnnbench.submitting.remeasuring import remeasure

WORKLOADS = """
import dataclasses
import math
import torch
from pnnbench.workloads.base import Classification
from pnnbench.workloads.mzi import MZIDigits
from pnnbench.workloads.optical_networks import DigitsFront, MeshNet
from pnnbench.platforms.mzi import MZIMesh
from pnnbench.workloads.accuracy import Accuracy


class Undefined(Accuracy):
    def compute(self):
        value = super().compute()
        return value * math.nan if value < self.bar else value


class Brisk(MZIDigits):
    '''Next to nothing to do.'''
    name = "brisk"
    tiers = {"smoke": dataclasses.replace(MZIDigits.tiers["smoke"], sharpness_images=4)}


class Gapped(Brisk):
    '''The metric is undefined for the worse devices.'''
    name = "gapped"
    bar = 0.25

    metric_name = "accuracy"

    def metric(self):
        metric = Undefined()
        metric.bar = self.bar
        return metric


class Hopeless(Gapped):
    '''The metric is undefined everywhere.'''
    bar = 2.0


class Dark(Brisk):
    '''The network is lost when it is calibrated.'''
    name = "dark"

    def calibrate(self, images, batch_size=500):
        super().calibrate(images, batch_size)
        with torch.no_grad():
            self.network.mesh.theta.fill_(math.nan)


class Unready(Brisk):
    '''Calibration fails.'''
    name = "unready"

    def calibrate(self, images, batch_size=500):
        raise ZeroDivisionError("no calibration")


class Refusing(Brisk):
    '''No cell can be measured.'''
    name = "refusing"

    metric_name = "accuracy"

    def metric(self):
        def update(outputs, labels):
            raise ZeroDivisionError("no metric")

        metric = super().metric()
        metric.update = update
        return metric


class Odd(Brisk):
    '''Two classes of its own.'''
    name = "odd"
    n_classes = 2

    def build_network(self):
        return MeshNet(DigitsFront(8), MZIMesh(8), n_classes=2)

    def loss(self, outputs, batch):
        return super().loss(outputs, (batch[0], batch[1] % 2))

    metric_name = "accuracy"

    def metric(self):
        metric = super().metric()
        update = metric.update
        metric.update = lambda outputs, labels: update(outputs, labels % 2)
        return metric

    def outcomes(self, outputs, labels):
        return super().outcomes(outputs, labels % 2)


class Contrary(Brisk):
    '''Right is what the metric calls wrong.'''

    def outcomes(self, outputs, labels):
        return ~super().outcomes(outputs, labels)


class Misshapen(Brisk):
    '''One outcome for all images.'''

    def outcomes(self, outputs, labels):
        return super().outcomes(outputs, labels).all()


class Lists(Brisk):
    def figures(self, images, labels):
        return {"by_class": [0.1, 0.2]}


class Truths(Brisk):
    def figures(self, images, labels):
        return {"all_used": True}


class Numbered(Brisk):
    def figures(self, images, labels):
        return {3: 1.0}


class Taking(Brisk):
    def figures(self, images, labels):
        return {"method": 3.0}


class Powerful(Brisk):
    def figures(self, images, labels):
        return {"control_power_mw": 3.0}


class Enormous(Brisk):
    def figures(self, images, labels):
        return {"contrast": 1e60}


class Endless(Brisk):
    def figures(self, images, labels):
        return {"contrast": math.inf}


class Speaking(Brisk):
    '''Figures as they come from torch.'''

    def figures(self, images, labels):
        return {"images": len(images), "brightness": torch.tensor(0.5)}


class Chanceless(Brisk):
    chance = math.nan


class Beyond(Brisk):
    chance = 1.5


class Raising(Brisk):
    @property
    def chance(self):
        raise RuntimeError("no level")


class Undirected(Brisk):
    higher_is_better = None


class Twice(Brisk):
    def perturbation_grid(self, tier):
        grid = super().perturbation_grid(tier)
        return [*grid, grid[0]]


class Foul(Brisk):
    '''Its error names a file in bytes that are no text, after the training.'''

    def calibrate(self, images, batch_size=500):
        raise ValueError("bad file \\udce9")


class Mute(Brisk):
    '''Its error cannot say what it is.'''

    def calibrate(self, images, batch_size=500):
        class Silent(Exception):
            def __str__(self):
                raise RuntimeError("silence")

        raise Silent


class Regression(Brisk):
    '''A task without right and wrong.'''

    def outcomes(self, outputs, labels):
        return None
"""


def _faults(runs: Path) -> list[Finding]:
    """What is wrong; that a workload of these tests is not registered is no fault."""
    return [finding for finding in examine(runs)[0] if finding.fault]


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Makes a suite of one job of one of the workloads."""
    (tmp_path / "gap_workloads.py").write_text(WORKLOADS)
    monkeypatch.syspath_prepend(str(tmp_path))

    def make(workload: str = "gap_workloads.Brisk"):
        path = tmp_path / "gaps.yaml"
        text = {
            "suite": "gaps",
            "protocol": "pnnbench-2",
            "tier": "smoke",
            "workloads": [workload],
            "seeds": [0],
            "methods": ["bp"],
        }
        path.write_text(yaml.safe_dump(text))
        return load_suite(path)

    return make


def run(suite, runs: Path):
    """The record of the suite's job, its folder and what was said."""
    said: list[str] = []
    (record,) = run_suite(suite, runs, say=said.append)
    return record, job_folder(runs, suite.jobs[0]), said


def other_gaps(record):
    """Part and type of the gaps, less what a job without held-out images cannot calibrate."""
    return {
        gap["part"]: gap["type"]
        for gap in record.get("gaps", [])
        if gap["part"] != "sharpness.lambda_max_calibrated"
    }


def test_cells_without_a_value_are_gaps_and_the_rest_stands(load, tmp_path):
    plain, _, _ = run(load(), tmp_path / "plain")
    record, folder, said = run(load("gap_workloads.Gapped"), tmp_path / "runs")
    assert record["status"] == "ok"
    assert other_gaps(plain) == {}
    lost = [i for i, cell in enumerate(record["cells"]) if cell["value"] is None]
    assert 0 < len(lost) < len(record["cells"])
    for i, (cell, whole) in enumerate(zip(record["cells"], plain["cells"], strict=True)):
        assert cell["value"] == (None if i in lost else whole["value"])
        assert (whole["value"] < 0.25) == (i in lost)
    assert record["clean"] == plain["clean"]
    assert record["sharpness"] == plain["sharpness"]
    parts = other_gaps(record)
    assert {f"cells[{i}]" for i in lost} <= parts.keys()
    assert set(parts.values()) == {"not-finite"}
    assert "parts missing, the first cells[" in said[-1]
    assert is_finished(folder / "record.json", parameters=True)
    assert {finding.kind for finding in _faults(tmp_path / "runs")} == {"gaps"}
    # Measured again: a cell without a value has none, and a claimed one is not confirmed.
    suite = load("gap_workloads.Gapped")
    with only("any"):
        workload, data = load_trained(folder, record), data_module(suite.jobs[0])
    assert remeasure(record, workload, data, said.append)["difference"] == 0.0
    claimed = copy.deepcopy(record)
    claimed["cells"][lost[0]]["value"] = 0.9
    assert remeasure(claimed, workload, data, said.append)["difference"] == math.inf


def test_a_workload_with_labels_of_its_own_is_measured_whole(load, tmp_path):
    record, _, _ = run(load("gap_workloads.Odd"), tmp_path / "runs")
    assert record["status"] == "ok"
    assert other_gaps(record) == {}
    assert record["metric"]["chance"] == 0.5
    assert record["sharpness"]["guessing_loss"] < 0.7


def test_each_cell_says_of_each_image_whether_it_was_right(load, tmp_path):
    record, folder, _ = run(load(), tmp_path / "runs")
    path = folder / "record.json"
    right = read_outcomes(path, record)
    images = record["data"]["n_test"]
    assert right.shape == (len(record["cells"]) + 1, images)
    values = [record["clean"], *(cell["value"] for cell in record["cells"])]
    assert [row.sum() / images for row in right] == values
    assert len(set(values)) > 5
    # To the last image what the trained network says.
    with only("any"):
        workload = load_trained(folder, record)
    x, y = data_module(load().jobs[0]).test_tensors()
    assert (right[0] == (workload(x).argmax(1) == y).numpy()).all()
    assert _faults(tmp_path / "runs") == []
    (folder / "outcomes.safetensors").write_bytes(b"other")
    assert {finding.kind for finding in _faults(tmp_path / "runs")} == {"outcomes"}


def test_a_cell_that_cannot_be_measured_leaves_the_outcomes_of_the_others(load, tmp_path):
    record, folder, _ = run(load("gap_workloads.Gapped"), tmp_path / "runs")
    right = read_outcomes(folder / "record.json", record)
    for cell, row in zip(record["cells"], right[1:], strict=True):
        if cell["value"] is not None:
            assert row.sum() / right.shape[1] == cell["value"]


@pytest.mark.parametrize(
    ("name", "words"),
    [("Contrary", "outcomes() of the workload says"), ("Misshapen", "the outcomes of")],
)
def test_outcomes_that_cannot_be_had_are_a_gap_and_the_rest_stands(load, tmp_path, name, words):
    plain, _, _ = run(load(), tmp_path / "plain")
    record, folder, _ = run(load(f"gap_workloads.{name}"), tmp_path / "runs")
    assert record["status"] == "ok"
    assert record["cells"] == plain["cells"]
    (gap,) = record["gaps"]
    assert gap["part"] == "outcomes"
    assert words in gap["message"]
    assert not (folder / "outcomes.safetensors").exists()


def test_outcomes_that_cannot_be_written_are_a_gap_and_the_rest_stands(load, tmp_path):
    suite = load()
    target = job_folder(tmp_path / "runs", suite.jobs[0]) / "outcomes.safetensors"
    target.mkdir(parents=True)  # a folder stands where the file goes
    record, _, _ = run(suite, tmp_path / "runs")
    assert record["status"] == "ok"
    assert [gap["part"] for gap in record["gaps"]] == ["outcomes"]
    assert "outcomes" not in record


def test_a_task_without_right_and_wrong_has_no_outcomes_and_no_gap(load, tmp_path):
    record, folder, _ = run(load("gap_workloads.Regression"), tmp_path / "runs")
    assert record["status"] == "ok"
    assert not {"outcomes", "gaps"} & record.keys()
    assert not (folder / "outcomes.safetensors").exists()


@pytest.mark.parametrize(
    ("name", "status", "words"),
    [
        ("Hopeless", "diverged", "nothing could be measured; clean: the metric Undefined is nan"),
        ("Dark", "diverged", "no output of the trained network is finite"),
        ("Unready", "error", "no calibration"),
        ("Refusing", "error", "nothing could be measured; clean: ZeroDivisionError: no metric"),
    ],
)
def test_a_job_with_nothing_to_show_keeps_its_parameters(load, tmp_path, name, status, words):
    record, folder, _ = run(load(f"gap_workloads.{name}"), tmp_path / "runs")
    assert record["status"] == status
    assert words in record["error"]["message"]
    assert read_record(folder / "record.json") == record
    tensors = load_file(folder / record["parameters"]["file"])
    assert "mesh.theta" in tensors
    assert record["curves"]["train_loss"]
    assert record["cost"]["gradient_evaluations"] == 8
    assert "cells" not in record
    # The same command measures again and trains no more.
    _, _, said = run(load(f"gap_workloads.{name}"), tmp_path / "runs")
    assert not [line for line in said if "epoch" in line]


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("Lists", "error", "by_class of figures() is a list, not a number"),
        ("Truths", "error", "all_used of figures() is a truth value"),
        ("Numbered", "error", "one of its figures 3, which is no text"),
        ("Taking", "error", "one of its figures 'method', which means another"),
        ("Powerful", "error", "one of its figures 'control_power_mw'"),
        ("Enormous", "error", "contrast is 1e+60, and a figure is at most 1e+50"),
        ("Endless", "not-finite", "contrast is inf"),
    ],
)
def test_figures_that_no_record_can_hold_are_a_gap_and_the_rest_stands(
    load, tmp_path, name, kind, words
):
    record, _, _ = run(load(f"gap_workloads.{name}"), tmp_path / "runs")
    assert record["status"] == "ok"
    (gap,) = record["gaps"]
    assert (gap["part"], gap["type"]) == ("extra.figures", kind)
    assert words in gap["message"]
    assert not {"by_class", "all_used", "method", "contrast"} & record.get("extra", {}).keys()


def test_figures_may_be_integers_and_tensors_of_one_number(load, tmp_path):
    record, _, _ = run(load("gap_workloads.Speaking"), tmp_path / "runs")
    assert other_gaps(record) == {}
    assert record["extra"]["images"] == record["data"]["n_test"]
    assert record["extra"]["brightness"] == 0.5


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Chanceless", "Chanceless: metric.chance is nan"),
        ("Beyond", "Beyond: metric.chance is 1.5"),
        ("Raising", "what Raising says of its metric cannot be had: RuntimeError: no level"),
        ("Undirected", "higher_is_better"),
        ("Twice", "Twice: cells["),
    ],
)
def test_a_metric_or_a_grid_that_no_record_can_hold_is_refused_before_the_training(
    load, tmp_path, name, words
):
    record, folder, said = run(load(f"gap_workloads.{name}"), tmp_path / "runs")
    assert record["status"] == "error"
    assert words in record["error"]["message"]
    assert not [line for line in said if "epoch" in line]
    assert not (folder / "parameters.safetensors").exists()


@pytest.mark.parametrize(
    ("name", "words"),
    [("Foul", r"bad file \udce9"), ("Mute", "what it says cannot be had: RuntimeError")],
)
def test_an_error_that_no_file_can_hold_is_written_all_the_same(load, tmp_path, name, words):
    record, folder, _ = run(load(f"gap_workloads.{name}"), tmp_path / "runs")
    assert record["status"] == "error"
    assert words in record["error"]["message"]
    assert record["curves"]["train_loss"]
    assert read_record(folder / "record.json") == record
    assert "in calibrate" in (folder / "traceback.txt").read_text()


@pytest.mark.parametrize("part", ["curves", "metric", "gaps"])
def test_a_failure_whose_parts_no_record_can_hold_stands_alone(load, tmp_path, monkeypatch, part):
    """And the suite goes on."""
    suite = load()
    measure = BOARD.measure

    def spoilt(*args):
        found = measure(*args)
        if part == "metric":
            found["metric"] = {**found["metric"], "chance": math.nan}
        elif part == "gaps":
            found["gaps"] = [{"part": "figures", "type": "error", "message": "bad \udce9"}]
        return found

    monkeypatch.setattr(BoardCase, "measure", lambda self, *args: spoilt(*args))
    if part == "curves":
        monkeypatch.setattr(
            ValidationCurve, "as_dict", lambda self: {"validation_loss": [math.nan]}
        )
    record, folder, _ = run(suite, tmp_path / "runs")
    assert record["status"] == "error"
    assert record["error"]["type"] in ("UserError", "UnicodeEncodeError")
    assert part not in record
    assert read_record(folder / "record.json") == record


def test_a_failure_leaves_what_another_process_has_finished_meanwhile(load, tmp_path):
    suite = load()
    whole, folder, _ = run(suite, tmp_path / "other")
    target = job_folder(tmp_path / "runs", suite.jobs[0]) / "record.json"

    def bring(line: str) -> None:
        if "grid " in line and not target.is_file():
            shutil.copyfile(folder / "record.json", target)
            raise ZeroDivisionError("on purpose")

    (record,) = run_suite(suite, tmp_path / "runs", say=bring)
    assert record == whole
    assert read_record(target) == whole


@pytest.mark.parametrize("moment", ["grid ", "sharpness"])
def test_a_job_stopped_while_it_measures_does_not_train_again(load, tmp_path, moment):
    whole, _, _ = run(load(), tmp_path / "whole")
    suite, runs = load(), tmp_path / "runs"
    folder = job_folder(runs, suite.jobs[0])

    def stop(line: str) -> None:
        if moment in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_suite(suite, runs, say=stop)
    assert read_record(folder / "record.json")["status"] == "killed"
    kept = load_file(folder / "parameters.safetensors")
    record, _, said = run(suite, runs)
    assert not [line for line in said if "epoch" in line]
    for key in ("clean", "cells", "sharpness", "curves", "parameters", "training_device"):
        assert record[key] == whole[key], key
    assert record["cost"]["gradient_evaluations"] == whole["cost"]["gradient_evaluations"] == 8
    after = load_file(folder / "parameters.safetensors")
    assert all(torch.equal(kept[k], after[k]) for k in kept)


@pytest.mark.parametrize(
    ("file", "trained"),
    [
        ("checkpoints/last.ckpt", False),
        ("parameters.safetensors", True),
        ("outcomes.safetensors", True),
        ("record.json", True),
    ],
)
def test_a_full_disk_stops_the_suite_and_the_same_command_goes_on(load, tmp_path, file, trained):
    """What is written lands on the device that is always full."""
    suite, runs = load(), tmp_path / "runs"
    path = job_folder(runs, suite.jobs[0]) / file
    path.parent.mkdir(parents=True)
    path.with_name(f".{path.name}.{os.getpid()}.tmp").symlink_to("/dev/full")
    with pytest.raises(DiskFullError, match=f"the disk is full: .*{path.name}"):
        run_suite(suite, runs, say=lambda line: None)
    assert not path.exists()
    assert not [p for p in runs.rglob("*") if p.suffix == ".tmp" or p.is_symlink()]
    record, _, said = run(suite, runs)
    assert record["status"] == "ok"
    assert trained == (not [line for line in said if "epoch" in line])
    assert _faults(runs) == []


def test_the_command_line_says_in_a_sentence_that_the_disk_is_full(
    load, tmp_path, capsys, monkeypatch
):
    suite = load()
    monkeypatch.chdir(tmp_path)
    path = job_folder(tmp_path / "runs", suite.jobs[0]) / "record.json"
    path.parent.mkdir(parents=True)
    path.with_name(f".{path.name}.{os.getpid()}.tmp").symlink_to("/dev/full")
    command = ["run", "gaps.yaml", "--wandb", "disabled", "--pictures", "false"]
    assert main(command) == 2
    said = capsys.readouterr().err
    assert "pnnbench run: the disk is full: " in said
    assert "run the same command again" in said
    assert "Traceback" not in said
    assert main(command) == 0
    assert json.loads(path.read_text())["status"] == "ok"


def test_the_command_line_knows_a_full_disk_wherever_it_shows(tmp_path, capsys, monkeypatch):
    """A file of the leaderboard that is not written by the record's own writer."""
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out" / "x").symlink_to("/dev/full")

    def write(options):
        Path("out/x").write_text("x")
        return 0

    monkeypatch.setattr("pnnbench.commands.doctoring.doctor", write)
    assert main(["doctor", "out"]) == 2
    assert "the disk is full" in capsys.readouterr().err
