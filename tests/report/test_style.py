from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
import yaml
from matplotlib.text import Text

from pnnbench.report import style

SUITES = sorted((Path(__file__).resolve().parents[2] / "benchmarks").glob("*.yaml"))


def suite_labels() -> list[str]:
    labels = []
    for path in SUITES:
        for entry in yaml.safe_load(path.read_text())["methods"]:
            labels.append(entry.get("label", entry["method"]))
    return list(dict.fromkeys(labels))


def drawing():
    figure = style.new_figure(4, 3)
    ax = figure.subplots()
    ax.plot([0, 1, 2], [0, 1, 4], **style.method_styles(["SAT"])["SAT"].line())
    ax.fill_between([0, 1, 2], [0, 1, 3], [0, 1, 5], alpha=0.2)
    ax.axvspan(0.2, 0.3, hatch="///", facecolor="white")
    style.color_bar(ax, ax.imshow([[0.0, 1.0]], aspect="auto"), "a scale")
    style.heading(figure, "A title", "a remark")
    return figure


# --- looks of methods --------------------------------------------------------------------------


def test_looks_follow_from_the_label_alone():
    labels = suite_labels()
    assert len(labels) >= 7
    together = style.method_styles(labels)
    for label in labels:
        assert style.method_styles([label])[label] == together[label]
    strangers = style.method_styles([*reversed(labels), "mine", "Forward-forward", "SAT, rho 3"])
    assert all(strangers[label] == together[label] for label in labels)
    assert strangers["mine"] == style.method_styles(["mine"])["mine"]


def test_looks_of_the_own_methods_are_pinned():
    looks = style.method_styles(["BP", "bp-weights", "NAT", "sat", "pruning"])
    assert [(look.color, look.marker) for look in looks.values()] == [
        ("#333333", "o"),
        ("#0072B2", "s"),
        ("#009E73", "^"),
        ("#D55E00", "D"),
        ("#CC79A7", "v"),
    ]
    assert {look.linestyle for look in looks.values()} == {"-"}
    assert style.method_styles(["SAT, adaptive"])["SAT, adaptive"].color == "#D55E00"
    looks = style.method_styles(["PAT", "DAT", "DAT, internal", "NAT in situ", "SAT in situ"])
    assert [(look.color, look.marker, look.fillstyle) for look in looks.values()] == [
        ("#E69F00", "P", "full"),
        ("#56B4E9", "X", "full"),
        ("#56B4E9", "X", "none"),
        ("#009E73", "^", "none"),
        ("#D55E00", "D", "none"),
    ]


def test_variants_of_bp_keep_apart_whatever_stands_beside_them():
    labels = ["BP", "BP, SGD", "BP, equal gradients", "BP, published step"]
    together = style.method_styles(labels)
    assert len({look.fillstyle for look in together.values()}) == len(labels)
    for label in labels:
        assert style.method_styles([label])[label] == together[label]


def test_no_two_methods_of_a_picture_look_the_same():
    labels = [f"method {i}" for i in range(60)] + [f"BP, trial {i}" for i in range(30)]
    looks = style.method_styles([*labels, *suite_labels()])
    assert len(set(looks.values())) == len(looks) == 90 + len(suite_labels())
    # In grey print colour is gone: the suites' methods still differ by marker and fill.
    own = [(looks[label].marker, looks[label].fillstyle) for label in suite_labels()]
    assert len(set(own)) == len(own)


# Machado, Oliveira and Fernandes, IEEE TVCG 15, 1291 (2009): severity 1, linear RGB.
BLINDNESS = {
    "none": np.eye(3),
    "protan": [[0.1523, 1.0526, -0.2049], [0.1145, 0.7863, 0.0992], [-0.0039, -0.0481, 1.0520]],
    "deutan": [[0.3673, 0.8606, -0.2280], [0.2801, 0.6726, 0.0473], [-0.0118, 0.0430, 0.9689]],
    "tritan": [[1.2555, -0.0767, -0.1788], [-0.0784, 0.9308, 0.1476], [0.0048, 0.6914, 0.3039]],
}


def lab(color: str, matrix) -> np.ndarray:
    srgb = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    linear = np.clip(np.asarray(matrix) @ linear, 0, 1)
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    x, y, z = np.cbrt(np.maximum(np.array(to_xyz) @ linear / [0.9505, 1.0, 1.089], 1e-9))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("kind", BLINDNESS)
def test_colours_stay_apart_for_every_colour_vision(kind):
    labels = ["BP", "BP on weights", "NAT", "SAT", "Optical pruning", "PAT", "DAT"]
    colors = {look.color for look in style.method_styles(labels).values()}
    assert len(colors) == 7
    for a, b in combinations(sorted(colors), 2):
        distance = np.linalg.norm(lab(a, BLINDNESS[kind]) - lab(b, BLINDNESS[kind]))
        assert distance > 15, (a, b, distance)  # 2.3 is just noticeable


# --- files -------------------------------------------------------------------------------------


def test_the_same_drawing_gives_the_same_bytes(tmp_path):
    for folder in ("a", "b"):
        with style.styled():
            svg, png = style.save(drawing(), tmp_path / folder, "x", title="A drawing")
    assert sorted(p.name for p in tmp_path.rglob("*.*")) == ["x.png", "x.png", "x.svg", "x.svg"]
    assert (tmp_path / "a/x.svg").read_bytes() == svg.read_bytes()
    assert (tmp_path / "a/x.png").read_bytes() == png.read_bytes()
    text = svg.read_text()
    assert "<dc:title>A drawing</dc:title>" in text
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
