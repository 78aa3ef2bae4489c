"""The names that exist, for the completion of the shell: found without importing a class."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from pnnbench.registry import SUITES, registered

#: What ``pnnbench list`` knows.
LISTED = ("methods", "platforms", "workloads", "data", "suites", "runs")


def _registered(kind: str) -> Sequence[str]:
    return list(registered(kind))


methods = partial(_registered, "methods")
workloads = partial(_registered, "workloads")
data = partial(_registered, "data")
published = partial(_registered, "published")


def checked() -> Sequence[str]:
    """Names of what ``pnnbench check`` takes."""
    return [*methods(), *workloads(), *_registered("platforms")]


def suites() -> Sequence[str]:
    """Names of the suites that ship."""
    return [path.stem for path in sorted(SUITES.glob("*.yaml"))]


def runs() -> Sequence[str]:
    """Names of the finished runs in ``runs/``."""
    from pnnbench.records.runs import list_runs, names_of

    return names_of([run for run in list_runs(Path("runs")) if run.status == "ok"])
