from __future__ import annotations

import numpy as np
import pytest

from pnnbench.errors import UserError
from pnnbench.leaderboard import ranking
from pnnbench.leaderboard.grid import (
    arrange,
    counted_cells,
    curve_areas,
    guessing,
    read_grid,
)

from ..record_factory import DEVICES, RECALIBRATED, make_failure, make_later_record


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


ERROR = {"name": "mse", "higher_is_better": False, "chance": 1.0}


def as_errors(record: dict) -> dict:
    """The record with ten times the share of wrong images as a mean squared error."""
    record["metric"] = dict(ERROR)
    for cell in record["cells"]:
        cell["value"] = 10.0 * (1.0 - cell["value"])
    record["clean"] = 10.0 * (1.0 - record["clean"])
    del record["deployments"], record["headline"]
    for entry in record.get("earlier", []):
        entry["clean"] = 10.0 * (1.0 - entry["clean"])
        for cell in entry["cells"]:
            cell["value"] = 10.0 * (1.0 - cell["value"])
    return record


def test_what_is_missing_counts_as_guessing_and_of_an_error_as_the_worst_there_is() -> None:
    accuracy = {"higher_is_better": True, "chance": 0.1}
    assert guessing(accuracy) == guessing(accuracy, [0.05, 0.9, None]) == 0.1
    assert guessing(ERROR) == guessing(ERROR, [0.2, None, np.nan]) == 1.0
    assert guessing(ERROR, [0.2, 30.0, None, np.inf]) == 30.0
    for metric in ({"higher_is_better": False}, {"higher_is_better": True}, {}):
        assert np.isnan(guessing(metric, [3.0]))


def test_a_cell_of_an_error_that_is_not_finite_is_no_better_than_the_worst_cell() -> None:
    record = as_errors(make_later_record())
    worst = max(cell["value"] for cell in record["cells"])
    assert worst > ERROR["chance"]
    whole = ranking.rows([record])[0].robust.mean
    for cell in [c for c in record["cells"] if c["counts"]][:5]:
        cell["value"] = None
    grid = read_grid(record)
    assert np.isfinite(grid.values).all()
    assert grid.values.max() == worst
    assert ranking.rows([record])[0].robust.mean > whole


def test_rows_of_an_error_stand_with_the_least_first_and_their_worst_devices_above() -> None:
    records = [as_errors(make_later_record(m, s)) for m in ("BP", "SAT") for s in (0, 1, 2)]
    rows = ranking.rows(records)
    assert [row.method for row in rows] == ["SAT", "BP"]
    assert rows[0].robust.mean < rows[1].robust.mean
    for row in rows:
        assert row.worst_decile.mean >= row.robust.mean
        assert row.clean.mean < row.robust.mean


def test_a_seed_that_diverged_makes_an_error_no_smaller() -> None:
    records = [as_errors(make_later_record("BP", s)) for s in (0, 1, 2)]
    before = ranking.rows(records)[0].robust.mean
    failed = make_failure("BP", 3)
    failed["job"]["revision"] = records[0]["job"]["revision"]
    after = ranking.rows([*records, failed])[0]
    assert after.robust.mean > before > ERROR["chance"]


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
