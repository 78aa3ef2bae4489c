"""Data sets: those that ship, and the user's own. Importing this loads no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pnnbench.data.base import DataSet
from pnnbench.data.sets import (
    check_data,
    fetch,
    load,
    names,
    reference_of,
    resolve_data,
)

if TYPE_CHECKING:
    from pnnbench.data.arrays import Arrays
    from pnnbench.data.datamodule import DataModule

__all__ = [
    "Arrays",
    "DataModule",
    "DataSet",
    "check_data",
    "fetch",
    "load",
    "names",
    "reference_of",
    "resolve_data",
]


def __getattr__(name: str) -> Any:
    """Imports the classes at first use, so that the command line starts fast."""
    if name == "Arrays":
        from pnnbench.data.arrays import Arrays

        return Arrays
    if name == "DataModule":
        from pnnbench.data.datamodule import DataModule

        return DataModule
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
