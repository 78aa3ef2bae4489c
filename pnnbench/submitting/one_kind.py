"""Whether records are runs of one thing, with other seeds: what the seeds of a row are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pnnbench.records.store import canonical

#: What the jobs of a row share.
_SHARED = (
    "workload", "data", "tier", "method", "epochs_factor", "precision", "content", "revision",
)  # fmt: skip
#: What their records share, where they say it: those of failures may not.
_WHERE_SAID = ("config", "data.name", "data.fingerprint", "metric.name")


def difference_of(one: Mapping[str, Any], other: Mapping[str, Any]) -> str | None:
    """Finds what differs between two records that should be of one row.

    Args:
        one: A whole record, of a failure too.
        other: Another one.

    Returns:
        The first part that differs, such as ``"epochs_factor"``; None where there is none.
    """
    if one["protocol"] != other["protocol"]:
        return "protocol"
    jobs = one["job"], other["job"]
    for key in _SHARED:
        if not _alike(*(job.get(key) for job in jobs)):
            return key
    if not _alike(*(job["seeds"]["test_devices"] for job in jobs)):
        return "test_devices"
    for path in _WHERE_SAID:
        told = [_said(record, path) for record in (one, other)]
        if None not in told and not _alike(*told):
            return path
    return None


def _alike(one: Any, other: Any) -> bool:
    return canonical(one) == canonical(other)


def _said(record: Mapping[str, Any], path: str) -> Any:
    """What stands at a path of a record; None where nothing does."""
    found: Any = record
    for part in path.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found
