"""Searches the settings of a suite's rows: `pnnbench tune`.

One round after another, each as jobs like any other: every point once, each with a seed of its own;
the best of them with more seeds, the same for all; where the winner is on the edge of its range, a
few points beyond, once. Nothing that is measured on test images or test devices is read here.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pnnbench.errors import UserError
from pnnbench.leaderboard.tuning import order, worth
from pnnbench.methods.laws import Rule
from pnnbench.records.search_schema import VALUES
from pnnbench.running.job_specs import Job
from pnnbench.running.jobs import run_jobs
from pnnbench.running.measuring import Share, no_share
from pnnbench.running.search_file import SearchFile
from pnnbench.running.space import doubled, draw_beyond, edges_of, points_hash, space_of
from pnnbench.running.trials import Trial, TrialCase, read_trial, result_of
from pnnbench.seeds import final_seeds, trial_seed


@dataclasses.dataclass(frozen=True)
class Wanted:
    """A trial that a row needs next.

    Attributes:
        label: Label of the row.
        round: ``"first"``, ``"beyond"`` or ``"final"``.
        point: Number of the point.
        seed: Repetition.
        params: The point.
    """

    label: str
    round: str
    point: int
    seed: int
    params: Mapping[str, float]


def trial_of(job: Job, wanted: Wanted, search: SearchFile) -> Trial:
    """The trial as a job: the suite's own, at other settings and with a seed of searches."""
    fields = {f.name: getattr(job, f.name) for f in dataclasses.fields(Job)}
    fields |= {
        "method": job.method.with_settings(wanted.params),
        "seed": wanted.seed,
        "train_device": None,
        "devices": search.budget.devices,
        "test_images": search.budget.test_images,
    }
    return Trial(**fields)


def value_of(trial: Mapping[str, Any], rule: Rule) -> float | None:
    """What a trial is chosen by: a figure of its validation part; None where it has none."""
    value = trial["validation"][VALUES[rule]]
    return None if value is None else float(value)


def points_of(row: Mapping[str, Any]) -> list[dict[str, float]]:
    """All points of a row, those beyond its first range last."""
    return [*row["points"], *row.get("beyond", {}).get("points", [])]


def finalists(row: Mapping[str, Any], count: int, *, higher_is_better: bool) -> list[int]:
    """The points that are tried with more seeds: the best of those that could be trained."""
    first = {t["point"]: t for t in row["trials"] if t["round"] != "final" and t["status"] == "ok"}
    numbers = sorted(first)
    values = [first[n]["value"] for n in numbers]
    return [numbers[i] for i in order(values, higher_is_better)][:count]


def missing(label: str, row: Mapping[str, Any], search: SearchFile) -> list[Wanted]:
    """The trials that a row needs next, none where it needs none before it chooses."""
    points, there = points_of(row), {(t["point"], t["seed"]) for t in row["trials"]}
    begun = len(row["points"])
    wanted = [
        Wanted(label, "first" if i < begun else "beyond", i, trial_seed(i), point)
        for i, point in enumerate(points)
    ]
    wanted = [w for w in wanted if (w.point, w.seed) not in there]
    if wanted:
        return wanted
    better = search.content["metric"]["higher_is_better"]
    chosen = finalists(row, search.budget.finalists, higher_is_better=better)
    finals = [
        Wanted(label, "final", i, seed, points[i])
        for seed in final_seeds(search.budget.more_seeds)
        for i in chosen
    ]
    return [w for w in finals if (w.point, w.seed) not in there]


def best_of(
    row: Mapping[str, Any], search: SearchFile, rule: Rule
) -> tuple[int, dict[str, float]] | None:
    """The point with the best mean over its seeds, of all that were finalists; its means by rule.

    Returns:
        Number of the point, and per rule the mean over the seeds, but for rules of which a value is
        missing; None if no point has all its values by the rule.
    """
    better = search.content["metric"]["higher_is_better"]
    tried = {t["point"] for t in row["trials"] if t["round"] == "final"}
    # Those that lucky points beyond the edge have displaced since have their seeds all the same.
    numbers = sorted({*finalists(row, search.budget.finalists, higher_is_better=better), *tried})
    means: dict[int, dict[str, float]] = {number: {} for number in numbers}
    for r in VALUES:
        there = [(t, value) for t in row["trials"] if (value := value_of(t, r)) is not None]
        failed = [t["status"] != "ok" for t, _ in there]
        counted = worth([value for _, value in there], failed, higher_is_better=better)
        values = {id(t): value for (t, _), value in zip(there, counted, strict=True)}
        for number in numbers:
            trials = [id(t) for t in row["trials"] if t["point"] == number]
            if values.keys() >= set(trials):
                means[number][r] = sum(values[t] for t in trials) / len(trials)
    ranked = [number for number in numbers if rule in means[number]]
    if not ranked:
        return None
    winner = ranked[order([means[number][rule] for number in ranked], better)[0]]
    return winner, means[winner]


def decide(row: dict[str, Any], job: Job, search: SearchFile) -> None:
    """Chooses a row's settings, or asks for points beyond its range; changes the row.

    Args:
        row: The row of the record, none of whose trials is missing.
        job: A job of the row.
        search: The search.
    """
    rule: Rule = row["definition"]["rule"]
    found = best_of(row, search, rule)
    if found is None:
        row["failed"] = "no trial could be trained"
        return
    laws, points = space_of(job.method), points_of(row)
    number, means = found
    if "beyond" not in row and search.budget.beyond:
        ends = edges_of(laws, points[number])
        beyond: dict[str, Any] = {"winner": number, "ends": ends, "points": []}
        if ends:
            more = draw_beyond(job.method, job.protocol, points[number], ends, search.budget.beyond)
            space = {name: law.as_dict() for name, law in doubled(laws, ends).items()}
            beyond |= {"space": space, "points": more, "points_sha256": points_hash(more)}
        row["beyond"] = beyond
        if ends:
            return
    ends = row.get("beyond", {}).get("ends", {})
    other: Rule = next(r for r in VALUES if r != rule)
    by_other = best_of(row, search, other)
    row["chosen"] = {
        "point": number,
        "params": points[number],
        "rule": rule,
        "value": means[rule],
        "means": means,
        "seeds": 1 + search.budget.more_seeds,
        "edge": edges_of(doubled(laws, ends), points[number]),
    }
    if by_other is not None:
        row["chosen"]["by_the_other_rule"] = {
            "rule": other,
            "point": by_other[0],
            "params": points[by_other[0]],
            "value": by_other[1][other],
        }


def remaining(label: str, row: Mapping[str, Any], job: Job, search: SearchFile) -> int:
    """How many trials a row still needs, as far as its finished ones tell.

    Args:
        label: Label of the row.
        row: The row of the record.
        job: A job of the row.
        search: The search, its record read.

    Returns:
        The trials, those of the finalists among them. Points beyond an edge count once it is known
        that there are some, and as finalists as many of them as can be.
    """
    now, budget = copy.deepcopy(dict(row)), search.budget
    if not {"chosen", "failed"} & now.keys() and not missing(label, now, search):
        decide(now, job, search)
    if {"chosen", "failed"} & now.keys():
        return 0
    wanted = missing(label, now, search)
    if wanted and wanted[0].round == "final":
        return len(wanted)
    finals = budget.finalists * budget.more_seeds
    if "beyond" in now:
        finals = min(budget.finalists, len(now["beyond"]["points"])) * budget.more_seeds
    return len(wanted) + finals


def tune(
    search: SearchFile,
    rows: Mapping[str, Job],
    *,
    say: Callable[[str], None],
    root: str | None = None,
    timeout_s: float | None = None,
    finished: Callable[[], None] | None = None,
    share: Share = no_share,
    accelerator: str = "auto",
) -> None:
    """Runs a search to its end; goes on where it was interrupted.

    Args:
        search: The search, opened.
        rows: Label -> a job of each row that is searched.
        say: Told about progress.
        root: Data folder; None for the default place.
        timeout_s: Training time limit of a trial in s.
        finished: Called after each trial.
        share: Told which share of the present trial is done.
        accelerator: Where the trials run; see `pnnbench.running.jobs.run_job`.
    """
    while True:
        search.update(lambda content: None)  # what other processes have added
        waiting = {label: _settled(label, rows[label], search) for label in rows}
        # Rows side by side, so that all of them progress together.
        longest = max(map(len, waiting.values()), default=0)
        wanted = [w[i] for i in range(longest) for w in waiting.values() if i < len(w)]
        if not wanted:
            return
        jobs: dict[Path, tuple[Trial, list[Wanted]]] = {}  # rows may share a trial, as the defaults
        for w in wanted:
            trial = trial_of(rows[w.label], w, search)
            jobs.setdefault(search.folder / str(trial.spec()["hash"]), (trial, []))[1].append(w)
        kept: set[Path] = set()

        def done(job: Job, record: dict[str, Any], folder: Path) -> None:
            kept.add(folder)  # noqa: B023 - called within this turn
            for w in jobs[folder][1]:  # noqa: B023
                _keep(record, w, search)
            if finished is not None:
                finished()

        def take_over() -> None:
            for folder, (trial, _) in jobs.items():  # noqa: B023
                record = None if folder in kept else read_trial(folder)  # noqa: B023
                if record is not None:
                    done(trial, record, folder)

        take_over()  # finished before, by a process that was ended before it could say so
        left = [folder for folder in jobs if folder not in kept]
        run_jobs(
            [jobs[folder][0] for folder in left],
            left,
            say=say,
            root=root,
            timeout_s=timeout_s,
            finished=done,
            share=share,
            case=TrialCase(),
            accelerator=accelerator,
        )
        take_over()  # run by another process


def _keep(record: Mapping[str, Any], w: Wanted, search: SearchFile) -> None:
    """Adds a finished trial to the record."""
    trial = {
        "point": w.point,
        "seed": w.seed,
        "round": w.round,
        "params": dict(w.params),
        **result_of(record, search.content["metric"].get("chance")),
    }
    search.update(lambda content: _add(content["rows"][w.label], trial))


def _settled(label: str, job: Job, search: SearchFile) -> list[Wanted]:
    """The trials that a row needs next; it chooses, if it needs none."""
    while True:
        row = search.content["rows"][label]
        if "chosen" in row or "failed" in row:
            return []
        wanted = missing(label, row, search)
        if wanted:
            return wanted

        def change(content: dict[str, Any]) -> None:
            now = content["rows"][label]  # another process may have decided already
            if not ("chosen" in now or "failed" in now or missing(label, now, search)):
                decide(now, job, search)

        search.update(change)


def _add(row: dict[str, Any], trial: dict[str, Any]) -> None:
    rule = row["definition"]["rule"]
    there = {(t["point"], t["seed"]) for t in row["trials"]}
    if (trial["point"], trial["seed"]) in there:
        return
    value = value_of(trial, rule)
    if value is None:
        raise UserError(
            f"trial {trial['hash']}: it has no value by the rule {rule!r} of its row, and the "
            "metric has no chance level to count instead",
            next_step="narrow the law, so that each trial has one",
        )
    row["trials"].append({**trial, "value": value})


def require_chosen(search: SearchFile, labels: list[str]) -> None:
    """Refuses a search in which a row has nothing to choose from.

    Raises:
        UserError: If no trial of a row could be trained.
    """
    for label in labels:
        row = search.content["rows"][label]
        if "failed" in row:
            error = next(t["error"]["message"] for t in row["trials"] if "error" in t)
            raise UserError(
                f"{label}: {row['failed']}; the first one: {error}",
                next_step=f"mend what is wrong, then pnnbench tune {search.typed} --only "
                f"'{label}' --anew",
            )
