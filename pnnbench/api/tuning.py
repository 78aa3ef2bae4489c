"""The search of a suite's settings, for ``pnnbench tune`` and `pnnbench.tune`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pnnbench.accelerator import check_accelerator
from pnnbench.api.folders import writable
from pnnbench.errors import check_count, check_texts
from pnnbench.leaderboard.tuning import row_tuning
from pnnbench.running.job_specs import Job
from pnnbench.running.measuring import Share, no_share
from pnnbench.running.search_file import (
    PROTOCOL_BUDGET,
    Budget,
    SearchFile,
    search_path,
    searched_rows,
)
from pnnbench.running.selection import find_rows, in_precision, supported
from pnnbench.running.suite_writer import write_tuned
from pnnbench.running.suites import Suite, load_suite, suite_path
from pnnbench.running.tuning import require_chosen
from pnnbench.running.tuning import tune as search_settings


@dataclass(frozen=True)
class Prepared:
    """A search before its first trial.

    Attributes:
        path: The suite file.
        suite: The suite.
        skipped: One line for each pair of row and workload that was left out.
        rows: Label -> a job of each row that is searched.
        search: The record of the search.
    """

    path: Path
    suite: Suite
    skipped: list[str]
    rows: Mapping[str, Job]
    search: SearchFile

    @property
    def trials(self) -> int:
        """How many trials there are in all, without those beyond an edge."""
        budget = self.search.budget
        return len(self.rows) * (budget.trials + budget.finalists * budget.more_seeds)

    def chosen(self, label: str) -> dict[str, Any]:
        """Validation score untuned, of the chosen settings, and over how many seeds.

        Args:
            label: Label of a row.
        """
        row = self.search.content["rows"][label]
        untuned = next((t["value"] for t in row["trials"] if t["point"] == 0), None)
        kept = row.get("chosen", {})
        return {"untuned": untuned, **{k: kept[k] for k in ("value", "seeds") if k in kept}}

    def found(self, changed: Path | None) -> dict[str, Any]:
        """What the search has found so far.

        Args:
            changed: The suite file, if settings were written into it.

        Returns:
            ``search`` (the record's file), ``suite_file_changed`` and ``rows``, one entry each.
        """
        rows = row_tuning([self.search.content], dict.fromkeys(self.rows))
        return {
            "search": str(self.search.path),
            "suite_file_changed": str(changed) if changed else None,
            "rows": [{**row.as_dict(), **self.chosen(row.method)} for row in rows],
        }


def prepare(
    suite: str | Path,
    runs: str | Path,
    *,
    only: Sequence[str] = (),
    trials: int | None = None,
    finalists: int | None = None,
    more_seeds: int | None = None,
    precision: str | None = None,
    root: str | None = None,
) -> Prepared:
    """Reads a suite and says what a search of it is; see `tune` for the arguments.

    Raises:
        UserError: If something in the suite is wrong, no row is marked as tuned, or it is one of
            the installed package.
    """
    only = check_texts("only", only, "labels of rows")
    path = suite_path(suite)
    whole = load_suite(path, root=root, searching=True)
    checked, skipped = supported(whole if precision is None else in_precision(whole, precision))
    rows = searched_rows(checked)
    if only:
        rows = {label: rows[label] for label in find_rows(only, list(rows))}
    full = PROTOCOL_BUDGET
    budget = Budget(
        full.trials if trials is None else check_count("trials", trials),
        full.finalists if finalists is None else check_count("finalists", finalists),
        full.more_seeds if more_seeds is None else check_count("more_seeds", more_seeds, low=0),
        devices=checked.search.devices or full.devices,
    )
    folder = writable("--runs", Path(runs))
    search = SearchFile(search_path(path, checked.name), checked, folder, budget, suite)
    return Prepared(path, checked, skipped, rows, search)


def perform(
    prepared: Prepared,
    *,
    say: Callable[[str], None],
    root: str | None = None,
    finished: Callable[[], None] = lambda: None,
    share: Share = no_share,
    accelerator: str = "auto",
) -> Path | None:
    """Runs the trials of an opened search that are not finished, and writes what was chosen.

    Args:
        prepared: The search, opened.
        say: Told what goes on.
        root: Data folder; None for where the set was read before, else the default place. A
            set is read once in a process.
        finished: Called after each trial.
        share: Told which share of the present trial is done.
        accelerator: Where the trials run; see `tune`.

    Returns:
        The suite file, if settings were written into it.
    """
    search, rows = prepared.search, prepared.rows
    search_settings(
        search,
        rows,
        say=say,
        root=root,
        timeout_s=prepared.suite.timeout_s,
        finished=finished,
        share=share,
        accelerator=accelerator,
    )
    chosen = {
        label: row["chosen"]["params"]
        for label in rows
        if "chosen" in (row := search.content["rows"][label])
    }
    return prepared.path if write_tuned(prepared.path, chosen) else None


def tune(
    suite: str | Path,
    runs: str | Path = "runs",
    *,
    only: Sequence[str] = (),
    trials: int | None = None,
    finalists: int | None = None,
    more_seeds: int | None = None,
    anew: bool = False,
    accelerator: str = "auto",
    precision: str | None = None,
    root: str | Path | None = None,
    say: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Searches the settings of a suite's rows, the same budget for each, and writes them into it.

    Called again it goes on where it was interrupted.

    Args:
        suite: A suite file, or in the project's sources the name of one that comes with it.
        runs: Folder of all runs, made if it is not there.
        only: Labels of the rows to search; none for all that are marked as tuned.
        trials: Settings that are tried in each row, at least 1; None for the protocol's 16.
        finalists: How many of the best are trained with more seeds; None for the protocol's 4.
        more_seeds: How many more; None for the protocol's 4.
        anew: Whether a new search is begun; the record of the old one is kept beside.
        accelerator: As `pnnbench.run` has it.
        precision: As `pnnbench.run` has it.
        root: Data folder; None for where the set was read before, else the default place. A
            set is read once in a process.
        say: Told in lines what goes on; None for silence.

    Returns:
        ``search`` (file of its record), ``suite_file_changed`` (the suite file, or None) and
        ``rows``: settings, validation scores, the rule and what lies at an edge.

    Raises:
        UserError: As `pnnbench.run`, or if no row is marked as tuned, or no setting of a row can be
            chosen.
    """
    check_accelerator(accelerator)
    data = None if root is None else str(root)
    prepared = prepare(
        suite,
        runs,
        only=only,
        trials=trials,
        finalists=finalists,
        more_seeds=more_seeds,
        precision=precision,
        root=data,
    )
    prepared.search.open(prepared.rows, anew=anew)
    told = say or (lambda line: None)
    changed = perform(prepared, say=told, root=data, accelerator=accelerator)
    require_chosen(prepared.search, list(prepared.rows))
    return prepared.found(changed)
