"""One run as text."""

from __future__ import annotations

import copy
import csv
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pnnbench.report.run_text import (
    MEANINGS,
    aligned,
    cells_csv,
    cells_text,
    gap_text,
    sharpness_text,
)
from tests.record_factory import make_mesh_record, make_record

SHARPNESS = {
    "lambda_max": 14.841,
    "lambda_max_low": 13.0,
    "lambda_max_high": 17.0,
    "lambda_max_images": 256,
    "lambda_min": -0.5,
    "ball_increase": 0.02,
    "ball_increase_at_bound": 1,
    "ball_radius": 0.0201,
    "softmax_scale": 2.2,
    "guessing_loss": 2.3,
    "at_guessing": 0,
    "converged": 1,
    "n_images": 1437,
    "n_controls": 4488,
    "of_ones_own": 3.0,
    "top_eigenvalues": [1.0],
    "engine": "lanczos",
}

cells = st.lists(st.text("ab ", max_size=12), min_size=3, max_size=3)


@given(st.lists(cells, min_size=1, max_size=5), st.integers(14, 60), st.sets(st.integers(0, 2)))
def test_lines_fit_and_keep_every_cell(lines, width, right):
    found = aligned(lines, right=tuple(right), width=width)
    assert all(len(line) <= max(width, 16) for line in found)
    assert len(found) % len(lines) == 0
    parts = len(found) // len(lines)
    for i, line in enumerate(lines):
        shown = "".join(found[i * parts : (i + 1) * parts])
        assert shown.replace(" ", "") == "".join(line).replace(" ", "")


def test_columns_stand_below_each_other():
    assert aligned([["a", "1", "x"], ["bcd", "23", ""]], right=(1,)) == ["a     1  x", "bcd  23"]
    assert aligned([["abcdef", "ghijkl"]], width=9) == ["abcdef", "    ghijkl"]


def lines_of(sharpness, unit="mA", **options):
    text = sharpness_text(sharpness, unit, **options).splitlines()
    return {line.split()[0]: line for line in text}


def test_each_figure_has_unit_and_a_word():
    lines = lines_of(SHARPNESS)
    assert lines["sharpness"].split() == ["sharpness", "value", "unit", "meaning"]
    assert "14.84 (13 to 17)" in lines["lambda_max"]
    assert lines["lambda_max"].endswith("loss / mA²  curvature")
    assert lines["lambda_min"].split() == ["lambda_min", "-0.5", "loss", "/", "mA²", "lowest"]
    assert "0.02 (end of its range)" in lines["ball_increase"]
    assert lines["ball_radius"].split() == ["ball_radius", "0.0201", "mA", "radius"]
    assert lines["softmax_scale"].split() == ["softmax_scale", "2.2", "confidence"]
    assert lines["guessing_loss"].split() == ["guessing_loss", "2.3", "loss", "guessing"]
    assert lines["of_ones_own"].split() == ["of_ones_own", "3"]
    hidden = {"at_guessing", "converged", "top_eigenvalues", "engine", "lambda_max_low"}
    assert not hidden & set(lines)
    assert lines["1,437"] == "1,437 images, 4,488 controls"


def test_every_meaning_is_one_word():
    assert all(word and " " not in word for word, _ in MEANINGS.values())


def test_every_figure_of_a_real_run_has_a_meaning(tiny):
    """Whatever the harness measures is explained, or marks and counts something."""
    path = next((tiny.folder / "runs" / "tiny").glob("*/record.json"))
    text = sharpness_text(json.loads(path.read_text())["sharpness"], "mA")
    rows = text.splitlines()[1:-1]
    assert len(rows) >= 8
    assert {row.split()[0] for row in rows} <= set(MEANINGS)


def test_without_one_unit_the_control_stands_for_it():
    assert "loss / control²" in lines_of(SHARPNESS, "")["lambda_max"]


def test_marks_are_said_only_where_something_is_wrong():
    assert "NOT" not in sharpness_text(SHARPNESS, "mA")
    wrong = {**SHARPNESS, "converged": 0, "at_guessing": 1}
    text = " ".join(sharpness_text(wrong, "mA").split())
    assert "the eigenvalues have NOT converged" in text
    assert "flat because nothing was learnt" in text


@pytest.mark.parametrize("width", [40, 60, 80])
def test_it_fits(width):
    wrong = {**SHARPNESS, "converged": 0, "at_guessing": 1}
    for text in (
        sharpness_text(wrong, "mA", width),
        cells_text(make_record(sealed=False), width),
        cells_text(make_mesh_record(sealed=False), width),
    ):
        assert max(map(len, text.splitlines())) <= width


def test_the_grid_has_mean_and_worst_of_each_point():
    record = make_record("SAT", sealed=False, devices=(1, 2))
    for value, cell in zip((0.5, 0.9), record["cells"], strict=False):
        cell["value"] = value
    clean, head, first, *rest = cells_text(record).splitlines()
    assert clean == f"accuracy on the ideal device: {100 * record['clean']:.2f} %"
    assert head.split() == ["axis", "level", "unit", "mean", "%", "worst", "%", "cells"]
    assert first.split() == ["device", "0.1", "×", "measured", "spread", "70.00", "50.00", "2"]
    assert len(rest) == 12
    assert any("°C" in line for line in rest)


def test_the_worst_of_a_loss_is_the_largest():
    record = make_record("SAT", sealed=False, devices=(1, 2))
    record["metric"] = {"name": "error", "higher_is_better": False, "chance": None}
    for value, cell in zip((0.5, 0.9), record["cells"], strict=False):
        cell["value"] = value
    assert cells_text(record).splitlines()[2].split()[-3:] == ["0.7", "0.9", "2"]


def test_cells_without_a_value_are_counted_apart():
    record = make_record("SAT", sealed=False, devices=(1, 2))
    record["cells"][0]["value"] = None
    record["cells"][2]["value"] = record["cells"][3]["value"] = None
    lines = cells_text(record).splitlines()
    assert lines[2].endswith("  1 of 2")
    assert lines[3].split()[-5:] == ["–", "–", "0", "of", "2"]


def test_csv_sets_measured_beside_recorded():
    record = make_record("SAT", sealed=False, devices=(1, 2))
    measured = copy.deepcopy(record)
    measured["clean"] = 0.25
    measured["cells"] = measured["cells"][::-1]
    measured["cells"][0]["value"] = 0.125
    text = cells_csv(measured, record)
    lines = list(csv.DictReader(io.StringIO(text)))
    assert text.splitlines()[0] == (
        "axis,level,unit,severity,device_seed,temperature_degc,value,recorded"
    )
    assert (lines[0]["axis"], lines[0]["value"]) == ("clean", "0.25")
    assert float(lines[0]["recorded"]) == record["clean"]
    assert [float(line["recorded"]) for line in lines[1:]] == [
        cell["value"] for cell in record["cells"][::-1]
    ]
    assert lines[1]["value"] == "0.125"


def test_a_gap_is_one_line():
    gap = {"part": "lambda_max", "type": "ValueError", "message": "no"}
    assert gap_text(gap) == "lambda_max: ValueError: no"
