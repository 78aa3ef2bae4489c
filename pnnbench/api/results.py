"""What was measured, for people in a notebook: cells as a table, figures, the board as text."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pnnbench.api.html import rows_table
from pnnbench.api.tables import board_folders, tables_of
from pnnbench.errors import UserError
from pnnbench.leaderboard.best import robust_score
from pnnbench.leaderboard.deployments import FROZEN, deployment_of
from pnnbench.leaderboard.ranking import build
from pnnbench.records.folders import read_placed
from pnnbench.records.store import read_record

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

    from pnnbench.leaderboard.model import Table

Of = Literal["cells", "runs"]
"""What one row of a table is: a cell of the grid of one run, or a run."""
Columns = dict[str, list[Any]]
"""Column -> its values, all of one length."""


class Results:
    """Finished and failed runs with all that was measured of them.

    Made by `load`, `pnnbench.run` and `pnnbench.evaluate`.

    Args:
        records: Records as they are read, those that other jobs have taken the place of left out.
        tables: The tables of their leaderboard.
    """

    def __init__(self, records: Sequence[dict[str, Any]], tables: Sequence[Table]) -> None:
        self._records = tuple(records)
        self._tables = tuple(tables)

    @property
    def records(self) -> tuple[dict[str, Any], ...]:
        """The records, by suite, workload, row and seed."""
        return self._records

    @property
    def tables(self) -> tuple[Table, ...]:
        """The tables of their leaderboard, one for each board and deployment."""
        return self._tables

    def __len__(self) -> int:
        """Number of runs."""
        return len(self._records)

    def __repr__(self) -> str:
        bad = sum(record["status"] != "ok" for record in self._records)
        boards = ", ".join(dict.fromkeys(_board(table) for table in self._tables))
        failed = f", {bad} of them failed" if bad else ""
        return f"<Results: {len(self)} runs{failed}; {boards or 'no board'}>"

    def to_dict(self, of: Of = "cells") -> Columns:
        """The figures in columns.

        Args:
            of: ``"cells"``: one row for each cell of each finished run under each deployment;
                ``"runs"``: one for each run, failed ones included.

        Returns:
            Column -> values, all of one length, None where there is none. Cells have suite,
            protocol, tier, workload, data, row, method, seed, hash, deployment, axis, level, unit,
            severity, device (seed of the test device; None is the ideal one), counts (whether the
            cell has weight in the robust score), metric, value (a share, in the metric's unit) and
            ``environment.NAME`` for each condition, its unit in the name. Runs have the first of
            these, and status, clean, robust (over the devices, under the headline deployment),
            lambda_max, gradient_evaluations, hardware_queries and train_seconds.

        Raises:
            UserError: If ``of`` is neither.
        """
        if of not in ("cells", "runs"):
            raise UserError(f"of is {of!r}", allowed="'cells' or 'runs'")
        rows: list[dict[str, Any]] = []
        for record in self._records:
            if of == "runs":
                rows.append(_run_row(record))
            elif record["status"] == "ok":
                rows += _cell_rows(record)
        columns = list(dict.fromkeys(name for row in rows for name in row))
        return {name: [row.get(name) for row in rows] for name in columns}

    def to_pandas(self, of: Of = "cells") -> pandas.DataFrame:
        """The figures as a data frame, see `to_dict`.

        Args:
            of: ``"cells"`` or ``"runs"``.

        Returns:
            The frame, tidy: one row for each cell or run.

        Raises:
            UserError: If pandas is not installed, or ``of`` is neither.
        """
        return frame(self.to_dict(of))

    def summary(self) -> str:
        """The leaderboard of the runs as text: scores with intervals, costs, what failed."""
        from pnnbench.report.render import render

        return render(self._tables)

    def plot_degradation(
        self, workload: str | None = None, deployment: str | None = None, suite: str | None = None
    ) -> Figure:
        """Draws the metric against each perturbation, all rows, with 95 % intervals.

        Args:
            workload: Which workload; None where there is one.
            deployment: Which deployment; None for the headline of the board.
            suite: Which suite; None where there is one.

        Returns:
            The figure, drawn on no screen: it shows itself in a notebook, and
            ``figure.savefig("degradation.svg")`` writes it.

        Raises:
            UserError: If several boards are meant or none, no run has finished, or all that varies
                is two conditions at once.
        """
        from pnnbench.report import style
        from pnnbench.report.degradation import degradation

        table = self._table(workload=workload, deployment=deployment, suite=suite)
        if not any(row.seeds for row in table.rows):
            raise UserError(f"no run of {_board(table)} has finished: there is nothing to draw")
        with style.styled():
            figure = degradation(table)
        if figure is None:
            raise UserError(
                f"{_board(table)} varies two conditions at once, a surface and no curve",
                next_step="pnnbench plot FOLDER draws it",
            )
        return figure

    def _table(self, deployment: str | None, **asked: str | None) -> Table:
        """The one table that is meant."""
        wanted = {key: value for key, value in asked.items() if value is not None}
        meant = [t for t in self._tables if all(t.key[k] == v for k, v in wanted.items())]
        kept = [
            t for t in meant if (t.headline if deployment is None else _deployed(t) == deployment)
        ]
        if len(kept) == 1:
            return kept[0]
        among = dict.fromkeys(_board(t) for t in (kept or self._tables))
        names = ", ".join(dict.fromkeys(map(_deployed, meant or self._tables)))
        said = ", ".join(f"{k} {v!r}" for k, v in {**wanted, "deployment": deployment}.items() if v)
        raise UserError(
            f"{len(kept) or 'no'} boards are meant" + (f" by {said}" if said else ""),
            allowed=f"one of {'; '.join(among) or 'none'}; deployments {names or 'none'}",
            next_step="name one: plot_degradation(workload=..., suite=..., deployment=...)",
        )

    def _repr_html_(self) -> str:
        """The runs as a notebook shows them: one row for each row of each board."""
        return rows_table(self._tables)


def load(path: str | Path) -> Results:
    """Reads results: of one run, a suite, a folder of runs or a board.

    Args:
        path: A record, the folder of a run, of a suite or of all runs, the folder of a board, or
            the name of a board that comes with the project, such as ``"quickstart"``.

    Returns:
        The results; every record is checked against its checksum.

    Raises:
        UserError: If there is nothing there, or a record is not whole.
    """
    (source,) = board_folders([path])
    if source.is_file() or (source / "record.json").is_file():
        record = read_record(source if source.is_file() else source / "record.json")
        return Results([record], build([record]))
    return results_of([source])


def results_of(sources: Sequence[Path]) -> Results:
    """The results of folders of records, of the jobs that their suites consist of.

    Args:
        sources: The folders.

    Returns:
        The results.

    Raises:
        UserError: If there is no record.
    """
    tables = tables_of(sources)
    if not tables:
        raise UserError(
            f"no records in {', '.join(map(str, sources))}", next_step="pnnbench run quickstart"
        )
    older = {(table.key["suite"], job["hash"]) for table in tables for job in table.older}
    records = [record for _, record in read_placed(sources)]
    kept = [r for r in records if (r["job"]["suite"], r["job"]["hash"]) not in older]
    return Results(kept, tables)


def frame(columns: Columns) -> pandas.DataFrame:
    """Columns as a data frame.

    Args:
        columns: Column -> values.

    Returns:
        The frame.

    Raises:
        UserError: If pandas is not installed.
    """
    try:
        import pandas as pd
    except ImportError:
        raise UserError(
            "pandas is not installed, and to_pandas() needs it",
            allowed="to_dict() gives the same columns without it",
            next_step="pip install 'pnnbench[pandas]'",
        ) from None
    return pd.DataFrame(columns)


def _deployed(table: Table) -> str:
    return table.key["deployment"]


def _board(table: Table) -> str:
    return f"{table.key['suite']} on {table.key['workload']} ({table.key['tier']})"


def _job_columns(record: Mapping[str, Any]) -> dict[str, Any]:
    job = record["job"]
    return {
        "suite": job["suite"],
        "protocol": record["protocol"],
        "tier": job["tier"],
        "workload": job["workload"],
        "data": record.get("data", {}).get("name"),
        "row": job["method"]["label"],
        "method": job["method"]["name"],
        "seed": job["seed"],
        "hash": job["hash"],
    }


def _run_row(record: dict[str, Any]) -> dict[str, Any]:
    done = record["status"] == "ok"
    cost = record.get("cost", {})
    return {
        **_job_columns(record),
        "params": json.dumps(record["job"]["method"]["params"], sort_keys=True),
        "status": record["status"],
        "error": None if done else record["error"]["message"],
        "metric": record.get("metric", {}).get("name"),
        "clean": record.get("clean"),
        "robust": robust_score(record) if done else None,
        "lambda_max": record.get("sharpness", {}).get("lambda_max"),
        **{
            key: cost.get(key)
            for key in ("gradient_evaluations", "hardware_queries", "train_seconds")
        },
    }


def _cell_rows(record: dict[str, Any]) -> list[dict[str, Any]]:
    names = [FROZEN, *(entry["name"] for entry in record.get("deployments", []))]
    rows = []
    for name in names:
        step = deployment_of(record, name)
        for i, cell in enumerate(record["cells"]):
            counts = cell.get("counts")
            rows.append(
                {
                    **_job_columns(record),
                    "deployment": name,
                    **{key: cell[key] for key in ("axis", "level", "unit", "severity")},
                    "device": cell["device_seed"],
                    "counts": step["counts"][i] if "counts" in step else counts,
                    "metric": record["metric"]["name"],
                    "value": step["values"][i] if "values" in step else cell["value"],
                    **{f"environment.{k}": v for k, v in cell["environment"].items()},
                }
            )
    return rows
