"""Boards of several figures: one metric that orders, the others beside it with their full names."""

from __future__ import annotations

import copy

import pytest

from pnnbench.leaderboard.ranking import build
from pnnbench.records.store import seal
from pnnbench.report.also_text import also_heads, also_title, figure_texts
from pnnbench.report.blocks import lay_out
from pnnbench.report.page import render_html
from pnnbench.report.render import render

from ..record_factory import IMAGE_SUITES, make_image_record, make_image_suite, make_suite

FID, _, BESIDE, _ = IMAGE_SUITES["cifar10_generate"]


@pytest.fixture(scope="module")
def table():
    return build(make_image_suite())[0]


def test_headings_are_short_and_names_stand_once_in_full(table) -> None:
    assert list(also_heads(table).values()) == ["KID", "precision", "recall"]
    assert also_title(table) == "Beside FID: KID, precision, recall; they order nothing"
    lines = figure_texts(table)
    for name in (FID, *BESIDE):
        assert sum(f"({name})" in line for line in lines) == 1
    assert lines[0].startswith("metric: FID, lower is better: Fréchet distance")
    assert "guessing has 400, and failed seeds and cells" in lines[0]
    assert "precision, higher is better" in lines[2]
    assert "2000 images a side" in lines[2]
    assert lines[-1] == (
        "extractor: 320 features of efficientnet-lite0 at 64 pixels, weights 57934424"
    )


def test_the_block_has_both_figures_of_every_row(table) -> None:
    block = lay_out(table)[1]
    assert block.title == also_title(table)
    assert block.columns == [
        "method",
        *(
            f"{head} {part}"
            for head in ("KID", "precision", "recall")
            for part in ("clean", "robust")
        ),
    ]
    for row, line in zip(table.rows, block.lines, strict=True):
        mean = row.also[BESIDE[1]].robust.mean
        assert float(line[4].split()[0].replace("−", "-")) == pytest.approx(mean, rel=1e-3)


@pytest.mark.parametrize("form", ["table", "markdown", "html", "json", "csv"])
def test_every_format_has_the_figures(table, form: str) -> None:
    shown = render([table], form)
    for name in BESIDE:
        assert name.replace("_", "\\_" if form == "markdown" else "_") in shown
    if form in ("table", "markdown", "html"):
        for words in ("KID", "precision", "recall", "lower is better"):
            assert words in shown


@pytest.mark.parametrize("width", [40, 80, 120])
def test_the_table_fits_any_width(table, width: int) -> None:
    for line in render([table], "table", width=width).splitlines():
        # A full name is one word, which is not cut.
        assert len(line) <= max(width, len(FID) + 12)


def test_an_accuracy_alone_says_nothing_more() -> None:
    table = build(make_suite())[0]
    assert figure_texts(table) == []
    assert "order nothing" not in render([table], "table")
    assert "order nothing" not in render_html([table])
    assert "lower is better" not in render([table], "table")


def test_a_row_without_a_figure_has_a_dash_and_lost_seeds_are_said() -> None:
    records = make_image_suite(["SAT", "BP"])
    name = BESIDE[0]
    for record in records:
        record.pop("checksum")
        if record["job"]["method"]["label"] == "BP":
            for part in (record, *record["cells"]):
                part["also"].pop(name)
        elif record["job"]["seed"] == 0:
            next(c for c in record["cells"] if c["counts"])["also"].pop(name)
    table = build([seal(copy.deepcopy(r)) for r in records])[0]
    lines = {line[0]: line for line in lay_out(table)[1].lines}
    assert lines["BP"][1:3] == ["–", "–"]
    assert lines["BP"][3] != "–"
    assert any("KID of SAT is over 2 of 3 seeds" in line for line in figure_texts(table))
    assert "–" in render_html([table])


def test_a_figure_that_nobody_knows_stands_under_its_own_name() -> None:
    record = make_image_record("SAT", sealed=False)
    for part in (record, *record["cells"]):
        part["also"] = {"my figure": 3.0}
    table = build([seal(record)])[0]
    assert also_heads(table) == {"my figure": "my figure"}
    assert figure_texts(table)[1] == "my figure"
