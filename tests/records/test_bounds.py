from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest

from pnnbench.errors import UserError
from pnnbench.records import store as rec
from pnnbench.records.bounds import errors_that_disagree
from pnnbench.records.doctor import examine

from ..record_factory import changed, make_record, write_job

FEATURES = "efficientnet-lite0-320-64px-57934424"
READING = {"value": 0.01, "also": {"psnr_db": 20.0, "ssim": 0.9}}


def _reconstruction() -> dict[str, Any]:
    """A record with an error and figures beside it in each place that has readings."""
    record = make_record(sealed=False)
    record["metric"] = {"name": "mse", "higher_is_better": False, "chance": 0.06}
    record["cells"] = [{**cell, **READING} for cell in record["cells"][:20]]
    figures = {"clean": READING["value"], "also": READING["also"]}
    record |= figures
    record["training_device"] = {"seed": 0, "severity": 1.0, "unit": "spread", **READING}
    count = len(record["cells"])
    step = {"name": "calibrated", "images": 5, "queries": 5, "values": [0.01] * count}
    record["deployments"] = [{**step, "also": [READING["also"]] * count}]
    record["headline"] = "calibrated"
    record["earlier"] = [
        {"share": 0.5, "steps": 10, **figures, "cells": copy.deepcopy(record["cells"][:2])}
    ]
    return record


PLACES = {
    "clean": "also",
    "cells.3.value": "cells.3.also",
    "training_device.value": "training_device.also",
    "deployments.0.values.3": "deployments.0.also.3",
    "earlier.0.clean": "earlier.0.also",
    "earlier.0.cells.1.value": "earlier.0.cells.1.also",
}


@pytest.mark.parametrize("place", [*PLACES, "metric.chance"])
def test_an_error_below_0_is_refused_wherever_it_stands(place: str) -> None:
    record = _reconstruction()
    rec.seal(changed(record, place, 0.0))
    with pytest.raises(UserError, match=r"is -1\.0") as caught:
        rec.seal(changed(record, place, -1.0))
    assert re.sub(r"\.(\d+)", r"[\1]", place) in caught.value.what
    assert caught.value.allowed == "mse of at least 0"


@pytest.mark.parametrize("place", PLACES.values())
@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("ssim", (-1.0, 1.0, 1.0001), (1.5, -1.5)),
        ("accuracy", (0.0, 1.0), (1.0000001, -0.1)),
        ("mse", (0.0, 1e9), (-1e-9,)),
        ("psnr_db", (-7.0, 80.0), ()),
        (f"kid-{FEATURES}", (-0.001, 5.0), ()),
        (f"fid-{FEATURES}", (-0.5, 500.0), ()),
        (f"precision-{FEATURES}-n360", (0.0, 1.0), (1.1, -0.1)),
        (f"recall-{FEATURES}-n360", (0.0, 1.0), (1.1, -0.1)),
        ("a figure of {their} own", (-1e9, 1e9), ()),
    ],
)
def test_figures_beside_the_metric_have_bounds_too(
    place: str, name: str, good: tuple[float, ...], bad: tuple[float, ...]
) -> None:
    record = _reconstruction()
    for value in good:
        rec.seal(changed(record, place, {name: value}))
    for value in bad:
        with pytest.raises(UserError, match=f"{name} (in|of at least)"):
            rec.seal(changed(record, place, {name: value}))


def test_braces_in_a_name_are_a_part_of_it() -> None:
    name = f"precision-{{x}}{FEATURES}-n360"
    with pytest.raises(UserError, match=r"cells\[3\]\.also\.precision-\{x\}"):
        rec.seal(changed(_reconstruction(), "cells.3.also", {name: 2.0}))


@pytest.mark.parametrize("place", PLACES)
def test_an_error_and_a_psnr_of_other_images_are_found(place: str, tmp_path: Path) -> None:
    record = _reconstruction()
    assert errors_that_disagree(record) == []
    (found,) = errors_that_disagree(changed(record, place, 0.005))
    assert "PSNR 20.0 dB and mean squared error 0.005" in found
    write_job(tmp_path, changed(record, place, 0.005))
    assert "forged" in [finding.kind for finding in examine(tmp_path)[0]]


def test_another_peak_and_readings_without_either_are_no_fault() -> None:
    record = _reconstruction()
    bare = changed(changed(record, "cells.3.also", {}), "cells.4.value", 0.0)
    assert errors_that_disagree(bare) == []
    for cell in record["cells"]:
        cell["also"] = {"psnr_db": 68.13}  # of values up to 255
    assert len(errors_that_disagree({**record, "deployments": [], "earlier": []})) == 2
    alone = {key: record[key] for key in ("metric", "clean", "cells")}
    assert errors_that_disagree(alone) == []
