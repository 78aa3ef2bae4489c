"""The figures of one row, from its own records alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pnnbench.leaderboard import statistics as st
from pnnbench.leaderboard.choice import GUESSES
from pnnbench.leaderboard.deployments import deployment_of
from pnnbench.leaderboard.grid import Grid, Record, curve_areas, guessing, revision_of
from pnnbench.leaderboard.knowledge import knows
from pnnbench.leaderboard.model import EXTRAS, GroupLine
from pnnbench.leaderboard.score import worst_mean
from pnnbench.leaderboard.sharpness import AT_GUESSING, incomparable
from pnnbench.leaderboard.transfer import mean_cost
from pnnbench.records.index import Jobs


def described(
    key: dict[str, str],
    label: str,
    members: Sequence[Record],
    bad: Sequence[Record],
    lacking: Sequence[Record],
    metric: Record,
    asked: Mapping[int, Jobs],
) -> dict[str, Any]:
    """What a row is, before any figure of its score.

    Args:
        key: That of the table.
        label: Label of the method.
        members: Its finished records, one per seed.
        bad: Its failed records of other seeds.
        lacking: Its finished records without the deployment of the table.
        metric: Metric of the table.
        asked: Seeds that the suite consists of, to hashes.

    Returns:
        Arguments of `Row`.
    """
    every = [*members, *lacking, *bad]
    sample = next(iter(every), None)
    have = tuple(record["job"]["seed"] for record in members)
    wanted = {*asked, *(record["job"]["seed"] for record in [*lacking, *bad])}
    cells = [_deployed_cells(record, key["deployment"]) for record in members]
    extra = [record.get("extra", {}) for record in members if revision_of(record) > 1]
    return {
        "key": key,
        "method": label,
        "name": sample["job"]["method"]["name"] if sample else label,
        "params": sample["job"]["method"]["params"] if sample else {},
        "epochs_factor": sample["job"]["epochs_factor"] if sample else 1.0,
        "metric": metric,
        "seeds": have,
        "knows": knows(every),
        "cost": mean_cost(members or lacking),
        "extra": {
            name: st.one_way([entry[name] for entry in extra if name in entry])
            for name in EXTRAS
            if any(name in entry for entry in extra)
        },
        "calibration": _calibration(members, key["deployment"]),
        "missing": tuple(sorted(wanted - set(have))),
        "without_value": sum(value is None and counts for mine in cells for value, counts in mine),
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


def _deployed_cells(record: Record, deployment: str) -> list[tuple[float | None, bool]]:
    """Value and whether it counts, of each cell."""
    counts = [cell.get("counts", True) for cell in record["cells"]]
    frozen = [cell["value"] for cell in record["cells"]]
    step = deployment_of(record, deployment)
    return list(zip(step.get("values", frozen), step.get("counts", counts), strict=True))


def _calibration(members: Sequence[Record], deployment: str) -> dict[str, float]:
    """What the step on each device takes: images and queries, means over seeds."""
    steps = [deployment_of(record, deployment) for record in members]
    return {
        name: float(np.mean([step[name] for step in steps]))
        for name in ("images", "queries")
        if steps and all(name in step for step in steps)
    }


def group_lines(
    grid: Grid,
    stacks: Mapping[str, st.Array],
    also: Mapping[str, Mapping[str, st.Array]],
) -> tuple[GroupLine, ...]:
    """The conditions of a grid with the figures of every method.

    Args:
        grid: The grid of one job.
        stacks: Label to values, shape (n_groups, n_seeds, n_devices).
        also: Name of each figure beside the metric to the same of its own.

    Returns:
        One line per condition, by axis and level.
    """

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
            nominal=grid.nominal_of(group[0]),
            also={
                name: {label: interval(s[i], grid.shared[i]) for label, s in rows.items()}
                for name, rows in also.items()
            },
        )
        for i, group in enumerate(grid.groups)
    )


def _scores(
    members: Sequence[Record],
    found: Sequence[st.Array | None],
    devices: tuple[int | None, ...],
    bad: Sequence[Record],
) -> st.Scores | None:
    """Scores per seed and device; seeds that failed at their own hand count as guessing."""
    rows = [
        (record["job"]["seed"], scores)
        for record, scores in zip(members, found, strict=True)
        if scores is not None
    ]
    if not rows:
        return None
    guess = guessing(members[0]["metric"], np.concatenate([v for _, v in rows]).tolist())
    if math.isfinite(guess):
        rows += [
            (r["job"]["seed"], np.full_like(rows[0][1], guess))
            for r in bad
            if r["status"] in GUESSES
        ]
    rows.sort(key=lambda pair: pair[0])
    return st.Scores(tuple(s for s, _ in rows), devices, np.stack([v for _, v in rows]))


def figures(
    members: Sequence[Record], grids: Sequence[Grid], bad: Sequence[Record], *, ranked: bool
) -> dict[str, Any]:
    """The figures of a row over seeds and devices.

    Args:
        members: Its finished records, one per seed.
        grids: Their grids.
        bad: Its failed records of other seeds.
        ranked: Whether the protocol ranks; without ranks there are no scores.

    Returns:
        Arguments of `Row`.
    """
    metric, grid = members[0]["metric"], grids[0]
    guess = guessing(metric, [record["clean"] for record in members])
    scores = worst = None
    if ranked:
        scores = _scores(members, [g.scores for g in grids], grid.devices, bad)
        worst = _scores(members, [g.worst_scores for g in grids], grid.devices, bad)
    clean = [guess if record["clean"] is None else record["clean"] for record in members]
    areas = [curve_areas(g, value) for g, value in zip(grids, clean, strict=True)]
    sharpness = {
        record["job"]["seed"]: figures
        for record in members
        if "lambda_max" in (figures := record.get("sharpness", {}))
    }
    marks = {seed: why for seed, s in sharpness.items() if (why := incomparable(s))}
    # A network that learnt nothing is flat, and that says nothing.
    learnt = {
        seed: float(s["lambda_max"])
        for seed, s in sharpness.items()
        if marks.get(seed) != AT_GUESSING
    }
    scored = set(scores.seeds) if scores else set()
    return {
        "devices": grid.devices,
        "clean": st.one_way([value for value in clean if math.isfinite(value)]),
        "robust": st.crossed(scores.values) if scores else st.NOTHING,
        "worst_decile": st.one_way(
            [worst_mean(values, metric["higher_is_better"]) for values in worst.values]
            if worst
            else []
        ),
        "lambda_max": st.one_way_log(list(learnt.values())),
        "eigenvalues": {seed: value for seed, value in learnt.items() if seed not in marks},
        "marks": marks,
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
