from __future__ import annotations

import pytest

from pnnbench.leaderboard.ranking import build
from pnnbench.report import figures, style
from pnnbench.report.earlier_figure import earlier

from ..record_factory import RECALIBRATED, make_later_suite, make_suite


@pytest.fixture(scope="module")
def table():
    return build(make_later_suite())[0]


def test_a_line_per_method_goes_through_its_stages(table) -> None:
    with style.styled():
        figure = earlier(table)
        (ax,) = figure.axes
        lines = [line for line in ax.lines if len(line.get_xdata()) == 3]
        assert len(lines) == len(table.rows)
        drawn = {tuple(line.get_ydata()) for line in lines}
        assert drawn == {tuple(s.score.mean for s in row.earlier) for row in table.rows}
        # Points of one share stand side by side, and apart from those of the next one.
        columns = sorted(x for line in lines for x in line.get_xdata())
        assert len(set(columns)) == 15
        assert [round(x) for x in columns] == [0] * 5 + [1] * 5 + [2] * 5
        assert [t.get_text() for t in ax.get_xticklabels()] == ["25 %", "50 %", "100 %"]
        said = " ".join(text.get_text() for text in figure.texts).replace("\u00a0", " ")
    assert "1 of 10 pairs of rows changes order between half and all of the steps" in said


def test_boards_without_earlier_measurements_have_no_such_picture() -> None:
    with style.styled():
        assert earlier(build(make_suite())[0]) is None


def test_pictures_of_deployments_have_names_of_their_own(tmp_path) -> None:
    tables = build(make_later_suite(["BP", "SAT"], (0, 1), headline=RECALIBRATED))
    drawn = figures.draw_suite(tables, tmp_path)
    kinds = ("degradation", "scores", "sharpness")
    assert list(drawn) == [
        *(f"{RECALIBRATED}-{kind}" for kind in kinds),
        *(f"frozen-{kind}" for kind in (*kinds, "earlier")),
    ]
