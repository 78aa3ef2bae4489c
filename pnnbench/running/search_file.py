"""The record of a search while it is made: opened, checked against the suite, written anew.

Several processes may write it: each reads it again under a lock before it adds what it has.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from pnnbench.accelerator import SINGLE
from pnnbench.errors import UserError
from pnnbench.records.next_steps import TRIALS
from pnnbench.records.search_schema import FORMAT, ROUNDS, settings_tried
from pnnbench.records.searches import FOLDER, NAME, read_search, write_sealed
from pnnbench.records.store import write_whole
from pnnbench.registry import IN_SOURCES, SUITES, method_class
from pnnbench.running.declared import metric_entry
from pnnbench.running.entries import MethodEntry
from pnnbench.running.job_specs import PROTOCOLS, Job
from pnnbench.running.provenance import git_state, versions
from pnnbench.running.space import draw_points, points_hash, space_of
from pnnbench.running.suites import Suite
from pnnbench.running.trials import TEST_IMAGES


@dataclasses.dataclass(frozen=True)
class Budget:
    """How much a search tries, the same for every row. The defaults are the protocol's.

    Attributes:
        trials: Points, each trained with one seed of its own.
        finalists: The best of them, tried again.
        more_seeds: Further seeds of each finalist.
        beyond: Points that are tried once more where a winner is on the edge.
        devices: Validation devices.
        test_images: Test images for the curve, at most; no choice reads them.
    """

    trials: int = 16
    finalists: int = 4
    more_seeds: int = 4
    beyond: int = 4
    devices: int = 20
    test_images: int = TEST_IMAGES

    def as_dict(self) -> dict[str, int]:
        """Plain JSON types."""
        return dataclasses.asdict(self)


#: The budget of the protocol.
PROTOCOL_BUDGET = Budget()


def search_path(suite_file: Path, suite: str) -> Path:
    """Where the record of a suite's search is.

    Args:
        suite_file: The suite file.
        suite: Name of the suite.

    Returns:
        In `benchmarks/search` for suites that ship, else beside the suite file.

    Raises:
        UserError: If the suite is one of an installed package, in which nothing is written.
    """
    if suite_file.resolve().parent == SUITES:
        if not IN_SOURCES:
            raise UserError(
                f"{suite} is a suite of the installed package: its settings are not searched anew",
                allowed="a suite file of your own",
                next_step=f"cp {suite_file} . && pnnbench tune ./{suite_file.name}",
            )
        return SUITES / FOLDER / f"{suite}.json"
    return suite_file.with_name(f"{suite_file.stem}.{NAME}")


def searched_rows(suite: Suite) -> dict[str, Job]:
    """Label -> a job of each row that is searched.

    Raises:
        UserError: If there is none, or the suite has several workloads, whose settings would not be
            one another's.
    """
    workloads = list(dict.fromkeys(job.board[2] for job in suite.jobs))
    if len(workloads) > 1:
        raise UserError(
            f"{suite.name} has {len(workloads)} workloads: {', '.join(workloads)}",
            allowed="one workload in a suite that is tuned",
            next_step="split the suite file",
        )
    found: dict[str, Job] = {}
    for job in suite.jobs:
        if job.method.tune:
            found.setdefault(job.method.label, job)
    if not found:
        raise UserError(
            f"no row of {suite.name} is marked as tuned",
            next_step="write 'tune: true' into a row of the suite file, see docs/tuning.md",
        )
    return found


def definition(job: Job) -> dict[str, Any]:
    """What a row's search is: if any of it changes, it is another search.

    Args:
        job: A job of the row.

    Returns:
        Method, fixed choices, space, rule of the choice, length, and the hash of everything else
        that decides a result: configuration, data, code, revision of the protocol.
    """
    entry = job.method
    return {
        "method": entry.name,
        "fixed": dict(entry.fixed),
        "epochs_factor": entry.epochs_factor,
        "space": {name: law.as_dict() for name, law in space_of(entry).items()},
        "rule": method_class(entry.name).chosen_by,
        "revision": PROTOCOLS[job.protocol],
        "content": job.spec()["content"],
        **({} if job.precision == SINGLE else {"precision": job.precision}),
    }


class SearchFile:
    """The record of a suite's search.

    Args:
        path: The file.
        suite: The suite, with all its rows.
        runs: Folder of all runs; a copy of the record is kept with the suite's, for its board.
        budget: How much is tried.
        typed: How the suite was named, for the next step of a message; its name if empty.

    Attributes:
        content: The record as it was last read or written.
    """

    def __init__(
        self, path: Path, suite: Suite, runs: Path, budget: Budget, typed: str | Path = ""
    ) -> None:
        self.path = path
        self.typed = str(typed) or suite.name
        self.suite = suite
        self.budget = budget
        self.folder = runs / suite.name / TRIALS
        self.copy = runs / suite.name / NAME
        self.content: dict[str, Any] = {}
        self._opened: dict[str, dict[str, Any]] = {}

    def open(self, rows: Mapping[str, Job], *, anew: bool = False) -> None:
        """Reads the record, or begins it: spaces and points stand in it before the first trial.

        Args:
            rows: Label -> a job of each row that is searched now.
            anew: Whether to begin these rows anew. What there was is kept in a file beside.

        Raises:
            UserError: If the record is of another search than the suite asks for.
        """

        def begin(content: dict[str, Any]) -> None:
            self.refuse_changes(content, rows, anew=anew)
            if anew and content.get("rows", {}).keys() & rows.keys():
                self._set_aside()
                kept = rows.keys() | self._others(content, rows)
                content["rows"] = {k: row for k, row in content["rows"].items() if k in kept}
            content.update(self._frame(content))
            for label, job in rows.items():
                old = content["rows"].get(label)
                if old is None or anew:
                    content["rows"][label] = self._new_row(job, old)

        self._opened = {}
        self._update(begin, anew=anew)
        self._opened = {label: _begun(self.content, label) for label in rows}

    def update(self, change: Callable[[dict[str, Any]], None]) -> None:
        """Reads the record again, changes it and writes it, while no other process does.

        Args:
            change: Changes the content in place.

        Raises:
            UserError: If another process has begun a row anew that is searched here, as another
                search. What has been trained stays in the folder of the trials.
        """
        self._update(change)

    def _update(self, change: Callable[[dict[str, Any]], None], *, anew: bool = False) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # Beside the record, which runs in several folders may share.
        with FileLock(self.path.with_name(f".{self.path.name}.lock")):
            content = self._read(anew=anew)
            for label, begun in self._opened.items():
                if _begun(content, label) != begun:
                    raise UserError(
                        f"{self.path}: another process has begun the search of {label!r} anew, and "
                        "what this one trains is not of it",
                        next_step=f"pnnbench tune {self.typed} goes on with the new search",
                    )
            before = json.dumps(content, sort_keys=True)
            change(content)
            for row in content["rows"].values():
                row["trials"].sort(key=lambda t: (ROUNDS.index(t["round"]), t["point"], t["seed"]))
            maker = {"versions": versions(), "git": git_state()}
            if json.dumps(content, sort_keys=True) != before:
                if maker not in content["made_by"]:
                    content["made_by"].append(maker)
                write_sealed(self.path, content)
            self.content = content
            write_sealed(self.copy, content)

    def _read(self, *, anew: bool) -> dict[str, Any]:
        """The record; nothing where there is none, or what there is cannot be read and is left."""
        try:
            return read_search(self.path) if self.path.is_file() else {}
        except UserError:
            if not anew:
                raise
            self._set_aside()
            return {}

    def _frame(self, content: Mapping[str, Any]) -> dict[str, Any]:
        """What stands above the rows."""
        job = self.suite.jobs[0]
        workload = job.make_workload()
        entries = {job.method.label: job.method for job in self.suite.jobs}
        return {
            "format": FORMAT,
            "suite": self.suite.name,
            "protocol": job.protocol,
            "workload": job.board[2],
            "tier": job.tier,
            "metric": metric_entry(workload),
            "budget": self.budget.as_dict(),
            "deviates": self.budget != PROTOCOL_BUDGET or self.suite.search.tier is not None,
            "like": {e.label: searched(e, entries) for e in entries.values() if e.like},
            "not_tuned": [e.label for e in entries.values() if not (e.tune or e.like)],
            "rows": content.get("rows", {}),
            "made_by": content.get("made_by", []),
        }

    def refuse_changes(
        self, content: Mapping[str, Any], rows: Mapping[str, Job], *, anew: bool = False
    ) -> None:
        """Refuses another search than the record's.

        Args:
            content: The record; empty where there is none yet.
            rows: Label -> a job of each row that is searched now.
            anew: Whether these rows are begun anew. What all rows share must stand while there
                are others, and the definitions of rows that are gone on with.

        Raises:
            UserError: If anything of it differs.
        """
        if not content:
            return
        differing = []
        common = not anew or bool(self._others(content, rows))
        present = {} if anew else {k: content["rows"][k] for k in rows if k in content["rows"]}
        if common and content["rows"]:
            now = self._frame(content)
            differing += [
                f"{name} {old} -> {value}"
                for name, old, value in (
                    *((key, content[key], now[key]) for key in ("protocol", "workload", "tier")),
                    *((k, content["budget"].get(k), v) for k, v in now["budget"].items()),
                )
                if old != value
            ]
        for label, row in present.items():
            now = definition(rows[label])
            differing += [
                f"{label}: {_change(name, row['definition'].get(name), value)}"
                for name, value in {
                    **dict.fromkeys(row["definition"]),
                    **json.loads(json.dumps(now)),
                }.items()
                if row["definition"].get(name) != value
            ]
        if differing:
            raise UserError(
                f"{self.path} is the record of another search: {'; '.join(differing)}",
                next_step=f"pnnbench tune {self.typed} --anew begins a new one and keeps this "
                "record beside, or take back what was changed",
            )

    def _others(self, content: Mapping[str, Any], rows: Mapping[str, Job]) -> set[str]:
        """Rows of the record that the suite still has searched, beside those searched now."""
        return set(content["rows"]) & set(searched_rows(self.suite)) - set(rows)

    def _set_aside(self) -> None:
        """Keeps the present file under the first free number."""
        number = 1
        while (target := self.path.with_suffix(f".{number}.json")).exists():
            number += 1
        write_whole(target, self.path.read_bytes())

    def _new_row(self, job: Job, old: Mapping[str, Any] | None) -> dict[str, Any]:
        points = draw_points(job.method, job.protocol, self.budget.trials)
        before = 0 if old is None else settings_tried(old)
        return {
            "definition": definition(job),
            "points": points,
            "points_sha256": points_hash(points),
            **({"tried_before": before} if before else {}),
            "trials": [],
        }


def _begun(content: Mapping[str, Any], label: str) -> dict[str, Any]:
    """What a row's trials belong to: another one of these is another search."""
    row = content.get("rows", {}).get(label, {})
    return {
        "budget": content.get("budget"),
        **{key: row.get(key) for key in ("definition", "points_sha256")},
    }


def searched(entry: MethodEntry, entries: Mapping[str, MethodEntry]) -> str:
    """Label of the row whose search a row takes its settings from."""
    while entry.like is not None:
        entry = entries[entry.like]
    return entry.label


def _change(name: str, old: Any, new: Any) -> str:
    if name == "content":
        return "its configuration, its data or its code"
    if name == "space" and isinstance(old, Mapping):
        names = [n for n in {**old, **new} if old.get(n) != new.get(n)]
        return "; ".join(f"space of {n} {_law(old.get(n))} -> {_law(new.get(n))}" for n in names)
    return f"{name} {old} -> {new}"


def _law(law: Mapping[str, Any] | None) -> str:
    return "none" if law is None else f"{law['low']:g} to {law['high']:g} ({law['scale']})"
