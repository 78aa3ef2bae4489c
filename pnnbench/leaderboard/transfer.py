"""What a job did on its training device, and what the training cost.

Methods that train with hardware in the loop meet one device; the test devices are others. Both
figures are measured for every method, so that in-situ and in-silico rows can be compared.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from pnnbench.leaderboard import statistics as st
from pnnbench.leaderboard.grid import DEVICE_AXIS, Grid, Record, require_equal
from pnnbench.leaderboard.model import PUBLISHED, Row

REFERENCE_LABEL, REFERENCE_NAME = "BP", "bp"
"""Label and, failing that, method name of the row that training times are relative to."""


def training_severity(records: Sequence[Record]) -> dict[str, Any] | None:
    """Severity of the training devices of a table.

    Args:
        records: The finished records of a table; those without a training device are left out.

    Returns:
        ``severity`` and ``unit``; None if no record measured its training device.

    Raises:
        UserError: If the records differ in severity or unit, or two methods trained on different
            devices at one seed. Rows in silico train on none, rows that are the mean over several
            devices on all of them.
    """
    having = [record for record in records if "training_device" in record]
    if not having:
        return None
    facts = [(r["training_device"]["severity"], r["training_device"]["unit"]) for r in having]
    require_equal("severity of the training device", having, facts)
    trained = [record for record in having if _trained_on_it(record)]
    for seed in sorted({record["job"]["seed"] for record in trained}):
        mine = [record for record in trained if record["job"]["seed"] == seed]
        drawn = [record["training_device"]["seed"] for record in mine]
        require_equal(f"training device at seed {seed}", mine, drawn)
    return {"severity": facts[0][0], "unit": facts[0][1]}


def _trained_on_it(record: Record) -> bool:
    """Whether the job may have trained on the one device that it names."""
    access = record["provenance"].get("method", {}).get("access")
    return access != "in_silico" and record["training_device"]["seed"] is not None


def device_figures(
    members: Sequence[Record], stack: st.Array, grid: Grid
) -> dict[str, st.Interval]:
    """Figures of one method on the training devices and on fresh ones of the same severity.

    Args:
        members: The method's finished records, one per seed.
        stack: Their grids, shape (n_groups, n_seeds, n_devices).
        grid: The grid of one of them.

    Returns:
        ``training_device``, ``fresh_devices`` and ``transfer`` as `Row` has them; empty if no
        record measured its training device, the first alone if the grid lacks its severity or no
        seed has a value on all of its devices.
    """
    having = [i for i, record in enumerate(members) if "training_device" in record]
    if not having:
        return {}
    devices = [members[i]["training_device"] for i in having]
    values = np.array([device["value"] for device in devices], dtype=np.float64)
    measured = np.isfinite(values)
    if not measured.any():
        return {}
    figures = {"training_device": st.one_way(values[measured])}
    for i, group in enumerate(grid.groups):
        same = math.isclose(group[1], devices[0]["severity"], rel_tol=1e-9)
        if group[0] == DEVICE_AXIS and same and grid.levels[group][1] == devices[0]["unit"]:
            fresh = stack[i][having]
            whole = measured & np.isfinite(fresh).all(axis=1)
            if whole.any():
                figures["fresh_devices"] = st.crossed(fresh[whole])
                figures["transfer"] = st.crossed((fresh - values[:, None])[whole])
            break
    return figures


def training_seconds(record: Record) -> float:
    """How long a job trained, in s: a figure of the method, not of what else a machine did.

    Args:
        record: A finished record.

    Returns:
        CPU time, over all threads, where it trained on a CPU alone and its record has it; else the
        time by the clock.
    """
    cost, made = record["cost"], record["provenance"]
    if any("gpu" in part for part in (made.get("arithmetic", {}), *made.get("parts", []))):
        return float(cost["train_seconds"])
    return float(cost.get("train_cpu_seconds", cost["train_seconds"]))


def mean_cost(records: Sequence[Record]) -> dict[str, float | int | None]:
    """Cost of one method's training, means over seeds.

    Args:
        records: The method's finished records.

    Returns:
        Name to mean, None without a record; passes without gradient only where all count them.
    """
    cost: dict[str, float | int | None] = {}
    for name in ("gradient_evaluations", "hardware_queries"):
        cost[name] = _mean([record["cost"][name] for record in records])
    cost["train_seconds"] = _mean([training_seconds(record) for record in records])
    forward = [record["cost"].get("forward_evaluations") for record in records]
    if forward and None not in forward:
        cost["forward_evaluations"] = _mean(forward)
    return cost


def _mean(values: Sequence[Any]) -> float | int | None:
    if not values:
        return None
    return values[0] if len(set(values)) == 1 else sum(values) / len(values)


def with_time_ratios(
    rows: Sequence[Row], members: Mapping[str, Sequence[Record]]
) -> tuple[Row, ...]:
    """Adds training time relative to the reference row, paired by seed.

    The reference is the row labelled ``BP``, else the first of the method ``bp``, else the first
    with a finished job.

    Args:
        rows: The rows of a table, in order.
        members: Label to the finished records.

    Returns:
        The rows; as they were where no job measured a training device or asked for hardware and
        the protocol is one that ranks.
    """
    done = [row for row in rows if row.seeds]
    trained = [record for row in done for record in members[row.method]]
    shown = any(
        "training_device" in record
        or record["cost"].get("hardware_queries")
        or record["protocol"] == PUBLISHED
        for record in trained
    )
    if not shown:
        return tuple(rows)
    reference = next(
        iter(
            [row for row in done if row.method == REFERENCE_LABEL]
            + [row for row in done if row.name == REFERENCE_NAME]
            + done
        )
    ).method
    seconds = {
        label: {r["job"]["seed"]: training_seconds(r) for r in records}
        for label, records in members.items()
    }
    return tuple(
        replace(
            row,
            reference=reference,
            time_ratio=_time_ratio(seconds.get(row.method, {}), seconds[reference])
            if row.method != reference
            else st.Interval(1.0),
        )
        for row in rows
    )


def _time_ratio(own: Mapping[int, float], reference: Mapping[int, float]) -> st.Interval:
    seeds = [seed for seed in own if reference.get(seed, 0.0) > 0.0]
    return st.one_way_log([own[seed] / reference[seed] for seed in seeds])
