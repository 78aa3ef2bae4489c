from __future__ import annotations

import copy
import re
import subprocess
import sys
from xml.etree import ElementTree

import pytest

from pnnbench.leaderboard.ranking import build
from pnnbench.leaderboard.statistics import spearman
from pnnbench.records.store import seal
from pnnbench.report import figures, style
from pnnbench.report.degradation import degradation
from pnnbench.report.page import write_page

from ..record_factory import (
    METHODS,
    make_failure,
    make_mesh_suite,
    make_record,
    make_suite,
    write_job,
)
from .misaligned import make_misaligned
from .overlaps import in_the_way

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


# --- files -------------------------------------------------------------------------------------


def test_suite_pictures_are_the_same_bytes_when_drawn_again(records, tmp_path):
    first = figures.draw_suite(build(records), tmp_path / "a")
    assert list(first) == ["degradation", "scores", "sharpness"]
    again = figures.draw_suite(build(list(reversed(records))), tmp_path / "b")
    for name, path in first.items():
        assert path == tmp_path / "a" / f"{name}.svg"
        assert path.read_bytes() == again[name].read_bytes()
        assert path.with_suffix(".png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
        assert path.stat().st_size < 400_000
    assert len(list((tmp_path / "a").iterdir())) == 6


def test_several_tables_get_names_of_their_own(tmp_path):
    data = ("sha256:" + digit * 64 for digit in "01")
    two = [r for f in data for r in make_suite(["BP", "SAT"], (0, 1), fingerprint=f)]
    drawn = figures.draw_suite(build(two), tmp_path)
    prefix = "mrr_mnist-mrr-mnist-standard"
    kinds = ("degradation", "scores", "sharpness")
    assert list(drawn) == [f"{p}-{k}" for p in (prefix, f"{prefix}-2") for k in kinds]
    assert all(path.is_file() for path in drawn.values())


def test_a_mesh_suite_gets_the_pictures_of_transfer_and_cost(tmp_path):
    drawn = figures.draw_suite(build(make_mesh_suite(["BP", "PAT"], (0, 1))), tmp_path)
    assert list(drawn) == ["degradation", "scores", "sharpness", "transfer", "cost"]
    for path in drawn.values():
        assert ElementTree.parse(path).getroot().tag.endswith("svg")  # noqa: S314 - our own file


def test_a_suite_with_a_joint_grid_gets_the_picture_of_its_surface(tmp_path):
    records = make_misaligned(("BP", "SAT"), (0, 1))
    drawn = figures.draw_suite(build(records), tmp_path / "a")
    assert list(drawn) == ["degradation", "surface", "scores", "sharpness"]
    again = figures.draw_suite(build(records), tmp_path / "b")
    assert drawn["surface"].read_bytes() == again["surface"].read_bytes()
    page = write_page(tmp_path, build(records), {n: p.read_text() for n, p in drawn.items()})
    shown = re.findall(r'<img src="[^"]*" alt="([^"]*)">', page.read_text(encoding="utf-8"))
    assert [re.findall(r"\((\w+):", alt) for alt in shown] == [[name] for name in drawn]
    assert shown[0] == "Accuracy under perturbation (degradation: freespace, freespace-digits)"


def test_the_published_protocol_gets_no_picture_of_scores(tmp_path):
    published = make_mesh_suite(["BP", "PAT"], (0, 1), protocol="published")
    assert list(figures.draw_suite(build(published), tmp_path)) == [
        "degradation",
        "transfer",
        "cost",
    ]
    both = figures.draw_suite(build([*make_mesh_suite(["BP"], (0, 1)), *published]), tmp_path)
    fair = [f"mzi_mnist-mzi-mnist-standard-{k}" for k in ("degradation", "scores", "sharpness")]
    assert [name for name in both if "published" not in name][:3] == fair
    assert [name for name in both if "published" in name] == [
        f"mzi_mnist-mzi-mnist-standard-published-{k}" for k in ("degradation", "transfer", "cost")
    ]


def test_failures_alone_draw_nothing(tmp_path):
    assert figures.draw_suite(build([make_failure("SAT", 0)]), tmp_path / "x") == {}
    assert not (tmp_path / "x").exists()


def test_drawing_needs_neither_torch_nor_pyplot(tmp_path):
    for record in make_suite(["BP", "SAT"], (0, 1)):
        write_job(tmp_path / "runs", record)
    code = (
        "import sys; from pnnbench.records import folders; from pnnbench.report import figures\n"
        "from pnnbench.leaderboard.ranking import build\n"
        "assert 'matplotlib' not in sys.modules\n"
        f"records = folders.read_records({str(tmp_path / 'runs')!r})\n"
        f"figures.draw_suite(build(records), {str(tmp_path)!r})\n"
        "assert not {'torch', 'lightning', 'matplotlib.pyplot'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=120)
    assert (tmp_path / "degradation.png").is_file()


# --- sharpness ---------------------------------------------------------------------------------


def test_sharpness_has_one_point_per_job(records, table):
    points = figures.sharpness_points(table)
    assert list(points) == [row.method for row in table.rows]
    for row in table.rows:
        mine = {r["job"]["seed"]: r for r in records if r["job"]["method"]["label"] == row.method}
        expected = [mine[seed]["sharpness"]["lambda_max"] for seed in row.seeds]
        assert [x for x, _ in points[row.method]] == expected
        mean = sum(y for _, y in points[row.method]) / 3
        assert mean == pytest.approx(row.robust.mean, abs=1e-12)
    with style.styled():
        figure = figures.sharpness(table)
    ax = figure.axes[0]
    assert ax.get_xscale() == "log"
    for line in ax.lines:
        pairs = list(zip(line.get_xdata(), line.get_ydata(), strict=True))
        assert pairs == points[line.get_label()]
        assert line.get_linestyle() == "None"
    rho = f"{table.correlations['lambda_max']['rho']:+.2f}".replace("-", "−")
    assert figure.texts[0].get_text() == f"Robustness against sharpness: Spearman ρ = {rho}"
    said = " ".join(text.get_text() for text in figure.texts[1:]).replace("\u00a0", " ")
    for words, part in (("means of rows", "rows"), ("within rows", "within")):
        ends = [table.correlations["lambda_max"][part][end] for end in ("low", "high")]
        shown = " to ".join(f"{end:+.2f}".replace("-", "−") for end in ends)
        assert f"{words} {shown}" in said


def test_rho_is_that_of_the_picture_where_lower_is_better():
    worse = lower_is_better(make_suite(["BP", "SAT", "BP on weights"]))
    table = build(worse)[0]
    points = [p for pairs in figures.sharpness_points(table).values() for p in pairs]
    rho = spearman([x for x, _ in points], [y for _, y in points])
    assert rho is not None
    assert abs(rho) > 0.1
    with style.styled():
        figure = figures.sharpness(table)
        axes = degradation(table).axes
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
            degradation(table),
            figures.sharpness(table),
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
    for path in figures.draw_suite(build(records), tmp_path).values():
        assert ElementTree.parse(path).getroot().tag.endswith("svg")  # noqa: S314 - our own file
