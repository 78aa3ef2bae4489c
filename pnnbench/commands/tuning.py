"""``pnnbench tune``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pnnbench.accelerator import check_accelerator
from pnnbench.commands.output import out, out_json, width
from pnnbench.console import Console, duration
from pnnbench.leaderboard.tuning import RowTuning, row_tuning

if TYPE_CHECKING:
    from pnnbench.api.tuning import Prepared
    from pnnbench.running.job_specs import Job
    from pnnbench.running.search_file import SearchFile


def tune(options: Any) -> int:
    """``pnnbench tune``."""
    check_accelerator(options.accelerator, "--accelerator")
    from pnnbench.api.tuning import perform, prepare

    prepared = prepare(
        options.suite,
        options.runs,
        only=options.only or (),
        trials=options.trials,
        finalists=options.finalists,
        more_seeds=options.more_seeds,
        precision=options.precision,
        root=options.data,
    )
    search, rows = prepared.search, prepared.rows
    if options.dry_run:
        return _dry_run(search, rows, options)
    if options.threads is not None:
        import torch

        torch.set_num_threads(options.threads)
    from pnnbench.running.tuning import require_chosen

    search.open(rows, anew=options.anew)
    known = sum(len(search.content["rows"][label]["trials"]) for label in rows)
    with Console(max(prepared.trials, known), known) as console:
        for line in prepared.skipped:
            console.say(line)
        changed = perform(
            prepared,
            say=console.say,
            root=options.data,
            finished=console.advance,
            share=console.share,
            accelerator=options.accelerator,
        )
    _show(prepared, changed, options.format)
    require_chosen(search, list(rows))
    return 0


def _show(prepared: Prepared, changed: Path | None, form: str) -> None:
    """Prints what was chosen, and where it stands."""
    if form == "json":
        out_json(prepared.found(changed))
        return
    from pnnbench.report.run_text import aligned

    found = row_tuning([prepared.search.content], dict.fromkeys(prepared.rows))
    lines = [["row", "untuned", "chosen", "score", "seeds", "rule", "edge"]]
    lines += [_line(prepared, row) for row in found]
    out("\n".join(aligned(lines, right=(1, 3, 4), width=width())))
    out("scores on held-out training images and validation devices")
    out(f"search: {prepared.search.path}")
    if changed is not None:
        out(f"settings written into {changed}")


def _line(prepared: Prepared, row: RowTuning) -> list[str]:
    from pnnbench.report.tuning_text import edge_text, settings_text

    figures = prepared.chosen(row.method)
    untuned, value = figures["untuned"], figures.get("value")
    return [
        row.method,
        "–" if untuned is None else f"{untuned:.4f}",
        settings_text(row) or "–",
        "–" if value is None else f"{value:.4f}",
        str(figures.get("seeds", "–")),
        row.rule,
        edge_text(row) or "–",
    ]


def _dry_run(search: SearchFile, rows: Mapping[str, Job], options: Any) -> int:
    """Says how many trials would run and for how long, without points beyond an edge to come."""
    from pnnbench.commands.standing import comparable
    from pnnbench.records.searches import read_search
    from pnnbench.report.run_text import aligned
    from pnnbench.running.estimates import estimate_trial
    from pnnbench.running.space import space_of
    from pnnbench.running.tuning import remaining

    content = read_search(search.path) if search.path.is_file() else {}
    search.refuse_changes(content, rows, anew=options.anew)
    known: Mapping[str, Any] = {} if options.anew else content.get("rows", {})
    search.content = content
    boards = {(job.board[2], job.tier) for job in rows.values()}
    records = comparable(Path(options.runs), boards)
    each = search.budget.trials + search.budget.finalists * search.budget.more_seeds
    found: list[dict[str, Any]] = []
    for label, job in rows.items():
        trials = known[label]["trials"] if label in known else []
        left = remaining(label, known[label], job, search) if label in known else each
        seconds = [trial["seconds"] for trial in trials]
        one = (
            sum(seconds) / len(seconds) if seconds else estimate_trial(job, records, search.budget)
        )
        found.append(
            {
                "row": label,
                "space": {name: str(law) for name, law in space_of(job.method).items()},
                "trials": left,
                "finished": len(trials),
                "seconds_each": one,
            }
        )
    jobs = sum(row["trials"] for row in found)
    unknown = sum(row["trials"] for row in found if row["seconds_each"] is None)
    seconds = sum(row["trials"] * (row["seconds_each"] or 0.0) for row in found)
    if options.format == "json":
        out_json({"trials": jobs, "seconds": seconds, "unknown": unknown, "rows": found})
        return 0
    out("\n".join(aligned(_plan_lines(found), right=(2, 3), width=width())))
    beyond = search.budget.beyond + search.budget.finalists * search.budget.more_seeds
    undecided = any("beyond" not in known.get(row["row"], {}) for row in found if row["trials"])
    out(
        f"{jobs} trials would run"
        + (f", about {duration(seconds)} at the speed of finished jobs" if jobs > unknown else "")
        + (
            f"; up to {beyond} more for a row whose winner is on the edge of its range"
            if undecided
            else ""
        )
        + (f"; nothing is known of the time of {unknown}" if unknown else "")
    )
    return 0


def _plan_lines(found: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    lines = [["row", "space", "trials", "finished", "time"]]
    for row in found:
        each = row["seconds_each"]
        time = "unknown" if each is None else duration(each * row["trials"])
        space = ", ".join(f"{name} {law}" for name, law in row["space"].items())
        lines.append([row["row"], space, str(row["trials"]), str(row["finished"]), time])
    return lines
