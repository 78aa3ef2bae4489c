"""Weights & Biases as a mirror of the records: offline unless asked, never the truth.

Offline data live in wandb's own process until a run is finished, so a killed process loses them.
The mirror is therefore called after a record is on disk, and a failure of wandb becomes a warning.
"""

from __future__ import annotations

import contextlib
import hashlib
import netrc
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlparse

from pnnbench.errors import DiskFullError, UserError, unknown_name
from pnnbench.leaderboard.deployments import FROZEN, deployment_names, deployment_of
from pnnbench.leaderboard.grid import read_grid
from pnnbench.leaderboard.knowledge import knowledge_text
from pnnbench.leaderboard.model import PUBLISHED, Row, Table
from pnnbench.leaderboard.score import device_scores
from pnnbench.records.index import workload_of
from pnnbench.report.formatting import NONE
from pnnbench.report.text import render_json

MODES = ("offline", "online", "disabled")
PROJECT = "pnnbench"
_CLOUD = "https://api.wandb.ai"
#: Free room in bytes below which no run is opened: wandb leaves half a run behind on a full disk. A
#: lean run with its pictures takes about a tenth.
_ROOM = 16 * 2**20


def resolve_mode(mode: str | None = None) -> str:
    """Decides how wandb runs, before any work.

    Args:
        mode: ``offline``, ``online`` or ``disabled``; None follows WANDB_MODE, else offline.

    Returns:
        One of the three modes.

    Raises:
        UserError: If the mode is unknown, or it is online and no key is at hand. Nothing is ever
            asked on the terminal.
    """
    source = "--wandb" if mode is not None else "WANDB_MODE"
    chosen = mode if mode is not None else os.environ.get("WANDB_MODE", "").strip() or "offline"
    chosen = {"dryrun": "offline", "run": "online"}.get(chosen, chosen)
    if chosen not in MODES:
        raise unknown_name("mode", chosen, MODES, where=source)
    if chosen == "online" and not _has_key():
        raise UserError(
            f"{source} is 'online', but there is no key for Weights & Biases",
            allowed="a key in WANDB_API_KEY or in the netrc file",
            next_step="run `wandb login`, or leave the mode out and use `wandb sync` later",
        )
    return chosen


def _has_key() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlparse(os.environ.get("WANDB_BASE_URL") or _CLOUD).hostname or ""
    for file in (os.environ.get("NETRC"), "~/.netrc", "~/_netrc"):
        if not file:
            continue
        try:
            if netrc.netrc(str(Path(file).expanduser())).authenticators(host):
                return True
        except (OSError, netrc.NetrcParseError):
            continue
    return False


@contextlib.contextmanager
def _run(folder: Path, mode: str, **options: Any) -> Iterator[Any]:
    """Opens a lean run beside whatever runs there are, and finishes it in any case."""
    import wandb

    before = dict(os.environ)
    folder.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(folder).free < _ROOM:
        raise DiskFullError(folder / "wandb")
    # Tables wait for a later `wandb sync` beside their run, not in the home folder.
    os.environ.setdefault("WANDB_DATA_DIR", str((folder / "wandb").resolve()))
    run = None
    code = 1
    try:
        run = wandb.init(
            project=os.environ.get("WANDB_PROJECT") or PROJECT,
            dir=str(folder),
            mode=cast(Any, mode),
            reinit="create_new",
            settings=wandb.Settings(
                silent=True,
                console="off",
                disable_git=True,
                disable_code=True,
                init_timeout=20,
                x_disable_stats=True,
                x_disable_meta=True,
                x_disable_machine_info=True,
                x_save_requirements=False,
            ),
            **options,
        )
        yield run
        code = 0
    finally:
        try:
            if run is not None:
                run.finish(exit_code=code)
        finally:
            for name in set(os.environ) - set(before):
                del os.environ[name]
            os.environ.update(before)


def _grid_table(record: Mapping[str, Any]) -> tuple[list[str | int], list[list[Any]]]:
    names = sorted({name for cell in record["cells"] for name in cell["environment"]})
    plain = ("axis", "level", "unit", "severity", "device_seed", "value")
    columns: list[str | int] = [*plain, *(f"environment/{name}" for name in names)]
    data = [
        [cell[key] for key in plain] + [cell["environment"].get(name) for name in names]
        for cell in record["cells"]
    ]
    return columns, data


def job_summary(record: dict[str, Any]) -> dict[str, Any]:
    """The scalars of a job that the mirror shows.

    Args:
        record: A record, finished or failed.

    Returns:
        Flat names with slashes. ``robust/...`` are means over all cell groups of an axis, and
        ``robust`` the score of the leaderboard, both of the headline deployment; those of another
        begin with ``deployment/`` and its name. Figures that are undefined are left out.
    """
    summary: dict[str, Any] = {"status": record["status"]}
    for section in ("sharpness", "cost", "extra"):
        for name, value in record.get(section, {}).items():
            if isinstance(value, (int, float, str)):
                summary[f"{section}/{name}"] = value
    if record["status"] != "ok":
        summary["error"] = f"{record['error']['type']}: {record['error']['message']}"
        return summary
    for name, value in record.get("training_device", {}).items():
        summary[f"training_device/{name}"] = value
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


def log_job(
    record: dict[str, Any],
    folder: Path | str,
    pictures: Mapping[str, Path] | None = None,
    mode: str | None = None,
) -> str | None:
    """Mirrors one job as one run: configuration, curves, summary, grid table and pictures.

    Args:
        record: The record, already on disk.
        folder: Where wandb writes; offline runs go to ``<folder>/wandb``.
        pictures: Title to PNG file.
        mode: As for ``resolve_mode``.

    Returns:
        None, or a warning if wandb failed. The record is not touched either way.

    Raises:
        UserError: If the mode cannot be used.
    """
    mode = resolve_mode(mode)
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

        with _run(
            Path(folder),
            mode,
            id=f"{job['suite']}-{job['hash']}".replace("/", "-"),
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
                final["grid"] = wandb.Table(columns=table[0], data=table[1])
            for title, file in (pictures or {}).items():
                final[f"pictures/{title}"] = wandb.Image(str(file), caption=title)
            if final:
                run.log(final)
            run.summary.update(summary)
    except Exception as error:  # whatever wandb raises, the record stands
        return _warning(f"job {job['hash']}", error)
    return None


def _row_scalars(row: Row) -> dict[str, float]:
    base = f"{row.key['suite']}/{row.key['workload']}/{row.method}"
    if row.key["protocol"] == PUBLISHED:  # beside a suite of the same name that is ranked
        base = f"{PUBLISHED}/{base}"
    if row.key["deployment"] != FROZEN:
        base = f"{row.key['deployment']}/{base}"
    figures = {name: getattr(row, name) for name in (*_ROW_FIGURES, "difference", "simultaneous")}
    scalars: dict[str, float] = {}
    for name, interval in figures.items():
        for end in ("mean", "low", "high"):
            value = getattr(interval, end)
            if value is not None:
                scalars[f"{base}/{name}/{end}"] = value
    for name, value in row.cost.items():
        if value is not None:
            scalars[f"{base}/cost/{name}"] = value
    for end in ("low", "high"):
        place = getattr(row, f"rank_{end}")
        if place is not None:
            scalars[f"{base}/rank_{end}"] = place
    if row.superiority is not None and row.superiority.share is not None:
        scalars[f"{base}/superiority"] = row.superiority.share
    return scalars


_ROW_COLUMNS = (
    "suite",
    "protocol",
    "workload",
    "tier",
    "deployment",
    "rank_low",
    "rank_high",
    "method",
    "metric",
)
_ROW_FIGURES = (
    "clean",
    "robust",
    "worst_decile",
    "lambda_max",
    "training_device",
    "fresh_devices",
    "transfer",
    "time_ratio",
)
_ROW_COSTS = ("gradient_evaluations", "hardware_queries", "train_seconds", "forward_evaluations")


def _row_table(rows: Sequence[Row]) -> tuple[list[str | int], list[list[Any]]]:
    columns: list[str | int] = [
        *_ROW_COLUMNS,
        *(f"{name}_{end}" for name in _ROW_FIGURES for end in ("mean", "low", "high")),
        "time_ratio_reference",
        *_ROW_COSTS,
        "n_seeds",
        "n_devices",
        "tied_with",
        "knows",
    ]
    data = []
    for row in rows:
        entry = row.as_dict()
        line = [entry[name] for name in _ROW_COLUMNS]
        figures = [getattr(row, name) for name in _ROW_FIGURES]
        line += [end for figure in figures for end in (figure.mean, figure.low, figure.high)]
        line += [row.reference, *(row.cost.get(name) for name in _ROW_COSTS)]
        line += [entry["n_seeds"], entry["n_devices"], "; ".join(row.tied_with)]
        line.append(knowledge_text(row.knows, NONE))
        data.append(line)
    return columns, data


def log_leaderboard(
    tables: Sequence[Table],
    page: Path | str,
    mode: str | None = None,
    *,
    folder: Path | str | None = None,
) -> str | None:
    """Mirrors a leaderboard: summary, Table, and an Artifact with its JSON and page.

    One board is one run of Weights & Biases, whatever it is called again; a board that has not
    changed since it was mirrored in this mode is left alone.

    Args:
        tables: What ``ranking.build`` made.
        page: The page that ``write_page`` wrote. Its JSON stands beside it.
        mode: As for ``resolve_mode``.
        folder: Where wandb writes; the page's folder by default.

    Returns:
        None, or a warning if wandb failed.

    Raises:
        UserError: If the mode cannot be used or the page does not exist.
    """
    mode = resolve_mode(mode)
    page = Path(page)
    if not page.is_file():
        raise UserError(f"{page}: there is no such page", next_step="write it with write_page")
    data = page.with_name("leaderboard.json")
    if not data.is_file():
        data.write_text(render_json(tables), encoding="utf-8")
    rows = [row for table in tables for row in table.rows]
    summary: dict[str, Any] = {"n_rows": len(rows)}
    for row in rows:
        summary |= _row_scalars(row)
    columns, lines = _row_table(rows)
    suites = sorted({row.key["suite"] for row in rows})
    boards = sorted({"/".join(table.key.values()) for table in tables})
    name = hashlib.sha256("\n".join(boards).encode()).hexdigest()[:16]
    where = Path(folder) if folder is not None else page.parent
    seal = where / f".mirrored-{name}"
    state = f"{mode} {hashlib.sha256(render_json(tables).encode()).hexdigest()}\n"
    if seal.is_file() and seal.read_text(encoding="utf-8") == state:
        return None
    try:
        import wandb

        with _run(
            where,
            mode,
            id=f"leaderboard-{name}",
            resume="allow" if mode == "online" else None,
            name="leaderboard",
            group=suites[0] if len(suites) == 1 else None,
            job_type="leaderboard",
            tags=suites,
            config={"suites": suites, "protocols": sorted({r.key["protocol"] for r in rows})},
        ) as run:
            run.log({"leaderboard": wandb.Table(columns=columns, data=lines)})
            artifact = wandb.Artifact("leaderboard", type="leaderboard")
            # "immutable" refers to the files where they are instead of copying them home.
            artifact.add_file(str(data), name="leaderboard.json", policy="immutable")
            artifact.add_file(str(page), name="index.html", policy="immutable")
            run.log_artifact(artifact)
            run.summary.update(summary)
        seal.write_text(state, encoding="utf-8")
    except Exception as error:  # whatever wandb raises, the leaderboard stands
        return _warning("the leaderboard", error)
    return None


def _warning(what: str, error: Exception) -> str:
    first = (str(error).strip().splitlines() or [""])[0]
    return f"wandb did not mirror {what} ({type(error).__name__}: {first}); the record stands"
