"""Committed boards, old and new: every figure of a row is made from its own records again."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from pnnbench.leaderboard import ranking
from pnnbench.records.store import read_records

ROOT = Path(__file__).resolve().parents[2]
LEADERBOARDS = ROOT / "leaderboards"
BOARDS = sorted(path.parent for path in LEADERBOARDS.rglob("leaderboard.json"))
OLD = LEADERBOARDS / "pnnbench-1"
#: Figures of a row that are a function of its own records.
OWN = (
    "suite", "protocol", "workload", "tier", "data", "method", "method_name", "params", "metric",
    "clean", "robust", "worst_decile", "lambda_max", "auc", "cost", "n_seeds", "n_devices",
    "seeds", "training_device", "fresh_devices", "transfer", "extra", "earlier", "calibration",
    "deployment", "knows", "complete", "failed", "cells_without_value", "undefined_seeds",
)  # fmt: skip
Rows = dict[tuple[str, str], dict[str, Any]]

of_each_board = pytest.mark.parametrize(
    "board", BOARDS, ids=[str(board.relative_to(LEADERBOARDS)) for board in BOARDS]
)


def figures(rows: list[dict[str, Any]]) -> Rows:
    """Deployment and label to the row's own figures, as JSON holds them."""
    found = json.loads(json.dumps(rows))
    return {
        (row.get("deployment", "frozen"), row["method"]): {k: row[k] for k in OWN if k in row}
        for row in found
    }


def without_ends(value: Any) -> Any:
    """A part of a row without the ends of its intervals."""
    if isinstance(value, dict):
        return {k: without_ends(v) for k, v in value.items() if k not in ("low", "high")}
    return [without_ends(entry) for entry in value] if isinstance(value, list) else value


@lru_cache
def records_of(board: Path) -> list[dict[str, Any]]:
    return read_records(board / "records")


@lru_cache
def made_of(board: Path) -> Rows:
    return figures([row.as_dict() for row in ranking.rows(records_of(board))])


def differing(some: Rows, whole: Rows) -> list[tuple[tuple[str, str], str]]:
    """Rows and figures of some rows that are others among all of them.

    Whether times and queries are shown is a matter of the table: what only one side shows is not
    compared.
    """
    return [
        (key, name)
        for key, row in some.items()
        for name in row.keys() & whole[key].keys()
        if row[name] != whole[key][name]
    ]


def test_the_boards_are_where_they_should_be() -> None:
    names = {board.name for board in BOARDS if board.parent == OLD}
    ranked = {"mrr_mnist", "mzi_mnist", "freespace_mnist", "diffractive_mnist"}
    assert names == {*ranked, "mzi_published"}
    for board in BOARDS:
        assert board.parent in (LEADERBOARDS, OLD)
        (protocol,) = {record["protocol"] for record in records_of(board)}
        assert (protocol == "pnnbench-1") == (board in {OLD / name for name in ranked})
        assert protocol != "pnnbench-2" or board.parent == LEADERBOARDS


@of_each_board
def test_it_is_made_from_its_records_to_the_last_digit(board: Path) -> None:
    shown = json.loads((board / "leaderboard.json").read_text(encoding="utf-8"))["rows"]
    made, stated = made_of(board), figures(shown)
    assert made.keys() == stated.keys()
    assert stated
    old = board.parent == OLD  # these show the intervals of the rule that they were published under
    for key, row in stated.items():
        assert {"clean", "robust", "worst_decile", "lambda_max", "auc", "cost"} <= row.keys()
        again = {name: made[key][name] for name in row}
        assert (without_ends(row) == without_ends(again)) if old else (row == again)


@of_each_board
def test_each_row_alone_and_the_board_without_each_row(board: Path) -> None:
    records, whole = records_of(board), made_of(board)
    for label in sorted({label for _, label in whole}):
        mine = [r for r in records if r["job"]["method"]["label"] == label]
        rest = [r for r in records if r["job"]["method"]["label"] != label]
        for some in (mine, rest):
            found = figures([row.as_dict() for row in ranking.rows(some)])
            assert {key for key in whole if (key[1] == label) == (some is mine)} == found.keys()
            assert differing(found, whole) == []


@pytest.mark.parametrize("board", [b for b in BOARDS if b.parent == OLD], ids=lambda b: b.name)
def test_the_suite_as_run_lies_beside_each_old_board(board: Path) -> None:
    suite = yaml.safe_load((board / "suite.yaml").read_text(encoding="utf-8"))
    stated = {
        (row.get("label", row["method"]), seed): row
        for row in suite["methods"]
        for seed in suite["seeds"]
    }
    records = records_of(board)
    assert {r["protocol"] for r in records} == {suite["protocol"]}
    found = {(r["job"]["method"]["label"], r["job"]["seed"]): r["job"] for r in records}
    assert found.keys() == stated.keys()
    for key, job in found.items():
        row = stated[key]
        assert job["method"]["name"] == row["method"]
        assert job["epochs_factor"] == row.get("epochs_factor", 1.0)
        assert row.get("params", {}).items() <= job["method"]["params"].items()


def test_links_between_the_pages_of_the_boards_lead_somewhere() -> None:
    pages = [ROOT / "README.md", *LEADERBOARDS.rglob("*.md"), *(ROOT / "docs").glob("*.md")]
    broken = []
    for page in pages:
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            if "://" not in target and not (page.parent / target).exists():
                broken.append(f"{page.relative_to(ROOT)}: {target}")
    assert broken == []
