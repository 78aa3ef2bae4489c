from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from pnnbench.leaderboard.ranking import build
from pnnbench.leaderboard.tuning import CurvePoint, RowTuning
from pnnbench.report import figures, style
from pnnbench.report.page import render_html
from pnnbench.report.text import as_json, render_markdown, render_table
from pnnbench.report.tuning_figure import tuning
from pnnbench.report.tuning_text import TITLE, state_text, tuning_blocks

from ..record_factory import make_suite

CURVE = (
    CurvePoint(1, 0.5, 0.5, 0.5),
    CurvePoint(2, 0.55, 0.5, 0.7),
    CurvePoint(4, 0.6, 0.5, 0.7),
    CurvePoint(8, 0.65, 0.6, 0.7),
    CurvePoint(16, 0.7, 0.7, 0.7),
)


@pytest.fixture(scope="module")
def table() -> Any:
    made = build(make_suite(["BP", "SAT", "NAT"], (0, 1)))[0]
    rows = {
        "BP": RowTuning("BP", 16, curve=CURVE, chosen={"lr": 0.2}, rule="robust score"),
        "SAT": RowTuning("SAT", 16, like="BP", chosen={"lr": 0.2}, rule="robust score"),
        "NAT": RowTuning("NAT"),
    }
    return dataclasses.replace(made, tuning=tuple(rows[row.method] for row in made.rows))


def test_the_block_has_untuned_four_and_sixteen(table: Any) -> None:
    (block,) = tuning_blocks(table)
    assert block.columns == ["method", "untuned", "after 4", "after 16", "tried", "settings"]
    lines = {line[0]: line[1:] for line in block.lines}
    assert lines["BP"] == ["50.00", "60.00 (50.00 to 70.00)", "70.00", "16", "lr 0.2"]
    assert lines["SAT"] == ["–", "–", "–", "16", "as BP"]
    assert lines["NAT"] == ["–", "–", "–", "–", "not tuned"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"edge": {"lr": "high"}}, "lr 0.2; edge: lr at the upper end"),
        (
            {"applied": False},
            "not run as it was searched, or at other settings than the search chose",
        ),
        ({"like": "SAT", "own": ("rho",)}, "as SAT, own rho"),
        ({"like": "SAT", "chosen": {}}, "as SAT, not chosen yet"),
        ({"rule": "own device"}, "lr 0.2; chosen on its own device"),
        (
            {"deviates": True, "tier": "search", "devices": 4},
            "lr 0.2; another budget or length than the protocol's: tier search, 4 devices",
        ),
        ({"chosen": {}}, "not chosen yet"),
    ],
)
def test_a_row_says_what_must_be_known(more: dict[str, Any], said: str) -> None:
    row = RowTuning("BP", 3, chosen={"lr": 0.2}, rule="robust score")
    assert state_text(dataclasses.replace(row, **more)) == said


def test_trials_of_another_tier_are_no_scores_of_the_board(table: Any) -> None:
    def at(tier: str) -> Any:
        tuned = [dataclasses.replace(row, tier=tier if row.curve else "") for row in table.tuning]
        return dataclasses.replace(table, tuning=tuple(tuned))

    for render in (render_table, render_markdown, render_html):
        assert f"{TITLE}, at the tier search" in render([at("search")])
        assert f"{TITLE}, at the tier" not in render([at(table.key["tier"])])


def test_every_form_of_the_board_has_it(table: Any) -> None:
    for text in (render_table([table]), render_markdown([table]), render_html([table])):
        assert TITLE in text
        assert "not tuned" in text
    assert as_json([table])["tables"][0]["tuning"][0]["method"] == table.rows[0].method
    bare = dataclasses.replace(table, tuning=())
    for text in (render_table([bare]), render_markdown([bare]), render_html([bare])):
        assert TITLE not in text
    assert "tuning" not in as_json([bare])["tables"][0]


def test_the_picture_has_a_line_and_a_band_for_each_curve(table: Any, tmp_path: Any) -> None:
    with style.styled():
        figure = tuning(table)
        assert figure is not None
        (ax,) = figure.axes
        (line,) = [line for line in ax.lines if len(line.get_xdata()) == len(CURVE)]
        assert list(line.get_xdata()) == [1, 2, 4, 8, 16]
        assert list(line.get_ydata()) == [point.mean for point in CURVE]
        assert len(ax.collections) == 1
        assert [t.get_text() for t in ax.get_xticklabels()] == ["1", "2", "4", "8", "16"]
        none = tuple(dataclasses.replace(row, curve=()) for row in table.tuning)
        assert tuning(dataclasses.replace(table, tuning=none)) is None
    assert "tuning" in figures.draw_suite([table], tmp_path)
