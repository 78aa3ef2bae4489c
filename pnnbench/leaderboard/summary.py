"""What a table says over all its jobs: correlations of sharpness with robustness, provenance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pnnbench.leaderboard import statistics as st
from pnnbench.leaderboard.grid import Record
from pnnbench.leaderboard.transfer import training_seconds
from pnnbench.records.store import canonical

SHARPNESS_FIGURES = (
    "lambda_max",
    "lambda_max_calibrated",
    "common_mode",
    "ball_increase",
    "device_increase",
    "train_loss",
)
"""Figures of a record that are correlated with robustness; the others are bounds and settings."""


def comparable(sharpness: Mapping[str, Any]) -> bool:
    """Whether the sharpness of a record may be held against that of others.

    Not where the loss never left that of guessing (flat because nothing was learnt), not at a point
    that is no minimum or of which that is not known, and not on a training device: the others stand
    at the ideal one, and each device is a point of its own.

    Args:
        sharpness: The figures of a record. One that does not say at which point they hold comes
            from a protocol without marks, and counts.

    Returns:
        Whether they enter a correlation.
    """
    if sharpness.get("at_guessing"):
        return False
    if "point" not in sharpness:
        return sharpness.get("is_minimum") != 0
    return bool(sharpness.get("is_minimum")) and sharpness["point"]["device_seed"] is None


def correlations(
    jobs: list[tuple[Record, float]], higher_is_better: bool
) -> dict[str, dict[str, Any]]:
    """Rank correlation of each sharpness figure with the robust score.

    Only figures at a minimum on the ideal device are compared, see `comparable`; one that a record
    has not, because it is a gap or not defined on its platform, is skipped.

    Args:
        jobs: Records with their scores.
        higher_is_better: Direction of the metric.

    Returns:
        Name of the figure to ``rho``, ``low``, ``high`` and ``n_jobs``.
    """
    figures: dict[str, list[tuple[float, float]]] = {}
    for record, score in jobs:
        goodness = score if higher_is_better else -score
        sharpness = record.get("sharpness", {})
        if not comparable(sharpness):
            continue
        for name in SHARPNESS_FIGURES:
            value = sharpness.get(name)
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                figures.setdefault(name, []).append((float(value), goodness))
    result = {}
    for name in sorted(figures):
        pairs = figures[name]
        interval = st.spearman([x for x, _ in pairs], [y for _, y in pairs])
        if interval.mean is not None:
            result[name] = {
                "rho": interval.mean,
                "low": interval.low,
                "high": interval.high,
                "n_jobs": len(pairs),
            }
    return result


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
