"""The subcommands. Each imports what it needs when it runs."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pnnbench.console import Console
from pnnbench.errors import UserError, disk_full

if TYPE_CHECKING:
    from pnnbench.running.suites import Job, Suite


def _out(text: str) -> None:
    sys.stdout.write(text if text.endswith("\n") else text + "\n")
    sys.stdout.flush()


def _set_threads(count: int | None) -> None:
    if count is None:
        return
    if count < 1:
        raise UserError(f"--threads is {count}", allowed="an integer >= 1")
    import torch

    torch.set_num_threads(count)


def _run_suite(suite: Suite, options: Any) -> list[dict[str, Any]]:
    from pnnbench.running.jobs import job_folder, run_suite

    _set_threads(options.threads)
    with Console(len(suite.jobs)) as console:

        def finished(job: Job, record: dict[str, Any], folder: Path) -> None:
            _show(job, record, folder, options, console.say)
            console.advance()

        runs = Path(options.runs)
        adopted = _adopt_published(suite, runs)
        if adopted:
            console.say(f"{adopted} jobs are among the published records already")
        records = run_suite(suite, runs, say=console.say, root=options.data, finished=finished)
        # Jobs whose process ended between the record and what is drawn and mirrored from it.
        for job, record in zip(suite.jobs, records, strict=True):
            _show(job, record, job_folder(runs, job), options, console.say)
        return records


def _adopt_published(suite: Suite, runs: Path) -> int:
    """Takes over finished jobs from ``leaderboards/SUITE/records``; returns how many."""
    from pnnbench.records.store import is_finished, read_record, write_record
    from pnnbench.running.jobs import job_folder

    adopted = 0
    for job in suite.jobs:
        published = Path("leaderboards") / suite.name / "records" / f"{job.spec()['hash']}.json"
        path = job_folder(runs, job) / "record.json"
        if is_finished(published) and not is_finished(path):
            write_record(path, read_record(published))
            adopted += 1
    return adopted


def _show(
    job: Job, record: dict[str, Any], folder: Path, options: Any, say: Callable[[str], None]
) -> None:
    """Draws a finished job and mirrors it to Weights & Biases, once."""
    marker = folder / ".shown"
    # A record that was published elsewhere comes without its parameters: nothing to draw.
    here = record["status"] == "ok" and (folder / record["parameters"]["file"]).exists()
    if not here or marker.exists():
        return
    pictures: dict[str, Path] = {}
    if options.pictures:
        say(f"{job.title()}: pictures")
        try:
            pictures = _draw_run(
                folder, record, options.data, lambda line: say(f"{job.title()}: {line}")
            )
        except Exception as error:  # the record stands and the suite goes on
            if disk_full(error):
                raise
            say(f"{job.title()}: no pictures: {type(error).__name__}: {error}")
            return
    if options.wandb != "disabled":
        from pnnbench.report.mirror import log_job

        warning = log_job(record, folder, pictures, mode=options.wandb)
        if warning:
            say(f"{job.title()}: {warning}")
            return
    if options.pictures or options.wandb != "disabled":
        marker.touch()


def _draw_run(
    folder: Path, record: dict[str, Any], root: str | None, say: Callable[[str], None]
) -> dict[str, Path]:
    from pnnbench.data.datamodule import ImageDataModule
    from pnnbench.report.run_pictures import draw_run
    from pnnbench.running.jobs import load_trained

    workload = load_trained(folder, record)
    tier = record["config"]["tier"]
    data = ImageDataModule(
        workload.data,
        limit_train=tier["train_images"],
        limit_test=tier["test_images"],
        root=root,
    )
    return draw_run(
        workload, record, data.train_tensors(), data.test_tensors(), folder / "pictures", say
    )


def run(options: Any) -> int:
    """``pnnbench run``."""
    from pnnbench.running.suites import load_suite, suite_path

    suite = load_suite(suite_path(options.suite), root=options.data)
    records = _run_suite(suite, options)
    folder = Path(options.runs) / suite.name
    page = _write_board(records, folder, options.wandb, folder)
    from pnnbench.leaderboard.ranking import build
    from pnnbench.report.render import render

    _out(render(build(records), "table"))
    _out(f"page: {page}")
    return 0 if all(r["status"] == "ok" for r in records) else 1


def train(options: Any) -> int:
    """``pnnbench train``."""
    from pnnbench.registry import method_class, method_parameters
    from pnnbench.running.suites import MethodEntry, Suite, make_jobs

    params = method_parameters(method_class(options.method), options.params)
    # Runs with other settings are other rows of the leaderboard.
    settings = [f"{k}={v}" for k, v in sorted(options.params.items())]
    if options.epochs_factor != 1:
        settings.append(f"epochs x{options.epochs_factor:g}")
    label = " ".join([options.method, *settings])
    entry = MethodEntry(options.method, label, params, options.epochs_factor)
    jobs = make_jobs(
        "train",
        "pnnbench-1",
        options.tier,
        [options.workload],
        [options.seed],
        [entry],
        where="train",
        root=options.data,
    )
    suite = Suite("train", "", jobs, None)
    record = _run_suite(suite, options)[0]
    _out(f"run: {Path(options.runs) / 'train' / record['job']['hash']}")
    _out(_describe(record))
    return 0 if record["status"] == "ok" else 1


def _describe(record: dict[str, Any]) -> str:
    if record["status"] != "ok":
        return f"{record['status']}: {record['error']['message']}"
    clean = record["clean"]
    lines = [f"{record['metric']['name']}, clean: {'-' if clean is None else f'{clean:.4f}'}"]
    groups: dict[tuple[Any, ...], list[float]] = {}
    for cell in record["cells"]:
        key = (cell["axis"], cell["level"], cell["unit"])
        values = groups.setdefault(key, [])
        if cell["value"] is not None:
            values.append(cell["value"])
    for (axis, level, unit), values in groups.items():
        if not values:
            lines.append(f"{axis:<18}{level:>7g} {unit:<18} no value")
            continue
        mean, worst = sum(values) / len(values), min(values)
        lines.append(
            f"{axis:<18}{level:>7g} {unit:<18} mean {mean:.4f}  worst {worst:.4f}"
            f"  ({len(values)} devices)"
        )
    lines += [f"{name:<26}{value:.6g}" for name, value in record.get("extra", {}).items()]
    lines += _sharpness_lines(record["sharpness"])
    lines += [_gap_line(gap) for gap in record.get("gaps", [])]
    return "\n".join(lines)


def _gap_line(gap: dict[str, str]) -> str:
    return f"{gap['part']}: {gap['type']}: {gap['message']}"


def _sharpness_lines(sharpness: dict[str, Any]) -> list[str]:
    return [
        f"{name:<26}{value:.6g}" if isinstance(value, (int, float)) else f"{name:<26}{value}"
        for name, value in sharpness.items()
    ]


def _finished_record(folder: Path) -> dict[str, Any]:
    from pnnbench.records.store import read_record

    record = read_record(folder / "record.json")
    if record["status"] != "ok":
        raise UserError(
            f"{folder} holds a record of status {record['status']!r}: {record['error']['message']}",
            next_step="run its suite again",
        )
    return record


def _reloaded(folder: Path, root: str | None) -> tuple[dict[str, Any], Any, Any]:
    from pnnbench.data.datamodule import ImageDataModule
    from pnnbench.running.jobs import load_trained

    record = _finished_record(folder)
    tier = record["config"]["tier"]
    workload = load_trained(folder, record)
    data = ImageDataModule(
        workload.data, limit_train=tier["train_images"], limit_test=tier["test_images"], root=root
    )
    return record, workload, data


def evaluate(options: Any) -> int:
    """``pnnbench evaluate``."""
    from pnnbench.submitting.submissions import remeasure

    record, workload, data = _reloaded(Path(options.run), options.data)
    with Console(0) as console:
        result = remeasure(record, workload, data, console.say)
    if options.format == "json":
        shown = result["difference"] if math.isfinite(result["difference"]) else None
        _out(json.dumps({**result, "difference": shown}, indent=1, allow_nan=False))
    else:
        _out(_describe({**record, "clean": result["clean"], "cells": result["cells"]}))
        _out(f"largest difference from the record: {result['difference']:.3g}")
    return 0 if result["within"] else 1


def sharpness(options: Any) -> int:
    """``pnnbench sharpness``."""
    from pnnbench.evaluation.gaps import Gaps
    from pnnbench.running.measuring import measure_job_sharpness

    record, workload, data = _reloaded(Path(options.run), options.data)
    found = Gaps()
    result = measure_job_sharpness(workload, data, record["config"], found)
    gaps = [gap.as_dict() for gap in found.found]
    if options.format == "json":
        _out(json.dumps({**result, **({"gaps": gaps} if gaps else {})}, indent=1))
    else:
        _out("\n".join([*_sharpness_lines(result), *map(_gap_line, gaps)]))
    return 0


def plot(options: Any) -> int:
    """``pnnbench plot``."""
    folder = Path(options.run)
    if (folder / "record.json").is_file():
        paths = _draw_run(folder, _finished_record(folder), options.data, _out)
    else:
        from pnnbench.records.store import read_records
        from pnnbench.report.figures import draw_suite

        paths = draw_suite(read_records(folder), folder / "pictures")
    for path in paths.values():
        _out(str(path))
    return 0


def _sources(given: list[str]) -> list[Path]:
    if given:
        return [Path(g) for g in given]
    for default in (Path("runs"), Path("leaderboards")):
        if default.is_dir():
            return [default]
    raise UserError(
        "no records: neither runs/ nor leaderboards/ is here",
        next_step="pnnbench run benchmarks/quickstart.yaml",
    )


def _write_board(
    records: list[dict[str, Any]], folder: Path, wandb: str | None, mirror_folder: Path
) -> Path:
    from pnnbench.leaderboard.ranking import build
    from pnnbench.report.figures import draw_suite
    from pnnbench.report.page import write_page

    tables = build(records)
    drawn = draw_suite(records, folder / "pictures")
    page = write_page(folder, tables, {n: p.read_text() for n, p in drawn.items()})
    if wandb != "disabled":
        from pnnbench.report.mirror import log_leaderboard

        warning = log_leaderboard(tables, page, mode=wandb, folder=mirror_folder)
        if warning:
            sys.stderr.write(warning + "\n")
    return Path(page)


def leaderboard(options: Any) -> int:
    """``pnnbench leaderboard``."""
    from pnnbench.leaderboard.ranking import build
    from pnnbench.records.store import read_records
    from pnnbench.report.render import render

    records = read_records(_sources(options.records))
    if not records:
        raise UserError(
            f"no records in {', '.join(map(str, _sources(options.records)))}",
            next_step="pnnbench run benchmarks/quickstart.yaml",
        )
    tables = build(records)
    _out(render(tables, options.format))
    if options.publish:
        _publish(records, Path(options.publish), options.wandb or "disabled")
    elif options.wandb:
        folder = Path("runs") / "leaderboard"
        _out(f"page: {_write_board(records, folder, options.wandb, folder)}")
    return 0


def _publish(records: list[dict[str, Any]], folder: Path, wandb: str) -> None:
    from pnnbench.leaderboard.ranking import build
    from pnnbench.records.store import write_record
    from pnnbench.report.render import render

    names = sorted({record["job"]["suite"] for record in records})
    if len(names) != 1:
        raise UserError(
            f"records of {len(names)} suites: {', '.join(names)}",
            allowed="one suite in one published folder",
            next_step=f"pnnbench leaderboard runs/{names[0]} --publish {folder}",
        )
    current = {f"{record['job']['hash']}.json" for record in records}
    for old in (folder / "records").glob("*.json"):
        if old.name not in current:
            old.unlink()
    for record in records:
        write_record(folder / "records" / f"{record['job']['hash']}.json", record)
    page = _write_board(records, folder, wandb, Path("runs") / "leaderboard")
    readme = folder / "README.md"
    temporary = readme.with_suffix(".tmp")
    temporary.write_text(render(build(records), "markdown"), encoding="utf-8")
    temporary.replace(readme)
    _out(f"published: {page}")


def reproduce(options: Any) -> int:
    """``pnnbench reproduce``."""
    from pnnbench.published.protocols import find_protocol
    from pnnbench.published.report import render

    protocol = find_protocol(options.platform)
    root = Path(options.data) if options.data else None
    with Console(0) as console:
        report = protocol(
            Path(options.checkpoints),
            data_root=root,
            progress=lambda done, total: console.say(f"{done}/{total} measurements"),
        )
    _out(render(report, options.format))
    return 0 if report.ok else 1


#: Width of the column of names.
_NAME = 24


def list_registered(options: Any) -> int:
    """``pnnbench list``."""
    from pnnbench.registry import SUITES, method_class, registered, workload_class

    if options.kind == "suites":
        import yaml

        for path in sorted(SUITES.glob("*.yaml")):
            text = yaml.safe_load(path.read_text())
            _out(f"{path.stem:<{_NAME}}{text.get('description', '')}")
        return 0
    for name, point in registered(options.kind).items():
        cls = point.load()
        summary = (cls.__doc__ or "").strip().splitlines()[0]
        _out(f"{name:<{_NAME}}{summary}")
        if options.kind == "methods":
            from pnnbench.registry import method_parameters

            defaults = method_parameters(method_class(name), {})
            _out(" " * _NAME + ", ".join(f"{k}={v!r}" for k, v in defaults.items()))
        if options.kind == "workloads":
            _out(" " * _NAME + "tiers: " + ", ".join(workload_class(name).tiers))
    return 0


def check(options: Any) -> int:
    """``pnnbench check``."""
    from pnnbench.submitting.conformance import check_method

    results = check_method(options.method, params=options.params, workload=options.workload)
    for result in results:
        _out(f"{'ok  ' if result.passed else 'FAIL'}  {result.name}: {result.message}")
    failed = sum(not r.passed for r in results)
    _out(f"{len(results) - failed} passed, {failed} failed")
    return 1 if failed else 0


def submit(options: Any) -> int:
    """``pnnbench submit``."""
    from pnnbench.submitting.submissions import pack

    folder = Path(options.run)
    _out(f"submission: {pack(folder, _finished_record(folder), Path(options.out))}")
    return 0


def verify(options: Any) -> int:
    """``pnnbench verify``."""
    from pnnbench.submitting.submissions import verify as verify_submission

    with Console(0) as console:
        result = verify_submission(Path(options.submission), console.say, options.data)
    _out(
        f"clean {result['clean']:.4f}, largest difference from the record "
        f"{result['difference']:.3g}, allowed {result['tolerance']:.3g}: "
        f"{'confirmed' if result['within'] else 'NOT confirmed'}"
    )
    return 0 if result["within"] else 1


def doctor(options: Any) -> int:
    """``pnnbench doctor``."""
    from pnnbench.records.doctor import diagnose

    findings = diagnose(Path(options.runs))
    for finding in findings:
        _out(str(finding))
    _out(f"{len(findings)} findings")
    return 1 if findings else 0


def data(options: Any) -> int:
    """``pnnbench data``."""
    from pnnbench.data import fetch, load

    if options.download:
        fetch(options.name, options.root)
    arrays = load(options.name, root=options.root)
    _out(
        f"{arrays.name}: {len(arrays.train_labels)} training and {len(arrays.test_labels)} test "
        f"images, {arrays.fingerprint}"
    )
    return 0


#: Subcommand -> what runs it.
COMMANDS: dict[str, Callable[[Any], int]] = {
    "run": run,
    "train": train,
    "evaluate": evaluate,
    "sharpness": sharpness,
    "plot": plot,
    "leaderboard": leaderboard,
    "reproduce": reproduce,
    "list": list_registered,
    "check": check,
    "submit": submit,
    "verify": verify,
    "doctor": doctor,
    "data": data,
}
