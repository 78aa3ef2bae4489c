"""The seeds of a submission as jobs of the registry, with their tensors.

Everything here is done before anything is measured, for all seeds, so that what is wrong is refused
at once.
"""

from __future__ import annotations

import dataclasses
import io
import zipfile
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

import torch
from torch import Tensor

from pnnbench.accelerator import SINGLE, check_precision
from pnnbench.data import DataSet, resolve_data
from pnnbench.errors import UserError, unknown_name
from pnnbench.lookup import registered
from pnnbench.platforms.measured import MeasuredDevices
from pnnbench.registry import method_class, method_parameters, workload_class
from pnnbench.running.entries import MethodEntry
from pnnbench.running.job_specs import Job
from pnnbench.running.jobs import data_module
from pnnbench.running.labels import check_owner
from pnnbench.running.resolving import make_workload
from pnnbench.running.sources import Source
from pnnbench.submitting.bundle import PARAMETERS, RECORD, Bundle
from pnnbench.submitting.claimed import Claimed, read_claimed
from pnnbench.submitting.copies import Copies, answers_of
from pnnbench.submitting.sets import is_ours, sets_of_ours
from pnnbench.submitting.strict import in_a_sentence
from pnnbench.submitting.submission import Submission
from pnnbench.submitting.tensor_file import most_bytes, read_tensors
from pnnbench.workloads.accuracy import Accuracy
from pnnbench.workloads.axes import AXES
from pnnbench.workloads.base import Workload

#: Images that calibrate networks before they are compared, and on which they are.
_CALIBRATING, _COMPARED = 256, 200
#: Bytes of arrays in a file of measured devices, unpacked.
_MOST_ARRAYS = 64_000_000
#: Measured devices, at most.
_MOST_DEVICES = 500


@dataclasses.dataclass(frozen=True)
class Seed:
    """One seed of a submission.

    Attributes:
        number: Which repetition.
        record: Its record, whole and of status ok.
        job: The job that it should be of, from the registry.
        access: What its method is handed: as a registered one declares, else as is claimed.
        knows: What a registered method knows of the tests; None for another one, which only claims.
    """

    number: int
    record: dict[str, Any]
    job: Job
    access: str
    knows: tuple[str, ...] | None


class Received:
    """A submission that has been read, with nothing of it believed yet.

    Args:
        path: The folder, or the zip.
        root: Data folder; None for the default place.

    Attributes:
        submission: What it says.
        bundle: Its files.
        seeds: Its seeds that finished, ascending.
        failed: Seed -> record of the others.

    Raises:
        UserError: On the first thing that no submission has, or that contradicts something else in
            it.
    """

    def __init__(self, path: Any, root: str | None = None) -> None:
        claimed = read_claimed(path)
        self.submission, self.bundle = claimed.submission, claimed.bundle
        with in_a_sentence():
            self._check(path, claimed, root)

    def _check(self, path: Any, claimed: Claimed, root: str | None) -> None:
        """Takes what is claimed as jobs of the registry."""
        said = claimed.submission
        if said.workload not in registered("workloads"):
            raise unknown_name("workload", said.workload, registered("workloads"))
        check_owner(said.row.label, said.row.method)
        finished = {s: r for s, r in claimed.records.items() if r["status"] == "ok"}
        self.failed = {s: r for s, r in claimed.records.items() if s not in finished}
        if not finished:
            raise UserError(f"{path}: no seed finished", allowed="a row with a trained network")
        self._copies = Copies()
        self._shown: tuple[Tensor, Tensor] | None = None
        self.seeds = [self._seed(seed, record, root) for seed, record in finished.items()]

    def _seed(self, number: int, record: dict[str, Any], root: str | None) -> Seed:
        """What a seed should be, with its tensors looked at once."""
        said = self.submission
        workload = self._untrained(number, record)
        data = workload.data_set
        if said.tier not in workload.tiers:
            raise unknown_name("tier", said.tier, workload.tiers, where=said.workload)
        config = workload.describe(said.tier)
        access, knows, entry, source = _method(said, record)
        severity, _ = workload.training_point
        in_situ = access != "in_silico"
        device = record["job"]["seeds"]["train_device"] if in_situ else number
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
            precision=check_precision(
                record["job"].get("precision", SINGLE), f"seed-{number}/{RECORD}: job.precision"
            ),
        )
        self._load(number, workload)
        controls = {id(p) for p in workload.controls().values()}
        parameters = dict(workload.network.named_parameters())
        self._copies.add(
            number, parameters, [name for name, p in parameters.items() if id(p) in controls]
        )
        if len(said.seeds) > 1:
            self._copies.add_answers(number, self._answers(job, workload, root))
        return Seed(number, record, job, access, knows)

    def _untrained(self, number: int, record: dict[str, Any]) -> Workload:
        """The workload of a seed, with its initial parameters, set up as its record says."""
        name = f"seed-{number}/{RECORD}"
        brought = _brought(name, record, self.submission.workload)
        workload = make_workload(self.submission.workload, number, brought)
        if "devices" in record:
            workload.devices = _devices(self.bundle, number, record)
        workload.axes = _axes(name, record)
        return workload

    def _answers(self, job: Job, workload: Workload, root: str | None) -> Tensor | None:
        """What a network says of some test images, on the ideal device; the same for all seeds."""
        if self._shown is None:
            data = data_module(job, root)
            tests = data.test_tensors()[0]
            self._shown = (
                data.train_tensors(slice(_CALIBRATING))[0],
                tests[self._copies.some_of(len(tests), _COMPARED)],
            )
        calibrating, compared = self._shown
        workload.calibrate(calibrating)
        with torch.no_grad():
            outputs = workload.network(workload.in_precision(compared))
        return answers_of(outputs, type(workload.metric()) is Accuracy)

    def _load(self, number: int, workload: Workload) -> dict[str, Any]:
        """Puts the parameters of a seed into its untrained workload; see `trained`."""
        name = f"seed-{number}/{PARAMETERS}"
        expected = workload.tensors()
        if self.bundle.sizes[name] > most_bytes(expected):
            raise UserError(
                f"{name} has {self.bundle.sizes[name]} bytes",
                allowed=f"{most_bytes(expected)} at most, the network's tensors",
            )
        tensors = read_tensors(self.bundle.read(name), expected, name)
        fresh = {key: value.clone() for key, value in workload.network.named_buffers()}
        workload.load_tensors(tensors)
        before = {key: p.detach().clone() for key, p in workload.controls().items()}
        workload.project_controls()
        for key, p in workload.controls().items():
            if not bool(p.isfinite().all()) or not p.equal(before[key]):
                raise UserError(f"{name}: {key} is outside of what the hardware can be set to")
        for key, buffer in workload.network.named_buffers():
            buffer.copy_(fresh[key])
        workload.eval()
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
        return workload, self._load(seed.number, workload)


def _brought(name: str, record: Mapping[str, Any], workload: str) -> DataSet | None:
    """The data set that a record names, which is not the workload's own."""
    told = record["job"].get("data")
    if told is None:
        return None
    if not is_ours(told["set"]):
        raise UserError(
            f"{name}: ran on the data set {ascii(told['set'])[:80]}, which is not registered",
            allowed=sets_of_ours(),
        )
    found = resolve_data(told["set"], where=name)
    if found.name == resolve_data(workload_class(workload).data).name:
        raise UserError(
            f"{name}: names the data set {found.name} as one that was brought",
            allowed=f"no job.data: it is the own data set of {workload}",
        )
    return found


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
    found = MeasuredDevices.of_content(PurePosixPath(name).name, content)
    if len(found.devices) > _MOST_DEVICES:
        raise UserError(
            f"{name} has {len(found.devices)} devices", allowed=f"{_MOST_DEVICES} at most"
        )
    return found


def _method(
    said: Submission, record: Mapping[str, Any]
) -> tuple[str, tuple[str, ...] | None, MethodEntry, Source]:
    """What the method is handed and knows, the row, and where its code comes from.

    Of a method of this package all four come from the registry; of another one they are claimed.
    """
    row, factor = said.row, float(record["job"]["epochs_factor"])
    if row.method in registered("methods"):
        cls = method_class(row.method)
        params = method_parameters(cls, row.params, where="row.params")
        return (
            cls.access,
            cls.told(),
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
    return said.card.access, None, entry, Source("", "", digest)
