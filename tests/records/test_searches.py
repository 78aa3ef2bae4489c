from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pnnbench.errors import UserError
from pnnbench.records.search_schema import FORMAT
from pnnbench.records.searches import find_search, read_search, write_sealed

from ..search_factory import make_search


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "tuning.json"
    write_sealed(path, make_search())
    assert read_search(path) == make_search()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c.update(suite="t"), "checksum"),
        (lambda c: c.pop("checksum"), "never sealed"),
    ],
)
def test_what_was_changed_is_refused(tmp_path: Path, change: Any, said: str) -> None:
    path = tmp_path / "tuning.json"
    write_sealed(path, make_search())
    stored = json.loads(path.read_text())
    change(stored)
    path.write_text(json.dumps(stored))
    with pytest.raises(UserError, match=said):
        read_search(path)
    path.write_text("{")
    with pytest.raises(UserError, match="is not a JSON record"):
        read_search(path)


def test_another_version_and_other_points_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "tuning.json"
    write_sealed(path, {**make_search(), "format": FORMAT + 1})
    with pytest.raises(UserError, match="no search record"):
        read_search(path)
    moved = make_search()
    moved["rows"]["BP"]["points"][1]["lr"] = 0.3
    write_sealed(path, moved)
    with pytest.raises(UserError, match="BP: the points are not those"):
        read_search(path)


def test_it_is_found_beside_the_records_else_with_the_suites_that_ship(tmp_path: Path) -> None:
    shipped, runs, board = tmp_path / "suites", tmp_path / "runs", tmp_path / "board"
    places = [shipped / "search" / "s.json", board / "tuning.json", runs / "s" / "tuning.json"]
    assert find_search("s", [runs, board], shipped) is None
    for path in places:  # each is nearer than the one before
        write_sealed(path, make_search())
        assert find_search("s", [runs, board], shipped) == path
    write_sealed(runs / "tuning.json", make_search("another"))
    assert find_search("s", [runs], shipped) == runs / "s" / "tuning.json"
    assert find_search("other", [runs, board], shipped) is None
