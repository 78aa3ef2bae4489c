from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

from pnnbench.leaderboard.ranking import build
from pnnbench.records.store import seal
from pnnbench.report import style
from pnnbench.report.surface import field_text, surface, surface_of

from ..record_factory import make_mesh_suite, make_suite
from .misaligned import PLACE, STRENGTHS, accuracy, make_misaligned
from .overlaps import in_the_way


@pytest.fixture(scope="module")
def table():
    return build(make_misaligned())[0]


def changed(records: list[dict[str, Any]], change: Any) -> Any:
    """The table of the records after a change of each."""
    new = copy.deepcopy(records)
    for record in new:
        change(record)
    return build([seal(record) for record in new])[0]


# --- what is shown -----------------------------------------------------------------------------


def test_surface_has_the_joint_groups_the_single_ones_and_the_clean_metric(table):
    shown = surface_of(table)
    assert shown.fields == ("rotation_deg", "shift_y_px")
    assert shown.severity == 0.0
    # Levels of 0.5 and 1.5 are measured alone but not together: they are left out.
    assert shown.rows == shown.columns == (-2.0, -1.0, 0.0, 1.0, 2.0)
    assert list(shown.values) == [row.method for row in table.rows]
    for method, values in shown.values.items():
        for i, r in enumerate(shown.rows):
            for j, d in enumerate(shown.columns):
                place = {**PLACE, "rotation_deg": r, "shift_y_px": d}
                expected = max(0.05, accuracy(STRENGTHS[method], place)) + 0.002
                assert values[i][j] == pytest.approx(expected), (method, r, d)
    for row in table.rows:
        assert shown.values[row.method][2][2] == row.clean.mean


def test_places_that_nobody_measured_stay_empty():
    def corners_only(record: dict[str, Any]) -> None:
        record["cells"] = [c for c in record["cells"] if c["axis"] not in ("rotation", "shift_y")]

    shown = surface_of(changed(make_misaligned(("BP",)), corners_only))
    assert shown.rows == shown.columns == (-2.0, -1.0, 0.0, 1.0, 2.0)
    values = np.array(shown.values["BP"], dtype=float)
    assert np.isnan(values[2]).sum() == np.isnan(values[:, 2]).sum() == 4
    assert np.isfinite(values).sum() == 17


def test_a_suite_of_nothing_but_the_joint_grid_has_no_middle():
    def joint_only(record: dict[str, Any]) -> None:
        record["cells"] = [c for c in record["cells"] if c["axis"] == "rotation_and_shift"]

    shown = surface_of(changed(make_misaligned(("BP",)), joint_only))
    assert shown.rows == shown.columns == (-2.0, -1.0, 1.0, 2.0)


def test_real_devices_have_their_own_middle():
    def on_devices(record: dict[str, Any]) -> None:
        cells = []
        for cell in record["cells"]:
            if cell["axis"] == "device":
                cells.append(cell)
            else:
                cells += [{**cell, "severity": 0.25, "device_seed": d} for d in (1000, 1001)]
        record["cells"] = cells

    table = changed(make_misaligned(("BP", "SAT")), on_devices)
    shown = surface_of(table)
    assert shown.severity == 0.25
    nominal = next(g for g in table.groups if g.axis == "device" and g.severity == 0.25)
    for method, values in shown.values.items():
        assert values[2][2] == nominal.methods[method].mean
    with style.styled():
        remark = surface(table).texts[1].get_text().replace("\u00a0", " ")
    assert "severity 0.25" in remark


def test_other_suites_have_no_surface():
    for records in (make_suite(("BP", "SAT")), make_mesh_suite(("BP", "PAT"), (0, 1))):
        assert surface_of(build(records)[0]) is None
        assert surface(build(records)[0]) is None


def test_a_surface_of_three_fields_is_none():
    def three(record: dict[str, Any]) -> None:
        for k, cell in enumerate(record["cells"]):
            if cell["axis"] == "rotation_and_shift":
                cell["environment"] = {**cell["environment"], "scale": 1.0 + 0.01 * k}

    assert surface_of(changed(make_misaligned(("BP",)), three)) is None


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("rotation_deg", "rotation (°)"),
        ("shift_y_px", "shift along y (px)"),
        ("temperature_degc", "temperature (°C)"),
        ("supply_ripple_ma", "supply ripple (mA)"),
        ("scale", "scale"),
        ("log_scale", "log scale"),
    ],
)
def test_fields_have_names_and_units(name, text):
    assert field_text(name) == text


# --- the picture -------------------------------------------------------------------------------


def test_heat_maps_share_one_scale_and_rise_upwards(table):
    with style.styled():
        figure = surface(table)
    assert figure.texts[0].get_text() == "Accuracy under rotation and shift along y together"
    maps = [ax for ax in figure.axes if ax.images]
    assert [ax.get_title(loc="left") for ax in maps] == [row.method for row in table.rows]
    limits = {ax.images[0].get_clim() for ax in maps}
    assert limits == {(0.4, 1.0)}  # the least is 0.49
    shown = surface_of(table)
    for ax, values in zip(maps, shown.values.values(), strict=True):
        assert np.array(ax.images[0].get_array()) == pytest.approx(np.array(values))
        low, high = ax.get_ylim()
        assert low < high
        texts = [text.get_text() for text in ax.texts]
        assert texts == [f"{100 * v:.0f}" for line in values for v in line]
    assert [t.get_text() for t in maps[0].get_xticklabels()] == [""] * 5  # a map stands below
    assert [t.get_text() for t in maps[4].get_xticklabels()] == ["−2", "−1", "0", "+1", "+2"]
    bars = [bar.get_ylabel() for ax in maps for bar in ax.child_axes]
    assert bars == ["accuracy"]


@pytest.mark.parametrize(
    ("methods", "joint"),
    [
        (("BP",), (-2.0, 2.0)),
        (("BP", "SAT"), (-1.0, 1.0)),
        (tuple(STRENGTHS), (-2.0, -1.5, -1.0, -0.5, 0.5, 1.0, 1.5, 2.0)),
        (tuple(STRENGTHS), (-2.0, -1.0, 1.0, 2.0)),
    ],
    ids=["one", "two", "many-cells", "five"],
)
def test_no_text_overlaps_or_sticks_out(methods, joint, monkeypatch):
    with style.styled():
        figure = surface(build(make_misaligned(methods, joint=joint))[0])
        assert in_the_way(figure, monkeypatch) == []
    written = [text for ax in figure.axes for text in ax.texts]
    cells = (len(joint) + 1) ** 2
    assert len(written) == (cells * len(methods) if len(joint) < 8 else 0)


def test_long_labels_are_wrapped(monkeypatch):
    def long(record: dict[str, Any]) -> None:
        record["job"]["method"]["label"] += ", SGD, published step, $ & co"

    with style.styled():
        figure = surface(changed(make_misaligned(), long))
        assert in_the_way(figure, monkeypatch) == []


def test_light_is_good_where_less_is_better():
    def less(record: dict[str, Any]) -> None:
        record["metric"] = {"name": "fid", "higher_is_better": False}
        for cell in record["cells"]:
            cell["value"] *= 40.0
        record["clean"] *= 40.0

    with style.styled():
        figure = surface(changed(make_misaligned(("BP",)), less))
    image = figure.axes[0].images[0]
    assert image.cmap.name == "viridis_r"
    assert image.get_clim()[1] > 30
    assert "numbers in %" not in figure.texts[-1].get_text()
