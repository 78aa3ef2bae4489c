"""What can be wrong with one record, told from the record and the files of tensors beside it.

Nothing is imported that a record names, and no network is built: a name is looked up among those
that are registered, figures are held against each other and against their files.
"""

from __future__ import annotations

import math
import shlex
import unicodedata
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from pnnbench.errors import UserError
from pnnbench.lookup import registered
from pnnbench.records.bounds import errors_that_disagree
from pnnbench.records.findings import AGAIN, Finding
from pnnbench.records.next_steps import run_again
from pnnbench.records.outcomes import read_outcomes
from pnnbench.records.received import submission_of
from pnnbench.records.store import beside, file_problem, job_hash

#: Protocols and the revisions of them that jobs are run under at present.
CURRENT = {"pnnbench-2": 3, "published": 2}
#: Earlier protocols, whose boards are kept as they are.
EARLIER = frozenset({"pnnbench-1"})
PARTS = ("parameters", "outcomes", "devices")
#: Share of an image by which a count of images may be off, for rounding.
_ROUNDING = 1e-3
_HIDDEN = {"Cc", "Cf", "Co", "Cs"}
_FLOATS = {"F64": np.float64, "F32": np.float32, "F16": np.float16}


def inspect(path: Path, record: dict[str, Any]) -> Iterator[Finding]:
    """Looks at one record that is whole.

    Args:
        path: The record, a run's or a published one.
        record: The record at that path, as `read_record` gives it.

    Yields:
        What is wrong with it.
    """
    again = run_again(record["job"])
    if record["status"] != "ok":
        failure = record["error"]
        words = f"{record['status']}: {failure['type']}: {failure['message']}"
        yield Finding(path, "failed", words.splitlines()[0], f"mend the cause, then {again}")
    gaps = [gap for gap in record.get("gaps", []) if gap["type"] != "left-out"]
    if gaps and record["status"] == "ok":
        first = gaps[0]
        words = f"{len(gaps)} missing, the first {first['part']}: {first['message']}"
        yield Finding(path, "gaps", words, f"move {path.parent} away, then {again}")
    yield from _names(path, record)
    computed = job_hash(record["job"], schema=record["schema"])
    if "content" in record["job"] and computed != record["job"]["hash"]:
        words = f"says job {record['job']['hash']}, its content {computed}"
        yield Finding(path, "mismatch", words, AGAIN)
    whole = []
    # Of published records (records/*.json) only some have their tensors with them.
    published = path.name != "record.json"
    received = submission_of(path) != path.parent
    for part in PARTS:
        optional = published or (received and part == "outcomes")  # no submission has them
        if part in record and (not optional or beside(path, record, part).is_file()):
            problem = file_problem(path, record, part)
            if problem is None:
                whole.append(part)
            else:
                step = f"take it from where it was trained, or move {path.parent} away and {AGAIN}"
                yield Finding(path, part, problem, step)
    if "parameters" in whole:
        yield from _finite(path, beside(path, record, "parameters"))
    if record["status"] == "ok":
        differing = errors_that_disagree(record)
        if differing:
            more = f"; and {len(differing) - 1} more" if differing[1:] else ""
            yield Finding(path, "forged", differing[0] + more, _verify(path))
    if record["status"] == "ok" and record["metric"]["name"] == "accuracy":
        yield from _counts(path, record)
        if "outcomes" in whole:
            yield from _held_against_outcomes(path, record)


def _names(path: Path, record: Mapping[str, Any]) -> Iterator[Finding]:
    job = record["job"]
    revision, protocol = job.get("revision", 1), record["protocol"]
    if protocol not in CURRENT and protocol not in EARLIER:
        words = f"is of the protocol {protocol!r:.60}; known are {', '.join(CURRENT)}"
        yield Finding(path, "protocol", words, "use the version of pnnbench that wrote it")
    elif protocol in CURRENT and revision > CURRENT[protocol]:
        words = f"is of revision {revision} of {protocol}; this program's is {CURRENT[protocol]}"
        yield Finding(path, "protocol", words, "use the version of pnnbench that wrote it")
    if job["workload"] not in registered("workloads"):
        words = f"ran on {job['workload']!r:.80}, which is not registered: nobody can verify it"
        yield Finding(path, "unregistered", words, "register it, see docs/devices.md")
    brought = job.get("data", {}).get("set", "").partition(":")[0]
    if brought and brought not in registered("data"):
        words = f"ran on the data set {brought!r:.80}, which is not registered"
        yield Finding(path, "unregistered", words, "register it, see docs/data.md")
    for where, text in _texts(job, "job"):
        hidden = next((sign for sign in text if unicodedata.category(sign) in _HIDDEN), None)
        if hidden is not None:
            words = f"{where} holds the sign U+{ord(hidden):04X}, which is not seen"
            yield Finding(path, "characters", words, "name it without, and run the job again")


def _texts(value: Any, where: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield where, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield f"a key of {where}", key
            yield from _texts(item, f"{where}.{key}")
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item, where)


def _accuracies(record: Mapping[str, Any]) -> Iterator[tuple[str, float | None]]:
    yield "clean", record["clean"]
    yield from ((f"cells[{i}].value", cell["value"]) for i, cell in enumerate(record["cells"]))
    for deployment in record.get("deployments", []):
        where = f"deployment {deployment['name']}, values"
        yield from ((f"{where}[{i}]", value) for i, value in enumerate(deployment["values"]))
    if "training_device" in record:
        yield "training_device.value", record["training_device"]["value"]


def _counts(path: Path, record: Mapping[str, Any]) -> Iterator[Finding]:
    """Accuracies are shares of the test images, so they are whole numbers of them."""
    images = record["data"]["n_test"]
    broken = [
        (where, value)
        for where, value in _accuracies(record)
        if value is not None and abs(value * images - round(value * images)) > _ROUNDING
    ]
    if broken:
        (where, value), more = broken[0], len(broken) - 1
        words = f"{where} is {value!r}, no whole number of {images} test images"
        words += f"; and {more} more" if more else ""
        yield Finding(path, "forged", words, _verify(path))


def _held_against_outcomes(path: Path, record: dict[str, Any]) -> Iterator[Finding]:
    try:
        right = read_outcomes(path, record).mean(axis=1)
    except UserError as error:
        yield Finding(path, "outcomes", error.what.partition(": ")[2], _verify(path))
        return
    values = [record["clean"], *(cell["value"] for cell in record["cells"])]
    images = record["data"]["n_test"]
    for i, (value, share) in enumerate(zip(values, right.tolist(), strict=True)):
        if value is not None and not math.isclose(value, share, abs_tol=_ROUNDING / images):
            where = f"cells[{i - 1}].value" if i else "clean"
            words = f"{where} is {value!r}, but the outcomes of its images give {share!r}"
            yield Finding(path, "forged", words, _verify(path))
            return


def _finite(path: Path, file: Path) -> Iterator[Finding]:
    try:
        with safe_open(file, "np") as tensors:
            for name in tensors.keys():  # noqa: SIM118, a file is no mapping
                kind = tensors.get_slice(name).get_dtype()
                if kind in _FLOATS and not np.isfinite(tensors.get_tensor(name)).all():
                    words = f"the tensor {name!r:.60} of {file.name} is not finite"
                    yield Finding(path, "parameters", words, AGAIN)
    except (SafetensorError, OSError, ValueError) as error:
        words = f"{file.name} is not a file of tensors ({error})"
        yield Finding(path, "parameters", words, AGAIN)


def _verify(path: Path) -> str:
    return (
        f"pnnbench verify {shlex.quote(str(submission_of(path)))}"
        if path.name == "record.json"
        else AGAIN
    )
