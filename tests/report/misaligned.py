"""Records of a suite on misaligned optics: four axes, a joint grid, devices."""

from __future__ import annotations

import copy
from itertools import product
from typing import Any

from pnnbench.records.store import job_hash, seal

from ..record_factory import make_record

PLACE = {"rotation_deg": 0.0, "scale": 1.0, "shift_x_px": 0.0, "shift_y_px": 0.0}
LEVELS = (-2.0, -1.5, -1.0, -0.5, 0.5, 1.0, 1.5, 2.0)
JOINT = (-2.0, -1.0, 1.0, 2.0)
SEVERITIES = (0.1, 0.25, 0.5, 1.0)
STRENGTHS = {"BP": 1.0, "BP on weights": 1.3, "NAT": 1.6, "SAT": 2.2, "Pruning": 0.8}


def accuracy(strength: float, place: dict[str, float]) -> float:
    """An accuracy that falls with every misalignment and tells all places of the grid apart."""
    off = (
        0.12 * abs(place["rotation_deg"])
        + 0.003 * place["rotation_deg"]
        + 0.15 * (abs(place["shift_x_px"]) + abs(place["shift_y_px"]))
        + 0.002 * (place["shift_x_px"] + place["shift_y_px"])
        + 4.0 * abs(place["scale"] - 1.0)
    )
    return 0.95 - off / strength / 1.5


def make_misaligned(
    methods: tuple[str, ...] = tuple(STRENGTHS),
    seeds: tuple[int, ...] = (0, 1, 2),
    joint: tuple[float, ...] = JOINT,
) -> list[dict[str, Any]]:
    """All jobs of the suite, on two test devices."""
    conditions: list[tuple[str, float, str, dict[str, float]]] = []
    for axis, field, unit in (
        ("rotation", "rotation_deg", "deg"),
        ("shift_x", "shift_x_px", "px"),
        ("shift_y", "shift_y_px", "px"),
    ):
        conditions += [(axis, level, unit, {**PLACE, field: level}) for level in LEVELS]
    conditions += [("scale", k, "%", {**PLACE, "scale": 1 + k / 100}) for k in (-5.0, 5.0)]
    for r, d in product(joint, joint):
        place = {**PLACE, "rotation_deg": r, "shift_y_px": d}
        conditions.append(("rotation_and_shift", max(abs(r), abs(d)), "deg and px", place))
    records = []
    for label, seed in product(methods, seeds):
        record = copy.deepcopy(make_record(label, seed, devices=(1000, 1001), sealed=False))
        record["job"] |= {"suite": "freespace", "workload": "freespace-digits"}
        record["job"]["hash"] = job_hash(record["job"])
        strength, shift = STRENGTHS[label], 0.002 * seed
        record["clean"] = accuracy(strength, PLACE) + shift
        record["cells"] = [
            {
                "axis": axis,
                "level": level,
                "unit": unit,
                "severity": 0.0,
                "environment": place,
                "device_seed": None,
                "value": max(0.05, accuracy(strength, place)) + shift,
            }
            for axis, level, unit, place in conditions
        ]
        record["cells"] += [
            {
                "axis": "device",
                "level": s,
                "unit": "x assembly tolerance",
                "severity": s,
                "environment": PLACE,
                "device_seed": device,
                "value": 0.9 - 0.5 * s / strength + 0.001 * (device - 1000) + shift,
            }
            for s in SEVERITIES
            for device in (1000, 1001)
        ]
        records.append(seal(record))
    return records
