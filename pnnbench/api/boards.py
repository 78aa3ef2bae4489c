"""`pnnbench.load_leaderboard`: the rows of boards as data, as text and as a page."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pnnbench.api.html import rows_table
from pnnbench.api.results import Columns, frame
from pnnbench.api.tables import board_folders, leave_out, tables_of
from pnnbench.errors import UserError
from pnnbench.report.render import render

if TYPE_CHECKING:
    import pandas

    from pnnbench.leaderboard.model import Table


class Leaderboard:
    """Rows of boards: scores with 95 % intervals, ranks that are known, costs.

    Made by `load_leaderboard`.

    Args:
        tables: The tables, one for each board and deployment.
    """

    def __init__(self, tables: Sequence[Table]) -> None:
        self._tables = tuple(tables)

    @property
    def tables(self) -> tuple[Table, ...]:
        """The tables, one for each board and deployment, the headline first."""
        return self._tables

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The rows as plain values, best first in each table; figures are mean, low and high."""
        return [row.as_dict() for table in self._tables for row in table.rows]

    def to_dict(self) -> Columns:
        """The rows in columns.

        Returns:
            Column -> values, None where there is none. Nested figures have a point in their name,
            such as ``robust.mean``; hyper-parameters are one text of JSON.
        """
        flat = [dict(_flat(row)) for row in self.rows]
        names = list(dict.fromkeys(name for row in flat for name in row))
        return {name: [row.get(name) for row in flat] for name in names}

    def to_pandas(self) -> pandas.DataFrame:
        """The rows as a data frame, see `to_dict`.

        Raises:
            UserError: If pandas is not installed.
        """
        return frame(self.to_dict())

    def text(self, format: str = "table") -> str:
        """The boards as text.

        Args:
            format: ``"table"``, ``"json"``, ``"csv"``, ``"markdown"`` or ``"html"``, a whole page.

        Returns:
            The text, with a final newline.

        Raises:
            UserError: If the format is unknown.
        """
        return render(self._tables, format)

    def __str__(self) -> str:
        return self.text()

    def __repr__(self) -> str:
        boards = dict.fromkeys(f"{t.key['suite']} on {t.key['workload']}" for t in self._tables)
        return f"<Leaderboard: {', '.join(boards)}>"

    def _repr_html_(self) -> str:
        """The rows as a notebook shows them."""
        return rows_table(self._tables)


def load_leaderboard(
    *folders: str | Path, join: bool = False, without: Sequence[str] = ()
) -> Leaderboard:
    """Makes the leaderboard of folders of records, as ``pnnbench leaderboard`` does.

    Args:
        *folders: Folders of runs or boards, or names of boards that come with the project; none for
            ``runs/``, else ``leaderboards/``, else the boards that come with the project.
        join: Whether suites that measure the same share a table.
        without: Leave out rows that know this of the tests (``"tested law"``, ``"one device"``,
            ...), and rank the others.

    Returns:
        The leaderboard.

    Raises:
        UserError: If there are no records, or jobs of one board cannot be compared.
    """
    sources = board_folders(folders)
    tables = tables_of(sources, joined=join) if sources else []
    if not tables:
        places = ", ".join(map(str, sources)) or "runs/ or leaderboards/"
        raise UserError(f"no records in {places}", next_step="pnnbench run quickstart")
    return Leaderboard(leave_out(tables, without, where="without") if without else tables)


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Names and values of nested figures, the names with points; lists and settings stay whole."""
    for name, value in values.items():
        if name == "params":
            yield prefix + name, json.dumps(value, sort_keys=True)
        elif isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value
