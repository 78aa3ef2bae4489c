"""A part of a suite, or more than it: chosen rows and seeds, added methods."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pnnbench.accelerator import check_precision
from pnnbench.errors import UserError, check_kind, check_texts, did_you_mean, fold
from pnnbench.registry import (
    method_class,
    method_parameters,
    registered,
    registered_name,
    workload_class,
)
from pnnbench.running.entries import MethodEntry
from pnnbench.running.job_specs import Job, make_jobs
from pnnbench.running.suites import Suite, different_seeds

if TYPE_CHECKING:
    from pnnbench.workloads.base import Workload


def find_rows(given: Sequence[str], labels: Sequence[str]) -> list[str]:
    """Finds the rows that are meant; a label may hold commas itself.

    Args:
        given: Labels, each text one or several with commas between them, in any case.
        labels: The labels of the suite.

    Returns:
        The labels, in the order of the suite.

    Raises:
        UserError: If there is no such row, or none is named, or several are spelled alike and none
            is named to the letter.
    """
    known: dict[str, list[str]] = {}
    for label in labels:
        known.setdefault(_spelling(label), []).append(label)
    chosen: set[str] = set()
    for text in given:
        parts = text.split(",")
        while parts:
            # The longest run of parts that is a label: "BP, equal gradients" before "BP".
            for end in range(len(parts), 0, -1):
                row = ",".join(parts[:end]).strip()
                alike = [row] if row in labels else known.get(_spelling(row), [])
                if len(alike) > 1:
                    raise UserError(
                        f"--only: {row!r} may be several rows", allowed="; ".join(alike)
                    )
                if alike:
                    chosen.update(alike)
                    del parts[:end]
                    break
            else:
                if parts[0].strip():
                    meant = ",".join(parts)
                    if not did_you_mean(meant, labels):
                        meant = parts[0]
                    row = meant.strip()
                    raise UserError(
                        f"--only: unknown row {row!r}{did_you_mean(row, labels)}",
                        allowed="; ".join(labels),  # labels may hold commas
                    )
                del parts[0]
    if given and not chosen:
        raise UserError(f"--only is {','.join(given)!r}: no row", allowed="; ".join(labels))
    return [label for label in labels if label in chosen]


def _spelling(label: str) -> str:
    return " ".join(fold(label).replace(",", " ").replace("-", " ").split())


def labels_of(suite: Suite) -> list[str]:
    """Labels of the rows of a suite, in its order."""
    return list(dict.fromkeys(job.method.label for job in suite.jobs))


def select(
    suite: Suite,
    *,
    only: Sequence[str] = (),
    seeds: Sequence[int] | None = None,
    add: Sequence[str] = (),
    precision: str | None = None,
    root: str | None = None,
) -> Suite:
    """Chooses from a suite, and adds to it.

    Args:
        suite: The suite.
        only: Rows to keep, as `find_rows` takes them; none for all. Added rows always stay.
        seeds: Seeds in place of the suite's; None for those.
        add: Methods that become rows with their defaults: registered names or class paths.
        precision: Precision of the training in place of the suite's; None for that.
        root: Data folder; None for the default place.

    Returns:
        A suite of the same name.

    Raises:
        UserError: If a row or a method does not exist, or an added row is there already.
    """
    only = check_texts("only", only, "labels of rows")
    add = check_texts("add", add, "methods")
    if precision is not None:
        suite = in_precision(suite, precision)
    jobs = list(suite.jobs)
    if seeds is not None:
        _check_seeds(seeds)
        first = [job for job in jobs if job.seed == jobs[0].seed]
        jobs = [dataclasses.replace(job, seed=seed) for seed in seeds for job in first]
    every = jobs
    if only:
        rows = find_rows(only, labels_of(suite))
        jobs = [job for job in jobs if job.method.label in rows]
    own = list(dict.fromkeys(job.seed for job in suite.jobs)) if seeds is None else list(seeds)
    entries: list[MethodEntry] = []
    for given in add:
        name = registered_name("methods", given)
        if name in [*labels_of(suite), *(entry.label for entry in entries)]:
            raise UserError(
                f"--add: the suite has a row {name!r} already",
                next_step=shlex.join(["pnnbench", "run", suite.word, "--only", name]),
            )
        params = method_parameters(method_class(name, where="--add"), {}, where="--add")
        entries.append(MethodEntry(name, name, params, 1.0))
    if entries:
        sample = suite.jobs[0]
        workloads = list(dict.fromkeys((job.workload, job.data) for job in suite.jobs))
        added = make_jobs(
            suite.name,
            sample.protocol,
            sample.tier,
            workloads,
            own,
            entries,
            where="--add",
            root=root,
            devices=suite.training_devices,
            setup=sample.setup,
            precision=sample.precision,
        )
        _refuse_rows_there(suite.word, every, added)
        jobs += added
    order = {seed: i for i, seed in enumerate(own)}
    jobs.sort(key=lambda job: order[job.seed])  # seeds outermost; the rest stays as it is
    partial = bool(only or add) or seeds is not None
    return dataclasses.replace(suite, jobs=tuple(jobs), partial=partial)


def _refuse_rows_there(word: str, there: Sequence[Job], added: Sequence[Job]) -> None:
    """Refuses an added row that is one of the suite's under another label: a job has one row."""
    known = {job.spec()["hash"]: job.method.label for job in there}
    for job in added:
        label = known.get(job.spec()["hash"])
        if label is not None:
            raise UserError(
                f"--add: {job.method.label!r} at its defaults is the row {label!r} of the suite",
                next_step=shlex.join(["pnnbench", "run", word, "--only", label]),
            )


def in_precision(suite: Suite, precision: str) -> Suite:
    """A suite whose jobs train in another precision; raises UserError if there is no such one."""
    chosen = check_precision(precision)
    jobs = tuple(dataclasses.replace(job, precision=chosen) for job in suite.jobs)
    return dataclasses.replace(suite, jobs=jobs)


def _check_seeds(seeds: Sequence[int]) -> None:
    kinds = (list, tuple, range, set, frozenset)
    check_kind("seeds", seeds, kinds, allowed="a list of integers, such as [0, 1, 2]")
    if not seeds:
        raise UserError("seeds is empty", allowed="at least one seed, or None for the suite's")
    different_seeds("seeds", list(seeds))


def trainable(method: str) -> list[str]:
    """Names of the registered workloads that a method can train."""
    cls = method_class(method)
    return [name for name in registered("workloads") if cls.supports(workload_class(name)())]


def supported(suite: Suite) -> tuple[Suite, list[str]]:
    """Leaves out the jobs whose method cannot train their workload.

    Args:
        suite: The suite.

    Returns:
        The suite without them, and one line for each pair that was left out.

    Raises:
        UserError: If no job is left, or a workload misses what it needs; see
            `Workload.check_ready`.
    """
    workloads = {job.board[2]: job.make_workload() for job in _one_each(suite.jobs)}
    for workload in workloads.values():
        workload.check_ready()
    pairs = dict.fromkeys((job.method.name, job.method.label, job.board[2]) for job in suite.jobs)
    left_out = [
        (label, workload)
        for name, label, workload in pairs
        if not method_class(name).supports(workloads[workload])
    ]
    for job in suite.jobs:
        if job.seed == suite.jobs[0].seed and (job.method.label, job.board[2]) not in left_out:
            _check(job, workloads[job.board[2]])
    jobs = [job for job in suite.jobs if (job.method.label, job.board[2]) not in left_out]
    if not jobs:
        cannot = "; ".join(f"{label} cannot train {workload}" for label, workload in left_out)
        raise UserError(
            f"no job is left: {cannot}",
            allowed="; ".join(
                f"{name} on {', '.join(trainable(name)) or 'no registered workload'}"
                for name in dict.fromkeys(name for name, _, _ in pairs)
            ),
            next_step="pnnbench list methods",
        )
    lines = [f"skipped: {label} cannot train {workload}" for label, workload in left_out]
    return dataclasses.replace(suite, jobs=tuple(jobs)), lines


def not_searched(suite: Suite) -> list[str]:
    """Says which rows are to be searched and have no settings yet.

    Args:
        suite: The suite.

    Returns:
        One line that names them and the command that searches them; none where there is none.
    """
    rows = {job.method.label: job.method for job in suite.jobs}
    missing = [label for label, row in rows.items() if row.tune and not row.tuned]
    if not missing:
        return []
    command = shlex.join(["pnnbench", "tune", suite.word])
    return [f"not searched yet, at defaults: {'; '.join(missing)} ({command} searches them)"]


def _one_each(jobs: Sequence[Job]) -> list[Job]:
    """One job of each workload and data set."""
    return list({job.board[2]: job for job in reversed(jobs)}.values())


def _check(job: Job, workload: Workload) -> None:
    """Refuses amounts in another platform's unit, before anything runs."""
    try:
        method_class(job.method.name)(**job.method.params).check(workload)
    except UserError as error:
        raise UserError(
            f"{job.method.label}: {error.what}", allowed=error.allowed, next_step=error.next_step
        ) from None
