"""From records to tables: robust scores, intervals, ranks with ties, correlations.

Scores of one table are comparable by construction: one suite, protocol, workload, tier, data
fingerprint and metric, the same grid and the same devices for every method.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from pnnbench.errors import UserError
from pnnbench.leaderboard import statistics as st
from pnnbench.leaderboard.grid import (
    Grid,
    Record,
    curve_areas,
    device_scores,
    read_grid,
    require_equal,
    worst_mean,
)
from pnnbench.leaderboard.model import PUBLISHED, GroupLine, Row, Table
from pnnbench.leaderboard.transfer import (
    REFERENCE_LABEL,
    device_figures,
    mean_cost,
    training_severity,
    with_time_ratios,
)
from pnnbench.records.store import canonical, record_order

__all__ = ["BASELINE", "CHANCE_MARGIN", "GroupLine", "Row", "Table", "build", "rows"]

CHANCE_MARGIN = 0.05
"""A group in which no method exceeds chance by this much does not tell methods apart."""
SHARPNESS_FIGURES = (
    "lambda_max",
    "lambda_max_calibrated",
    "common_mode",
    "ball_increase",
    "device_increase",
    "train_loss",
)
"""Figures of a record that are correlated with robustness; the others are bounds and settings."""
BASELINE = "bp"
"""Method that the others are compared with; of several, the one labelled ``BP``."""


def _key(record: Record) -> dict[str, str]:
    job, data = record["job"], record["data"]
    return {
        "suite": job["suite"],
        "protocol": record["protocol"],
        "workload": job["workload"],
        "tier": job["tier"],
        "data": data["name"],
        "fingerprint": data["fingerprint"],
        "metric": record["metric"]["name"],
    }


_COARSE = ("suite", "protocol", "workload", "tier")


def _coarse(record: Record) -> tuple[str, ...]:
    job = record["job"]
    return (job["suite"], record["protocol"], job["workload"], job["tier"])


def build(
    records: Sequence[Record], *, expected: Mapping[str, Mapping[str, Sequence[int]]] | None = None
) -> list[Table]:
    """Makes the tables of a set of records.

    Args:
        records: Records as ``read_records`` returns them, failures included.
        expected: Per suite and method label the seeds that were asked for, so that a job without
            any record shows as missing. By default the seeds that occur in the table.

    Returns:
        One table per suite, protocol, workload, tier, data fingerprint and metric.

    Raises:
        UserError: If one table's jobs differ in grid, test devices or training devices, two jobs
            claim the same method and seed, or one label names two methods.
    """
    records = sorted(records, key=record_order)
    done = [record for record in records if record["status"] == "ok"]
    failed = [record for record in records if record["status"] != "ok"]
    tables: dict[bytes, list[Record]] = {}
    for record in done:
        tables.setdefault(canonical(_key(record)), []).append(record)
    result = []
    claimed: set[int] = set()
    for members in tables.values():
        mine = [
            record
            for record in failed
            if _coarse(record) == _coarse(members[0]) and id(record) not in claimed
        ]
        claimed.update(id(record) for record in mine)
        wanted = (expected or {}).get(members[0]["job"]["suite"], {})
        result.append(_table(_key(members[0]), members, mine, wanted))
    alone: dict[tuple[str, ...], list[Record]] = {}
    for record in failed:
        if id(record) not in claimed:
            alone.setdefault(_coarse(record), []).append(record)
    for coarse, members in alone.items():
        key = dict(zip(_COARSE, coarse, strict=True))
        key |= {"data": "none", "fingerprint": "none", "metric": "none"}
        result.append(_table(key, [], members, (expected or {}).get(coarse[0], {})))
    return sorted(result, key=lambda table: tuple(table.key.values()))


def rows(
    records: Sequence[Record], *, expected: Mapping[str, Mapping[str, Sequence[int]]] | None = None
) -> list[Row]:
    """Makes the rows of all tables, best first within each table.

    Args:
        records: As for ``build``.
        expected: As for ``build``.

    Returns:
        The rows of ``build``'s tables, one after another.

    Raises:
        UserError: As ``build``.
    """
    return [row for table in build(records, expected=expected) for row in table.rows]


def _by_label(records: Sequence[Record]) -> dict[str, list[Record]]:
    labels: dict[str, list[Record]] = {}
    for record in records:
        labels.setdefault(record["job"]["method"]["label"], []).append(record)
    for label, members in labels.items():
        kinds = {canonical([r["job"]["method"], r["job"]["epochs_factor"]]) for r in members}
        if len(kinds) > 1:
            raise UserError(
                f"the label {label!r} names {len(kinds)} different methods or settings",
                next_step="give each its own `label:` in the suite file",
            )
        seeds = [r["job"]["seed"] for r in members]
        for seed in seeds:
            if seeds.count(seed) > 1:
                hashes = [r["job"]["hash"] for r in members if r["job"]["seed"] == seed]
                raise UserError(
                    f"{label!r} has {len(hashes)} finished jobs for seed {seed}: "
                    f"{', '.join(hashes)}",
                    next_step="move away those of an older configuration of the suite",
                )
        members.sort(key=lambda r: r["job"]["seed"])
    return labels


def _table(
    key: dict[str, str],
    records: list[Record],
    failed: list[Record],
    expected: Mapping[str, Sequence[int]],
) -> Table:
    labels = _by_label(records)
    grids = {id(record): read_grid(record) for record in records}
    first = grids[id(records[0])] if records else None
    every = [grids[id(record)] for record in records]
    require_equal("perturbation grid", records, [grid.levels for grid in every])
    require_equal("test devices", records, [grid.devices for grid in every])
    require_equal("metric", records, [record["metric"] for record in records])
    training = training_severity(records)
    metric: Record = {"name": "none", "higher_is_better": True}
    if records:
        metric = records[0]["metric"]
    ranked = key["protocol"] != PUBLISHED
    groups = first.groups if first else ()
    devices = first.devices if first else ()
    # values[group, seed, device] per method
    stacks = {
        label: np.stack([grids[id(record)].values for record in members], axis=1)
        for label, members in labels.items()
    }
    informative = [True] * len(groups)
    if metric["name"] == "accuracy" and "chance" in metric:
        bar = metric["chance"] + CHANCE_MARGIN
        informative = [
            any(float(stack[i].mean()) > bar for stack in stacks.values())
            for i in range(len(groups))
        ]
    failures: dict[str, list[Record]] = {}
    for record in failed:
        failures.setdefault(record["job"]["method"]["label"], []).append(record)
    seeds = {record["job"]["seed"] for record in [*records, *failed]}
    jobs: list[tuple[Record, float]] = []
    made = []
    for label in sorted({*labels, *failures, *expected}):
        members = labels.get(label, [])
        bad = failures.get(label, [])
        sample = next(iter([*members, *bad]), None)
        have = tuple(record["job"]["seed"] for record in members)
        wanted = set(expected[label]) if label in expected else seeds
        row: dict[str, Any] = {
            "key": key,
            "method": label,
            "name": sample["job"]["method"]["name"] if sample else label,
            "params": sample["job"]["method"]["params"] if sample else {},
            "epochs_factor": sample["job"]["epochs_factor"] if sample else 1.0,
            "metric": metric,
            "seeds": have,
            "devices": devices if members else (),
            "cost": mean_cost(members),
            "missing": tuple(sorted(wanted - set(have))),
            "failed": tuple(
                {
                    "seed": record["job"]["seed"],
                    "hash": record["job"]["hash"],
                    "status": record["status"],
                    "type": record["error"]["type"],
                    "message": record["error"]["message"],
                }
                for record in sorted(bad, key=lambda r: r["job"]["seed"])
            ),
        }
        if members:
            mine = [grids[id(r)] for r in members]
            row |= _figures(members, stacks[label], mine, informative, ranked=ranked)
            row |= device_figures(members, stacks[label], mine[0])
            scores = row["scores"]
            if scores is not None:
                jobs.extend(zip(members, scores.values.mean(axis=1).tolist(), strict=True))
        made.append(Row(**row))
    ordered = _ranked(made, metric["higher_is_better"]) if ranked else tuple(made)
    return Table(
        key=key,
        rows=with_time_ratios(ordered, labels),
        groups=tuple(
            GroupLine(
                axis=group[0],
                severity=group[1],
                level=first.levels[group][0],
                unit=first.levels[group][1],
                environment=dict(group[2]),
                informative=informative[i],
                methods={
                    # One value for all devices says nothing of their spread.
                    label: st.one_way(stack[i][:, 0]) if first.shared[i] else st.crossed(stack[i])
                    for label, stack in stacks.items()
                },
            )
            for i, group in enumerate(groups)
            if first is not None
        ),
        correlations=_correlations(jobs, metric["higher_is_better"]),
        provenance=_provenance(records),
        training=training,
    )


def _figures(
    members: list[Record],
    stack: st.Array,
    grids: list[Grid],
    informative: list[bool],
    *,
    ranked: bool,
) -> dict[str, Any]:
    better = members[0]["metric"]["higher_is_better"]
    known, worst = [], []
    if ranked:
        per_seed = [device_scores(stack[:, i], informative) for i in range(len(members))]
        known = [scores for scores in per_seed if scores is not None]
        # Groups that all devices share tell none of them from the others.
        own = [use and not shared for use, shared in zip(informative, grids[0].shared, strict=True)]
        per_seed = [device_scores(stack[:, i], own) for i in range(len(members))]
        worst = [scores for scores in per_seed if scores is not None]
    areas = [
        curve_areas(grid, record["clean"]) for grid, record in zip(grids, members, strict=True)
    ]
    scores = None
    if known:
        seeds = tuple(record["job"]["seed"] for record in members)
        scores = st.Scores(seeds, grids[0].devices, np.stack(known))
    return {
        "clean": st.one_way([record["clean"] for record in members]),
        "robust": st.crossed(scores.values) if scores else st.NOTHING,
        "worst_decile": st.one_way([worst_mean(values, better) for values in worst]),
        "lambda_max": st.one_way_log([record["sharpness"]["lambda_max"] for record in members]),
        "auc": {axis: st.crossed(np.stack([area[axis] for area in areas])) for axis in areas[0]},
        "scores": scores,
    }


def _ranked(made: list[Row], higher_is_better: bool) -> tuple[Row, ...]:
    ranks = st.rank_with_ties([row.scores for row in made], higher_is_better=higher_is_better)
    candidates = [
        row for row in made if row.name == BASELINE and row.epochs_factor == 1.0 and row.scores
    ]
    if len(candidates) > 1:
        candidates = [row for row in candidates if row.method == REFERENCE_LABEL]
    baseline = candidates[0] if candidates else None
    result = []
    for row, rank in zip(made, ranks, strict=True):
        changes: dict[str, Any] = {"rank": rank}
        if baseline is not None and baseline.scores is not None:
            changes["baseline"] = baseline.method
            if row.scores is not None:
                changes["difference"] = st.paired_difference(row.scores, baseline.scores)
        if row.scores is not None:
            changes["tied_with"] = tuple(
                other.method
                for other in made
                if other is not row
                and other.scores is not None
                and _tied(st.paired_difference(row.scores, other.scores))
            )
        result.append(replace(row, **changes))
    sign = -1.0 if higher_is_better else 1.0
    return tuple(
        sorted(
            result,
            key=lambda row: (
                row.robust.mean is None,
                row.rank or 0,
                sign * (row.robust.mean or 0.0),
                row.method,
            ),
        )
    )


def _tied(difference: st.Interval) -> bool:
    if difference.low is None or difference.high is None:
        return True
    return difference.low <= 0.0 <= difference.high


def _correlations(
    jobs: list[tuple[Record, float]], higher_is_better: bool
) -> dict[str, dict[str, Any]]:
    figures: dict[str, list[tuple[float, float]]] = {}
    for record, score in jobs:
        goodness = score if higher_is_better else -score
        for name in SHARPNESS_FIGURES:
            value = record["sharpness"].get(name)
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


def _provenance(records: Sequence[Record]) -> dict[str, Any]:
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
        result["train_seconds"] = sum(r["cost"]["train_seconds"] for r in records)
    result["jobs"] = len(records)
    return result
