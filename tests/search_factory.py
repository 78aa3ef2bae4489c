"""Records of searches as a short one writes them."""

from __future__ import annotations

import hashlib
from typing import Any

from pnnbench.records.search_schema import FORMAT, TEST
from pnnbench.records.store import canonical


def digest(points: list[dict[str, float]]) -> str:
    """What a record says of its points."""
    return hashlib.sha256(canonical(points)).hexdigest()


def make_row(count: int = 2) -> dict[str, Any]:
    """A row with one trial of each of its points, the last of which is chosen."""
    points = [{"lr": 0.1 * (i + 1)} for i in range(count)]
    values = [0.5 + 0.1 * i / count for i in range(count)]
    scored = [{"score": v, "clean": 0.9, "axes": {"device": v}, "images": 100} for v in values]
    trials = [
        {
            "point": i,
            "seed": 90_000 + i,
            "round": "first",
            "params": point,
            "hash": "0" * 16,
            "status": "ok",
            "seconds": 1.5,
            "validation": {**scored[i], "own_device": 0.7, "devices": 20},
            TEST: scored[i],
            "value": values[i],
        }
        for i, point in enumerate(points)
    ]
    choice = {"point": count - 1, "params": points[-1], "rule": "robust score", "value": values[-1]}
    return {
        "definition": {
            "method": "bp",
            "fixed": {},
            "epochs_factor": 1.0,
            "space": {"lr": {"low": 0.1, "high": 1.0, "scale": "log"}},
            "rule": "robust score",
            "revision": 3,
            "content": "0" * 64,
        },
        "points": points,
        "points_sha256": digest(points),
        "trials": trials,
        "beyond": {"winner": count - 1, "ends": {}, "points": []},
        "chosen": {
            **choice,
            "means": {"robust score": values[-1], "own device": 0.7},
            "seeds": 5,
            "edge": {"lr": "high"},
            "by_the_other_rule": {**choice, "rule": "own device", "value": 0.7},
        },
    }


def make_search(suite: str = "s", **changes: Any) -> dict[str, Any]:
    """The record of a search of one row."""
    counts = ("trials", "finalists", "more_seeds", "beyond", "devices", "test_images")
    return {
        "format": FORMAT,
        "suite": suite,
        "protocol": "pnnbench-2",
        "workload": "mrr-digits",
        "tier": "smoke",
        "metric": {"name": "accuracy", "higher_is_better": True, "chance": 0.1},
        "budget": dict.fromkeys(counts, 2),
        "deviates": True,
        "like": {"BP, more": "BP"},
        "not_tuned": ["Ideal"],
        "rows": {"BP": make_row()},
        "made_by": [{"versions": {"python": "3.11.7"}, "git": {}}],
        **changes,
    }
