"""Workloads of a suite: built with their data and set-up, and resolved to what jobs take."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pnnbench.data import DataSet, resolve_data
from pnnbench.errors import UserError, own_code, unknown_name
from pnnbench.registry import proper_name, registered_name, workload_class
from pnnbench.running.entries import typed
from pnnbench.running.setup import PLAIN, Setup
from pnnbench.running.sources import Source, files_opened, source_of
from pnnbench.workloads.tiers import find_tier

if TYPE_CHECKING:
    from pnnbench.workloads.base import Workload


def build(cls: type[Workload], init_seed: int = 0, **options: Any) -> Workload:
    """Builds a workload of any class, whose code may be somebody's own.

    Args:
        cls: Its class.
        init_seed: Seed of its initial parameters.
        **options: What else its ``__init__`` takes.

    Returns:
        The workload.

    Raises:
        UserError: If the class takes no such option, or its code fails.
    """
    for option in options:
        if not takes(cls, option):
            known = [n for n in inspect.signature(cls).parameters if n != "init_seed"]
            raise unknown_name(f"option of {cls.__name__}", option, known)
    with own_code(f"{cls.__name__} cannot be built", f"mend {cls.__module__}.{cls.__name__}"):
        return cls(init_seed, **options)


def make_workload(
    name: str,
    seed: int = 0,
    data: DataSet | None = None,
    setup: Setup = PLAIN,
    config: Mapping[str, Any] | None = None,
) -> Workload:
    """Builds a workload and sets it up.

    Args:
        name: Registered name or class path.
        seed: Seed of its initial parameters.
        data: The data set, if it is not its own.
        setup: What is set on it.
        config: What it was when its job was made; None for any.

    Raises:
        UserError: If the workload takes no other data set, or not this one; or see `Setup.on`.
    """
    cls = workload_class(name)
    if data is None:
        return setup.on(build(cls, seed), config)
    if not takes(cls, "data"):
        raise UserError(
            f"{name} takes no other data set than its own: its __init__ has no argument 'data'",
            next_step="give it one and hand it on: super().__init__(init_seed, data=data)",
        )
    return setup.on(build(cls, seed, data=data), config)


def takes(cls: type, argument: str) -> bool:
    """Whether a class can be built with an argument of this name."""
    known = inspect.signature(cls).parameters.values()
    return any(p.name == argument or p.kind is p.VAR_KEYWORD for p in known)


@dataclasses.dataclass(frozen=True)
class Resolved:
    """A workload of a suite: what jobs take from it.

    Attributes:
        workload: Registered name or class path.
        data: The data set, if it is not its own.
        config: What it resolves to at the tier.
        fingerprint: Fingerprint of the data.
        sources: Where the code of ``"workload"`` comes from, and of ``"data"`` if the set is not
            one of this package.
        training_severity: Severity of the device that methods in situ train on.
    """

    workload: str
    data: DataSet | None
    config: dict[str, Any]
    fingerprint: str
    sources: dict[str, Source]
    training_severity: float


def resolve_workload(
    where: str, name: Any, data: Any, tier: Any, root: str | None, setup: Setup
) -> Resolved:
    """Finds out what jobs take from a workload.

    Args:
        where: Where the names were given, for messages.
        name: Registered name or class path.
        data: Its data set; None for its own.
        tier: Name of the tier.
        root: Data folder; None for the default place.
        setup: What is set on it.

    Returns:
        What it resolves to.

    Raises:
        UserError: If a name is wrong, the workload has no such tier, or data are missing.
    """
    typed(f"{where}: workloads", name, str, "names of workloads")
    name = registered_name("workloads", name)
    cls = workload_class(name, where=where)
    find_tier(getattr(cls, "tiers", None), tier, where=f"{where}: {name}")
    own = getattr(cls, "data", None)
    data_set = resolve_data(own if data is None else data, where=f"{where}: data")
    brought = None if own is not None and data_set is resolve_data(own) else data_set
    if brought is not None:
        brought.arrays(root)  # the network may be sized by it
    told = own_code(f"{where}: {name} cannot be used", f"mend {cls.__module__}.{cls.__name__}")
    with told, files_opened() as opened:
        workload = make_workload(name, 0, brought, setup)
        config = workload.describe(tier)
        # A class of somebody's own may read its devices when one is drawn.
        if workload.has_training_device(0):
            workload.training_device(0)
        parts = [type(module) for module in workload.network.modules()]
        environments = [layer.environment_class for layer in workload.layers().values()]
        severity, _ = workload.training_point
    sources = {"workload": source_of([cls, *parts, *environments], opened)}
    of_data = source_of([data_set.source()])
    if of_data.sha256:
        sources["data"] = of_data
    fingerprint = data_set.arrays(root).fingerprint
    return Resolved(proper_name("workloads", cls), brought, config, fingerprint, sources, severity)
