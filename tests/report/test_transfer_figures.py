from __future__ import annotations

import copy

import pytest
from matplotlib.figure import Figure

from pnnbench.leaderboard.ranking import Table, build
from pnnbench.records.store import seal
from pnnbench.report import style, transfer_figures
from pnnbench.report.looks import method_styles

from ..record_factory import MESH_METHODS, make_mesh_record, make_mesh_suite, make_suite
from .overlaps import in_the_way


@pytest.fixture(scope="module")
def table() -> Table:
    return build(make_mesh_suite())[0]


def texts(figure: Figure) -> str:
    return " ".join(text.get_text() for text in figure.texts).replace("\u00a0", " ")


def points(ax) -> dict[tuple[float, float], str]:
    """Marker of every single point."""
    return {
        (float(line.get_xdata()[0]), float(line.get_ydata()[0])): line.get_marker()
        for line in ax.lines
        if len(line.get_xdata()) == 1
    }


def spans(ax) -> list[tuple[float, float]]:
    return [tuple(line.get_xdata()) for line in ax.lines if line.get_linestyle() == "-"]


def test_transfer_shows_each_method_on_both_kinds_of_devices(table) -> None:
    with style.styled():
        figure = transfer_figures.transfer(table)
    left, right = figure.axes
    looks = method_styles(MESH_METHODS)
    assert points(left) == {
        (row.training_device.mean, row.fresh_devices.mean): looks[row.method].marker
        for row in table.rows
    }
    drawn = {
        (tuple(line.get_xdata()), tuple(line.get_ydata()))
        for line in left.lines
        if len(line.get_xdata()) == 2 and line.get_linestyle() == "-"
    }
    for row in table.rows:
        x, y = row.training_device, row.fresh_devices
        assert ((x.low, x.high), (y.mean, y.mean)) in drawn
        assert ((x.mean, x.mean), (y.low, y.high)) in drawn
    assert len(drawn) == 2 * len(table.rows)
    assert left.get_xlim() == left.get_ylim()
    assert [t.get_text() for t in right.get_yticklabels()] == [row.method for row in table.rows]
    assert list(points(right)) == [(row.transfer.mean, i) for i, row in enumerate(table.rows)]
    assert spans(right)[0] == (table.rows[0].transfer.low, table.rows[0].transfer.high)
    assert "severity 0.15 rad" in texts(figure)


def test_cost_has_three_panels_of_bars_with_intervals(table) -> None:
    with style.styled():
        figure = transfer_figures.cost(table)
    errors, times, sharp = figure.axes
    n = len(table.rows)
    assert [t.get_text() for t in errors.get_yticklabels()] == [row.method for row in table.rows]

    def reach(ax) -> list[float]:
        return [bar.get_x() + bar.get_width() for bar in ax.patches if bar.get_height() < 0.9]

    pairs = [(row.training_device.mean, row.fresh_devices.mean) for row in table.rows]
    assert reach(errors) == pytest.approx([1 - mean for pair in pairs for mean in pair])
    assert reach(times) == pytest.approx([row.time_ratio.mean for row in table.rows])
    assert reach(sharp) == pytest.approx([row.lambda_max.mean for row in table.rows])
    assert sharp.get_xscale() == "log"
    assert times.get_xscale() == "linear"
    assert (errors.get_xlim()[0], times.get_xlim()[0]) == (0.0, 0.0)
    both = [(row.training_device, row.fresh_devices) for row in table.rows]
    assert spans(errors) == [(1 - x.high, 1 - x.low) for pair in both for x in pair]
    ratios = [row.time_ratio for row in table.rows if row.method != "BP"]
    assert spans(times) == [(x.low, x.high) for x in ratios]
    assert spans(sharp) == [(row.lambda_max.low, row.lambda_max.high) for row in table.rows]
    assert len(spans(errors)) == 2 * n
    assert times.get_xlabel() == "time relative to BP"
    assert "BP trains in" in texts(figure)


def test_the_picture_names_another_reference() -> None:
    with style.styled():
        figure = transfer_figures.cost(build(make_mesh_suite(["BP, SGD", "PAT"]))[0])
    assert figure.axes[1].get_xlabel() == "time relative to BP, SGD"
    assert "BP, SGD trains in" in texts(figure)
    assert "no comparison" not in texts(figure)


def test_times_of_several_devices_are_no_comparison() -> None:
    records = []
    for number, record in enumerate(make_mesh_suite(["BP", "SAT"])):
        record.pop("checksum")
        record["provenance"]["arithmetic"] = {} if number else {"gpu": "NVIDIA H100"}
        records.append(seal(record))
    with style.styled():
        figure = transfer_figures.cost(build(records)[0])
    assert "times of several devices, no comparison of methods" in texts(figure)


def test_long_times_are_shown_on_a_logarithmic_axis() -> None:
    records = make_mesh_suite(["BP", "DAT"])
    for record in records:
        record["cost"]["train_seconds"] *= 9 if record["job"]["method"]["label"] == "DAT" else 1
    with style.styled():
        times = transfer_figures.cost(build([seal(r) for r in records])[0]).axes[1]
    assert times.get_xscale() == "log"
    low, high = times.get_xlim()
    assert low < 1.0 < 60.0 < high


def test_without_training_devices_there_are_no_pictures() -> None:
    table = build(make_suite())[0]
    assert transfer_figures.transfer(table) is None
    assert transfer_figures.cost(table) is None
    elsewhere = build(make_mesh_suite(["BP", "PAT"], severity=0.1))[0]
    assert transfer_figures.transfer(elsewhere) is None
    with style.styled():
        assert len(transfer_figures.cost(elsewhere).axes[0].patches) == 1 + 2


def test_a_metric_that_is_no_share_is_shown_as_it_is() -> None:
    records = copy.deepcopy(make_mesh_suite(["BP", "PAT"]))
    for record in records:
        record["metric"] = {"name": "fid", "higher_is_better": False}
        record["clean"] *= 40.0
        record["training_device"]["value"] *= 40.0
        for cell in record["cells"]:
            cell["value"] *= 40.0
    table = build([seal(r) for r in records])[0]
    with style.styled():
        errors = transfer_figures.cost(table).axes[0]
        left = transfer_figures.transfer(table).axes[0]
    assert errors.get_title(loc="left") == "FID"
    assert errors.get_xlim()[1] > 30
    assert left.get_xlabel() == "FID on the training device"
    assert left.get_xlim()[1] > 30


@pytest.mark.parametrize(
    "records",
    [
        [make_mesh_record("PAT")],
        make_mesh_suite(["BP", "SAT"], (0, 1)),
        make_mesh_suite(),
        make_mesh_suite(protocol="published"),
    ],
    ids=["one job", "two methods", "eleven methods", "published"],
)
def test_no_text_overlaps_or_sticks_out(records, monkeypatch) -> None:
    table = build(records)[0]
    with style.styled():
        for draw in (transfer_figures.transfer, transfer_figures.cost):
            assert in_the_way(draw(table), monkeypatch) == []
