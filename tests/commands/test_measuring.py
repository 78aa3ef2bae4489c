"""``pnnbench evaluate``, ``sharpness``, ``plot`` and the names of runs."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from pnnbench import lookup
from pnnbench.evaluation.landscape import Landscape, measure_landscape
from pnnbench.platforms.base import Device
from pnnbench.records.store import read_record, write_record
from pnnbench.report import run_pictures
from pnnbench.seeds import training_device_seed
from pnnbench.workloads.mzi import MZIDigits

from ..command import Done, command
from .conftest import QUIET, write_suite

Ran = tuple[Path, Done]


@pytest.mark.parametrize(
    "name", ["tiny/BP/0", "TINY/bp/0", "tiny/NAT, small/1", "runs/tiny/{hash}", "{hash}", "{start}"]
)
def test_a_run_has_many_names(ran: Ran, name: str) -> None:
    record = next(
        json.loads(path.read_text())
        for path in sorted((ran[0] / "runs" / "tiny").glob("*/record.json"))
    )
    digits = record["job"]["hash"]
    done = command("evaluate", name.format(hash=digits, start=digits[:6]), cwd=ran[0])
    assert "largest difference from the record: 0," in done.out
    assert "agrees" in done.out


def test_evaluate_as_json_and_csv(ran: Ran) -> None:
    found = json.loads(command("evaluate", "tiny/BP/0", "--format", "json", cwd=ran[0]).out)
    assert found["within"]
    cells = MZIDigits(0).perturbation_grid("smoke")
    assert len(found["cells"]) == len(cells) + 1  # and read-out noise alone
    text = command("evaluate", "tiny/BP/0", "--format", "csv", cwd=ran[0]).out
    lines = list(csv.DictReader(io.StringIO(text)))
    assert len(lines) == len(found["cells"]) + 1  # and the clean one
    assert all(line["value"] == line["recorded"] for line in lines)


def test_sharpness_is_a_table_with_units(ran: Ran) -> None:
    shown = command("sharpness", "tiny/BP/0", cwd=ran[0]).out
    line = next(x for x in shown.splitlines() if x.startswith("lambda_max "))
    assert "loss / rad²" in line
    assert "curvature" in line
    found = json.loads(command("sharpness", "tiny/BP/0", "--format", "json", cwd=ran[0]).out)
    assert found["lambda_max"] > 0


def test_sharpness_tells_where_all_eigenvalues_lie_where_that_is_asked(ran: Ran) -> None:
    shown = command("sharpness", "tiny/BP/0", "--spectrum", cwd=ran[0]).out
    done = command("sharpness", "tiny/BP/0", "--spectrum", "--format", "json", cwd=ran[0]).out
    found = json.loads(done)
    spectrum = found["spectrum"]
    assert spectrum["size"] == found["n_controls"]
    assert spectrum["products"] == len(spectrum["places"]) == len(spectrum["shares"]) == 120
    assert sum(spectrum["shares"]) == pytest.approx(1.0)
    assert max(spectrum["places"]) == pytest.approx(found["lambda_max"], rel=0.01)
    (line,) = (x for x in shown.splitlines() if x.startswith("trace "))
    assert f"{spectrum['trace']:.4g} ± " in line
    assert "loss / rad²" in line
    median = next(x for x in shown.splitlines() if x.startswith("quantile_0.5 "))
    assert float(median.split()[1]) < found["lambda_max"]


def test_sharpness_and_landscape_are_on_the_device_that_was_trained_on_whatever_the_record_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_suite(tmp_path, seeds=[0], methods=[{"method": "pat", "label": "PAT"}])
    command("run", "tiny.yaml", *QUIET, cwd=tmp_path)
    (path,) = (tmp_path / "runs" / "tiny").glob("*/record.json")
    record = read_record(path)
    own = record["sharpness"]["point"]
    assert own["device_seed"] == training_device_seed(0)
    gap = {"part": "sharpness", "type": "error", "message": "none"}
    lost = {**record, "sharpness": {}, "gaps": [*record.get("gaps", []), gap]}
    path.unlink()
    write_record(path, {k: v for k, v in lost.items() if k != "checksum"})
    found = json.loads(command("sharpness", "tiny/PAT/0", "--format", "json", cwd=tmp_path).out)
    assert found["point"] == own
    for name in ("train_loss", "gradient_norm", "lambda_max"):
        assert found[name] == pytest.approx(record["sharpness"][name], rel=1e-6)

    places: list[int] = []

    def noted(*args: Any, device: Device) -> Landscape:
        places.append(device.seed)
        return measure_landscape(*args, device=device, points=3)

    monkeypatch.setattr(run_pictures, "measure_landscape", noted)
    assert "landscape.png" in command("plot", "tiny/PAT/0", cwd=tmp_path).out
    assert places == [own["device_seed"]]


def test_plot_draws_a_run_and_a_board(ran: Ran, tmp_path: Path) -> None:
    drawn = command("plot", "tiny/BP/0", cwd=ran[0]).out.split()
    assert {"controls.png", "curve.png"} <= {Path(line).name for line in drawn}
    assert all((ran[0] / line).is_file() for line in drawn)
    board = command("plot", "runs/tiny", cwd=ran[0]).out
    assert "degradation.svg" in board


@pytest.mark.parametrize(("flags", "door"), [((), "registered"), (("--trust",), "any")])
def test_plot_of_a_suite_builds_classes_of_ones_own_where_they_are_trusted(
    ran: Ran, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...], door: str
) -> None:
    doors: list[str | None] = []

    def noted(*args: object, **more: object) -> dict[str, Path]:
        doors.append(lookup._DOOR.get())
        return {}

    monkeypatch.setattr("pnnbench.commands.galleries.galleries", noted)
    shutil.copytree(ran[0] / "runs", tmp_path / "runs")
    command("plot", "runs/tiny", *flags, cwd=tmp_path)
    assert doors == [door]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("tiny/BPP/0", ["BP"]),
        ("tiny/BP/7", ["tiny/BP"]),
        ("runs", ["4 runs"]),
        ("nowhere", ["nowhere", "SUITE/ROW/SEED"]),
    ],
)
def test_names_of_no_run_read(ran: Ran, name: str, words: list[str]) -> None:
    done = command("evaluate", name, cwd=ran[0], status=2)
    for word in words:
        assert word in done.err


def test_an_empty_folder_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = command("evaluate", "empty", cwd=tmp_path, status=2)
    assert "no record.json" in done.err
