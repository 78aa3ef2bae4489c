"""``pnnbench evaluate``, ``sharpness`` and ``plot``."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

RUN = "tiny/bp/0"


def test_evaluate_finds_the_figures_of_the_record(pnnbench, in_tiny):
    out = pnnbench("evaluate", RUN).out
    assert "largest difference from the record: 0, allowed" in out
    assert out.endswith("agrees\n")
    assert "accuracy on the ideal device: " in out
    assert "°C" in out


def test_evaluate_json_and_csv_have_every_cell(pnnbench, in_tiny):
    found = json.loads(pnnbench("evaluate", RUN, "--format", "json").out)
    record = json.loads((Path(found["run"]) / "record.json").read_text())
    values = [cell["value"] for cell in record["cells"]]
    assert [cell["value"] for cell in found["cells"]] == values
    assert found["within"]
    lines = list(csv.DictReader(io.StringIO(pnnbench("evaluate", RUN, "--format", "csv").out)))
    assert lines[0]["axis"] == "clean"
    assert float(lines[0]["value"]) == float(lines[0]["recorded"]) == record["clean"]
    assert [float(line["value"]) for line in lines[1:]] == values
    assert [float(line["recorded"]) for line in lines[1:]] == values


@pytest.mark.parametrize("columns", [40, 60, 80])
def test_the_grid_fits_the_terminal(columns, on_terminal, in_tiny):
    lines = on_terminal(columns, "evaluate", RUN).splitlines()
    assert max(len(line) for line in lines[:-1]) <= columns
    assert any(line.startswith("temperature_wide") for line in lines)


def test_sharpness_is_a_table_with_units_and_meanings(pnnbench, in_tiny):
    out = pnnbench("sharpness", RUN).out
    lines = {line.split()[0]: line for line in out.splitlines()}
    assert lines["sharpness"].split() == ["sharpness", "value", "unit", "meaning"]
    assert "loss / mA²  curvature" in lines["lambda_max"]
    assert lines["ball_radius"].split()[2:] == ["mA", "radius"]
    record = json.loads(pnnbench("sharpness", RUN, "--format", "json").out)
    assert f"{record['lambda_max']:.4g}" in lines["lambda_max"]


def test_plot_names_the_pictures_of_a_run(pnnbench, in_tiny):
    paths = json.loads(pnnbench("plot", RUN, "--format", "json").out)
    assert {"controls", "confusion"} <= set(paths)
    assert all(Path(path).is_file() for path in paths.values())
    assert pnnbench("plot", RUN).out.split() == list(paths.values())


def test_plot_of_a_suite_draws_its_board(pnnbench, in_tiny):
    paths = pnnbench("plot", "runs/tiny").out.split()
    assert "runs/tiny/pictures/degradation.svg" in paths
    assert all(Path(path).is_file() for path in paths)
