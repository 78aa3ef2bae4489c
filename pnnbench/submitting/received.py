"""One seed of a submission: its record and its tensors, held against what the submission says.

Everything here is done before anything is measured, for all seeds, so that what is wrong is refused
at once.
"""

from __future__ import annotations

import dataclasses
import io
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from pnnbench.data import DataSet, resolve_data
from pnnbench.errors import UserError, unknown_name
from pnnbench.lookup import registered
from pnnbench.platforms.measured import MeasuredDevices
from pnnbench.records.schema import SCHEMA
from pnnbench.records.searches import open_search
from pnnbench.records.store import open_record
from pnnbench.registry import method_class, method_parameters
from pnnbench.running.entries import MethodEntry
from pnnbench.running.resolving import make_workload
from pnnbench.running.sources import Source
from pnnbench.running.suites import Job
from pnnbench.seeds import check_seed
from pnnbench.submitting.bundle import LIMITS, MANIFEST, PARAMETERS, RECORD, SEARCH, Bundle
from pnnbench.submitting.strict import parse_json
from pnnbench.submitting.submission import Submission, read_submission
from pnnbench.submitting.tensor_file import most_bytes, read_tensors
from pnnbench.workloads.axes import AXES
from pnnbench.workloads.base import Workload

#: Bytes of arrays in a file of measured devices, unpacked.
_MOST_ARRAYS = 64_000_000


@dataclasses.dataclass(frozen=True)
class Seed:
    """One seed of a submission.

    Attributes:
        number: Which repetition.
        record: Its record, whole and of status ok.
        job: The job that it should be of, from the registry.
        access: What its method is handed: as a registered one declares, else as is claimed.
    """

    number: int
    record: dict[str, Any]
    job: Job
    access: str


class Received:
    """A submission that has been read, with nothing of it believed yet.

    Args:
        path: The folder, or the zip.
        root: Data folder; None for the default place.

    Attributes:
        submission: What it says.
        bundle: Its files.
        seeds: Its seeds that finished, ascending.
        failed: The others -> the status of each.

    Raises:
        UserError: On the first thing that no submission has, or that contradicts something else in
            it.
    """

    def __init__(self, path: Any, root: str | None = None) -> None:
        self.submission, self.bundle = read_submission(path)
        said = self.submission
        if said.workload not in registered("workloads"):
            raise unknown_name("workload", said.workload, registered("workloads"))
        _check_search(said, self.bundle)
        records = {seed: _record(said, self.bundle, seed) for seed in said.seeds}
        _refuse_copies(said)
        finished = {seed: r for seed, r in records.items() if r["status"] == "ok"}
        self.failed = {s: str(r["status"]) for s, r in records.items() if s not in finished}
        if not finished:
            raise UserError(f"{path}: no seed finished", allowed="a row with a trained network")
        self.seeds = [self._seed(seed, record, root) for seed, record in finished.items()]

    def _seed(self, number: int, record: dict[str, Any], root: str | None) -> Seed:
        """What a seed should be, with its tensors looked at once."""
        said = self.submission
        check_seed(f"{MANIFEST}: seeds: an entry", number)
        workload = self._untrained(number, record)
        data = workload.data_set
        if said.tier not in workload.tiers:
            raise unknown_name("tier", said.tier, workload.tiers, where=said.workload)
        config = workload.describe(said.tier)
        access, entry, source = _method(said, record)
        severity, _ = workload.training_point
        device = record["job"]["seeds"]["train_device"]
        in_situ = access != "in_silico"
        job = Job(
            said.suite,
            said.protocol,
            said.tier,
            said.workload,
            entry,
            number,
            config,
            data.arrays(root).fingerprint,
            {"method": source, "workload": Source("pnnbench", "")},
            severity if in_situ else None,
            None if device == number else device,
            workload.brought,
        )
        self._tensors(number, workload)
        return Seed(number, record, job, access)

    def _untrained(self, number: int, record: dict[str, Any]) -> Workload:
        """The workload of a seed, with its initial parameters, set up as its record says."""
        name = f"seed-{number}/{RECORD}"
        workload = make_workload(self.submission.workload, number, _brought(name, record))
        if "devices" in record:
            workload.devices = _devices(self.bundle, number, record)
        workload.axes = _axes(name, record)
        return workload

    def _tensors(self, number: int, workload: Workload) -> dict[str, Any]:
        name = f"seed-{number}/{PARAMETERS}"
        expected = workload.tensors()
        if self.bundle.sizes[name] > most_bytes(expected):
            raise UserError(
                f"{name} has {self.bundle.sizes[name]} bytes",
                allowed=f"{most_bytes(expected)} at most, the network's tensors",
            )
        tensors = read_tensors(self.bundle.read(name), expected, name)
        workload.load_tensors(tensors)
        before = {key: p.detach().clone() for key, p in workload.controls().items()}
        workload.project_controls()
        for key, p in workload.controls().items():
            if not bool(p.isfinite().all()) or not p.equal(before[key]):
                raise UserError(f"{name}: {key} is outside of what the hardware can be set to")
        return tensors

    def trained(self, seed: Seed) -> tuple[Workload, dict[str, Any]]:
        """The trained workload of a seed.

        Parameters come from the submission. Buffers are those of a fresh network: statistics and
        full scales are to be derived here, and what is fixed is the registry's.

        Args:
            seed: One of `seeds`.

        Returns:
            The workload in evaluation mode, and the tensors of the submission.
        """
        workload = self._untrained(seed.number, seed.record)
        fresh = {key: value.clone() for key, value in workload.network.named_buffers()}
        tensors = self._tensors(seed.number, workload)
        for key, buffer in workload.network.named_buffers():
            buffer.copy_(fresh[key])
        workload.eval()
        return workload, tensors


def _record(said: Submission, bundle: Bundle, seed: int) -> dict[str, Any]:
    """The record of a seed, which says of the job what the submission says."""
    name = f"seed-{seed}/{RECORD}"
    record = open_record(parse_json(bundle.read(name), name, LIMITS[RECORD]), name)
    if record["schema"] != SCHEMA:
        raise UserError(f"{name} has schema version {record['schema']}", allowed=f"{SCHEMA}")
    job = record["job"]
    row = said.row
    pairs = {
        "protocol": (record["protocol"], said.protocol),
        "job.suite": (job["suite"], said.suite),
        "job.workload": (job["workload"], said.workload),
        "job.tier": (job["tier"], said.tier),
        "job.method.name": (job["method"]["name"], row.method),
        "job.method.label": (job["method"]["label"], row.label),
        "job.method.params": (job["method"]["params"], dict(row.params)),
        "job.seed": (job["seed"], seed),
    }
    given = said.files.get(f"seed-{seed}/{PARAMETERS}")
    if record["status"] == "ok":
        if given is None:
            raise UserError(f"{MANIFEST}: files lacks seed-{seed}/{PARAMETERS}")
        pairs["parameters.file"] = (record["parameters"]["file"], PARAMETERS)
        pairs["parameters.sha256"] = (record["parameters"]["sha256"], given.sha256)
    elif given is not None:
        raise UserError(f"{name} is a failed run, with {PARAMETERS} beside it")
    kept = record.get("devices")
    files = {n for n in said.files if n.startswith(f"seed-{seed}/devices")}
    if kept is not None or files:
        there = {n: said.files[n].sha256 for n in files}
        told = {} if kept is None else {f"seed-{seed}/{kept['file']}": kept["sha256"]}
        pairs["devices"] = (told, there)
    for field, (recorded, claimed) in pairs.items():
        if recorded != claimed:
            raise UserError(
                f"{name}: {field} is {ascii(recorded)[:100]}",
                allowed=f"{ascii(claimed)[:100]}, as the submission says",
            )
    return record


def _refuse_copies(said: Submission) -> None:
    """Two seeds with the same tensors are no two repetitions."""
    seen: dict[str, int] = {}
    for seed in said.seeds:
        given = said.files.get(f"seed-{seed}/{PARAMETERS}")
        other = seed if given is None else seen.setdefault(given.sha256, seed)
        if other != seed:
            raise UserError(f"seeds {other} and {seed} have the same tensors")


def _brought(name: str, record: Mapping[str, Any]) -> DataSet | None:
    told = record["job"].get("data")
    if told is None:
        return None
    head, _, argument = told["set"].partition(":")
    if head not in registered("data") or "/" in argument or "\\" in argument:
        raise UserError(
            f"{name}: ran on the data set {ascii(told['set'])[:80]}, which is not registered",
            allowed=", ".join(registered("data")),
        )
    return resolve_data(told["set"], where=name)


def _axes(name: str, record: Mapping[str, Any]) -> tuple[str, ...]:
    found = record["config"].get("axes", [])
    if not isinstance(found, list) or not all(isinstance(axis, str) for axis in found):
        raise UserError(f"{name}: config.axes is no list of names", allowed=", ".join(AXES))
    return tuple(found)


def _devices(bundle: Bundle, number: int, record: Mapping[str, Any]) -> MeasuredDevices:
    """The measured devices that a record names."""
    name = f"seed-{number}/{record['devices']['file']}"
    content = bundle.read(name)
    if name.endswith(".npz"):
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as arrays:
                unpacked = sum(info.file_size for info in arrays.infolist())
        except (zipfile.BadZipFile, ValueError) as error:
            raise UserError(f"{name} is no npz file: {error}") from None
        if unpacked > _MOST_ARRAYS:
            raise UserError(f"{name} has {unpacked} bytes of arrays", allowed=f"{_MOST_ARRAYS}")
    return MeasuredDevices.of_content(PurePosixPath(name).name, content)


def _method(said: Submission, record: Mapping[str, Any]) -> tuple[str, MethodEntry, Source]:
    """What the method is handed, the row, and where its code comes from.

    Of a method of this package all three come from the registry; of another one they are claimed.
    """
    row, factor = said.row, float(record["job"]["epochs_factor"])
    if row.method in registered("methods"):
        cls = method_class(row.method)
        params = method_parameters(cls, row.params, where="row.params")
        return (
            cls.access,
            MethodEntry(row.method, row.label, params, factor),
            Source("pnnbench", ""),
        )
    sources = record["provenance"].get("sources")
    own = sources.get("method") if isinstance(sources, dict) else None
    digest = own.get("sha256") if isinstance(own, dict) else None
    if not isinstance(digest, str) or not digest:
        raise UserError(
            f"seed-{record['job']['seed']}/{RECORD}: provenance.sources.method.sha256 is missing",
            allowed="the digest of the method's code",
        )
    entry = MethodEntry(row.method, row.label, dict(row.params), factor)
    return said.card.access, entry, Source("", "", digest)


def _check_search(said: Submission, bundle: Bundle) -> None:
    """The tuning record is one of this row, and no more settings were tried than are said."""
    if SEARCH not in said.files:
        return
    content = open_search(parse_json(bundle.read(SEARCH), SEARCH, LIMITS[SEARCH]), SEARCH)
    pairs: Sequence[tuple[str, str]] = (
        ("protocol", said.protocol),
        ("workload", said.workload),
        ("tier", said.tier),
    )
    for field, claimed in pairs:
        if content[field] != claimed:
            raise UserError(
                f"{SEARCH}: {field} is {ascii(content[field])[:80]}",
                allowed=f"{claimed}, as the submission says",
            )
    like = content["like"] if isinstance(content["like"], dict) else {}
    row = content["rows"].get(str(like.get(said.row.label, said.row.label)))
    if row is None:
        raise UserError(f"{SEARCH}: there is no row {said.row.label!r} in it")
    trials = row["trials"]
    if not isinstance(trials, list) or not all(isinstance(t, dict) for t in trials):
        raise UserError(f"{SEARCH}: trials of {said.row.label!r} are no list of objects")
    tried = len({str(trial.get("point")) for trial in trials})
    if tried > said.settings_tried:
        raise UserError(
            f"settings_tried is {said.settings_tried}",
            allowed=f"at least {tried}, the points of {SEARCH}",
        )
