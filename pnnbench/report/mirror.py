"""Weights & Biases as a mirror of the records: offline unless asked, never the truth.

Offline data live in wandb's own process until a run is finished, so a killed process loses them.
The mirror is therefore called after a record is on disk, and a failure of wandb becomes a warning.

A job is a run that logs its record and its parameters as artifacts. A board is a run that uses the
records of its jobs and logs its page and numbers as an artifact: lineage from runs to board.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pnnbench.errors import UserError
from pnnbench.leaderboard.deployments import FROZEN, deployment_names, deployment_of
from pnnbench.leaderboard.grid import read_grid
from pnnbench.leaderboard.joining import SIGN
from pnnbench.leaderboard.model import PUBLISHED, Row, Table
from pnnbench.leaderboard.score import device_scores
from pnnbench.records.index import board_of, workload_of
from pnnbench.records.store import beside, file_problem
from pnnbench.report.mirror_run import (
    files_artifact,
    flat,
    numbers,
    open_run,
    plain_name,
    use,
    warning,
)
from pnnbench.report.text import render_json

Placed = tuple[Path, dict[str, Any]]
"""A record and the path that it was read from."""
KEY = "summary_key"
"""Column of a board's table: under which name the numbers of the row stand in the summary."""


def run_id(job: Mapping[str, Any]) -> str:
    """Identity of a job's run, the same wherever the job is mirrored from.

    Args:
        job: The ``job`` part of a record.

    Returns:
        Suite and hash.
    """
    return plain_name(f"{job['suite']}-{job['hash']}")


def record_name(job: Mapping[str, Any]) -> str:
    """Name of the artifact that holds the record of a job."""
    return plain_name(f"record-{job['hash']}")


def _grid_table(record: Mapping[str, Any]) -> tuple[list[str | int], list[list[Any]]]:
    plain = ("axis", "level", "unit", "severity", "device_seed", "value")
    more = {
        f"{part}/{name}": (part, name)
        for part in ("environment", "also")
        for name in sorted({name for cell in record["cells"] for name in cell.get(part, {})})
    }
    data = [
        [cell[key] for key in plain]
        + [cell.get(part, {}).get(name) for part, name in more.values()]
        for cell in record["cells"]
    ]
    return [*plain, *more], data


def job_summary(record: dict[str, Any]) -> dict[str, Any]:
    """The scalars of a job that the mirror shows.

    Args:
        record: A record, finished or failed.

    Returns:
        Flat names with slashes. ``robust/...`` are means over all cell groups of an axis, and
        ``robust`` the score of the leaderboard, both of the headline deployment; those of another
        begin with ``deployment/`` and its name. ``also/...`` are figures beside the metric on the
        ideal device. Figures that are undefined are left out.
    """
    summary: dict[str, Any] = {"status": record["status"]}
    for section in ("sharpness", "cost", "extra", "also", "training_device"):
        leaves = flat(record.get(section, {}), f"{section}/")
        summary |= {k: v for k, v in leaves.items() if isinstance(v, (int, float, str))}
    if record["status"] != "ok":
        summary["error"] = f"{record['error']['type']}: {record['error']['message']}"
        return summary
    for gap in record.get("gaps", []):
        summary[f"gaps/{gap['part']}"] = f"{gap['type']}: {gap['message']}"
    if record["clean"] is not None:
        summary["clean"] = record["clean"]
    if "lambda_max" in record.get("sharpness", {}):
        summary["lambda_max"] = record["sharpness"]["lambda_max"]
    for place, name in enumerate(deployment_names([record])):
        if not deployment_of(record, name):
            continue
        grid = read_grid(record, name)
        prefix = f"deployment/{name}/" if place else ""
        for axis in sorted({group[0] for group in grid.groups}):
            mine = [float(group[0] == axis) for group in grid.groups]
            scores = device_scores(grid.values, mine)
            if scores is not None:
                summary[f"{prefix}robust/{axis}"] = float(scores.mean())
        if grid.scores is not None:
            summary[f"{prefix}robust"] = float(grid.scores.mean())
    return summary


def _record_artifact(path: Path, job: Mapping[str, Any]) -> Any:
    return files_artifact(record_name(job), "record", {"record.json": path})


def _job_artifacts(record: dict[str, Any], folder: Path) -> list[Any]:
    """The record of a job and, where they are there and whole, its parameters."""
    path = folder / "record.json"
    if not path.is_file():
        return []
    job = record["job"]
    made = [_record_artifact(path, job)]
    if "parameters" in record and file_problem(path, record, "parameters") is None:
        file = beside(path, record, "parameters")
        name = plain_name(f"parameters-{job['hash']}")
        made.append(files_artifact(name, "parameters", {file.name: file}))
    return made


def log_job(
    record: dict[str, Any],
    folder: Path | str,
    pictures: Mapping[str, Path] | None = None,
    mode: str = "offline",
) -> str | None:
    """Mirrors one job as one run: configuration, curves, summary, grid table, pictures, artifacts.

    Args:
        record: The record, already on disk.
        folder: The job's folder. Its record and parameters are logged as artifacts where they are
            there; offline runs go to ``<folder>/wandb``.
        pictures: Title to PNG file.
        mode: What `mirror_mode.decide` found: ``offline``, ``online`` or ``disabled``.

    Returns:
        None, or a warning if wandb failed. The record is not touched either way.
    """
    if mode == "disabled":
        return None
    folder = Path(folder)
    job = record["job"]
    config = {
        "protocol": record["protocol"],
        "job": job,
        "config": record.get("config", {}),
        "data": record.get("data", {}),
        "metric": record.get("metric", {}),
        "provenance": record["provenance"],
        "checksum": record.get("checksum"),
    }
    summary = job_summary(record)
    curves = record.get("curves", {})
    length = len(next(iter(curves.values()), []))
    history = [{name: values[i] for name, values in curves.items()} for i in range(length)]
    table = _grid_table(record) if "cells" in record else None
    try:
        import wandb

        with open_run(
            folder,
            mode,
            id=run_id(job),
            resume="allow" if mode == "online" else None,
            name=f"{job['method']['label']} seed {job['seed']}",
            group=job["suite"],
            job_type="train",
            tags=[
                record["protocol"],
                job["tier"],
                workload_of(job),
                job["method"]["name"],
                record["status"],
            ],
            config=config,
        ) as run:
            if "epoch" in curves:
                run.define_metric("epoch")
                run.define_metric("*", step_metric="epoch")
            for line in history:
                run.log(line)
            final: dict[str, Any] = {}
            if table is not None:
                # An axis without an end has the level "inf", in words.
                final["grid"] = wandb.Table(columns=table[0], data=table[1], allow_mixed_types=True)
            for title, file in (pictures or {}).items():
                final[f"pictures/{title}"] = wandb.Image(str(file), caption=title)
            if final:
                run.log(final)
            for artifact in _job_artifacts(record, folder):
                run.log_artifact(artifact)
            run.summary.update(summary)
    except Exception as error:  # whatever wandb raises, the record stands
        return warning(f"job {job['hash']}", error)
    return None


def board_rows(tables: Sequence[Table]) -> dict[str, dict[str, Any]]:
    """The rows of a board in its JSON, each under the name of its numbers in the summary.

    Args:
        tables: What ``ranking.build`` made.

    Returns:
        Name to row, in their order. A name is ``SUITE/WORKLOAD/METHOD``, before it the deployment
        or the protocol where the rows of another have the plain one, in it ``_`` for a point,
        which wandb reads as a path. Rows that would share a name have a digest behind it.
    """
    rows = [row for table in tables for row in table.rows]
    plain = [_row_name(row) for row in rows]
    found: dict[str, dict[str, Any]] = {}
    for row, name in zip(rows, plain, strict=True):
        whole = json.dumps([row.key, row.method], sort_keys=True)
        digest = hashlib.sha256(whole.encode("utf-8", "surrogatepass")).hexdigest()[:8]
        found[name if plain.count(name) == 1 else f"{name} {digest}"] = row.as_dict()
    return found


def _row_name(row: Row) -> str:
    return "/".join((*_board_name(row.key), row.method)).replace(".", "_")


def _board_name(key: Mapping[str, str]) -> list[str]:
    before = [key["deployment"]] if key["deployment"] != FROZEN else []
    if key["protocol"] == PUBLISHED:  # beside a suite of the same name that is ranked
        before.append(PUBLISHED)
    return [*before, key["suite"], key["workload"]]


def row_table(rows: Mapping[str, Mapping[str, Any]]) -> tuple[list[str | int], list[list[Any]]]:
    """The rows of a board as a table: a column for each path in their JSON, and none left out.

    Args:
        rows: What `board_rows` made.

    Returns:
        Columns, `KEY` first, and one line a row. Lists and empty mappings are JSON text; None
        stands where a row has no such path.
    """
    leaves = [flat(row) for row in rows.values()]
    columns = list(dict.fromkeys(path for row in leaves for path in row))
    data = [
        [name, *(_cell(row.get(path)) for path in columns)]
        for name, row in zip(rows, leaves, strict=True)
    ]
    return [KEY, *columns], data


def _cell(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (list, dict)) else value


def log_leaderboard(
    tables: Sequence[Table],
    page: Path | str,
    mode: str = "offline",
    *,
    folder: Path | str | None = None,
    placed: Sequence[Placed] = (),
) -> str | None:
    """Mirrors a leaderboard: summary, Table, and an Artifact with its JSON and page.

    One board is one run of Weights & Biases, whatever it is called again; a board that has not
    changed since it was mirrored in this mode from this place is left alone.

    Args:
        tables: What ``ranking.build`` made.
        page: The page that ``write_page`` wrote. Its JSON stands beside it.
        mode: What `mirror_mode.decide` found: ``offline``, ``online`` or ``disabled``.
        folder: Where wandb writes; the page's folder by default.
        placed: The records, each with its path: those of the board's jobs are declared as what it
            was made from.

    Returns:
        None, or a warning if wandb failed.

    Raises:
        UserError: If the page does not exist.
    """
    page = Path(page)
    if not page.is_file():
        raise UserError(f"{page}: there is no such page", next_step="write it with write_page")
    if mode == "disabled":
        return None
    text = render_json(tables)
    data = page.with_name("leaderboard.json")
    if not data.is_file():
        data.write_text(text, encoding="utf-8")
    rows = board_rows(tables)
    summary: dict[str, Any] = {"n_rows": len(rows)}
    for name, row in rows.items():
        summary |= numbers(row, f"{name}/")
    for table in tables:
        board = "/".join(_board_name(table.key)).replace(".", "_")
        summary |= numbers(table.correlations, f"{board}/correlations/")
    columns, lines = row_table(rows)
    suites = sorted({table.key["suite"] for table in tables})
    boards = sorted({"/".join(table.key.values()) for table in tables})
    name = hashlib.sha256("\n".join(boards).encode("utf-8", "surrogatepass")).hexdigest()[:16]
    used = _jobs_of(tables, placed)
    where = Path(folder) if folder is not None else page.parent
    seal = where / f".mirrored-{name}"
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    # Offline, wandb keeps the places of files: a folder that was moved is mirrored again.
    state = f"{mode} {digest} {where.resolve()}\n"
    if seal.is_file() and seal.read_text(encoding="utf-8") == state:
        return None
    try:
        import wandb

        with open_run(
            where,
            mode,
            id=f"leaderboard-{name}",
            resume="allow" if mode == "online" else None,
            name="leaderboard",
            group=suites[0] if len(suites) == 1 else None,
            job_type="leaderboard",
            tags=suites,
            config={
                "suites": suites,
                "protocols": sorted({table.key["protocol"] for table in tables}),
                "boards": [table.key for table in tables],
            },
        ) as run:
            declared = [use(run, _record_artifact(path, record["job"])) for path, record in used]
            run.log(
                {"leaderboard": wandb.Table(columns=columns, data=lines, allow_mixed_types=True)}
            )
            artifact = files_artifact(
                plain_name(f"leaderboard-{'.'.join(suites)}"),
                "leaderboard",
                {"leaderboard.json": data, "index.html": page},
                records=[_origin(record) for _, record in used],
                declared=all(declared),
            )
            run.log_artifact(artifact)
            run.summary.update(summary)
        seal.write_text(state, encoding="utf-8")
    except Exception as error:  # whatever wandb raises, the leaderboard stands
        return warning("the leaderboard", error)
    return None


def _jobs_of(tables: Sequence[Table], placed: Sequence[Placed]) -> list[Placed]:
    """The records that the rows of some tables are made from."""
    boards = {
        (suite, *(table.key[k] for k in ("protocol", "workload", "tier")))
        for table in tables
        for suite in table.key["suite"].split(SIGN)
    }
    older = {job["hash"] for table in tables for job in table.older}
    return [
        (path, record)
        for path, record in placed
        if board_of(record) in boards and record["job"]["hash"] not in older
    ]


def _origin(record: Mapping[str, Any]) -> dict[str, Any]:
    """Where a record comes from, for the metadata of a board: its job, its run, its artifact."""
    job = record["job"]
    return {
        "hash": job["hash"],
        "suite": job["suite"],
        "workload": workload_of(job),
        "row": job["method"]["label"],
        "seed": job["seed"],
        "checksum": record.get("checksum"),
        "run": run_id(job),
        "artifact": record_name(job),
    }
