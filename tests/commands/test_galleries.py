"""Pictures of what a board's networks give: with the runs at hand, and not without."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pnnbench.commands.boards import write_board
from pnnbench.commands.galleries import galleries, one_seed
from pnnbench.leaderboard.ranking import build
from pnnbench.records.folders import read_placed, read_records

from ..command import Done, command
from ..record_factory import make_suite, write_job

Ran = tuple[Path, Done]


@pytest.fixture
def runs(ran: Ran, tmp_path: Path) -> Path:
    """A copy of the runs of the tiny suite."""
    folder = tmp_path / "runs" / "tiny"
    shutil.copytree(ran[0] / "runs" / "tiny", folder)
    return folder


def test_plot_of_a_suite_shows_the_rows_side_by_side(runs: Path) -> None:
    drawn = command("plot", "runs/tiny", cwd=runs.parents[1]).out.split()
    (path,) = (Path(line) for line in drawn if line.endswith("confusions.svg"))
    text = (runs.parents[1] / path).read_text(encoding="utf-8")
    assert "confusions: tiny, mzi-digits, seed 0" in text


@pytest.mark.slow
def test_the_page_embeds_them_and_records_alone_have_none(runs: Path, tmp_path: Path) -> None:
    tables = build(read_records(runs))
    page = write_board(tables, tmp_path / "with", "disabled", tmp_path, runs=[runs])
    assert "(confusions: tiny, mzi-digits, seed 0)" in page.read_text(encoding="utf-8")
    bare = tmp_path / "bare"
    for path in runs.glob("*/record.json"):
        (bare / path.parent.name).mkdir(parents=True)
        shutil.copy(path, bare / path.parent.name)
    assert galleries(tables, [bare], tmp_path / "nothing", None) == {}


def test_parameters_of_another_job_are_told_and_the_board_stands(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tables = build(read_records(runs))
    for path in runs.glob("*/parameters.safetensors"):
        path.write_bytes(b"something else")
    assert galleries(tables, [runs], tmp_path, None) == {}
    said = capsys.readouterr().err
    assert said.startswith("no pictures of outputs: ")
    assert "is missing or not the file of the record" in said


def test_one_seed_is_that_of_most_rows(tmp_path: Path) -> None:
    records = make_suite(["BP", "NAT", "SAT"], seeds=(0, 1, 2))
    (table,) = build(records)
    for record in records:
        label, seed = record["job"]["method"]["label"], record["job"]["seed"]
        if (label, seed) != ("NAT", 0):
            write_job(tmp_path, record)
    placed = read_placed([tmp_path])
    chosen = one_seed(table, placed)
    assert [record["job"]["seed"] for _, record in chosen] == [1, 1, 1]
    assert [r["job"]["method"]["label"] for _, r in chosen] == [row.method for row in table.rows]
    assert one_seed(table, []) == []


def test_a_published_board_is_drawn_again_where_it_lies(runs: Path, tmp_path: Path) -> None:
    """From the published tensors; without them the pictures stay, if the board is the same."""
    board = tmp_path / "board"
    publish = ("--publish", board, "--wandb", "disabled")
    command("leaderboard", runs, *publish, cwd=tmp_path)
    picture = board / "pictures" / "confusions.svg"
    before = picture.read_bytes()
    picture.unlink()
    command("leaderboard", board, *publish, cwd=tmp_path)
    assert picture.read_bytes() == before
    for path in board.rglob("*.safetensors"):
        path.unlink()
    page = (board / "index.html").read_text(encoding="utf-8")
    done = command("leaderboard", board, *publish, cwd=tmp_path)
    assert "pictures of outputs stay" in done.err
    assert (board / "index.html").read_text(encoding="utf-8") == page


@pytest.mark.slow
def test_without_tensors_another_place_gets_no_pictures_of_outputs(
    runs: Path, tmp_path: Path
) -> None:
    board, elsewhere = tmp_path / "board", tmp_path / "elsewhere"
    command("leaderboard", runs, "--publish", board, "--wandb", "disabled", cwd=tmp_path)
    for path in board.rglob("*.safetensors"):
        path.unlink()
    command("leaderboard", board, "--publish", elsewhere, "--wandb", "disabled", cwd=tmp_path)
    assert not (elsewhere / "pictures" / "confusions.svg").exists()
