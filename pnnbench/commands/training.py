"""``pnnbench run`` and ``pnnbench train``."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pnnbench.accelerator import SINGLE, check_accelerator
from pnnbench.api.tables import tables_of
from pnnbench.commands.boards import say_page, write_board
from pnnbench.commands.checking import merged
from pnnbench.commands.finished import control_unit, draw
from pnnbench.commands.mirroring import mirror_mode, say_upload
from pnnbench.commands.output import out, out_json, width, writable
from pnnbench.console import Console, duration
from pnnbench.errors import disk_full, failure_text
from pnnbench.lookup import only
from pnnbench.registry import SUITES, check_name

if TYPE_CHECKING:
    from pnnbench.running.job_specs import Job
    from pnnbench.running.suites import Suite


def _run_suite(suite: Suite, options: Any, *, elsewhere: bool = True) -> list[dict[str, Any]]:
    from pnnbench.records.store import is_finished
    from pnnbench.running.finished import adopt, job_folder
    from pnnbench.running.jobs import run_suite

    runs = writable("--runs", Path(options.runs))
    options.wandb = mirror_mode(options.wandb)
    if options.threads is not None:
        import torch

        torch.set_num_threads(options.threads)
    adopted = adopt(suite.jobs, runs, elsewhere=elsewhere)
    done = sum(is_finished(job_folder(runs, job) / "record.json") for job in suite.jobs)
    with Console(len(suite.jobs), done) as console:

        def finished(job: Job, record: dict[str, Any], folder: Path) -> None:
            _show(job, record, folder, options, console.say)
            console.advance()

        remarks = (job.data_set.originals(options.data).remarks() for job in suite.jobs)
        for line in [*adopted.lines(), *dict.fromkeys(itertools.chain.from_iterable(remarks))]:
            console.say(line)
        records = run_suite(
            suite,
            runs,
            say=console.say,
            root=options.data,
            finished=finished,
            share=console.share,
            elsewhere=elsewhere,
            accelerator=options.accelerator,
        )
        # Jobs whose process ended between the record and what is drawn and mirrored from it.
        for job, record in zip(suite.jobs, records, strict=True):
            _show(job, record, job_folder(runs, job), options, console.say)
        return records


#: Second line of the marker in a job's folder, where its pictures have been drawn. The first says
#: how and from where the job was mirrored.
_DRAWN = "pictures"


def _show(
    job: Job, record: dict[str, Any], folder: Path, options: Any, say: Callable[[str], None]
) -> None:
    """Draws a finished job and mirrors it to Weights & Biases, each once.

    The mirror is once for a mode and a place, with the pictures that there are then.
    """
    marker = folder / ".shown"
    # A record that was published elsewhere comes without its parameters: nothing to draw.
    if record["status"] != "ok" or not (folder / record["parameters"]["file"]).exists():
        return
    before = marker.read_text(encoding="utf-8").splitlines() if marker.exists() else []
    drawn = _DRAWN in before[1:] or bool(before and _pictures(folder))
    if options.pictures and not drawn:
        drawn = _draw(job, record, folder, options, say)
    # Offline, wandb keeps the places of files: a folder that was moved is mirrored again.
    mirrored, state = "".join(before[:1]), f"{options.wandb} {folder.resolve()}"
    if options.wandb != "disabled" and mirrored != state:
        from pnnbench.report.mirror import log_job

        warning = log_job(record, folder, _pictures(folder), options.wandb)
        if warning:
            say(f"{job.title()}: {warning}")
        else:
            mirrored = state
    if mirrored or drawn:
        lines = [mirrored or f"disabled {folder.resolve()}", *([_DRAWN] if drawn else [])]
        if lines != before:
            marker.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _pictures(folder: Path) -> dict[str, Path]:
    """The pictures of a job that have been drawn, by name."""
    return {file.stem: file for file in sorted((folder / "pictures").glob("*.png"))}


def _draw(
    job: Job, record: dict[str, Any], folder: Path, options: Any, say: Callable[[str], None]
) -> bool:
    """Draws the pictures of a job that has just run; says whether that went well."""
    say(f"{job.title()}: pictures")
    try:
        with only("any"):  # it has just run
            draw(folder, record, options.data, lambda line: say(f"{job.title()}: {line}"))
    except Exception as error:  # the record stands and the suite goes on
        if disk_full(error):
            raise
        said = f"{type(error).__name__}: {failure_text(error)}"
        say(f"{job.title()}: no pictures: {said}")
        return False
    return True


def run(options: Any) -> int:
    """``pnnbench run``."""
    check_accelerator(options.accelerator, "--accelerator")
    added = [check_name("methods", name, where="--add") for name in options.add or []]
    from pnnbench.running.suites import load_suite, suite_path

    path = suite_path(options.suite)
    whole = load_suite(path, root=options.data)
    from pnnbench.running.selection import not_searched, select, supported

    suite, skipped = supported(
        select(
            whole,
            only=options.only or (),
            seeds=options.seeds,
            add=added,
            precision=options.precision,
            root=options.data,
        )
    )
    with Console() as console:
        for line in [*skipped, *not_searched(suite)]:
            console.say(line)
    if options.dry_run:
        return _dry_run(suite, options)
    records = _run_suite(suite, options, elsewhere=options.adopt)
    folder = Path(options.runs) / suite.name
    # Rows and seeds that were not asked for this time stand beside.
    tables = tables_of([folder])
    with only("any"):  # its networks have just run
        page = write_board(
            tables,
            folder,
            options.wandb,
            sources=[folder],
            runs=[folder] if options.pictures else [],
            root=options.data,
        )
    from pnnbench.report.render import render

    pages, shown = [page], list(tables)
    if options.baselines and path.resolve().parent != SUITES.resolve():
        from pnnbench.commands.baselines import beside_baselines

        joined = beside_baselines(tables, folder)
        if joined:
            pages.append(write_board(joined, folder / "beside"))
            shown += joined
    out(render(shown, options.format, width=width()))
    for page in pages:
        say_page(page, options.format)
    say_upload(options.wandb, [folder])
    return 0 if all(r["status"] == "ok" for r in records) else 1


def _dry_run(suite: Suite, options: Any) -> int:
    """Says what would run, what is finished and how long the rest takes."""
    from pnnbench.commands.standing import comparable
    from pnnbench.report.run_text import aligned
    from pnnbench.running.estimates import estimate
    from pnnbench.running.finished import find_finished
    from pnnbench.running.jobs import place_of

    for job in {(job.workload, job.precision): job for job in suite.jobs}.values():
        place_of(job, options.accelerator)  # refuses what this machine has not
    runs = Path(options.runs)
    records = comparable(runs, {(job.board[2], job.tier) for job in suite.jobs})
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for job in suite.jobs:
        row = rows.setdefault(
            (job.board[2], job.method.label),
            {"workload": job.board[2], "row": job.method.label, "epochs": job.epochs}
            | {"to_run": [], "finished": [], "seconds_each": estimate(job, records)},
        )
        here = find_finished(job, runs, elsewhere=options.adopt) is not None
        row["finished" if here else "to_run"].append(job.seed)
    jobs, unknown, seconds = 0, 0, 0.0
    lines = [["workload", "row", "epochs", "seeds to run", "finished", "time"]]
    for row in rows.values():
        count, each = len(row["to_run"]), row["seconds_each"]
        jobs += count
        unknown += count if each is None else 0
        seconds += 0.0 if each is None else count * each
        # A row in situ may have several jobs at one seed: one for each training device.
        to_run, there = (
            ", ".join(map(str, dict.fromkeys(row[k]))) or "–" for k in ("to_run", "finished")
        )
        time = "unknown" if each is None else duration(count * each)
        time = time if count else "–"
        lines.append([row["workload"], row["row"], str(row["epochs"]), to_run, there, time])
    if options.format == "json":
        out_json({"jobs": jobs, "seconds": seconds, "unknown": unknown, "rows": [*rows.values()]})
        return 0
    out("\n".join(aligned(lines, right=(2,), width=width())))
    total = f"{jobs} of {len(suite.jobs)} jobs would run"
    if jobs > unknown:
        total += f", about {duration(seconds)} at the speed of finished ones"
    if unknown:
        total += f"; nothing is known of the time of {unknown}"
    out(total)
    return 0


def train(options: Any) -> int:
    """``pnnbench train``."""
    check_accelerator(options.accelerator, "--accelerator")
    workload = check_name("workloads", options.workload)
    name = check_name("methods", options.method)
    data_set = options.data_set
    if data_set is not None:
        from pnnbench.data import check_data

        data_set = check_data(data_set, where="--data-set")
    given = merged(options.params)
    from pnnbench.records.next_steps import TRAIN
    from pnnbench.registry import method_class, method_parameters, not_default
    from pnnbench.running.entries import MethodEntry
    from pnnbench.running.job_specs import make_jobs
    from pnnbench.running.selection import supported
    from pnnbench.running.suites import Suite

    cls = method_class(name)
    params = method_parameters(cls, given, where="--params" if given else "")
    # Runs with other settings are other rows of the leaderboard; a default that was typed is none.
    settings = [f"{name}={value}" for name, value in not_default(cls, params).items()]
    if options.epochs_factor != 1:
        settings.append(f"epochs x{options.epochs_factor:g}")
    precision = options.precision or SINGLE
    if precision != SINGLE:
        settings.append(precision)
    label = " ".join([name, *settings])
    jobs = make_jobs(
        TRAIN,
        "pnnbench-2",
        options.tier,
        [(workload, data_set)],
        [options.seed],
        [MethodEntry(name, label, params, options.epochs_factor)],
        where="train",
        root=options.data,
        precision=precision,
    )
    suite, _ = supported(Suite(TRAIN, "", jobs, None, partial=True))
    record = _run_suite(suite, options)[0]
    say_upload(options.wandb, [Path(options.runs) / TRAIN])
    folder = Path(options.runs) / TRAIN / record["job"]["hash"]
    if record["status"] != "ok":
        return _report_failure(record, folder, options.format)
    from pnnbench.commands.standing import (
        baseline_of,
        comparable,
        standing,
        standing_text,
    )
    from pnnbench.report.run_text import cells_text, gap_text, sharpness_text

    others = comparable(Path(options.runs), {(job.board[2], job.tier) for job in jobs})
    found = standing(record, baseline_of(record, others))
    following = _next_command(record, settings, Path(options.runs))
    if options.format == "json":
        keys = ("clean", "metric", "sharpness", "extra", "gaps", "cost")
        figures = {key: record[key] for key in keys if key in record}
        job = {"run": str(folder), "hash": record["job"]["hash"], "status": "ok"}
        out_json({**job, **figures, **found, "next": following})
        return 0
    out(f"run: {folder}")
    out(cells_text(record, width()))
    for extra, value in record.get("extra", {}).items():
        out(f"{extra}: {value:.6g}" if isinstance(value, (int, float)) else f"{extra}: {value}")
    with only("any"):
        unit = control_unit(record)
    out(sharpness_text(record["sharpness"], unit, width()))
    for gap in record.get("gaps", []):
        out(gap_text(gap))
    out(standing_text(found, record["metric"]))
    out(f"next: {following}")
    return 0


def _report_failure(record: dict[str, Any], folder: Path, form: str) -> int:
    from pnnbench.running.jobs import TRACEBACK

    trace = folder / TRACEBACK
    error = record["error"]
    if form == "json":
        more = {"traceback": str(trace)} if trace.is_file() else {}
        out_json({"run": str(folder), "status": record["status"], "error": error, **more})
        return 1
    out(f"run: {folder}")
    out(f"{record['status']}: {error['type']}: {error['message']}")
    if trace.is_file():
        out(f"traceback: {trace}")
    out("next: mend what is wrong and run the same command again")
    return 1


def _next_command(record: dict[str, Any], settings: list[str], runs: Path) -> str:
    """The command that shows most after a run: beside the rows of a suite, where one fits."""
    from pnnbench.commands.baselines import shipped_suites
    from pnnbench.records.index import workload_of
    from pnnbench.records.next_steps import TRAIN

    job = record["job"]
    name = job["method"]["name"]
    place = (record["protocol"], workload_of(job), job["tier"])
    fitting = [(n, suite) for suite, (places, n) in shipped_suites().items() if place in places]
    if fitting and "." in name and not settings:
        return f"pnnbench run {min(fitting)[1]} --add {name}"
    return f"pnnbench leaderboard {runs / TRAIN}"
