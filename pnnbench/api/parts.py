"""Builds what a training needs: methods, workloads, data; and reads trained networks back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pnnbench.errors import UserError, failure_text

if TYPE_CHECKING:
    from pnnbench.data.arrays import Arrays
    from pnnbench.methods.base import TrainingMethod
    from pnnbench.workloads.base import Workload


def method(name: str, **params: Any) -> TrainingMethod:
    """Builds a training method.

    Args:
        name: Registered name (`pnnbench.list_methods`), in any case and with ``-`` or ``_``, or
            the path ``package.module.Class`` of a class of your own.
        **params: Hyper-parameters that differ from the defaults; strengths in multiples of the
            workload's own scale, or texts with a unit such as ``"0.04 mA"``.

    Returns:
        The method, a Lightning callback.

    Raises:
        UserError: If there is no such method, or a hyper-parameter is unknown, of the wrong type or
            out of range.
    """
    from pnnbench.registry import method_class, method_parameters

    cls = method_class(name)
    return cls(**method_parameters(cls, params))


def workload(name: str, init_seed: int = 0, **options: Any) -> Workload:
    """Builds an untrained workload: a network on a platform with its task.

    Args:
        name: Registered name (`pnnbench.list_workloads`) or class path, as in `method`.
        init_seed: Seed of the initial parameters, at least 0.
        **options: What else the class takes.

    Returns:
        The workload, a LightningModule.

    Raises:
        UserError: If there is no such workload, or it cannot be built so.
    """
    from pnnbench.registry import workload_class
    from pnnbench.seeds import check_seed

    check_seed("init_seed", init_seed)
    cls = workload_class(name)
    try:
        return cls(init_seed, **options)
    except UserError:
        raise
    except Exception as error:  # a mistake in somebody's constructor, or an unknown option
        raise UserError(
            f"{cls.__name__} cannot be built: {type(error).__name__}: {failure_text(error)}",
            next_step=f"help({cls.__module__}.{cls.__name__})",
        ) from error


def load_data(name: str, root: str | Path | None = None, *, download: bool = False) -> Arrays:
    """Reads a data set and checks it by its fingerprint.

    Args:
        name: Name of the set (`pnnbench.list_data`).
        root: Data folder; None for that in the environment variable PNNBENCH_DATA, or
            ``~/.cache/pnnbench/data``.
        download: Whether missing files may be downloaded.

    Returns:
        Its arrays: training and test inputs with their targets.

    Raises:
        UserError: If the name is unknown, or files are missing, damaged or cannot be downloaded.
    """
    from pnnbench.data import load

    return load(name, root=root, download=download)


def load_network(source: str | Path | Mapping[str, Any], *, runs: str | Path = "runs") -> Workload:
    """Rebuilds a trained network from committed or own parameters, checked by their SHA-256.

    Args:
        source: A row of a board (``"quickstart/SAT"``: its best seed, see
            ``leaderboards/BOARD/parameters/index.json``), a file of parameters, a record or its
            file, or a run by folder, name (``"quickstart/SAT/0"``) or the beginning of its hash.
        runs: Folder of all runs.

    Returns:
        The workload, in evaluation mode.

    Raises:
        UserError: If there is no such network, its file is missing or not that of the record, or
            its workload is not installed.
    """
    from pnnbench.api.locating import locate
    from pnnbench.running.jobs import load_parameters

    found = locate(source, runs)
    return load_parameters(found.parameters, found.record)
