"""Builds what a training needs: methods, workloads, data; and reads trained networks back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pnnbench.errors import check_kind

if TYPE_CHECKING:
    from pnnbench.data.arrays import Arrays
    from pnnbench.methods.base import TrainingMethod
    from pnnbench.workloads.base import Workload


#: The way from a torch network to a workload.
PHYSICAL = "pnnbench.physical(model, 'mrr', data='digits') makes a workload of a torch network"
#: What a workload and a method may be named by.
_NAMED = "a name, see pnnbench.list_{}(), a class path, or a class derived from pnnbench.{}"


def method(name: str | type[TrainingMethod], **params: Any) -> TrainingMethod:
    """Builds a training method.

    Args:
        name: Registered name (`pnnbench.list_methods`), in any case and with ``-`` or ``_``, or
            the path ``package.module.Class`` of a class of your own, or such a class.
        **params: Hyper-parameters that differ from the defaults; strengths in multiples of the
            workload's own scale, or texts with a unit such as ``"0.04 mA"``.

    Returns:
        The method, a Lightning callback.

    Raises:
        UserError: If there is no such method, or a hyper-parameter is unknown, of the wrong type or
            out of range.
    """
    from pnnbench.methods.base import TrainingMethod
    from pnnbench.registry import method_class, method_parameters

    if isinstance(name, type) and issubclass(name, TrainingMethod):
        return name(**method_parameters(name, params))
    check_kind("method", name, str, allowed=_NAMED.format("methods", "TrainingMethod"))
    cls = method_class(name)
    return cls(**method_parameters(cls, params))


def workload(name: str | type[Workload], init_seed: int = 0, **options: Any) -> Workload:
    """Builds an untrained workload: a network on a platform with its task.

    Args:
        name: Registered name (`pnnbench.list_workloads`), class path or class, as in `method`.
        init_seed: Seed of the initial parameters, at least 0.
        **options: What else the class takes, ``data`` for example.

    Returns:
        The workload, a LightningModule.

    Raises:
        UserError: If there is no such workload, or it cannot be built so.
    """
    from torch import nn

    from pnnbench.registry import workload_class
    from pnnbench.running.resolving import build
    from pnnbench.seeds import check_seed
    from pnnbench.workloads.base import Workload

    check_seed("init_seed", init_seed)
    if isinstance(name, type) and issubclass(name, Workload):
        return build(name, init_seed, **options)
    network = issubclass(name if isinstance(name, type) else type(name), nn.Module)
    check_kind(
        "workload",
        name,
        str,
        allowed=_NAMED.format("workloads", "Workload"),
        next_step=PHYSICAL if network else "",
    )
    return build(workload_class(name), init_seed, **options)


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


def load_network(
    source: str | Path | Mapping[str, Any], *, runs: str | Path = "runs", trust: bool = False
) -> Workload:
    """Rebuilds a trained network from committed or own parameters, checked by their SHA-256.

    Args:
        source: A row of a board (``"quickstart/SAT"``: its best seed, see
            ``leaderboards/BOARD/parameters/index.json``), a file of parameters, a record or its
            file, or a run by folder, name (``"quickstart/SAT/0"``) or the beginning of its hash.
        runs: Folder of all runs.
        trust: Whether code is run that the record names by a class path, such as a workload in a
            file of your own. Without it only registered workloads are built.

    Returns:
        The workload, in evaluation mode.

    Raises:
        UserError: If there is no such network, its file is missing or not that of the record, or
            its workload is not installed.
    """
    from pnnbench.api.locating import locate
    from pnnbench.lookup import only
    from pnnbench.running.rebuilding import load_parameters

    found = locate(source, runs)
    with only("any" if trust else "registered"):
        return load_parameters(found.parameters, found.record)
