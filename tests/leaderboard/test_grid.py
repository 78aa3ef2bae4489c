from __future__ import annotations

import numpy as np
import pytest

from pnnbench.errors import UserError
from pnnbench.leaderboard import ranking
from pnnbench.leaderboard.grid import arrange, counted_cells, curve_areas, read_grid

from ..record_factory import DEVICES, RECALIBRATED, make_later_record


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


def _moved(record: dict, nominal: float | str, by: float) -> dict:
    """A record whose axis of fine temperatures counts its levels from elsewhere."""
    cells = [
        {**cell, "level": cell["level"] + by, "nominal": nominal}
        if cell["axis"] == "temperature-fine"
        else cell
        for cell in record["cells"]
    ]
    return {**record, "cells": cells}


def test_an_area_begins_where_its_axis_is_nominal() -> None:
    record = make_later_record()
    plain = curve_areas(read_grid(record), record["clean"])
    moved = read_grid(_moved(record, 7.0, 7.0))
    assert (moved.nominal_of("temperature-fine"), moved.nominal_of("device")) == (7.0, 0.0)
    same = curve_areas(moved, record["clean"])
    for axis, area in plain.items():
        np.testing.assert_allclose(same[axis], area, rtol=1e-12)


def test_an_axis_without_an_end_has_the_area_of_its_levels() -> None:
    record = make_later_record()
    grid = read_grid(_moved(record, "inf", 0.0))
    found = curve_areas(grid, record["clean"])["temperature-fine"]
    mine = [i for i, group in enumerate(grid.groups) if group[0] == "temperature-fine"]
    x = np.array([grid.levels[grid.groups[i]][0] for i in mine])
    y = grid.values[mine]
    expected = np.trapezoid(y, x, axis=0) / (x[-1] - x[0])
    np.testing.assert_allclose(found, expected)


def test_an_axis_with_two_nominal_points_is_refused() -> None:
    record = _moved(make_later_record(), 1.0, 0.0)
    next(c for c in record["cells"] if c["axis"] == "temperature-fine")["nominal"] = 2.0
    with pytest.raises(UserError, match="is nominal at 2 and at 1"):
        read_grid(record)
