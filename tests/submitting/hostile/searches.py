"""Tuning records that are none, or of another row."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...search_factory import make_row, make_search
from ..packed import reseal
from .cases import Spoil, case


def searched(change: Callable[[dict[str, Any]], object], *, seal: bool = True) -> Spoil:
    def spoil(folder: Path) -> None:
        from pnnbench.records.searches import write_sealed

        content = make_search("tiny", rows={}, like={})
        change(content)
        path = folder / "search.json"
        write_sealed(path, content)
        if not seal:
            path.write_text(path.read_text().replace("smoke", "quick"))
        reseal(folder)

    return spoil


def row_of(content: dict[str, Any], tried: int, **changes: Any) -> None:
    content["rows"]["BP"] = make_row(tried) | changes


for _name, _change_search in {
    "of another version": lambda c: c.update(format=9),
    "without rows": lambda c: c.update(rows=[]),
    "of another row": lambda c: None,
    "of another workload": lambda c: (row_of(c, 1), c.update(workload="mzi-digits")),
    "with more settings than are said": lambda c: row_of(c, 5),
    "with more settings tried before than are said": lambda c: row_of(c, 1, tried_before=1000),
    "with other points": lambda c: row_of(c, 1, points_sha256="0" * 64),
    "without trials": lambda c: (row_of(c, 1), c["rows"]["BP"].pop("trials")),
    "with one key for another": lambda c: (row_of(c, 1), c.pop("like"), c.update(x=1)),
}.items():
    case("tuning record", _name)(searched(_change_search))
case("tuning record", "changed")(searched(lambda c: row_of(c, 1), seal=False))
