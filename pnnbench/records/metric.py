"""The metric of a record: its name, which way is better, and what guessing reaches."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

#: Share by which two values of guessing may differ: it is computed from features in single
#: precision, and a GPU, another processor or another size of the batches moves its last digits.
CHANCE_TOLERANCE = 1e-3


def same_metric(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two metrics are one, but for the rounding of what guessing reaches.

    Args:
        one: ``metric`` of a record.
        other: ``metric`` of another.
    """
    chances = one.get("chance"), other.get("chance")
    rest = [{k: v for k, v in metric.items() if k != "chance"} for metric in (one, other)]
    return rest[0] == rest[1] and same_chance(*chances)


def same_chance(one: Any, other: Any) -> bool:
    """Whether two values of guessing are one, but for rounding; None is no value."""
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=CHANCE_TOLERANCE)
    return bool(one == other)
