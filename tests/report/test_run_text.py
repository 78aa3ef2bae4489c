from __future__ import annotations

import csv
import io

from pnnbench.report.run_text import aligned, cells_csv, cells_text, gap_text, sharpness_text

from ..record_factory import IMAGE_SUITES, make_image_record, make_record


def test_columns_stand_below_each_other() -> None:
    assert aligned([["a", "1"], ["long", "20"]], right=(1,)) == ["a      1", "long  20"]


def test_sharpness_has_units_meanings_and_what_it_was_measured_on() -> None:
    figures = {
        "lambda_max": 0.32614,
        "lambda_max_low": 0.27,
        "lambda_max_high": 0.38,
        "lambda_max_error_bound": 1e-5,
        "softmax_scale": 20.0,
        "softmax_scale_at_bound": 1,
        "somebodys_figure": 3.0,
        "n_images": 10_000,
        "converged": 1,
        "at_guessing": 0,
    }
    lines = sharpness_text(figures, "mA").splitlines()
    table = [line.split() for line in lines[1:-1]]
    assert [
        "lambda_max",
        "0.3261",
        "(0.27",
        "to",
        "0.38)",
        "loss",
        "/",
        "mA²",
        *("largest", "curvature", "of", "the", "loss"),
    ] in table
    assert any(line[:2] == ["softmax_scale", "20"] and "(end" in line for line in table)
    assert any(line[:2] == ["somebodys_figure", "3"] for line in table)
    assert lines[-1] == "10,000 images"
    assert "temperature" not in "".join(lines)
    assert "loss / control²" in sharpness_text(figures, "")
    assert "loss / (full modulation)²" in sharpness_text(figures, "full modulation")
    assert "converged" in sharpness_text({**figures, "converged": 0}, "mA")
    assert "guessing" in sharpness_text({**figures, "at_guessing": 1}, "mA")
    assert "NO minimum" in sharpness_text({**figures, "is_minimum": 0}, "mA")
    assert "NO minimum" not in sharpness_text({**figures, "is_minimum": 1}, "mA")


def test_a_grid_is_a_line_per_point_and_says_what_is_missing() -> None:
    record = make_record()
    text = cells_text(record)
    assert len(text.splitlines()) == 3 + 13
    assert "on perturbed devices, frozen; points with * count" in text
    for cell in record["cells"]:
        if cell["axis"] == "device" and cell["level"] == 0.1:
            cell["value"] = None
    record["cells"][-1]["value"] = None
    record["clean"] = None
    text = cells_text(record)
    assert "0 of 20" in text
    assert "19 of 20" in text
    assert text.splitlines()[0].endswith("– %")


def test_the_deployment_of_the_score_is_shown_with_its_own_points_that_count() -> None:
    record = make_record()
    count = len(record["cells"])
    record["cells"] = [{**cell, "value": 0.5, "counts": True} for cell in record["cells"]]
    record["deployments"] = [
        {"name": "calibrated", "values": [0.25] * count, "counts": [False] * count}
    ]
    assert "50.00" in cells_text(record)
    assert " * " in cells_text(record)
    record["headline"] = "calibrated"
    text = cells_text(record)
    assert "on perturbed devices, calibrated" in text
    assert "25.00" in text
    assert "50.00" not in text
    assert " *  " not in text
    assert "50.00" in cells_text(record, deployment="frozen")


def test_cells_as_csv_stand_beside_the_recorded_ones() -> None:
    record = make_record()
    measured = {**record, "cells": [{**c, "value": 0.5} for c in record["cells"]]}
    lines = list(csv.DictReader(io.StringIO(cells_csv(measured, record))))
    assert len(lines) == 1 + len(record["cells"])
    for line, cell in zip(lines[1:], record["cells"], strict=True):
        assert float(line["value"]) == 0.5
        assert float(line["recorded"]) == cell["value"]
        assert float(line["temperature_degc"]) == cell["environment"]["temperature_degc"]
        assert line["deployment"] == "frozen"


def test_cells_as_csv_have_a_line_for_each_deployment() -> None:
    record = make_record()
    count = len(record["cells"])
    steps = [{"name": "calibrated", "values": [0.25] * count, "counts": [False] * count}]
    measured = {**record, "deployments": steps}
    lines = list(csv.DictReader(io.StringIO(cells_csv(measured, {**measured, "headline": "x"}))))
    assert [line["deployment"] for line in lines] == ["", *["frozen"] * count] + [
        "calibrated"
    ] * count
    assert {(line["value"], line["recorded"]) for line in lines[1 + count :]} == {("0.25", "0.25")}
    lines = list(csv.DictReader(io.StringIO(cells_csv(measured, record))))
    assert {(line["value"], line["recorded"]) for line in lines[1 + count :]} == {("0.25", "")}


def test_a_gap_reads() -> None:
    gap = {"part": "cells[3]", "type": "not-finite", "message": "nan"}
    assert gap_text(gap) == "cells[3]: not-finite: nan"


def test_figures_beside_the_metric_have_a_column_each() -> None:
    record = make_image_record("SAT")
    lines = cells_text(record).splitlines()
    names = IMAGE_SUITES["cifar10_generate"][2]
    assert lines[0].startswith("fid-efficientnet-lite0-320-64px-57934424 on the ideal device")
    for line, name in zip(lines[1:4], names, strict=True):
        assert line.startswith(f"{name}: ")
    assert lines[5].split()[-3:] == ["KID", "precision", "recall"]
    cells = [c for c in record["cells"] if c["level"] == -0.25]
    (row,) = (line.split() for line in lines if line.startswith("temperature_fine  -0.25"))
    for shown, name in zip(row[-3:], names, strict=True):
        mean = sum(cell["also"][name] for cell in cells) / len(cells)
        assert abs(float(shown) / mean - 1) < 1e-3
