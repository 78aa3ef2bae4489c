"""What a finished job was: its data, its workload and its tensors, from record and folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as to_safetensors

from pnnbench.data import DataSet, resolve_data
from pnnbench.data.datamodule import DataModule
from pnnbench.errors import UserError
from pnnbench.lookup import received
from pnnbench.platforms.base import Device
from pnnbench.records.store import (
    file_problem,
    file_sha256,
    write_whole,
)
from pnnbench.registry import method_class, registered, registered_name, workload_class
from pnnbench.running.resolving import make_workload
from pnnbench.running.setup import PLAIN, Setup, setup_of
from pnnbench.workloads.base import Workload


def data_of(record: dict[str, Any], root: str | None = None) -> DataModule:
    """The data of a finished job, split and limited as the job's were.

    Args:
        record: Its record.
        root: Data folder; None for the default place.

    Raises:
        UserError: If the data set is not there, or has other contents than it had.
    """
    tier = record["config"]["tier"]
    data_set = brought_data(record) or resolve_data(_own_class(record).data)
    told = record["data"]["fingerprint"]
    require_contents(data_set.name, data_set.arrays(root).fingerprint, told)
    return DataModule(
        data_set,
        batch_size=tier["batch_size"],
        holdout=tier.get("validation_images", 0),
        limit_train=tier["train_images"],
        limit_test=tier["test_images"],
        root=root,
    )


def require_contents(name: str, found: str, told: str) -> None:
    """Refuses other data than those of a record.

    Args:
        name: Name of the data set.
        found: Fingerprint of what is there.
        told: Fingerprint in the record.

    Raises:
        UserError: If they differ.
    """
    if found != told:
        raise UserError(
            f"the data set {name!r} has other contents than those of the record: {found}",
            allowed=told,
            next_step="give the copy that it was measured on (PNNBENCH_DATA, docs/data.md)",
        )


def brought_data(record: dict[str, Any]) -> DataSet | None:
    """The data set of a job that is not its workload's own; None for that."""
    told = record["job"].get("data")
    with received():
        return None if told is None else resolve_data(told["set"], where="the record's data")


def untrained(record: dict[str, Any], setup: Setup = PLAIN) -> Workload:
    """Builds the workload of a job with its initial parameters."""
    job = record["job"]
    _own_class(record)
    return make_workload(job["workload"], job["seed"], brought_data(record), setup)


def _own_class(record: dict[str, Any]) -> type[Workload]:
    """The class of a record's workload: a registered one, unless code of its author is trusted."""
    with received():
        return workload_class(record["job"]["workload"])


def own_device(record: dict[str, Any], workload: Workload) -> Device | None:
    """The device on which the controls of a finished job are used.

    Args:
        record: Its record.
        workload: Its workload.

    Returns:
        The training device of a method in situ; None, the ideal one, for others.
    """
    if access_of(record) == "in_silico":
        return None
    return workload.training_device(record["job"]["seeds"]["train_device"])


def access_of(record: dict[str, Any]) -> str:
    """What the method of a finished job is handed.

    Args:
        record: Its record.

    Returns:
        What a registered method declares; of another one, what the record says.
    """
    name = record["job"]["method"]["name"]
    told = record["provenance"].get("method", {}).get("access")
    if registered_name("methods", name) not in registered("methods") and told:
        return str(told)
    with received():
        return method_class(name).access


def load_trained(folder: Path, record: dict[str, Any]) -> Workload:
    """Rebuilds the trained workload of a finished job.

    Args:
        folder: The job's folder.
        record: Its record.

    Returns:
        The workload in evaluation mode.

    Raises:
        UserError: If the parameters are missing or are not those of the record.
    """
    return load_parameters(folder / record["parameters"]["file"], record)


def load_parameters(path: Path, record: dict[str, Any]) -> Workload:
    """Rebuilds the trained workload of a finished job from its file of parameters.

    Args:
        path: The file, wherever it is.
        record: The record of the job.

    Returns:
        The workload in evaluation mode.

    Raises:
        UserError: If the file is missing, is not that of the record, or does not fit the workload.
    """
    if not path.is_file() or file_sha256(path) != record["parameters"]["sha256"]:
        raise UserError(
            f"{path} is missing or not the file of the record",
            next_step=f"pnnbench doctor {path.parent}",
        )
    folder = path.parent
    if "devices" in record:
        published = folder.parent / "records" / record["job"]["hash"]  # of a board's best rows
        problems = {
            f: file_problem(f / "record.json", record, "devices") for f in (folder, published)
        }
        if all(problems.values()):
            raise UserError(str(problems[folder]), next_step=f"pnnbench doctor {folder}")
        folder = next(f for f, problem in problems.items() if problem is None)
    workload = untrained(record, setup_of(folder, record))
    try:
        workload.load_tensors(load_file(path))
    except (RuntimeError, SafetensorError) as error:
        raise UserError(f"{path} does not fit {record['job']['workload']}: {error}") from None
    workload.eval()
    return workload


def save_parameters(workload: Workload, path: Path) -> dict[str, str]:
    """Writes the network's tensors as safetensors, in one step; returns file name and sha256."""
    tensors = {k: v.contiguous() for k, v in workload.tensors().items()}
    write_whole(path, to_safetensors(tensors))
    return {"file": path.name, "sha256": file_sha256(path)}
