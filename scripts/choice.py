"""One choice of the protocol, and how its values are written; read by scripts/protocol.py."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from pnnbench.registry import workload_class

T = "tests/"


@dataclasses.dataclass(frozen=True)
class Choice:
    """One choice of the protocol.

    Attributes:
        what: What is chosen.
        value: Its value with its unit.
        why: Source or reason.
        test: File and name of the test that holds it, ``file::name``; empty where it is a plain
            constant that is part of each job's hash.
    """

    what: str
    value: object
    why: str
    test: str = ""


def levels(values: Iterable[float]) -> str:
    """Numbers in one cell of a table."""
    return ", ".join(f"{value:g}" for value in values)


def tiers(name: str, field: str) -> str:
    """A field of a workload's tiers, in one cell of a table."""
    found = {tier: getattr(value, field) for tier, value in workload_class(name).tiers.items()}
    return "; ".join(f"{tier} {'all' if value is None else value}" for tier, value in found.items())
