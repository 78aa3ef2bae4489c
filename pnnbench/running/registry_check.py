"""What a record says against what the registered workload says, and whether its tensors fit.

Only registered workloads on their own data are built, never what a record names by a path.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from pnnbench.data import resolve_data
from pnnbench.data.datamodule import DataModule
from pnnbench.errors import UserError
from pnnbench.evaluation.harness import job_cells
from pnnbench.records.findings import AGAIN, Finding
from pnnbench.records.inspecting import CURRENT
from pnnbench.records.metric import same_chance
from pnnbench.records.next_steps import run_again
from pnnbench.records.parameters import find_parameters
from pnnbench.registry import registered
from pnnbench.running.resolving import make_workload
from pnnbench.running.setup import Setup

Placed = tuple[Path, dict[str, Any]]
"""A record and the path that it was read from."""
_PLACE = ("axis", "level", "unit", "severity", "device_seed", "environment")


def check_registry(placed: Sequence[Placed], root: str | None = None) -> Iterator[Finding]:
    """Holds records against the workloads that are registered.

    Args:
        placed: Whole records, each with its path. Those of workloads that are not registered, of
            other data or of measured devices, and of other revisions of the protocol are left out.
        root: Data folder; None for the default place.

    Yields:
        Differences in configuration, grid, devices, images, data and metric; tensors that do not
        fit and controls out of their range; data that are not at hand.
    """
    known: dict[str, _Expected | None] = {}
    for path, record in placed:
        if record["status"] != "ok" or not _comparable(record):
            continue
        job = record["job"]
        axes = record["config"].get("axes", [])
        key = json.dumps([job["workload"], job["tier"], axes])
        try:
            if key not in known:
                known[key] = None
                known[key] = _Expected(job["workload"], job["tier"], tuple(axes), root)
        except (UserError, TypeError) as error:
            words = f"{job['workload']} at tier {job['tier']} cannot be built: {error}"
            yield Finding(path, "registry", words.splitlines()[0], AGAIN)
        expected = known[key]
        if expected is not None:
            try:
                found = [*expected.differences(path, record), *expected.tensors(path, record)]
            except Exception as error:  # one bad record does not hide what else is wrong
                words = f"cannot be compared ({type(error).__name__}: {str(error)[:200]})"
                found = [Finding(path, "registry", words, AGAIN)]
            yield from found
    for wanted in known.values():
        if wanted is not None:
            yield from wanted.unchecked()


def _comparable(record: Mapping[str, Any]) -> bool:
    job = record["job"]
    return (
        job["workload"] in registered("workloads")
        and "data" not in job
        and "devices" not in record
        and CURRENT.get(record["protocol"]) == job.get("revision", 1)
    )


class _Expected:
    """What the records of a workload at a tier say if nothing is wrong.

    Args:
        name: Registered name.
        tier: Name of the tier.
        axes: Axes on request.
        root: Data folder; None for the default place.
    """

    def __init__(self, name: str, tier: str, axes: tuple[str, ...], root: str | None) -> None:
        self.name = name
        self.workload = make_workload(name, setup=Setup(axes))
        self.config = json.loads(json.dumps(self.workload.describe(tier)))
        self.metric: dict[str, Any] = {
            "name": self.workload.metric_name,
            "higher_is_better": self.workload.higher_is_better,
        }
        self.data: dict[str, Any] = {}
        self.cells: list[dict[str, Any]] = []
        self.without_data = ""
        self.other_copies: set[str] = set()
        at = self.workload.tier(tier)
        try:
            data = DataModule(
                resolve_data(type(self.workload).data),
                batch_size=at.batch_size,
                holdout=at.validation_images,
                limit_train=at.train_images,
                limit_test=at.test_images,
                root=root,
            )
            images, _ = data.test_tensors()
            chance = self.workload.chance  # of some metrics it is measured on the data
        except UserError as error:
            self.without_data = error.what
            return
        if chance is not None:
            self.metric["chance"] = chance
        self.data = {
            "name": data.arrays.name,
            "fingerprint": data.arrays.fingerprint,
            "n_train": data.n_train,
            "n_test": len(images),
        }
        cells = job_cells(self.workload, tier, images)
        self.cells = [{**cell.as_dict(), "counts": cell.counts} for cell in cells]

    def differences(self, path: Path, record: dict[str, Any]) -> Iterator[Finding]:
        """What a record says otherwise, but for what follows from another copy of the data."""
        told = record["data"]["fingerprint"]
        same = not (self.workload.data_set.copies and told != self.data.get("fingerprint", told))
        if not same:
            self.other_copies.add(told)
        pairs: list[tuple[str, Any, Any]] = [
            (f"config.{key}", record["config"].get(key), value)
            for key, value in self.config.items()
        ]
        pairs.append(("job.seeds.test_devices", record["job"]["seeds"]["test_devices"],
                      self.config["test_devices"]))  # fmt: skip
        pairs += [
            (f"metric.{k}", record["metric"].get(k), v)
            for k, v in self.metric.items()
            if same or k != "chance"
        ]
        pairs += [
            (f"data.{key}", record["data"][key], value)
            for key, value in self.data.items()
            if same or key != "fingerprint"
        ]
        wrong = [
            (where, found, right)
            for where, found, right in pairs
            if found != right and not (where == "metric.chance" and same_chance(found, right))
        ]
        if self.cells:
            wrong += _grid(record["cells"], self.cells)
        if wrong:
            (where, found, right), more = wrong[0], len(wrong) - 1
            words = f"{where} is {_short(found)}, of {self.name} it is {_short(right)}"
            words += f"; and {more} more" if more else ""
            step = f"{run_again(record['job'])}, with this version of pnnbench"
            yield Finding(path, "registry", words, step)

    def unchecked(self) -> Iterator[Finding]:
        """What could not be held against the data that are here."""
        place = Path(self.name)
        if self.without_data:
            words = f"the data of {self.name} are not here: {self.without_data}"
            step = f"pnnbench data {self.workload.data_set.name} --download"
            yield Finding(place, "unchecked", words, step)
        for told in sorted(self.other_copies):
            words = f"records of {self.name} are of another copy of {self.data['name']} than the "
            words += f"one here: {told}, here {self.data['fingerprint']}"
            yield Finding(place, "unchecked", words, "check them where that copy is")

    def tensors(self, path: Path, record: dict[str, Any]) -> Iterator[Finding]:
        """Whether the trained parameters fit the network and the range of the hardware."""
        file = find_parameters(path, record)
        if file is None:
            return
        try:
            tensors = load_file(file)
            own = self.workload.tensors()
            for name, tensor in own.items():
                if name in tensors and tensors[name].dtype != tensor.dtype:
                    raise RuntimeError(f"{name} is {tensors[name].dtype}, not {tensor.dtype}")
            self.workload.load_tensors(tensors)
        except (RuntimeError, SafetensorError) as error:
            first = str(error).strip().splitlines()[-1].strip()
            words = f"{file.name} does not fit {self.name}: {first}"
            yield Finding(path, "parameters", words, AGAIN)
            return
        before = {name: p.detach().clone() for name, p in self.workload.controls().items()}
        self.workload.project_controls()
        for name, control in self.workload.controls().items():
            far = ~torch.isclose(control.detach(), before[name], rtol=1e-6, atol=0.0)
            if far.any():
                words = f"{int(far.sum())} of {far.numel()} values of {name} are out of the range "
                words += "that the hardware can be set to"
                yield Finding(path, "controls", words, AGAIN)


def _grid(found: Sequence[Mapping[str, Any]], right: Sequence[Mapping[str, Any]]) -> list[Any]:
    if len(found) != len(right):
        return [("the number of cells", len(found), len(right))]
    for i, (mine, theirs) in enumerate(zip(found, right, strict=True)):
        for key in (*_PLACE, "counts"):
            if mine.get(key) != theirs.get(key):
                return [(f"cells[{i}].{key}", mine.get(key), theirs.get(key))]
    return []


def _short(value: Any) -> str:
    shown = json.dumps(value, ensure_ascii=False)
    return shown if len(shown) <= 60 else shown[:57] + "..."
