from __future__ import annotations

import copy
import subprocess
import sys
from itertools import combinations
from xml.etree import ElementTree

import pytest
from matplotlib.collections import FillBetweenPolyCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text

from pnnbench import style
from pnnbench.leaderboard import figures
from pnnbench.leaderboard.ranking import build
from pnnbench.leaderboard.records import seal
from pnnbench.leaderboard.statistics import spearman

from .factory import METHODS, make_failure, make_record, make_suite, write_job

#: Like the real suite: long labels, eleven rows.
LONG = [
    *METHODS,
    "BP, equal gradients",
    "BP, published step",
    "BP on weights, SGD",
    "BP on weights, SGD, published step",
    "SAT, published step",
    "SAT, adaptive",
]


def relabelled(labels: list[str]) -> list[dict]:
    """A suite of many rows: the numbers of the five methods under more labels."""
    records = []
    for i, label in enumerate(labels):
        for seed in (0, 1, 2):
            record = make_record(METHODS[i % len(METHODS)], seed, sealed=False)
            record["job"]["method"]["label"] = label
            record["job"]["hash"] = f"{1000 * i + seed:016x}"
            del record["job"]["content"]
            records.append(seal(record))
    return records


def lower_is_better(records: list[dict]) -> list[dict]:
    changed = copy.deepcopy(records)
    for record in changed:
        record["metric"] = {"name": "fid", "higher_is_better": False}
        record["clean"] *= 40.0
        for cell in record["cells"]:
            cell["value"] *= 40.0
    return [seal(record) for record in changed]


@pytest.fixture(scope="module")
def records() -> list[dict]:
    return make_suite()


@pytest.fixture(scope="module")
def table(records):
    return build(records)[0]


def in_the_way(figure: Figure, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Draws a figure and names texts that overlap or stick out."""
    drawn: list[Text] = []
    draw = Text.draw

    def spy(self: Text, renderer: object) -> None:
        draw(self, renderer)
        if self.get_visible() and self.get_text().strip():
            drawn.append(self)

    with monkeypatch.context() as patch:
        patch.setattr(Text, "draw", spy)
        figure.canvas.draw()
    boxes = [(t.get_text(), t.get_window_extent()) for t in dict.fromkeys(drawn)]
    edge = figure.bbox.padded(0.5)
    bad = [t for t, b in boxes if not (edge.contains(b.x0, b.y0) and edge.contains(b.x1, b.y1))]
    for (a, one), (b, other) in combinations(boxes, 2):
        if one.padded(-0.5).overlaps(other.padded(-0.5)):
            bad.append(f"{a} / {b}")
    assert len(boxes) > 10
    return bad


# --- files -------------------------------------------------------------------------------------


def test_suite_pictures_are_the_same_bytes_when_drawn_again(records, tmp_path):
    first = figures.draw_suite(records, tmp_path / "a")
    assert list(first) == ["degradation", "scores", "sharpness"]
    again = figures.draw_suite(list(reversed(records)), tmp_path / "b")
    for name, path in first.items():
        assert path == tmp_path / "a" / f"{name}.svg"
        assert path.read_bytes() == again[name].read_bytes()
        assert path.with_suffix(".png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
        assert path.stat().st_size < 400_000
    assert len(list((tmp_path / "a").iterdir())) == 6


def test_several_tables_get_names_of_their_own(tmp_path):
    data = ("sha256:" + digit * 64 for digit in "01")
    two = [r for f in data for r in make_suite(["BP", "SAT"], (0, 1), fingerprint=f)]
    drawn = figures.draw_suite(two, tmp_path)
    prefix = "mrr_mnist-mrr-mnist-standard"
    kinds = ("degradation", "scores", "sharpness")
    assert list(drawn) == [f"{p}-{k}" for p in (prefix, f"{prefix}-2") for k in kinds]
    assert all(path.is_file() for path in drawn.values())


def test_failures_alone_draw_nothing(tmp_path):
    assert figures.draw_suite([make_failure("SAT", 0)], tmp_path / "x") == {}
    assert not (tmp_path / "x").exists()


def test_drawing_needs_neither_torch_nor_pyplot(tmp_path):
    for record in make_suite(["BP", "SAT"], (0, 1)):
        write_job(tmp_path / "runs", record)
    code = (
        "import sys; from pnnbench.leaderboard import figures, records\n"
        "assert 'matplotlib' not in sys.modules\n"
        f"figures.draw_suite(records.read_records({str(tmp_path / 'runs')!r}), {str(tmp_path)!r})\n"
        "assert not {'torch', 'lightning', 'matplotlib.pyplot'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=120)
    assert (tmp_path / "degradation.png").is_file()


# --- degradation -------------------------------------------------------------------------------


def test_curves_hold_the_intervals_of_the_groups(table):
    curves = figures.curves(table)
    assert list(curves) == [("device", None), ("temperature-fine", 0.1), ("temperature-wide", 0.1)]
    for group in table.groups:
        key = (group.axis, None if group.axis == "device" else 0.1)
        for method, interval in group.methods.items():
            assert curves[key][method][group.level] == interval


def test_level_zero_is_clean_or_what_the_same_devices_measured(table):
    curves = figures.curves(table)
    nominal = next(g for g in table.groups if g.axis == "device" and g.severity == 0.1)
    for row in table.rows:
        assert curves["device", None][row.method][0.0] == row.clean
        for axis in ("temperature-fine", "temperature-wide"):
            assert curves[axis, 0.1][row.method][0.0] == nominal.methods[row.method]
        assert list(curves["device", None][row.method]) == [0.0, 0.1, 0.25, 0.5, 1.0]


def test_level_zero_falls_back_to_clean():
    records = make_suite(["BP", "SAT"])
    for record in records:
        record["cells"] = [c for c in record["cells"] if c["axis"] == "temperature-fine"]
    table = build([seal(record) for record in records])[0]
    curves = figures.curves(table)
    assert list(curves) == [("temperature-fine", 0.1)]
    for row in table.rows:
        assert curves["temperature-fine", 0.1][row.method][0.0] == row.clean


def test_degradation_shows_every_method_with_its_band(table):
    with style.styled():
        figure = figures.degradation(table)
    looks = style.method_styles(METHODS)
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
    for ax, curves in zip(figure.axes, figures.curves(table).values(), strict=True):
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
    silent = any(not group.informative for group in table.groups)
    assert ("all at chance: no weight" in legend) == silent
    assert "chance (0.1)" in legend


def test_one_job_on_one_device_has_no_bands():
    table = build([make_record("SAT", 0, devices=(1000,))])[0]
    with style.styled():
        figure = figures.degradation(table)
        assert figures.scores(table).axes
    for ax in figure.axes:
        bands = [c for c in ax.collections if isinstance(c, FillBetweenPolyCollection)]
        assert all(len(band.get_paths()) == 0 for band in bands)
        assert len([line for line in ax.lines if line.get_marker() == "D"]) == 1


# --- sharpness ---------------------------------------------------------------------------------


def test_sharpness_has_one_point_per_job(records, table):
    points = figures.sharpness_points(table, [*records, make_record("SAT", 0, suite="other")])
    assert list(points) == [row.method for row in table.rows]
    for row in table.rows:
        mine = {r["job"]["seed"]: r for r in records if r["job"]["method"]["label"] == row.method}
        expected = [mine[seed]["sharpness"]["lambda_max"] for seed in row.seeds]
        assert [x for x, _ in points[row.method]] == expected
        mean = sum(y for _, y in points[row.method]) / 3
        assert mean == pytest.approx(row.robust.mean, abs=1e-12)
    with style.styled():
        figure = figures.sharpness(table, records)
    ax = figure.axes[0]
    assert ax.get_xscale() == "log"
    for line in ax.lines:
        pairs = list(zip(line.get_xdata(), line.get_ydata(), strict=True))
        assert pairs == points[line.get_label()]
        assert line.get_linestyle() == "None"
    rho = f"{table.correlations['lambda_max']['rho']:+.2f}".replace("-", "−")
    assert figure.texts[0].get_text() == f"Robustness against sharpness: Spearman ρ = {rho}"
    assert "15 jobs" in figure.texts[1].get_text().replace("\u00a0", " ")


def test_rho_is_that_of_the_picture_where_lower_is_better():
    worse = lower_is_better(make_suite(["BP", "SAT", "BP on weights"]))
    table = build(worse)[0]
    points = [p for pairs in figures.sharpness_points(table, worse).values() for p in pairs]
    rho = spearman([x for x, _ in points], [y for _, y in points]).mean
    assert rho is not None
    assert abs(rho) > 0.1
    with style.styled():
        figure = figures.sharpness(table, worse)
        axes = figures.degradation(table).axes
    drawn = float(figure.texts[0].get_text().rpartition("=")[2].replace("−", "-"))
    assert drawn == pytest.approx(rho, abs=0.005)
    assert axes[0].get_ylim()[1] > 30
    assert not any("chance" in t.get_text() for t in axes[0].figure.legends[0].get_texts())


# --- scores ------------------------------------------------------------------------------------


def test_scores_stand_in_order_of_rank(table):
    with style.styled():
        figure = figures.scores(table)
    ax = figure.axes[0]
    names = [label.get_text().rsplit("   ", 1)[0] for label in ax.get_yticklabels()]
    assert names == [row.method for row in table.rows]
    low, high = ax.get_ylim()
    assert low > high  # the best stands on top
    dots = [line for line in ax.lines if line.get_linestyle() == "None"]
    expected = [x.mean for row in table.rows for x in (row.clean, row.robust, row.worst_decile)]
    assert [float(line.get_xdata()[0]) for line in dots] == expected
    bars = [line for line in ax.lines if line.get_linewidth() == 1.5]
    ends = [
        (x.low, x.high) for row in table.rows for x in (row.clean, row.robust, row.worst_decile)
    ]
    assert [tuple(line.get_xdata()) for line in bars] == ends


# --- nothing in the way ------------------------------------------------------------------------


@pytest.mark.parametrize("labels", [["SAT"], list(METHODS), LONG], ids=["one", "five", "eleven"])
def test_no_text_overlaps_or_sticks_out(labels, monkeypatch):
    records = relabelled(labels)
    table = build(records)[0]
    with style.styled():
        for figure in (
            figures.degradation(table),
            figures.sharpness(table, records),
            figures.scores(table),
        ):
            assert in_the_way(figure, monkeypatch) == []


def test_the_check_for_overlaps_finds_one(table, monkeypatch):
    with style.styled():
        figure = figures.scores(table)
        figure.text(0.02, 0.95, "over the title")
        figure.text(0.98, 0.5, "out of the figure")
        bad = in_the_way(figure, monkeypatch)
    assert "out of the figure" in bad
    assert any("over the title" in entry for entry in bad)


def test_labels_of_strangers_draw(tmp_path):
    records = relabelled(["costs $5 & <more>", "50 % \\alpha_1 $", "ünïcode → a--b"])
    for path in figures.draw_suite(records, tmp_path).values():
        assert ElementTree.parse(path).getroot().tag.endswith("svg")  # noqa: S314 - our own file


def test_lines_keep_apart_in_grey(table):
    with style.styled():
        handles = figures.degradation(table).legends[0].legend_handles
    marks = [
        (h.get_marker(), h.get_fillstyle())
        for h in handles
        if isinstance(h, Line2D) and h.get_marker() not in ("None", "")
    ]
    assert len(set(marks)) == len(marks) == len(METHODS)
