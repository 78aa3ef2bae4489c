"""The pages of a board are those of its records, and nothing else stands among them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pnnbench.api.tables import tables_of
from pnnbench.commands.publishing import publish
from pnnbench.report import page_check
from pnnbench.report.figures import draw_suite
from pnnbench.report.page import write_page
from pnnbench.report.page_check import check_pages

from ..record_factory import changed, make_record, write_job


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    for label in ("BP", "SAT"):
        for seed in (0, 1):
            write_job(folder / "runs", changed(make_record(label, seed), "job.revision", 3))
    sources = [folder / "runs"]
    tables = tables_of(sources)

    def draw(to: Path) -> None:
        drawn = draw_suite(tables, to / "pictures")
        write_page(to, tables, {name: path.read_text() for name, path in drawn.items()})

    publish(sources, tables, folder / "board", draw)
    return folder / "board"


@pytest.fixture
def board(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "board"))


def found(board: Path) -> list[tuple[str, str]]:
    findings = list(check_pages(board, tables_of([board])))
    assert all(f.kind == "board" and f.fault and f.next_step for f in findings)
    return [(str(f.path.relative_to(board)), f.message) for f in findings]


def replaced(name: str, old: str, new: str) -> Callable[[Path], object]:
    def change(board: Path) -> None:
        text = (board / name).read_text(encoding="utf-8")
        assert old in text
        (board / name).write_text(text.replace(old, new), encoding="utf-8")

    return change


def picture_of_the_page_exchanged(board: Path) -> None:
    """The page shows a picture that lies nowhere."""
    text = (board / "index.html").read_text()
    start = text.index("base64,") + len("base64,")
    (board / "index.html").write_text(text[: start + 400] + "AAAA" + text[start + 404 :])


FORGED: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "page": (
        lambda b: (b / "index.html").write_text("<script>alert(1)</script>"),
        "index.html",
        "line 1 has '<script>alert(1)</script>'",
    ),
    "page gone": (lambda b: (b / "index.html").unlink(), "index.html", "is missing"),
    "page's figure": (replaced("index.html", "98.45", "99.45"), "index.html", "99.45"),
    "page's picture": (picture_of_the_page_exchanged, "index.html", "line"),
    "readme": (lambda b: (b / "README.md").write_text("BP 100 %"), "README.md", "'BP 100 %'"),
    "table": (replaced("leaderboard.md", "98.45", "98.55"), "leaderboard.md", "98.55"),
    "table's row": (replaced("leaderboard.md", "| SAT", "| Mine"), "leaderboard.md", "Mine"),
    "no png": (
        lambda b: (b / "pictures" / "scores.png").write_bytes(b"x"),
        "pictures/scores.png",
        "is no PNG picture",
    ),
    "torn png": (
        lambda b: (b / "pictures" / "scores.png").write_bytes(
            (b / "pictures" / "scores.png").read_bytes()[:-20]
        ),
        "pictures/scores.png",
        "is no PNG picture",
    ),
    "png gone": (
        lambda b: (b / "pictures" / "scores.png").unlink(),
        "pictures/scores.png",
        "is missing",
    ),
    "another picture": (
        lambda b: shutil.copy(b / "pictures" / "scores.png", b / "pictures" / "images.png"),
        "pictures/images.png",
        "is nothing that publishing",
    ),
    "another page": (
        lambda b: (b / "results.html").write_text("BP 100 %"),
        "results.html",
        "is nothing that publishing",
    ),
    "another record": (
        lambda b: (b / "records" / "mine.txt").write_text("x"),
        "records/mine.txt",
        "is nothing that publishing",
    ),
    "other parameters": (
        lambda b: (b / "parameters" / "mine.safetensors").write_bytes(b"x"),
        "parameters/mine.safetensors",
        "is nothing that publishing",
    ),
}


@pytest.mark.parametrize("name", FORGED)
def test_what_differs_is_one_finding(name: str, board: Path) -> None:
    forge, path, words = FORGED[name]
    forge(board)
    ((place, message),) = found(board)
    assert place == path
    assert words in message


def test_a_whole_board_has_none_whatever_its_pictures_show(board: Path) -> None:
    assert found(board) == []
    shutil.rmtree(board / "pictures")
    (board / "pictures").mkdir()
    png = Path(__file__).resolve().parents[2] / "leaderboards/quickstart/pictures/frozen-cost.png"
    shutil.copy(png, board / "pictures" / "drawn-by-another-version.png")
    svg = '<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"></svg>\n'
    (board / "pictures" / "drawn-by-another-version.svg").write_text(svg)
    tables = tables_of([board])
    write_page(board, tables, {"drawn-by-another-version": svg})
    assert found(board) == []


def test_an_svg_that_is_none_is_found(board: Path) -> None:
    for text in ("x", "<svg ", "<html></html>"):
        (board / "pictures" / "scores.svg").write_text(text)
        assert ("pictures/scores.svg", "is no SVG picture") in found(board)


def test_a_board_that_cannot_be_drawn_is_a_finding(
    board: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> str:
        raise OverflowError("too large")

    monkeypatch.setattr(page_check, "render_html", broken)
    ((place, message),) = found(board)
    assert place == "index.html"
    assert "cannot be made again (OverflowError: too large)" in message


def test_a_board_of_an_earlier_protocol_is_kept_as_it_is(tmp_path: Path) -> None:
    write_job(tmp_path / "runs", make_record("BP", 0, protocol="pnnbench-1"))
    assert list(check_pages(tmp_path, tables_of([tmp_path / "runs"]))) == []
