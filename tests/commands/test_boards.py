"""``pnnbench leaderboard``: formats, publishing, what is found again."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import pytest

from pnnbench.api import tables
from pnnbench.leaderboard.best import robust_score
from pnnbench.records.folders import read_records
from pnnbench.records.parameters import read_parameters
from pnnbench.records.store import write_record

from ..command import Done, command
from ..record_factory import make_suite
from .conftest import QUIET

Ran = tuple[Path, Done]


def test_json_has_the_promised_form(ran: Ran) -> None:
    rows = json.loads(command("leaderboard", "--format", "json", cwd=ran[0]).out)["rows"]
    assert {row["method"] for row in rows} == {"BP", "NAT, small"}
    for row in rows:
        assert (row["suite"], row["protocol"]) == ("tiny", "pnnbench-2")
        assert (row["workload"], row["metric"]) == ("mzi-digits", "accuracy")
        assert (row["n_seeds"], row["n_devices"]) == (2, 2)
        for key in ("clean", "robust", "worst_decile", "lambda_max"):
            assert row[key]["low"] <= row[key]["mean"] <= row[key]["high"]
        assert row["cost"]["gradient_evaluations"] == 8
        assert row["cost"]["hardware_queries"] == 0
        assert row["cost"]["train_seconds"] > 0


def test_csv_has_a_line_for_each_row(ran: Ran) -> None:
    text = command("leaderboard", "--format", "csv", cwd=ran[0]).out
    lines = list(csv.DictReader(io.StringIO(text)))
    assert {line["method"] for line in lines} == {"BP", "NAT, small"}


@pytest.mark.parametrize("form", ["table", "markdown", "html"])
def test_other_formats_name_the_rows(ran: Ran, form: str) -> None:
    assert "NAT, small" in command("leaderboard", "--format", form, cwd=ran[0]).out


@pytest.mark.parametrize("columns", [40, 60, 80, 120])
def test_tables_fit_the_terminal(ran: Ran, columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pnnbench.commands.boards.width", lambda: columns)
    shown = command("leaderboard", cwd=ran[0]).out
    assert max(map(len, shown.splitlines())) <= columns
    assert "BP" in shown


def test_a_published_board_is_found_by_the_suite(ran: Ran, tmp_path: Path) -> None:
    """On a bare machine the committed records of a suite are not made again."""
    folder, first = ran
    board = tmp_path / "leaderboards" / "tiny"
    command("leaderboard", "runs/tiny", "--publish", board, cwd=folder)
    page = (folder / board / "protocol.md").read_text(encoding="utf-8")
    assert page.startswith("# The protocol")
    assert "](../../tests/" in page
    assert len(list((board / "records").glob("*.json"))) == 4
    # One seed of each of the two rows.
    for name in ("parameters.safetensors", "outcomes.safetensors"):
        assert len(list((board / "records").glob(f"*/{name}"))) == 2
    assert (board / "index.html").is_file()
    assert "BP" in (board / "README.md").read_text()
    again = command("leaderboard", board, "--format", "json", cwd=tmp_path).out
    before = command("leaderboard", "runs/tiny", "--format", "json", cwd=folder).out
    assert json.loads(again) == json.loads(before)
    (claim,) = json.loads(again)["tables"][0]["claims"]
    assert (claim["better"], claim["than"]) == ("NAT, small", "BP")
    (tmp_path / "tiny.yaml").write_text((folder / "tiny.yaml").read_text())
    done = command("run", "tiny.yaml", *QUIET, cwd=tmp_path)
    assert "4 jobs were finished elsewhere: taken over" in done.err
    assert ": start" not in done.err
    assert done.out == first.out


def test_what_lies_beside_a_board_is_not_read(ran: Ran, tmp_path: Path) -> None:
    shutil.copytree(ran[0] / "runs" / "tiny", tmp_path / "runs" / "tiny")
    broken = tmp_path / "runs" / "other" / "0123456789abcdef"
    broken.mkdir(parents=True)
    (broken / "record.json").write_text("torn")
    (broken.parent / "suite.json").write_text("torn")
    alone = command("leaderboard", "runs/tiny", "--format", "json", cwd=tmp_path)
    assert alone.out == command("leaderboard", "runs/tiny", "--format", "json", cwd=ran[0]).out
    assert "torn" not in alone.err
    command("leaderboard", "runs", cwd=tmp_path, status=2)


def test_without_records_it_says_how_to_get_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "BOARDS", tmp_path / "none")
    done = command("leaderboard", cwd=tmp_path, status=2)
    assert "pnnbench run quickstart" in done.err
    (tmp_path / "runs").mkdir()
    assert "nothing is in runs/" in command("leaderboard", cwd=tmp_path, status=2).err


def test_without_leaves_out_the_rows_that_know_and_ranks_the_others(ran: Ran) -> None:
    whole = json.loads(command("leaderboard", "--format", "json", cwd=ran[0]).out)["rows"]
    assert {row["method"]: row["knows"] for row in whole} == {
        "BP": [],
        "NAT, small": ["gaussian on controls"],
    }
    asked = ("leaderboard", "--without", "Gaussian on controls")
    found = json.loads(command(*asked, "--format", "json", cwd=ran[0]).out)
    (kept,) = found["rows"]
    before = next(row for row in whole if row["method"] == "BP")
    place = {"rank_low", "rank_high", "tied_with"}
    assert {k: v for k, v in kept.items() if k not in place} == {
        k: v for k, v in before.items() if k not in place
    }
    assert [kept[name] for name in ("rank_low", "rank_high", "tied_with")] == [1, 1, []]
    assert found["tables"][0]["left_out"] == ["NAT, small"]
    shown = command(*asked, cwd=ran[0]).out.replace("\n  ", " ")
    assert "left out, as they know a Gaussian on the controls: NAT, small" in shown


def test_without_refuses_what_it_does_not_know_and_what_would_be_published(
    ran: Ran, tmp_path: Path
) -> None:
    done = command("leaderboard", "--without", "testd law", cwd=ran[0], status=2)
    assert "--without is 'testd law'; did you mean 'tested law'?" in done.err
    assert "gaussian on controls, tested law, one device" in done.err
    for flag, value in (("--publish", tmp_path / "board"), ("--wandb", "offline")):
        words = ("leaderboard", "--without", "tested law", flag, value)
        assert (
            f"--without and {flag} are given together" in command(*words, cwd=ran[0], status=2).err
        )
    assert not (tmp_path / "board").exists()


def test_with_nothing_here_the_boards_that_come_with_the_project_are_shown(tmp_path: Path) -> None:
    done = command("leaderboard", cwd=tmp_path)
    assert "quickstart · mrr-digits" in done.out
    assert "next: pnnbench run quickstart" in done.err
    assert command("leaderboard", "quickstart", cwd=tmp_path).err == ""
    assert not any(tmp_path.iterdir())


def test_publishing_puts_the_best_seeds_parameters_beside(
    ran: tuple[Path, Done], tmp_path: Path
) -> None:
    board = tmp_path / "board"
    command("leaderboard", ran[0] / "runs" / "tiny", "--publish", board, cwd=tmp_path)
    rows = read_parameters(board)
    assert [row["row"] for row in rows] == ["BP", "NAT, small"]
    runs = {r["job"]["hash"]: r for r in read_records(board)}
    for row in rows:
        mine = [r for r in runs.values() if r["job"]["method"]["label"] == row["row"]]
        assert row["robust"] == max(robust_score(r) or 0.0 for r in mine)
        assert row["robust"] == robust_score(runs[row["hash"]])
        file = board / "parameters" / row["file"]
        told = command("evaluate", file, cwd=tmp_path).out
        assert "largest difference from the record: 0," in told
        assert "lambda_max" in command("sharpness", file, cwd=tmp_path).out
        told = command("submit", file, cwd=tmp_path, status=2).err
        assert "is a file, maybe of a published record" in told


def test_without_runs_the_committed_boards_are_shown_and_older_ones_where_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "BOARDS", tmp_path / "none")

    def commit(place: str, protocol: str) -> None:
        folder = tmp_path / "leaderboards" / place / "records"
        for record in make_suite(["BP"], protocol=protocol):
            write_record(folder / f"{record['job']['hash']}.json", record)

    commit("pnnbench-1/mrr_mnist", "pnnbench-1")
    told = command("leaderboard", cwd=tmp_path, status=2).err
    assert "nothing is in runs/, and no board in leaderboards/ is here" in told
    named = command("leaderboard", "leaderboards/pnnbench-1/mrr_mnist", cwd=tmp_path).out
    assert "protocol pnnbench-1" in named
    commit("mrr_mnist", "pnnbench-2")
    shown = command("leaderboard", cwd=tmp_path).out
    assert "protocol pnnbench-2" in shown
    assert "protocol pnnbench-1" not in shown
