"""Where the jobs of a table were computed, and by what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pnnbench.leaderboard.grid import Record
from pnnbench.leaderboard.transfer import training_seconds
from pnnbench.records.store import canonical


def places(finished: Mapping[str, Sequence[Record]]) -> dict[str, tuple[str, ...]]:
    """Where the jobs of each row were computed.

    Args:
        finished: Label of each row to its finished records.

    Returns:
        Label to the different devices of its jobs and of their parts: ``"CPU"`` or the name of a
        GPU, with the precision of the training where it is not single.
    """
    return {
        label: tuple(sorted({place for r in records for place in _places(r["provenance"])}))
        for label, records in finished.items()
    }


def _places(made: Mapping[str, Any]) -> set[str]:
    computed = made.get("arithmetic", {})
    precision = computed.get("training_precision")
    devices = {str(part.get("gpu", "CPU")) for part in (computed, *made.get("parts", []))}
    return {f"{device} in {precision}" if precision else device for device in devices}


def control_unit(records: Sequence[Record]) -> str:
    """Unit of the controls that all records state, such as ``"mA"``; empty if there is no such."""
    stated = {_unit(record) for record in records}
    return stated.pop() if len(stated) == 1 else ""


def _unit(record: Record) -> str:
    """What a record says, which may be anything: one printable line or nothing."""
    value: Any = record["config"]
    for key in ("scales", "control", "unit"):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value if isinstance(value, str) and value.isprintable() else ""


def provenance(records: Sequence[Record]) -> dict[str, Any]:
    """Collects what the records say of their making; several values where they differ."""
    result: dict[str, Any] = {}
    for name in ("versions", "git", "machine", "threads"):
        seen: dict[bytes, Any] = {}
        for record in records:
            if name in record["provenance"]:
                value = record["provenance"][name]
                seen.setdefault(canonical(value), value)
        if seen:
            result[name] = list(seen.values())
    if records:
        times = [
            r["provenance"][k]
            for r in records
            for k in ("started", "finished")
            if isinstance(r["provenance"].get(k), str)
        ]
        if times:
            result["started"], result["finished"] = min(times), max(times)
        result["data"] = [dict(r["data"]) for r in records[:1]]
        result["train_seconds"] = sum(training_seconds(r) for r in records)
    result["jobs"] = len(records)
    return result
