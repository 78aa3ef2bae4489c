from __future__ import annotations

import re

import matplotlib as mpl
import pytest
from matplotlib.text import Text

from pnnbench.report import style
from pnnbench.report.looks import method_styles


def drawing():
    figure = style.new_figure(4, 3)
    ax = figure.subplots()
    ax.plot([0, 1, 2], [0, 1, 4], **method_styles(["SAT"])["SAT"].line())
    ax.fill_between([0, 1, 2], [0, 1, 3], [0, 1, 5], alpha=0.2)
    ax.axvspan(0.2, 0.3, hatch="///", facecolor="white")
    style.color_bar(ax, ax.imshow([[0.0, 1.0]], aspect="auto"), "a scale")
    style.heading(figure, "A title", "a remark")
    return figure


# --- files -------------------------------------------------------------------------------------


def test_the_same_drawing_gives_the_same_bytes(tmp_path):
    for folder in ("a", "b"):
        with style.styled():
            svg, png = style.save(drawing(), tmp_path / folder, "x", title="A drawing")
    assert sorted(p.name for p in tmp_path.rglob("*.*")) == ["x.png", "x.png", "x.svg", "x.svg"]
    assert (tmp_path / "a/x.svg").read_bytes() == svg.read_bytes()
    assert (tmp_path / "a/x.png").read_bytes() == png.read_bytes()
    text = svg.read_text()
    assert "<dc:title>A title A drawing</dc:title>" in text
    assert not re.search(r"<dc:date>|Matplotlib v|<text", text)


def test_an_interrupted_write_keeps_the_old_picture(tmp_path):
    with style.styled():
        svg, _ = style.save(drawing(), tmp_path, "x", title="old")
        before = svg.read_bytes()
        broken = drawing()
        broken.axes[0].set_title("$\\frac{1$")  # not a formula: drawing raises
        with pytest.raises(ValueError, match="frac"):
            style.save(broken, tmp_path, "x", title="new")
    assert svg.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.png", "x.svg"]


def test_settings_of_the_user_neither_enter_nor_change(tmp_path):
    with style.styled():
        plain, _ = style.save(drawing(), tmp_path, "plain", title="t")
    with mpl.rc_context({"font.size": 20, "lines.linewidth": 9, "svg.hashsalt": "other"}):
        mine = dict(mpl.rcParams)
        with style.styled():
            assert mpl.rcParams["font.size"] == 9
            again, _ = style.save(drawing(), tmp_path, "again", title="t")
        assert dict(mpl.rcParams) == mine
    assert plain.read_bytes() == again.read_bytes()


# --- texts -------------------------------------------------------------------------------------


def test_a_long_remark_is_wrapped_into_the_figure():
    with style.styled():
        figure = style.new_figure(4, 3)
        ax = figure.subplots()
        ax.set_title("panel")
        style.heading(figure, "A title", " · ".join(["mrr-mnist", "a rather long label"] * 5))
        figure.draw_without_rendering()
        remarks = [t for t in figure.texts if t.get_color() == style.QUIET]
        boxes = [t.get_window_extent() for t in figure.texts]
        assert len(remarks) == 4
        # No fact is torn: each line holds whole ones.
        facts = [f.strip("\u00a0 ") for t in remarks for f in t.get_text().split("·")]
        assert {f.replace("\u00a0", " ") for f in facts if f} == {
            "mrr-mnist",
            "a rather long label",
        }
        assert all(box.x1 < figure.bbox.x1 for box in boxes)
        assert min(box.y0 for box in boxes) > ax.title.get_window_extent().y1


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0489, "0.0489"),
        (-0.25, "−0.25"),
        (999.7, "1000"),
        (12345.6, "12346"),
        (0.0, "0"),
        (2.5e-5, "2.5 × 10$^{-5}$"),
        (-3e7, "−3 × 10$^{7}$"),
    ],
)
def test_numbers(value, text):
    assert style.number_text(value) == text


def test_units():
    assert style.unit_text("degC") == "°C"
    assert style.unit_text("x measured spread") == "× measured spread"
    assert style.unit_text("px") == "px"


def test_dollars_of_a_user_are_no_formula():
    with style.styled():
        figure = style.new_figure(3, 2)
        figure.text(0.1, 0.5, style.plain("costs $5, not $\\bogus{"))
        figure.draw_without_rendering()
        text = next(iter(figure.findobj(Text)))
        assert text._preprocess_math(text.get_text()) == ("costs $5, not $\\bogus{", False)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.02, 0.35], ["0.02", "0.05", "0.1", "0.2"]),
        ([0.8, 3.0], ["0.8", "1", "1.5", "2", "3"]),
        ([1e-3, 1e2], ["0.001", "0.01", "0.1", "1", "10", "100"]),
    ],
)
def test_logarithmic_axes_have_plain_numbers(values, expected):
    with style.styled():
        figure = style.new_figure(5, 3)
        ax = figure.subplots()
        ax.plot(values, [0, 1])
        style.log_axis(ax, "x", values)
        figure.draw_without_rendering()
        low, high = ax.get_xlim()
        assert low < min(values) < max(values) < high
        shown = [t.get_text() for t in ax.get_xticklabels() if low <= t.get_position()[0] <= high]
        assert shown == expected


@pytest.mark.parametrize(
    ("least", "seen", "expected"),
    [
        (0.0, (-0.5, 1.0), (-0.02, 1.0)),
        (0.0, (-0.01, 1.0), (-0.01, 1.0)),
        (0.0, (0.2, 1.0), (0.2, 1.0)),
        (0.0, (-2.0, -1.0), (-2.0, -1.0)),
        (None, (-0.5, 1.0), (-0.5, 1.0)),
    ],
)
def test_an_axis_ends_where_a_metric_does(least, seen, expected):
    with style.styled():
        ax = style.new_figure(3, 2).subplots()
        ax.set_ylim(*seen)
        style.floor(ax, "y", least)
        assert ax.get_ylim() == pytest.approx(expected)
