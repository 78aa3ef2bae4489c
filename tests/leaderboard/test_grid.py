from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest

from pnnbench.errors import UserError
from pnnbench.leaderboard import ranking
from pnnbench.leaderboard.grid import arrange, counted_cells, curve_areas, read_grid

from ..record_factory import DEVICES, RECALIBRATED, make_later_record, make_record
from ..scripts import load_script


@pytest.fixture(scope="module")
def search() -> ModuleType:
    """The script of the search."""
    return load_script("scripts/search.py")


@pytest.mark.parametrize("name", ["mzi-digits", "freespace-digits"])
def test_search_and_board_give_one_record_one_score(search: ModuleType, name: str) -> None:
    """A workload as it is made, measured by the search, and its cells as a board reads them."""
    from pnnbench.data.datamodule import ImageDataModule
    from pnnbench.evaluation.harness import evaluate_grid
    from pnnbench.registry import workload_class

    cls = workload_class(name)
    workload = cls(0)
    data = ImageDataModule(cls.data, limit_train=200, limit_test=200)
    workload.calibrate(data.train_tensors()[0])
    images, labels = data.test_tensors()
    cells = workload.perturbation_grid("smoke")
    assert len({cell.axis for cell in cells if cell.counts}) > (name != "mzi-digits")
    found = search.figures(workload, images, labels, cells, data.train_tensors()[0])
    record = make_record("BP", sealed=False)
    record["job"]["revision"] = 2
    record["cells"] = [
        {**cell.as_dict(), "value": value, "counts": cell.counts}
        for cell, value in zip(cells, evaluate_grid(workload, images, labels, cells), strict=True)
    ]
    (row,) = ranking.rows([record])
    assert found["score"] == row.robust.mean


def test_the_search_draws_its_devices_by_the_laws_of_the_grid(search: ModuleType) -> None:
    """Validation cells are those of the grid, on other devices: law and weight included."""
    from pnnbench.registry import workload_class

    workload = workload_class("freespace-digits")(0)
    tests = workload.perturbation_grid("smoke")
    assert len({cell.law for cell in tests}) == 2
    cells = search.validation_cells(workload, "smoke", [7, 8])

    def told(cell) -> tuple:
        return cell.axis, cell.level, cell.severity, cell.environment, cell.counts, cell.law

    assert {told(cell) for cell in cells} == {told(cell) for cell in tests}
    assert {cell.device_seed for cell in cells if cell.severity} == {7, 8}
    assert {cell.device_seed for cell in cells if not cell.severity} <= {None}


def test_the_score_of_a_record_is_that_of_its_cells() -> None:
    record = make_later_record()
    (row, _) = ranking.rows([record])
    grid = arrange(counted_cells(record), guess=0.1)
    assert float(grid.scores.mean()) == row.robust.mean
    np.testing.assert_array_equal(grid.scores, grid.worst_scores)


def test_a_deployment_puts_its_values_in_the_places_of_the_cells() -> None:
    record = make_later_record()
    frozen, lifted = read_grid(record), read_grid(record, RECALIBRATED)
    assert (lifted.groups, lifted.weights) == (frozen.groups, frozen.weights)
    np.testing.assert_allclose(lifted.values, frozen.values + 0.5 * (1.0 - frozen.values))


def test_a_deployment_without_a_value_guesses_where_it_counts_and_is_undefined_elsewhere() -> None:
    record = make_later_record()
    values = record["deployments"][0]["values"]
    counts = [cell["counts"] for cell in record["cells"]]
    first, silent = counts.index(True), counts.index(False)
    values[first] = values[silent] = None
    cell = record["cells"][first]
    grid = read_grid(record, RECALIBRATED)
    group = next(i for i, g in enumerate(grid.groups) if g[:2] == (cell["axis"], cell["severity"]))
    assert grid.values[group, DEVICES.index(cell["device_seed"])] == 0.1
    assert np.isnan(grid.values).sum() == 1
    assert grid.scores is not None


def test_a_deployment_with_other_cells_is_refused() -> None:
    record = make_later_record()
    record["deployments"][0]["values"].pop()
    with pytest.raises(UserError, match="260 values of the deployment 'offset-calibrated' for 261"):
        read_grid(record, RECALIBRATED)


def test_read_out_noise_alone_stands_at_level_zero_and_is_no_curve() -> None:
    record = make_later_record()
    shot = record["cells"][-1]
    assert shot["axis"] == "shot"
    shot["value"] = 0.7
    areas = curve_areas(read_grid(record), record["clean"])
    assert "shot" not in areas
    clean = {**record, "cells": record["cells"][:-1]}
    same = curve_areas(read_grid(clean), 0.7)
    assert areas.keys() == same.keys()
    for axis, area in areas.items():
        np.testing.assert_array_equal(area, same[axis])
    other = curve_areas(read_grid(clean), record["clean"])
    assert (areas["device"] < other["device"]).all()
    # Axes of devices at nominal conditions begin at these devices, not at the ideal one.
    np.testing.assert_array_equal(areas["temperature-fine"], other["temperature-fine"])
