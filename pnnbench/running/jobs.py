"""Runs jobs: train, calibrate, evaluate, measure sharpness, write the record.

Finished jobs are skipped by content hash, killed ones go on from their last epoch. Two processes
may share a run folder: each job is held by a file lock. Parameters are on disk before anything is
measured, and what cannot be measured is a gap in the record beside what can.
"""

from __future__ import annotations

import dataclasses
import traceback
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from pnnbench.accelerator import choose, count_gpu_memory, peak_gpu_memory
from pnnbench.data.datamodule import DataModule
from pnnbench.errors import DiskFullError, UserError, disk_full, failure_text, storable, writing
from pnnbench.evaluation.quick import noted
from pnnbench.records.index import write_index
from pnnbench.records.store import (
    SCHEMA,
    read_record,
)
from pnnbench.registry import method_class, workload_class
from pnnbench.running.cases import BOARD, Case, Trained
from pnnbench.running.declared import require_declared
from pnnbench.running.finished import adopt, index_of, job_folder, kinds_of
from pnnbench.running.job_specs import Job
from pnnbench.running.measuring import Share, calibrate, no_share
from pnnbench.running.provenance import git_state, part_of_run, provenance
from pnnbench.running.rebuilding import save_parameters
from pnnbench.running.resources import collected, keep_memory
from pnnbench.running.suites import Suite
from pnnbench.running.training import DivergedError, RunState, deployed, fit, seed_generators
from pnnbench.running.watching import ValidationCurve
from pnnbench.workloads.base import Workload

#: Called with one line about what is going on.
Say = Callable[[str], None]

#: Share of a job at which its training ends.
_TRAINED = 0.7
#: File in a job's folder with the traceback of its last failure.
TRACEBACK = "traceback.txt"


class JobTimeoutError(Exception):
    """A job trained for longer than its suite allows."""


def build(job: Job) -> Workload:
    """Builds the job's workload with its initial parameters."""
    return job.make_workload(job.seed)


def place_of(job: Job, accelerator: str) -> torch.device:
    """Where a job is computed; raises UserError as `pnnbench.accelerator.choose`."""
    gains = workload_class(job.workload).gains_from_gpu
    return choose(accelerator, gains=gains, precision=job.precision)


def _build_on(job: Job, place: torch.device) -> Workload:
    return build(job).to(place)


def data_module(job: Job, root: str | None = None) -> DataModule:
    """Builds the job's data module."""
    tier = job.config["tier"]
    return DataModule(
        job.data_set,
        batch_size=tier["batch_size"],
        seed=job.seed,
        holdout=tier["validation_images"],
        limit_train=tier["train_images"],
        limit_test=tier["test_images"],
        root=root,
        augmentation=workload_class(job.workload).augmentation,
    )


def run_job(
    job: Job,
    folder: Path,
    *,
    say: Say,
    root: str | None = None,
    timeout_s: float | None = None,
    share: Share = no_share,
    case: Case = BOARD,
    accelerator: str = "auto",
) -> dict[str, Any]:
    """Runs one job and writes its record, also when it fails.

    Args:
        job: The job.
        folder: Its folder; what a killed run left there is gone on from.
        say: Told about progress.
        root: Data folder; None for the default place.
        timeout_s: Training time limit in s.
        share: Told which share of the job is done.
        case: What is measured of it, and how its record is written.
        accelerator: Where it is trained and measured, one of `pnnbench.accelerator.ACCELERATORS`.

    Returns:
        The sealed record. An error in somebody's own code is told with its place there; the whole
        traceback stands beside the record in `TRACEBACK`.

    Raises:
        DiskFullError: If the disk is full; the same job goes on when there is room.
        KeyboardInterrupt: After a record of status ``"killed"`` has been written.
    """
    place = place_of(job, accelerator)
    started = datetime.now(UTC)
    keep_memory()
    count_gpu_memory(place)
    (folder / TRACEBACK).unlink(missing_ok=True)
    base = {"schema": SCHEMA, "protocol": job.protocol, "job": job.spec()}

    def report(epoch: int, epochs: int, loss: float) -> None:
        say(f"epoch {epoch}/{epochs}  loss {loss:.4f}")
        share(_TRAINED * epoch / epochs)
        if timeout_s is not None and state.seconds > timeout_s:  # over all parts of the run
            raise JobTimeoutError(f"trained for more than {timeout_s:g} s")

    kept: dict[str, Any] = {}  # what a failure after the training still has
    state = RunState(report, part_of_run(place))

    def failed(status: str, error: BaseException) -> dict[str, Any]:
        message = {"type": type(error).__name__, "message": _said(error)}
        failure = {
            "status": status,
            "error": message,
            "provenance": provenance(job, started, state.parts, place=place),
        }
        try:
            return case.write(folder, {**base, **kept, **failure})
        except DiskFullError:
            raise
        except Exception:  # what was kept is what no record can hold: the failure stands alone
            return case.write(folder, {**base, **failure})

    try:
        job, own_devices = _with_devices_kept(job, folder)
        seed_generators(job.seed)
        workload, data = build(job), data_module(job, root)
        workload.check_ready()
        require_declared(workload, job.tier)
        _require_test_images(workload, data)
        method = method_class(job.method.name)(**job.method.params)
        method.seed, method.train_device = job.seed, job.device
        if job.protocol == "published":  # the authors' schedules never fire
            method.schedule = "constant"
        curve = ValidationCurve(*data.validation_tensors(), least=workload.least_images)
        fit(
            workload,
            method,
            data,
            epochs=job.epochs,
            folder=folder / "checkpoints",
            watching=[curve, *case.watching(job, method, folder)],
            state=state,
            device=place,
            precision=job.precision,
        )
        trained = deployed(workload, build(job)).to(place)
        cost = {
            "gradient_evaluations": state.gradient_evaluations,
            "hardware_queries": state.hardware_queries,
            "train_seconds": state.seconds,
            "train_cpu_seconds": state.cpu_seconds,
        }
        if state.forward_evaluations is not None:
            cost["forward_evaluations"] = state.forward_evaluations
        kept = {
            "config": dict(job.config),
            "cost": cost,
            "curves": {"epoch": state.epochs, "train_loss": state.losses, **curve.as_dict()},
            "parameters": save_parameters(trained, folder / "parameters.safetensors"),
        }
        device = None if method.access == "in_silico" else trained.training_device(job.device)

        calibrate(job, trained, data, device)
        cost["hardware_queries"] += trained.hardware_queries
        kept["parameters"] = save_parameters(trained, folder / "parameters.safetensors")

        def measuring(part: float) -> None:
            share(_TRAINED + (1.0 - _TRAINED) * part)

        with noted() as ways:
            measured = case.measure(
                Trained(job, trained, data, method, folder, partial(_build_on, job, place), device),
                say,
                measuring,
            )
        cost |= measured.pop("cost")
        cost["peak_memory_bytes"] = max(cost["peak_memory_bytes"], state.peak_memory_bytes)
        cost |= peak_gpu_memory(place)
        kept |= {k: measured[k] for k in ("data", "metric", "gaps") if k in measured}
        case.require_measured(measured)
        whence = provenance(job, started, state.parts, ways.as_dict(), place)
        done = {"status": "ok", "provenance": whence}
        return case.write(folder, {**base, **kept, **measured, **own_devices, **done})
    except KeyboardInterrupt as error:
        failed("killed", error)
        raise
    except DivergedError as error:
        return failed("diverged", error)
    except JobTimeoutError as error:
        return failed("timeout", error)
    except Exception as error:
        if disk_full(error):
            if isinstance(error, DiskFullError):
                raise
            raise DiskFullError(folder, error) from error
        write_traceback(error, folder)
        return failed("error", error)


def _said(error: BaseException) -> str:
    """What a failure's record says of an error, in signs that a file can hold."""
    try:
        words = failure_text(error)
    except Exception as other:  # an error of somebody's own may fail to say what it is
        words = f"what it says cannot be had: {type(other).__name__}"
    return storable(words[:2000])


def _with_devices_kept(job: Job, folder: Path) -> tuple[Job, dict[str, Any]]:
    """The job on a copy of its measured devices in its folder, which nobody edits meanwhile.

    Args:
        job: The job.
        folder: Its folder.

    Returns:
        The job, and the part of its record that names the copy; as it is for drawn devices.

    Raises:
        UserError: As `Setup.keep`.
    """
    setup, part = job.setup.keep(folder, job.config)
    return dataclasses.replace(job, setup=setup), part


def _require_test_images(workload: Workload, data: DataModule) -> None:
    """Refuses too few test images for the metric before anything is trained."""
    there = len(data.arrays.test_targets[: data.limit_test])
    if there < workload.least_images:
        raise UserError(
            f"{data.arrays.name} has {there} test images, and {workload.metric_name} needs "
            f"{workload.least_images}",
            next_step="more test images, or a metric that needs less of them",
        )


def write_traceback(error: BaseException, folder: Path) -> Path:
    """Writes the whole traceback of an error, in one step.

    Args:
        error: The error, raised.
        folder: The job's folder.

    Returns:
        The file.
    """
    path = folder / TRACEBACK
    temporary = path.with_suffix(".tmp")
    text = "".join(traceback.format_exception(error))
    with writing(path):
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
        temporary.replace(path)
    return path


def run_suite(
    suite: Suite,
    runs: Path,
    *,
    say: Say,
    root: str | None = None,
    finished: Callable[[Job, dict[str, Any], Path], None] | None = None,
    share: Share = no_share,
    elsewhere: bool = True,
    accelerator: str = "auto",
) -> list[dict[str, Any]]:
    """Runs all jobs of a suite that are not done; jobs another process holds come last.

    Args:
        suite: The suite.
        runs: Folder of all runs.
        say: Told about progress.
        root: Data folder; None for the default place.
        finished: Called after each job that ran here, with its record and folder.
        share: Told which share of the present job is done.
        elsewhere: Whether jobs that other suites have finished, or that are published, are taken
            over.
        accelerator: Where they are trained and measured; see `run_job`.

    Returns:
        The records of all jobs, in suite order.
    """
    write_index(
        runs / suite.name,
        suite.name,
        index_of(suite.jobs),
        kinds=kinds_of(suite.jobs),
        keep=suite.partial,
        claims=suite.claims,
    )
    taken = adopt(suite.jobs, runs, elsewhere=elsewhere)
    for line in taken.lines():
        say(line)
    folders = [job_folder(runs, job) for job in suite.jobs]
    run_jobs(
        suite.jobs,
        folders,
        say=say,
        root=root,
        timeout_s=suite.timeout_s,
        finished=finished,
        share=share,
        accelerator=accelerator,
    )
    return [read_record(folder / "record.json") for folder in folders]


def run_jobs(
    jobs: Sequence[Job],
    folders: Sequence[Path],
    *,
    say: Say,
    root: str | None = None,
    timeout_s: float | None = None,
    finished: Callable[[Job, dict[str, Any], Path], None] | None = None,
    share: Share = no_share,
    case: Case = BOARD,
    accelerator: str = "auto",
) -> None:
    """Runs the jobs that are not done, each under the lock of its folder.

    Args:
        jobs: The jobs.
        folders: The folder of each.
        say: Told about progress.
        root: Data folder; None for the default place.
        timeout_s: Training time limit of a job in s.
        finished: Called after each job that ran here, with its record and folder.
        share: Told which share of the present job is done.
        case: What is measured of them.
        accelerator: Where they are trained and measured; see `run_job`.
    """
    git_state()
    for job in jobs:
        place_of(job, accelerator)
    total = len(folders)
    waiting = [i for i in range(total) if not case.is_finished(folders[i])]
    if len(waiting) < total:
        say(f"{total - len(waiting)} of {total} jobs are finished already")
    for timeout in (0.0, -1.0):  # first what is free, then wait for what others hold
        held: list[int] = []
        for i in waiting:
            job, folder = jobs[i], folders[i]
            prefix = f"[{i + 1}/{total}] {job.title()}"
            folder.mkdir(parents=True, exist_ok=True)
            if timeout:
                say(f"{prefix}: another process has it, waiting")
            try:
                with FileLock(folder / ".lock", timeout=timeout):
                    if case.is_finished(folder):
                        continue
                    say(f"{prefix}: start")
                    with collected():
                        record = run_job(
                            job,
                            folder,
                            say=partial(_say_for, say, prefix),
                            root=root,
                            timeout_s=timeout_s,
                            share=share,
                            case=case,
                            accelerator=accelerator,
                        )
                    say(f"{prefix}: {case.outcome(record)}")
                    if finished is not None:
                        finished(job, record, folder)
            except Timeout:
                held.append(i)
        waiting = held


def _say_for(say: Say, prefix: str, line: str) -> None:
    say(f"{prefix}: {line}")
