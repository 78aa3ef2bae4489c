from __future__ import annotations

import numpy as np
import pytest
from matplotlib.collections import FillBetweenPolyCollection
from matplotlib.lines import Line2D

from pnnbench.leaderboard.ranking import build
from pnnbench.records.index import Claim
from pnnbench.records.store import seal
from pnnbench.report import figure_parts, figures, style
from pnnbench.report.degradation import curves as curves_of
from pnnbench.report.degradation import degradation
from pnnbench.report.looks import method_styles

from ..record_factory import (
    MESH_METHODS,
    MESH_SEVERITIES,
    METHODS,
    make_image_suite,
    make_mesh_record,
    make_mesh_suite,
    make_record,
    make_suite,
)
from .misaligned import LEVELS, make_misaligned
from .overlaps import in_the_way


@pytest.fixture(scope="module")
def table():
    return build(make_suite())[0]


def test_curves_hold_the_intervals_of_the_groups(table):
    curves = curves_of(table)
    assert list(curves) == [("device", None), ("temperature-fine", 0.1), ("temperature-wide", 0.1)]
    for group in table.groups:
        key = (group.axis, None if group.axis == "device" else 0.1)
        for method, interval in group.methods.items():
            assert curves[key][method][group.level] == interval


def test_level_zero_is_clean_or_what_the_same_devices_measured(table):
    curves = curves_of(table)
    nominal = next(g for g in table.groups if g.axis == "device" and g.severity == 0.1)
    for row in table.rows:
        assert curves["device", None][row.method][0.0] == row.clean
        for axis in ("temperature-fine", "temperature-wide"):
            assert curves[axis, 0.1][row.method][0.0] == nominal.methods[row.method]
        assert list(curves["device", None][row.method]) == [0.0, 0.1, 0.25, 0.5, 1.0]


def test_read_out_noise_alone_has_no_panel(table):
    records = make_suite()
    for record in records:
        shot = {"axis": "shot", "unit": "", "level": 0.0, "severity": 0.0, "device_seed": None}
        record["cells"].append({**record["cells"][0], **shot, "counts": False})
    found, plain = curves_of(build(records)[0]), curves_of(table)
    assert found.keys() == plain.keys()
    for key, rows in found.items():
        for method, curve in rows.items():
            # Where the clean value stood, the ideal device stands as it is read out.
            levels = [level for level in curve if level or key[0] != "device"]
            assert curve.keys() == plain[key][method].keys()
            assert all(curve[level] == plain[key][method][level] for level in levels)


def test_level_zero_falls_back_to_clean():
    records = make_suite(["BP", "SAT"])
    for record in records:
        record["cells"] = [c for c in record["cells"] if c["axis"] == "temperature-fine"]
    table = build([seal(record) for record in records])[0]
    curves = curves_of(table)
    assert list(curves) == [("temperature-fine", 0.1)]
    for row in table.rows:
        assert curves["temperature-fine", 0.1][row.method][0.0] == row.clean


def test_degradation_shows_every_method_with_its_band(table):
    with style.styled():
        figure = degradation(table)
    looks = method_styles(METHODS)
    assert [ax.get_title(loc="left") for ax in figure.axes] == [
        "Device errors",
        "Temperature, fine",
        "Temperature, wide",
    ]
    assert [ax.get_xlabel() for ax in figure.axes] == [
        "severity (× measured spread)",
        "temperature offset (°C)",
        "temperature offset (°C)",
    ]
    for ax, curves in zip(figure.axes, curves_of(table).values(), strict=True):
        assert ax.get_ylim() == (-0.02, 1.02)
        chance, *lines = sorted(ax.lines, key=lambda line: line.get_marker() != "None")
        assert list(chance.get_ydata()) == [0.1, 0.1]
        bands = [c for c in ax.collections if isinstance(c, FillBetweenPolyCollection)]
        assert len(lines) == len(bands) == len(METHODS)
        for row, line, band in zip(reversed(table.rows), lines, bands, strict=True):
            curve = curves[row.method]
            assert line.get_marker() == looks[row.method].marker
            assert list(line.get_xdata()) == list(curve)
            assert list(line.get_ydata()) == [interval.mean for interval in curve.values()]
            corners = band.get_paths()[0].vertices[:, 1]
            assert corners.max() == max(interval.high for interval in curve.values())
            assert corners.min() == min(interval.low for interval in curve.values())
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend[: len(METHODS)] == [row.method for row in table.rows]
    silent = any(not group.counted for group in table.groups)
    assert ("no weight in the score" in legend) == silent
    assert "chance (0.1)" in legend


def test_one_job_on_one_device_has_no_bands():
    table = build([make_record("SAT", 0, devices=(1000,))])[0]
    with style.styled():
        figure = degradation(table)
        assert figures.scores(table).axes
    for ax in figure.axes:
        bands = [c for c in ax.collections if isinstance(c, FillBetweenPolyCollection)]
        assert all(len(band.get_paths()) == 0 for band in bands)
        assert len([line for line in ax.lines if line.get_marker() == "D"]) == 1


def test_lines_keep_apart_in_grey(table):
    with style.styled():
        handles = degradation(table).legends[0].legend_handles
    marks = [
        (h.get_marker(), h.get_fillstyle())
        for h in handles
        if isinstance(h, Line2D) and h.get_marker() not in ("None", "")
    ]
    assert len(set(marks)) == len(marks) == len(METHODS)


# --- one axis ----------------------------------------------------------------------------------


def test_eleven_methods_on_one_axis_stand_side_by_side_with_their_intervals(monkeypatch):
    table = build(make_mesh_suite())[0]
    with style.styled():
        figure = degradation(table)
        assert in_the_way(figure, monkeypatch) == []
    (ax,) = figure.axes
    assert ax.get_xlabel() == "standard deviation s (rad)"
    (curves,) = curves_of(table).values()
    lines = [line for line in ax.lines if line.get_marker() not in ("None", "")]
    assert len(lines) == len(MESH_METHODS)
    levels = np.array([0.0, *MESH_SEVERITIES])
    half = np.diff(levels).min() / 2
    places = []
    for row, line in zip(reversed(table.rows), lines, strict=True):
        beside = np.array(line.get_xdata()) - levels
        assert beside == pytest.approx(np.full(7, beside[0]))
        assert abs(beside[0]) < half
        places.append(float(beside[0]))
        assert list(line.get_ydata()) == [y.mean for y in curves[row.method].values()]
    assert places == sorted(places, reverse=True)
    assert len({round(place, 9) for place in places}) == len(MESH_METHODS)
    upright = sorted(
        tuple(line.get_ydata())
        for line in ax.lines
        if len(line.get_xdata()) == 2 and line.get_xdata()[0] == line.get_xdata()[1]
    )
    assert upright == sorted((y.low, y.high) for c in curves.values() for y in c.values())
    shown = [text.get_text() for text in ax.get_xticklabels()]
    assert sorted(shown, key=float) == ["0", "0.03", "0.06", "0.09", "0.12", "0.15", "0.2"]


@pytest.mark.parametrize("claimed", [(), (Claim("Pruning", "NAT"), Claim("NAT", "BP"))])
def test_of_many_rows_those_of_the_claims_are_told_apart_and_the_others_are_grey(
    claimed, monkeypatch
):
    monkeypatch.setattr(figure_parts, "MOST", 3)
    (table,) = build(make_suite(), claims={"mrr_mnist": claimed})
    front = {"Pruning", "NAT", "BP"} if claimed else {row.method for row in table.rows[:3]}
    with style.styled():
        figure = degradation(table)
        for ax in figure.axes:
            lines = [line for line in ax.lines if len(line.get_xdata()) > 2]
            grey = [line for line in lines if line.get_color() == figure_parts.OTHERS["color"]]
            assert (len(lines), len(grey)) == (len(METHODS), 2)
            bands = [c for c in ax.collections if isinstance(c, FillBetweenPolyCollection)]
            assert len(bands) == 3
    (legend,) = figure.legends
    texts = [text.get_text() for text in legend.get_texts()]
    assert set(texts) & set(METHODS) == front
    assert "2 other rows" in texts


def test_one_level_alone_draws():
    record = make_mesh_record("PAT", sealed=False)
    record["cells"] = [{**c, "level": 0.0} for c in record["cells"] if c["level"] == 0.03]
    records = [record, make_mesh_record("BP", sealed=False)]
    records[1]["cells"] = [{**c, "value": 0.5} for c in record["cells"]]
    with style.styled():
        figure = degradation(build([seal(r) for r in records])[0])
    assert len([line for line in figure.axes[0].lines if line.get_marker() in "oP"]) == 2


# --- many axes ---------------------------------------------------------------------------------


def test_a_surface_is_left_out_and_five_axes_stand_in_two_rows(monkeypatch):
    table = build(make_misaligned())[0]
    curves = curves_of(table)
    assert list(curves) == [
        ("device", None),
        ("rotation", 0.0),
        ("scale", 0.0),
        ("shift_x", 0.0),
        ("shift_y", 0.0),
    ]
    for row in table.rows:
        curve = curves["rotation", 0.0][row.method]
        assert sorted(curve) == sorted((*LEVELS, 0.0))
        assert curve[0.0] == row.clean
    with style.styled():
        figure = degradation(table)
        assert in_the_way(figure, monkeypatch) == []
    assert [ax.get_title(loc="left") for ax in figure.axes] == [
        "Device errors",
        "Rotation",
        "Scale",
        "Shift, x",
        "Shift, y",
    ]
    assert [ax.get_xlabel() for ax in figure.axes] == [
        "severity (× assembly tolerance)",
        "rotation (°)",
        "scale offset (%)",
        "shift along x (px)",
        "shift along y (px)",
    ]
    assert [ax.get_ylabel() for ax in figure.axes] == ["accuracy", "", "", "accuracy", ""]
    assert [ax.get_title(loc="right") for ax in figure.axes] == ["", *["ideal device"] * 4]
    rows = [ax.get_subplotspec().rowspan.start for ax in figure.axes]
    assert rows == [0, 0, 0, 1, 1]


def test_nothing_but_a_surface_draws_no_lines():
    records = make_misaligned(("BP", "SAT"))
    for record in records:
        record["cells"] = [c for c in record["cells"] if c["axis"] == "rotation_and_shift"]
    with style.styled():
        assert degradation(build([seal(record) for record in records])[0]) is None


def _on_bits():
    """A suite whose fine temperatures are bits of a driver, 3 to 8, nominal at infinitely many."""
    records = make_suite()
    for record in records:
        mine = [cell for cell in record["cells"] if cell["axis"] == "temperature-fine"]
        bits = {level: 3.0 + i for i, level in enumerate(sorted({c["level"] for c in mine}))}
        for cell in mine:
            cell |= {"level": bits[cell["level"]], "unit": "bit", "nominal": "inf"}
    return build(records)[0]


def test_a_curve_ends_where_its_axis_is_nominal_and_the_picture_says_infinity():
    table = _on_bits()
    groups = [g for g in table.groups if g.axis == "temperature-fine"]
    assert {g.nominal for g in groups} == {np.inf}
    assert {g.as_dict()["nominal"] for g in groups} == {"inf"}
    for curve in curves_of(table)["temperature-fine", 0.1].values():
        assert list(curve)[-1] == np.inf
        assert 0.0 not in curve
    with style.styled():
        figure = degradation(table)
        ax = figure.axes[1]
        texts = [tick.get_text() for tick in ax.get_xticklabels()]
        assert "∞" in texts
        places = dict(zip(texts, ax.get_xticks(), strict=True))
        last = max(g.level for g in groups)
        assert places["∞"] == pytest.approx(last + 1.0)
        drawn = [line.get_xdata() for line in ax.lines if len(line.get_xdata()) > 2]
        assert drawn
        assert all(np.isfinite(x).all() and x[-1] == places["∞"] for x in drawn)


def test_each_figure_beside_the_metric_has_curves_of_its_own():
    table = build(make_image_suite(["BP", "SAT"], suite="cifar10_reconstruct"))[0]
    curves = curves_of(table, "psnr_db")
    assert list(curves) == [("device", None), ("temperature_fine", 0.5)]
    for group in table.groups:
        key = (group.axis, None if group.axis == "device" else 0.5)
        for method in ("BP", "SAT"):
            assert curves[key][method][group.level] == group.also["psnr_db"][method]
    for row in table.rows:
        assert curves["device", None][row.method][0.0] == row.also["psnr_db"].clean
    with style.styled():
        figure = degradation(table, "psnr_db")
    assert figure.axes[0].get_ylabel() == "PSNR dB"
    assert next(text.get_text() for text in figure.texts) == "PSNR dB under perturbation"
    # Guessing has a level of the metric alone.
    assert not any("chance" in text.get_text() for text in figure.legends[0].get_texts())


def test_a_board_gets_a_picture_for_each_figure(tmp_path):
    table = build(make_image_suite(["BP", "SAT"]))[0]
    drawn = figures.draw_suite([table], tmp_path)
    names = [name for name in drawn if name.startswith("degradation")]
    assert names == [
        "degradation",
        "degradation-kid",
        "degradation-precision",
        "degradation-recall",
    ]
    with style.styled():
        assert degradation(table).axes[0].get_ylabel() == "FID"
