"""Benchmark suite for training methods of physical neural networks.

Names here are stable; what they need is imported when they are first used.

See what there is: `list_methods`, `list_platforms`, `list_workloads`, `list_data`, `list_suites`.
Build it: `method`, `workload`, `load_data`, `physical` (a network of your own). Train and measure
it: `train`, `evaluate`; whole suites: `run`, `tune`. Read what was measured: `load`,
`load_leaderboard`, `load_network`. Classes to derive from: `TrainingMethod`, `Workload`,
`PhysicalLayer`, `DataSet`. What is wrong with what was given is a `UserError`, whose text is all
that there is to say.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pnnbench.api.boards import Leaderboard as Leaderboard
    from pnnbench.api.boards import load_leaderboard as load_leaderboard
    from pnnbench.api.evaluating import evaluate as evaluate
    from pnnbench.api.names import list_data as list_data
    from pnnbench.api.names import list_methods as list_methods
    from pnnbench.api.names import list_platforms as list_platforms
    from pnnbench.api.names import list_suites as list_suites
    from pnnbench.api.names import list_workloads as list_workloads
    from pnnbench.api.parts import load_data as load_data
    from pnnbench.api.parts import load_network as load_network
    from pnnbench.api.parts import method as method
    from pnnbench.api.parts import workload as workload
    from pnnbench.api.results import Results as Results
    from pnnbench.api.results import load as load
    from pnnbench.api.running import run as run
    from pnnbench.api.training import TrainedNetwork as TrainedNetwork
    from pnnbench.api.training import train as train
    from pnnbench.api.tuning import tune as tune
    from pnnbench.data import DataSet as DataSet
    from pnnbench.errors import UserError as UserError
    from pnnbench.methods.base import TrainingMethod as TrainingMethod
    from pnnbench.platforms.base import PhysicalLayer as PhysicalLayer
    from pnnbench.workloads.base import Workload as Workload
    from pnnbench.workloads.convert import physical as physical

__version__ = "0.1.0"

#: Public name -> module that has it.
_HOMES = {
    "DataSet": "pnnbench.data",
    "Leaderboard": "pnnbench.api.boards",
    "PhysicalLayer": "pnnbench.platforms.base",
    "Results": "pnnbench.api.results",
    "TrainedNetwork": "pnnbench.api.training",
    "TrainingMethod": "pnnbench.methods.base",
    "UserError": "pnnbench.errors",
    "Workload": "pnnbench.workloads.base",
    "evaluate": "pnnbench.api.evaluating",
    "list_data": "pnnbench.api.names",
    "list_methods": "pnnbench.api.names",
    "list_platforms": "pnnbench.api.names",
    "list_suites": "pnnbench.api.names",
    "list_workloads": "pnnbench.api.names",
    "load": "pnnbench.api.results",
    "load_data": "pnnbench.api.parts",
    "load_leaderboard": "pnnbench.api.boards",
    "load_network": "pnnbench.api.parts",
    "method": "pnnbench.api.parts",
    "physical": "pnnbench.workloads.convert",
    "run": "pnnbench.api.running",
    "train": "pnnbench.api.training",
    "tune": "pnnbench.api.tuning",
    "workload": "pnnbench.api.parts",
}

__all__ = ["__version__", *sorted(_HOMES)]


if not TYPE_CHECKING:  # a checker that sees it takes every name for one

    def __getattr__(name: str) -> Any:
        """Imports what a name needs at its first use."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = getattr(importlib.import_module(_HOMES[name]), name)
        globals()[name] = found
        return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
