"""From records to tables: robust scores, intervals, ranks with ties, correlations.

Scores of one table are comparable by construction: one suite, protocol, workload, tier, data
fingerprint and metric, the same grid and the same devices for every method.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from pnnbench.leaderboard import statistics as st
from pnnbench.leaderboard.choice import GUESSES, Board, Current, choose
from pnnbench.leaderboard.grid import (
    Grid,
    Record,
    curve_areas,
    device_scores,
    guessing,
    read_grid,
    require_equal,
    revision_of,
    worst_mean,
)
from pnnbench.leaderboard.model import PUBLISHED, GroupLine, Row, Table
from pnnbench.leaderboard.summary import correlations, provenance
from pnnbench.leaderboard.transfer import (
    REFERENCE_LABEL,
    device_figures,
    mean_cost,
    training_severity,
    with_time_ratios,
)
from pnnbench.records.store import canonical, record_order

__all__ = ["BASELINE", "GroupLine", "Row", "Table", "build", "rows"]

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
        "revision": str(revision_of(record)),
    }


_COARSE = ("suite", "protocol", "workload", "tier")


def _coarse(record: Record) -> Board:
    job = record["job"]
    return (job["suite"], record["protocol"], job["workload"], job["tier"])


def build(
    records: Sequence[Record], *, current: Mapping[Board, Current] | None = None
) -> list[Table]:
    """Makes the tables of a set of records.

    Args:
        records: Records as ``read_records`` returns them, failures included.
        current: Per board (suite, protocol, workload, tier) the jobs it consists of, as
            ``read_index`` gives them: of a board named here no others count, and those without a
            record show as missing. Elsewhere the newest job of each row and seed counts.

    Returns:
        One table per suite, protocol, workload, tier, data fingerprint and metric. The figures of
        a row depend on its own records alone.

    Raises:
        UserError: If one table's jobs differ in grid, test devices or training devices.
    """
    coarse: dict[Board, list[Record]] = {}
    for record in sorted(records, key=record_order):
        coarse.setdefault(_coarse(record), []).append(record)
    result = []
    for key, members in coarse.items():
        wanted = (current or {}).get(key)
        tables: dict[bytes, list[Record]] = {}
        for record in members:
            if record["status"] == "ok":
                tables.setdefault(canonical(_key(record)), []).append(record)
        failed: dict[int, list[Record]] = {}
        for record in members:
            if record["status"] != "ok":
                failed.setdefault(revision_of(record), []).append(record)
        for done in tables.values():
            bad = failed.pop(revision_of(done[0]), [])
            result.append(_table(_key(done[0]), [*done, *bad], wanted))
        for revision, bad in failed.items():
            nothing = {"data": "none", "fingerprint": "none", "metric": "none"}
            nothing["revision"] = str(revision)
            result.append(_table(dict(zip(_COARSE, key, strict=True)) | nothing, bad, wanted))
    return sorted(result, key=lambda table: tuple(table.key.values()))


def rows(records: Sequence[Record], *, current: Mapping[Board, Current] | None = None) -> list[Row]:
    """Makes the rows of all tables, best first within each table.

    Args:
        records: As for ``build``.
        current: As for ``build``.

    Returns:
        The rows of ``build``'s tables, one after another.

    Raises:
        UserError: As ``build``.
    """
    return [row for table in build(records, current=current) for row in table.rows]


def _table(key: dict[str, str], records: list[Record], current: Current | None) -> Table:
    chosen = choose(records, current)
    labels = chosen.finished
    done = [record for members in labels.values() for record in members]
    grids = {id(record): read_grid(record) for record in done}
    every = [grids[id(record)] for record in done]
    first = every[0] if every else None
    require_equal("perturbation grid", done, [grid.levels for grid in every])
    require_equal("test devices", done, [grid.devices for grid in every])
    require_equal("weights of the cells", done, [grid.weights for grid in every])
    require_equal("metric", done, [record["metric"] for record in done])
    training = training_severity(done)
    metric: Record = done[0]["metric"] if done else {"name": "none", "higher_is_better": True}
    ranked = key["protocol"] != PUBLISHED
    # values[group, seed, device] per method
    stacks = {
        label: np.stack([grids[id(record)].values for record in members], axis=1)
        for label, members in labels.items()
    }
    jobs: list[tuple[Record, float]] = []
    made = []
    for label in sorted({*labels, *chosen.failed, *(current or {})}):
        members = labels.get(label, [])
        bad = chosen.failed.get(label, [])
        row = _described(key, label, members, bad, metric, (current or {}).get(label, {}))
        if members:
            mine = [grids[id(r)] for r in members]
            row |= _figures(members, stacks[label], mine, bad, ranked=ranked)
            row |= device_figures(members, stacks[label], mine[0])
            scores = row["scores"]
            if scores is not None:
                by_seed = dict(zip(scores.seeds, scores.values.mean(axis=1).tolist(), strict=True))
                jobs += [
                    (r, by_seed[r["job"]["seed"]]) for r in members if r["job"]["seed"] in by_seed
                ]
        made.append(Row(**row))
    ordered = _ranked(made, metric["higher_is_better"]) if ranked else tuple(made)
    return Table(
        key=key,
        rows=with_time_ratios(ordered, labels),
        groups=_group_lines(first, stacks) if first else (),
        correlations=correlations(jobs, metric["higher_is_better"]),
        provenance=provenance(done),
        training=training,
        older=tuple(
            {
                "method": record["job"]["method"]["label"],
                "seed": record["job"]["seed"],
                "hash": record["job"]["hash"],
                "status": record["status"],
                "finished": str(record["provenance"].get("finished", "")),
            }
            for record in chosen.older
        ),
    )


def _described(
    key: dict[str, str],
    label: str,
    members: list[Record],
    bad: list[Record],
    metric: Record,
    asked: Mapping[int, str],
) -> dict[str, Any]:
    """What a row is, before any figure."""
    sample = next(iter([*members, *bad]), None)
    have = tuple(record["job"]["seed"] for record in members)
    wanted = {*asked, *(record["job"]["seed"] for record in bad)}
    return {
        "key": key,
        "method": label,
        "name": sample["job"]["method"]["name"] if sample else label,
        "params": sample["job"]["method"]["params"] if sample else {},
        "epochs_factor": sample["job"]["epochs_factor"] if sample else 1.0,
        "metric": metric,
        "seeds": have,
        "devices": read_grid(members[0]).devices if members else (),
        "cost": mean_cost(members),
        "missing": tuple(sorted(wanted - set(have))),
        "without_value": sum(
            cell["value"] is None and cell.get("counts", True)
            for record in members
            for cell in record["cells"]
        ),
        "failed": tuple(
            {
                "seed": record["job"]["seed"],
                "hash": record["job"]["hash"],
                "status": record["status"],
                "type": record["error"]["type"],
                "message": record["error"]["message"],
            }
            for record in bad
        ),
    }


def _group_lines(grid: Grid, stacks: Mapping[str, st.Array]) -> tuple[GroupLine, ...]:
    def interval(values: st.Array, shared: bool) -> st.Interval:
        values = values[np.isfinite(values).all(axis=1)]  # seeds at which the group is defined
        if not len(values):
            return st.NOTHING
        # One value for all devices says nothing of their spread.
        return st.one_way(values[:, 0]) if shared else st.crossed(values)

    return tuple(
        GroupLine(
            axis=group[0],
            severity=group[1],
            level=grid.levels[group][0],
            unit=grid.levels[group][1],
            environment=dict(group[2]),
            counted=grid.counted[i],
            methods={label: interval(s[i], grid.shared[i]) for label, s in stacks.items()},
        )
        for i, group in enumerate(grid.groups)
    )


def _scores(
    members: list[Record], stack: st.Array, weights: Sequence[float], bad: list[Record]
) -> st.Scores | None:
    """Scores per seed and device; seeds that failed at their own hand count as guessing."""
    found = [
        (record["job"]["seed"], scores)
        for i, record in enumerate(members)
        if (scores := device_scores(stack[:, i], weights)) is not None
    ]
    if not found:
        return None
    guess = guessing(members[0]["metric"])
    if math.isfinite(guess):
        found += [
            (r["job"]["seed"], np.full_like(found[0][1], guess))
            for r in bad
            if r["status"] in GUESSES
        ]
    found.sort(key=lambda pair: pair[0])
    devices = read_grid(members[0]).devices
    return st.Scores(tuple(s for s, _ in found), devices, np.stack([v for _, v in found]))


def _figures(
    members: list[Record], stack: st.Array, grids: list[Grid], bad: list[Record], *, ranked: bool
) -> dict[str, Any]:
    metric, grid = members[0]["metric"], grids[0]
    guess = guessing(metric)
    scores = worst = None
    if ranked:
        scores = _scores(members, stack, grid.weights, bad)
        worst = _scores(members, stack, grid.worst_weights, bad)
    clean = [guess if record["clean"] is None else record["clean"] for record in members]
    areas = [curve_areas(g, value) for g, value in zip(grids, clean, strict=True)]
    # A network that learnt nothing is flat, and that says nothing.
    eigenvalues = {
        record["job"]["seed"]: float(sharpness["lambda_max"])
        for record in members
        if "lambda_max" in (sharpness := record.get("sharpness", {}))
        and not sharpness.get("at_guessing")
    }
    scored = set(scores.seeds) if scores else set()
    return {
        "clean": st.one_way([value for value in clean if math.isfinite(value)]),
        "robust": st.crossed(scores.values) if scores else st.NOTHING,
        "worst_decile": st.one_way(
            [worst_mean(values, metric["higher_is_better"]) for values in worst.values]
            if worst
            else []
        ),
        "lambda_max": st.one_way_log(list(eigenvalues.values())),
        "eigenvalues": eigenvalues,
        "auc": {
            axis: st.crossed(np.stack(whole))
            for axis in areas[0]
            if (whole := [a[axis] for a in areas if bool(np.isfinite(a[axis]).all())])
        },
        "scores": scores,
        "undefined": tuple(r["job"]["seed"] for r in members if r["job"]["seed"] not in scored)
        if ranked and any(grid.counted)
        else (),
    }


def _ranked(made: list[Row], higher_is_better: bool) -> tuple[Row, ...]:
    whole = [row for row in made if row.complete and row.scores is not None]
    ranks = dict(
        zip(
            [row.method for row in whole],
            st.rank_with_ties([row.scores for row in whole], higher_is_better=higher_is_better),
            strict=True,
        )
    )
    candidates = [
        row for row in made if row.name == BASELINE and row.epochs_factor == 1.0 and row.scores
    ]
    if len(candidates) > 1:
        candidates = [row for row in candidates if row.method == REFERENCE_LABEL]
    baseline = candidates[0] if candidates else None
    result = []
    for row in made:
        changes: dict[str, Any] = {"rank": ranks.get(row.method)}
        if baseline is not None and baseline.scores is not None:
            changes["baseline"] = baseline.method
            if row.scores is not None:
                changes["difference"] = st.paired_difference(row.scores, baseline.scores)
        if row.method in ranks and row.scores is not None:
            changes["tied_with"] = tuple(
                other.method
                for other in whole
                if other is not row
                and other.scores is not None
                and _tied(st.paired_difference(row.scores, other.scores))
            )
        result.append(replace(row, **changes))
    sign = -1.0 if higher_is_better else 1.0
    # By score, never by how many others are worse: a third row would turn the order of two.
    return tuple(
        sorted(
            result,
            key=lambda row: (
                not row.complete,
                row.robust.mean is None,
                sign * (row.robust.mean or 0.0),
                row.method,
            ),
        )
    )


def _tied(difference: st.Interval) -> bool:
    if difference.low is None or difference.high is None:
        return True
    return difference.low <= 0.0 <= difference.high
