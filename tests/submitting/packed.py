"""A small submission, made of runs, and ways to spoil it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pnnbench import __version__
from pnnbench.data.datamodule import DataModule
from pnnbench.records.columns import layout, pack
from pnnbench.records.store import SCHEMA, read_record, seal, write_record
from pnnbench.registry import method_class
from pnnbench.running.job_specs import Job
from pnnbench.running.jobs import build, data_module
from pnnbench.running.measuring import measure
from pnnbench.running.rebuilding import save_parameters
from pnnbench.submitting.submission import Card, Conformance, FileEntry, Row, Submission
from pnnbench.workloads.base import Workload

CARD = Card(
    "Backpropagation",
    ("A. Author",),
    None,
    "https://example.org/code",
    "MIT",
    "in_silico",
    "As is.",
)
CHECK = Conformance(__version__, 1, 0, ({"name": "class", "passed": True, "message": "ok"},))


def write_submission(
    folder: Path, runs: Sequence[Path], card: Card = CARD, tried: int = 1
) -> Submission:
    """Packs finished runs of one row.

    Args:
        folder: Where it goes.
        runs: Folder of the run of each seed.
        card: Who made the method.
        tried: Settings that were tried.
    """
    records = {}
    for run in runs:
        record = read_record(run / "record.json")
        records[record["job"]["seed"]] = record
        here = folder / f"seed-{record['job']['seed']}"
        here.mkdir(parents=True)
        for name in ("record.json", "parameters.safetensors"):
            shutil.copyfile(run / name, here / name)
    job = next(iter(records.values()))["job"]
    row = Row(job["method"]["name"], job["method"]["label"], job["method"]["params"])
    access = next(iter(records.values()))["provenance"]["method"]["access"]
    submission = Submission(
        __version__,
        "pnnbench-2",
        job["suite"],
        job["workload"],
        job["tier"],
        row,
        dataclasses.replace(card, access=access),
        CHECK,
        tried,
        tuple(sorted(records)),
        {},
    )
    write_manifest(folder, submission.as_dict())
    return submission


def write_manifest(folder: Path, content: dict[str, Any]) -> None:
    """Writes ``submission.json`` with the files that are there now."""
    files = {
        str(path.relative_to(folder)): dataclasses.asdict(entry_of(path))
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "submission.json"
    }
    text = json.dumps({**content, "files": files}, indent=1, ensure_ascii=False)
    (folder / "submission.json").write_text(text, encoding="utf-8")


def entry_of(path: Path) -> FileEntry:
    """What a submission says of a file."""
    content = path.read_bytes()
    return FileEntry(hashlib.sha256(content).hexdigest(), len(content))


def rewrite(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Changes what ``submission.json`` says, and seals nothing: it has no seal but its files'."""
    path = folder / "submission.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def reseal(folder: Path) -> None:
    """Makes the checksums of ``submission.json`` those of the files."""
    path = folder / "submission.json"
    write_manifest(folder, json.loads(path.read_text(encoding="utf-8")))


def forge(folder: Path, change: Callable[[dict[str, Any]], object], seed: int = 1) -> None:
    """Changes a record as a forger does: sealed again, with the checksums of all files."""
    path = folder / f"seed-{seed}" / "record.json"
    record = read_record(path)
    record.pop("checksum")
    change(record)
    sealed = seal(record)
    path.write_text(layout(pack(sealed)) + "\n", encoding="utf-8")
    reseal(folder)


def fail(record: dict[str, Any], status: str = "diverged") -> None:
    """Makes a record one of a failure."""
    for part in ("clean", "cells", "sharpness", "training_device", "outcomes", "deployments",
                 "headline", "earlier", "also", "not_finite", "parameters", "extra"):  # fmt: skip
        record.pop(part, None)
    record |= {"status": status, "error": {"type": "DivergedError", "message": "loss is nan"}}


def exchange(folder: Path, content: bytes, seed: int = 1) -> None:
    """Puts other tensors in the place of a seed's, in record and checksums too."""
    (folder / f"seed-{seed}" / "parameters.safetensors").write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    forge(folder, lambda record: record["parameters"].update(sha256=digest), seed)


def zipped(folder: Path, target: Path) -> Path:
    """A zip of a folder."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as file:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                file.write(path, path.relative_to(folder))
    return target


def write_run(folder: Path, job: Job, train: Callable[[Workload, DataModule], None]) -> Path:
    """A finished run of a network that was trained in some way, and is said to be the job's.

    Args:
        folder: Where it goes.
        job: The job that it is said to be.
        train: Changes the parameters of the workload.
    """
    workload, data = build(job), data_module(job)
    cls = method_class(job.method.name)
    train(workload, data)
    workload.eval()
    images = data.train_tensors()[0][: job.config["tier"]["calibration_images"]]
    workload.project_controls()
    workload.calibrate(images)
    folder.mkdir(parents=True)
    measured = measure(job, workload, data, lambda line: None)
    parameters = save_parameters(workload, folder / "parameters.safetensors")
    cost = {"gradient_evaluations": 1, "hardware_queries": 0, "train_seconds": 1.0}
    record = {
        "schema": SCHEMA,
        "protocol": job.protocol,
        "status": "ok",
        "job": job.spec(),
        "config": dict(job.config),
        "parameters": parameters,
        "provenance": {"method": {"access": "in_silico", "knows": list(cls.told())}},
        **measured,
        "cost": {**cost, **measured["cost"]},
    }
    write_record(folder / "record.json", record)
    return folder
