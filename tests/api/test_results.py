"""Results: cells as columns, the figure, the table of a notebook."""

from __future__ import annotations

import builtins
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import pnnbench
from pnnbench.records.folders import read_records
from pnnbench.registry import BOARDS

from ..record_factory import (
    changed,
    make_failure,
    make_later_suite,
    make_record,
    make_suite,
    write_job,
)

COLUMNS = [
    "suite", "protocol", "tier", "workload", "data", "row", "method", "seed", "hash", "deployment",
    "axis", "level", "unit", "severity", "device", "counts", "metric", "value",
]  # fmt: skip


def rows_of(columns: dict[str, list[Any]]) -> list[dict[str, Any]]:
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def test_there_is_one_row_for_each_cell_under_each_deployment() -> None:
    results = pnnbench.load("quickstart")
    records = read_records(BOARDS / "quickstart")
    rows = rows_of(results.to_dict())
    assert list(results.to_dict())[: len(COLUMNS)] == COLUMNS
    assert len(rows) == sum(len(r["cells"]) * (1 + len(r.get("deployments", []))) for r in records)
    kept = {r["job"]["hash"]: r for r in records}
    for row in rows[:: len(rows) // 200]:
        record = kept[row["hash"]]
        assert row["row"] == record["job"]["method"]["label"]
        (i,) = [
            i
            for i, cell in enumerate(record["cells"])
            if (cell["axis"], cell["level"], cell["device_seed"])
            == (row["axis"], row["level"], row["device"])
        ]
        cell = record["cells"][i]
        values = {d["name"]: d["values"] for d in record["deployments"]}
        expected = values.get(row["deployment"], [c["value"] for c in record["cells"]])[i]
        assert row["value"] == expected
        for name, value in cell["environment"].items():
            assert row[f"environment.{name}"] == value


def test_runs_have_the_scores_of_the_board() -> None:
    runs = rows_of(pnnbench.load("quickstart").to_dict("runs"))
    board = pnnbench.load_leaderboard("quickstart")
    for table in board.tables:
        for row in table.rows if table.headline else ():
            mine = [run for run in runs if run["row"] == row.method]
            assert sum(run["robust"] for run in mine) / len(mine) == pytest.approx(row.robust.mean)
            assert sum(run["clean"] for run in mine) / len(mine) == pytest.approx(row.clean.mean)
    with pytest.raises(pnnbench.UserError, match="'cells' or 'runs'"):
        pnnbench.load("quickstart").to_dict("rows")


def test_what_failed_is_among_the_runs_and_has_no_cells(tmp_path: Path) -> None:
    write_job(tmp_path, make_record("SAT", 0))
    write_job(tmp_path, make_failure("SAT", 1))
    results = pnnbench.load(tmp_path)
    runs = rows_of(results.to_dict("runs"))
    assert [run["status"] for run in runs] == ["ok", "diverged"]
    assert runs[1]["error"]
    assert runs[1]["robust"] is None
    assert set(results.to_dict()["seed"]) == {0}
    assert "1 of them failed" in repr(results)
    assert "1 of 2" in results._repr_html_()


def test_one_record_one_run_a_suite_and_all_runs_are_read(small: Path) -> None:
    record = next((small / "runs").glob("*/*/record.json"))
    for path, count in (
        (record, 1),
        (record.parent, 1),
        (small / "runs" / "small", 2),
        (small / "runs", 2),
    ):
        results = pnnbench.load(path)
        assert len(results) == count
        assert "small" in results.summary()
    for row in ("SAT", "PAT"):
        assert row in results.summary()


def test_data_frames_have_the_same_columns() -> None:
    pytest.importorskip("pandas")
    results = pnnbench.load("quickstart")
    for of in ("cells", "runs"):
        frame, columns = results.to_pandas(of), results.to_dict(of)
        assert list(frame.columns) == list(columns)
        assert len(frame) == len(columns["suite"])
        assert frame["row"].tolist() == columns["row"]
    means = results.to_pandas("runs").groupby("row").robust.mean()
    board = pnnbench.load_leaderboard("quickstart").to_pandas()
    scores = board[board.deployment == "offset-calibrated"].set_index("method")["robust.mean"]
    for row, mean in means.items():
        assert scores[row] == pytest.approx(mean)


def test_without_pandas_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    imported = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.partition(".")[0] == "pandas":
            raise ImportError("No module named 'pandas'")
        return imported(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    for read in (pnnbench.load("quickstart"), pnnbench.load_leaderboard("quickstart")):
        with pytest.raises(pnnbench.UserError) as error:
            read.to_pandas()
        assert "pip install 'pnnbench[pandas]'" in str(error.value)
        assert "to_dict()" in str(error.value)


def test_the_figure_shows_every_row_and_axis() -> None:
    results = pnnbench.load("quickstart")
    figure = results.plot_degradation()
    titles = " ".join(ax.get_title(loc="left") for ax in figure.axes)
    for axis in {*results.to_dict()["axis"]} - {"shot"}:
        assert re.split("[-_]", axis)[0].capitalize() in titles
    (legend,) = figure.legends
    texts = {text.get_text() for text in legend.get_texts()}
    assert {*results.to_dict("runs")["row"]} <= texts
    other = results.plot_degradation(deployment="frozen")
    assert len(other.axes) == len(figure.axes)


def test_a_board_that_is_not_meant_alone_is_asked_for() -> None:
    both = make_suite(["BP"], seeds=(0, 1)) + make_later_suite(seeds=(0, 1), suite="other")
    results = pnnbench.Results(both, pnnbench.load_leaderboard("quickstart").tables)
    with pytest.raises(pnnbench.UserError) as error:
        results.plot_degradation(workload="mzi-digits")
    assert "no boards are meant by workload 'mzi-digits'" in str(error.value)
    assert "quickstart on mrr-digits (quick)" in str(error.value)
    with pytest.raises(pnnbench.UserError, match="deployments offset-calibrated, frozen"):
        results.plot_degradation(deployment="other")


@pytest.mark.parametrize(
    ("path", "text"),
    [("nowhere", "there is no such file or folder"), ("empty", "no records in empty")],
)
def test_where_there_is_nothing_to_read_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, text: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(pnnbench.UserError, match=text):
        pnnbench.load(path)
    (tmp_path / "empty" / "record.json").write_text("{}")
    with pytest.raises(pnnbench.UserError, match="schema version None"):
        pnnbench.load(path if path == "empty" else "empty")


class Tags(HTMLParser):
    """Which tags and attributes a text of HTML has, and whether every one is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open.append(tag)
        self.seen.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("label", ["SAT", "<script>alert(1)</script>", 'a" onload="b', "<b>&amp;"])
def test_the_table_of_a_notebook_stands_alone_and_is_escaped(tmp_path: Path, label: str) -> None:
    for seed in (0, 1):
        write_job(tmp_path, changed(make_record("SAT", seed), "job.method.label", label))
    for shown in (pnnbench.load(tmp_path), pnnbench.load_leaderboard(tmp_path)):
        text = shown._repr_html_()
        tags = Tags()
        tags.feed(text)
        assert tags.open == []
        assert tags.seen == {"div", "p", "b", "table", "thead", "tbody", "tr", "th", "td"}
        assert tags.attributes == {"style"}
        assert not re.search(r"https?:|url\(", text)
        found: list[str] = []
        reader = HTMLParser()
        reader.handle_data = found.append  # type: ignore[method-assign]
        reader.feed(text)
        assert label in "".join(found)
