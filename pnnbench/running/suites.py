"""Suite files: what to run. A suite expands to jobs that are independent and content-hashed."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pnnbench.accelerator import SINGLE, check_precision
from pnnbench.data import DataSet, reference_of, resolve_data
from pnnbench.errors import UserError, check_kind, kind_word, unknown_name
from pnnbench.records.index import Claim, workload_of
from pnnbench.records.store import canonical, job_hash
from pnnbench.registry import (
    SUITES,
    method_class,
    proper_name,
    workload_class,
)
from pnnbench.running.entries import MethodEntry as MethodEntry
from pnnbench.running.entries import known_keys, method_entries, typed
from pnnbench.running.resolving import Resolved, make_workload, resolve_workload
from pnnbench.running.search_plan import AS_THE_PROTOCOL, SearchPlan, search_plan
from pnnbench.running.setup import PLAIN, Setup
from pnnbench.running.sources import Source, files_opened, source_of
from pnnbench.running.suite_claims import claims_of
from pnnbench.running.suite_text import read_yaml
from pnnbench.seeds import check_seed

if TYPE_CHECKING:
    from pnnbench.workloads.base import Workload

#: Protocols of suites, and the revision of the code that measures by them. A change of physics,
#: training or evaluation that moves a number raises the revision, and all jobs run again; one
#: of the sharpness alone does not, if that of all published jobs is measured again
#: (benchmarks/sharpness_again.py).
PROTOCOLS = {"pnnbench-2": 3, "published": 2}

_KEYS = {
    "suite",
    "description",
    "protocol",
    "tier",
    "workloads",
    "data",
    "axes",
    "devices",
    "seeds",
    "training_devices",
    "methods",
    "timeout_s",
    "precision",
    "claims",
    "search",
}


@dataclasses.dataclass(frozen=True)
class Job:
    """One training and its evaluation.

    Attributes:
        suite: Name of the suite.
        protocol: Name of the protocol.
        tier: Name of the tier.
        workload: Registered name or class path.
        method: The row.
        seed: Index of the repetition; every seed axis derives from it.
        config: What the workload resolves to at this tier.
        fingerprint: Fingerprint of the data.
        sources: Where the code of ``"method"`` and ``"workload"`` comes from, and of ``"data"``
            if the set is not one of this package.
        training_severity: Severity of the device that the method trains on, if in situ.
        train_device: Number of that device; None for the seed. See `pnnbench.seeds`.
        data: The data set, if it is not the workload's own.
        setup: What is set on the workload: measured devices, axes on request.
        precision: Precision of the training, one of `pnnbench.accelerator.PRECISIONS`.
    """

    suite: str
    protocol: str
    tier: str
    workload: str
    method: MethodEntry
    seed: int
    config: Mapping[str, Any]
    fingerprint: str
    sources: Mapping[str, Source]
    training_severity: float | None = None
    train_device: int | None = None
    data: DataSet | None = None
    setup: Setup = PLAIN
    precision: str = SINGLE

    def make_workload(self, seed: int = 0) -> Workload:
        """Builds the job's workload.

        Args:
            seed: Seed of its initial parameters.
        """
        return make_workload(self.workload, seed, self.data, self.setup, self.config)

    @property
    def data_set(self) -> DataSet:
        """The data set that the job runs on."""
        return self.data or resolve_data(workload_class(self.workload).data)

    @property
    def device(self) -> int:
        """Number of the device that methods in situ train on."""
        return self.seed if self.train_device is None else self.train_device

    def spec(self) -> dict[str, Any]:
        """The ``job`` part of the record, hash included.

        The hash covers what decides the result: not the suite's name or the row's label, and of
        this package's own code the revision of the protocol.
        """
        content = {
            "protocol": self.protocol,
            "revision": PROTOCOLS[self.protocol],
            "config": self.config,
            "data": self.fingerprint,
            "sources": {kind: source.sha256 for kind, source in self.sources.items()},
            "training_severity": self.training_severity,
        }
        spec: dict[str, Any] = {
            "suite": self.suite,
            "tier": self.tier,
            "workload": self.workload,
            "method": {
                "name": self.method.name,
                "label": self.method.label,
                "params": dict(self.method.params),
            },
            "epochs_factor": self.method.epochs_factor,
            "seed": self.seed,
            "seeds": {
                "init": self.seed,
                "data": self.seed,
                "train_device": self.device,
                "method": self.seed,
                "test_devices": list(self.config["test_devices"]),
            },
            "revision": PROTOCOLS[self.protocol],
            "content": hashlib.sha256(canonical(content)).hexdigest(),
            **({} if self.precision == SINGLE else {"precision": self.precision}),
            **self._brought(),
            **self.measured(),
        }
        return {"hash": job_hash(spec), **spec}

    def _brought(self) -> dict[str, Any]:
        """The names of the data set, if it is not the workload's own; not in the hash."""
        if self.data is None:
            return {}
        return {"data": {"name": self.data.name, "set": reference_of(self.data)}}

    def measured(self) -> dict[str, Any]:
        """What is measured of the job, where it is not the grid of its workload; in the hash."""
        return {}

    @property
    def board(self) -> tuple[str, str, str, str]:
        """Suite, protocol, workload and tier: the board that the job is for."""
        named = workload_of({"workload": self.workload, **self._brought()})
        return (self.suite, self.protocol, named, self.tier)

    @property
    def epochs(self) -> int:
        """Passes over the training images."""
        return max(1, round(self.config["tier"]["epochs"] * self.method.epochs_factor))

    def title(self) -> str:
        """One line that names the job for people."""
        device = "" if self.train_device is None else f", training device {self.train_device}"
        return f"{self.board[2]}  {self.method.label}  seed {self.seed}{device}"


@dataclasses.dataclass(frozen=True)
class Suite:
    """A checked suite file.

    Attributes:
        name: Name of the suite.
        description: What it is for.
        jobs: What it expands to: seeds outermost, so that every row has a first result early.
        timeout_s: Training time after which a job is given up, in s; None for no limit.
        partial: Whether the jobs are only some of the suite's: the others stay in its index.
        training_devices: Numbers of the devices that rows in situ train on at each seed; none for
            one a seed.
        claims: What the suite sets out to show, a family of comparisons of their own.
        search: How its settings are searched.
    """

    name: str
    description: str
    jobs: tuple[Job, ...]
    timeout_s: float | None
    partial: bool = False
    training_devices: tuple[int, ...] = ()
    claims: tuple[Claim, ...] = ()
    search: SearchPlan = AS_THE_PROTOCOL


def suite_path(name: str | Path) -> Path:
    """Finds a suite file: a path, or the name of one that comes with the project.

    Raises:
        UserError: If there is neither.
    """
    check_kind("suite", name, (str, Path), allowed="a suite file, or a name: 'quickstart'")
    path = Path(name)
    if path.is_file():
        return path
    folder = path if path.is_dir() else path.parent
    near = [] if folder == Path() else [str(p) for p in sorted(folder.glob("*.y*ml"))]
    if near:
        raise unknown_name("suite file", str(name), near)
    names = {p.stem: p for p in sorted(SUITES.glob("*.yaml"))}
    if path.suffix in ("", ".yaml") and path.stem in names and path.parent == Path():
        return names[path.stem]
    where = "there is no such file here, nor a suite that ships" if path.suffix else ""
    raise unknown_name(
        "suite file", str(name), names, where=where, next_step="pnnbench list suites"
    )


def load_suite(path: Path, *, root: str | None = None, searching: bool = False) -> Suite:
    """Reads and checks a suite file, and expands it to jobs.

    Args:
        path: YAML file with the keys ``suite``, ``protocol``, ``tier``, ``workloads``, ``seeds``,
            ``methods`` and optionally ``description``, ``timeout_s``, ``data``, a data set for all
            workloads (each may have one as ``{workload: NAME, data: NAME}``), ``claims``, a list of
            ``{better: LABEL, than: LABEL}`` over its rows, and ``training_devices``, the numbers
            of the devices on each of which rows in situ train at every seed, such as ``[0, 1, 2]``.
            Without it each seed has a device of its own. Rows in silico train once. ``devices``
            is a file of measured devices, from the folder of the suite file or the present one;
            ``axes`` a list of axes on request, measured without weight. ``search`` is how its
            settings are searched where that is not the protocol's, as ``{tier: NAME, devices:
            NUMBER}``. ``precision`` is that of the training, see
            `pnnbench.accelerator.PRECISIONS`.
        root: Data folder; None for the default place.
        searching: Whether the jobs are those of the search, at its tier.

    Returns:
        The suite.

    Raises:
        UserError: On the first thing wrong with it, or if its data are missing.
    """
    text = read_yaml(path)
    where = path.name
    if not isinstance(text, dict):
        raise UserError(
            f"{where} is no suite file: it holds {kind_word(text)}",
            allowed="a mapping with the keys " + ", ".join(sorted(_KEYS)),
            next_step="pnnbench list suites shows those that come with the project",
        )
    known_keys(where, text, _KEYS)
    for key in ("suite", "protocol", "tier", "workloads", "seeds", "methods"):
        if key not in text:
            raise UserError(f"{where}: the key {key!r} is missing", next_step="add it")
    name = typed(f"{where}: suite", text["suite"], str, "a name")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
        raise UserError(
            f"{where}: suite is {name!r}",
            allowed="letters, digits, '_', '-' and '.', a letter or digit first",
        )
    protocol = typed(f"{where}: protocol", text["protocol"], str, ", ".join(PROTOCOLS))
    if protocol not in PROTOCOLS:
        raise unknown_name("protocol", protocol, PROTOCOLS, where=where)
    tier = typed(f"{where}: tier", text["tier"], str, "a name, see pnnbench list workloads")
    search = search_plan(f"{where}: search", text.get("search"))
    if searching and search.tier is not None:
        tier = search.tier
    workloads = _workloads(where, text["workloads"], text.get("data"))
    seeds = typed(f"{where}: seeds", text["seeds"], list, "a list of integers, e.g. [0, 1, 2]")
    _different_seeds(f"{where}: seeds", seeds)
    devices = text.get("training_devices")
    if devices is not None:
        key = f"{where}: training_devices"
        typed(key, devices, list, "a list of integers, e.g. [0, 1, 2]")
        if not devices:
            raise UserError(f"{key} is empty", allowed="at least one device", next_step="remove it")
        _different_seeds(key, devices)
    devices = tuple(devices or ())
    timeout = text.get("timeout_s")
    if timeout is not None:
        typed(f"{where}: timeout_s", timeout, (int, float), "a number of seconds > 0")
        if not timeout > 0:
            raise UserError(f"{where}: timeout_s is {timeout}", allowed="a number of seconds > 0")
    entries = method_entries(where, text["methods"])
    claims = claims_of(f"{where}: claims", text.get("claims", []), [e.label for e in entries])
    if not (workloads and seeds and entries):
        raise UserError(f"{where}: workloads, seeds and methods need at least one entry each")
    jobs = make_jobs(
        name,
        protocol,
        tier,
        workloads,
        seeds,
        entries,
        where=where,
        root=root,
        devices=devices,
        setup=_setup(where, path.parent, text),
        precision=check_precision(text.get("precision", SINGLE), f"{where}: precision"),
    )
    description = str(text.get("description", ""))
    return Suite(
        name,
        description,
        jobs,
        timeout,
        training_devices=devices,
        claims=claims,
        search=search,
    )


def _workloads(where: str, given: Any, common: Any) -> list[tuple[str, Any]]:
    """The workloads of a suite file, each with its data set; None for its own."""
    typed(f"{where}: workloads", given, list, "a list of names")
    allowed = "a name or a class path, see pnnbench list data"
    if common is not None:
        typed(f"{where}: data", common, str, allowed)
    found = []
    for i, item in enumerate(given):
        here = f"{where}: workloads[{i}]"
        data = common
        if isinstance(item, dict):
            known_keys(here, item, {"workload", "data"})
            if "workload" not in item:
                raise UserError(
                    f"{here}: the key 'workload' is missing", next_step="pnnbench list workloads"
                )
            data = typed(f"{here}.data", item.get("data", common or ""), str, allowed) or None
            item = item["workload"]
        found.append((typed(here, item, str, "a name, or {workload: NAME, data: NAME}"), data))
    return found


def _setup(where: str, folder: Path, text: Mapping[str, Any]) -> Setup:
    """What a suite file says under ``axes`` and ``devices``."""
    axes = typed(f"{where}: axes", text.get("axes", []), list, "a list of names")
    for i, name in enumerate(axes):
        typed(f"{where}: axes[{i}]", name, str, "a name")
    given = text.get("devices")
    if given is None:
        return Setup(tuple(axes))
    typed(f"{where}: devices", given, str, "a CSV or npz file of measured devices")
    found = next((p for p in (folder / given, Path(given)) if p.is_file()), None)
    if found is None:
        raise UserError(
            f"{where}: devices: there is no file {given}",
            allowed="a path from the folder of the suite file, or from the present one",
        )
    return Setup(tuple(axes), found)


def _different_seeds(where: str, given: Sequence[Any]) -> None:
    for i, seed in enumerate(given):
        check_seed(f"{where}[{i}]", seed)
        if given.count(seed) > 1:
            raise UserError(f"{where}[{i}] is {seed}", allowed="different integers")


def make_jobs(
    suite: str,
    protocol: str,
    tier: str,
    workloads: Sequence[str | tuple[str, Any]],
    seeds: Sequence[int],
    entries: Sequence[MethodEntry],
    *,
    where: str,
    root: str | None,
    devices: Sequence[int] = (),
    setup: Setup = PLAIN,
    precision: str = SINGLE,
) -> tuple[Job, ...]:
    """Expands workloads x methods x seeds to jobs, and rows in situ by their training devices.

    Args:
        suite: Name of the suite.
        protocol: Name of the protocol.
        tier: Name of the tier.
        workloads: Registered names or class paths; with a data set that is not the workload's own,
            a pair of name and set, as `pnnbench.data.resolve_data` takes it (None for its own).
        seeds: Repetitions.
        entries: Rows.
        where: Where the names were given, for messages.
        root: Data folder; None for the default place.
        devices: Numbers of the devices that rows in situ train on at each seed; none for one that
            is the seed's own.
        setup: What is set on each workload.
        precision: Precision of the training.

    Returns:
        The jobs, seeds outermost.

    Raises:
        UserError: If a workload, tier or data set is missing.
    """
    entries = [
        dataclasses.replace(e, name=proper_name("methods", method_class(e.name))) for e in entries
    ]
    pairs = [(w, None) if isinstance(w, str) else w for w in workloads]
    resolved = [resolve_workload(where, name, data, tier, root, setup) for name, data in pairs]
    names = [_board_name(r) for r in resolved]
    if len(set(names)) < len(names):
        raise UserError(f"{where}: a workload is named twice: {', '.join(names)}")
    methods = {e.label: _method_source(e) for e in entries}
    in_situ = {e.label: devices for e in entries if method_class(e.name).access != "in_silico"}
    jobs = tuple(
        Job(
            suite,
            protocol,
            tier,
            found.workload,
            entry,
            seed,
            found.config,
            found.fingerprint,
            {"method": methods[entry.label], **found.sources},
            found.training_severity if entry.label in in_situ else None,
            device,
            found.data,
            setup,
            precision,
        )
        for seed in seeds
        for found in resolved
        for entry in entries
        for device in (in_situ.get(entry.label) or (None,))
    )
    _refuse_repeated_rows(where, jobs)
    return jobs


def _refuse_repeated_rows(where: str, jobs: Sequence[Job]) -> None:
    rows: dict[str, Job] = {}
    for job in jobs:
        other = rows.setdefault(job.spec()["hash"], job)
        if other is not job:
            raise UserError(
                f"{where}: the rows {other.method.label!r} and {job.method.label!r} are the same "
                "method with the same settings",
                next_step="change a setting of one, or remove it",
            )


def _method_source(entry: MethodEntry) -> Source:
    cls = method_class(entry.name)
    with files_opened() as opened:
        cls(**entry.params)
    return source_of([cls], opened)


def _board_name(found: Resolved) -> str:
    brought = {} if found.data is None else {"data": {"name": found.data.name}}
    return workload_of({"workload": found.workload, **brought})
