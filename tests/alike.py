"""What two readings of the same figures have in common."""

from __future__ import annotations

import math

#: Share by which figures may differ that another processor has summed up; 2e-13 was seen.
_ROUNDING = 1e-12


def differing(old: object, new: object, where: str = "") -> list[str]:
    """Places of what stands in the first and is another thing in the second, but for rounding."""
    if isinstance(old, dict) and isinstance(new, dict):
        return [p for k in old for p in differing(old[k], new.get(k), f"{where}.{k}")]
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        pairs = enumerate(zip(old, new, strict=True))
        return [p for i, (a, b) in pairs for p in differing(a, b, f"{where}[{i}]")]
    if isinstance(old, float) and isinstance(new, float):
        close = math.isclose(old, new, rel_tol=_ROUNDING, abs_tol=1e-15)
        return [] if close else [where]
    return [] if old == new else [where]
