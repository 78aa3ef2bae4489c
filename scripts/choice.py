"""One choice of the protocol, and how its values are written; read by scripts/protocol.py."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path

from pnnbench.registry import workload_class

T = "tests/"
LENGTHS = "benchmarks/lengths"
"""Where it is shown what a longer run changes, a folder for each suite."""


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


def longer(suite: str, settings: str) -> str:
    """What a run of twice the epochs changes in the order of a suite's rows, with a link.

    Args:
        suite: Name of the suite.
        settings: At which settings that was run.
    """
    page = Path(__file__).resolve().parents[1] / LENGTHS / suite / "README.md"
    last = page.read_text(encoding="utf-8").strip().splitlines()[-1].rstrip(".")
    return f"[{last}](../{LENGTHS}/{suite}/README.md), at {settings}"
