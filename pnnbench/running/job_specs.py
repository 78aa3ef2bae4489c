"""One job: a training and its evaluation, with all that decides the result, and its hash."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pnnbench.accelerator import SINGLE
from pnnbench.data import DataSet, reference_of, resolve_data
from pnnbench.errors import UserError
from pnnbench.records.index import workload_of
from pnnbench.records.store import canonical, job_hash
from pnnbench.registry import method_class, proper_name, workload_class
from pnnbench.running.entries import MethodEntry
from pnnbench.running.resolving import Resolved, make_workload, resolve_workload
from pnnbench.running.setup import PLAIN, Setup
from pnnbench.running.sources import Source, files_opened, source_of

if TYPE_CHECKING:
    from pnnbench.workloads.base import Workload

#: Protocols of suites, and the revision of the code that measures by them. A change of physics,
#: training or evaluation that moves a number raises the revision, and all jobs run again; one
#: of the sharpness alone does not, if that of all published jobs is measured again
#: (benchmarks/sharpness_again.py).
PROTOCOLS = {"pnnbench-2": 3, "published": 2}


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
        return epochs_of(self.config, self.method.epochs_factor)

    def title(self) -> str:
        """One line that names the job for people."""
        device = "" if self.train_device is None else f", training device {self.train_device}"
        return f"{self.board[2]}  {self.method.label}  seed {self.seed}{device}"


def epochs_of(config: Mapping[str, Any], factor: float) -> int:
    """Passes over the training images of a job, at least one.

    Args:
        config: Its configuration.
        factor: Its length, in multiples of the tier's.
    """
    return max(1, round(config["tier"]["epochs"] * factor))


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
    searching: bool = False,
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
        searching: Whether settings are searched, so that rows that are alike need not stay so.

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
    _refuse_repeated_rows(where, jobs, searching)
    return jobs


def _refuse_repeated_rows(where: str, jobs: Sequence[Job], searching: bool) -> None:
    rows: dict[str, Job] = {}
    for job in jobs:
        other = rows.setdefault(job.spec()["hash"], job)
        pair = (other.method, job.method)
        if other is job or (searching and any(entry.tune or entry.like for entry in pair)):
            continue
        step = "change a setting of one, or remove it"
        if any(entry.tune and not entry.tuned for entry in pair):
            step += f"; or search those that are marked so: pnnbench tune {where}"
        elif any(entry.tuned for entry in pair):
            step = "remove one: what the search chose is what the other one has"
        raise UserError(
            f"{where}: the rows {pair[0].label!r} and {pair[1].label!r} are the same method with "
            "the same settings",
            next_step=step,
        )


def _method_source(entry: MethodEntry) -> Source:
    cls = method_class(entry.name)
    with files_opened() as opened:
        cls(**entry.params)
    return source_of([cls], opened)


def _board_name(found: Resolved) -> str:
    brought = {} if found.data is None else {"data": {"name": found.data.name}}
    return workload_of({"workload": found.workload, **brought})
