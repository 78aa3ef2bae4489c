"""The same runs after a share of their steps: whether the order of a board stands."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pnnbench.errors import UserError
from pnnbench.leaderboard import statistics as st
from pnnbench.leaderboard.grid import (
    Grid,
    Group,
    Record,
    arrange,
    counted_cells,
    guessing,
    places_of,
    require_equal,
    revision_of,
)

WHOLE = 1.0
"""Share of the steps of a run that is at its end."""


@dataclass(frozen=True)
class Stage:
    """One row after a share of its steps, measured on a small part of the cells.

    Attributes:
        share: Share of the steps, in (0, 1].
        steps: Steps taken, mean over seeds; None at the end of the run.
        clean: On the ideal device, over the seeds that were measured.
        score: Robust score on the small part of the cells, over those seeds, on the same few
            devices: two devices tell nothing of their spread.
    """

    share: float
    steps: float | None
    clean: st.Interval
    score: st.Interval

    def as_dict(self) -> dict[str, Any]:
        """Returns the stage as plain JSON types."""
        return {
            "share": self.share,
            "steps": self.steps,
            "clean": self.clean.as_dict(),
            "score": self.score.as_dict(),
        }


def _places(cells: Sequence[Mapping[str, Any]]) -> dict[tuple[Group, int | None], Any]:
    return dict(zip(places_of(cells), cells, strict=True))


def _small_grids(record: Record) -> dict[float, Grid]:
    """Share of the steps to the grid on the small part of the cells, the end of the run included.

    Raises:
        UserError: If a share has other cells than the others, or one that the record lacks.
    """
    whole, where = _places(counted_cells(record)), f"job {record['job']['hash']}"
    small = [_places(entry["cells"]) for entry in record["earlier"]]
    if any(part.keys() != small[0].keys() for part in small) or small[0].keys() - whole.keys():
        raise UserError(
            f"{where}: its measurements after a share of its steps are on other cells",
            allowed="the same cells at every share, each of them one of the whole grid",
            next_step="run the job again",
        )
    parts = [(entry["share"], part) for entry, part in zip(record["earlier"], small, strict=True)]
    parts.append((WHOLE, {place: whole[place] for place in small[0]}))
    return {
        float(share): arrange(
            [{**whole[place], "value": cell["value"]} for place, cell in part.items()],
            guess=guessing(record["metric"], [cell["value"] for cell in part.values()]),
            revision=revision_of(record),
            where=where,
        )
        for share, part in parts
    }


def stages(members: Sequence[Record]) -> tuple[Stage, ...]:
    """One row after shares of its steps and at their end, on the same small part of the cells.

    Args:
        members: The method's finished records, one per seed.

    Returns:
        By share, over the seeds that were measured earlier; empty where there are none. Every share
        is one that all of these seeds have. A score is missing where nothing of the part counts or
        a seed has no value there.

    Raises:
        UserError: If the cells of a record differ between shares.
    """
    having = [record for record in members if record.get("earlier")]
    if not having:
        return ()
    grids = [_small_grids(record) for record in having]
    shared = set.intersection(*(set(mine) for mine in grids))
    made = []
    for share in sorted(shared):
        scores = [mine[share].scores for mine in grids]
        defined = [values for values in scores if values is not None]
        whole = len(defined) == len(scores)
        at = [_at(record, share) for record in having]
        guess = guessing(having[0]["metric"], [c for c, _ in at])
        clean = [guess if c is None else c for c, _ in at]
        steps = [count for _, count in at if count is not None]
        made.append(
            Stage(
                share=share,
                steps=float(np.mean(steps)) if steps else None,
                clean=st.one_way([value for value in clean if np.isfinite(value)]),
                score=st.one_way(np.stack(defined).mean(axis=1)) if whole else st.NOTHING,
            )
        )
    return tuple(made)


def _at(record: Record, share: float) -> tuple[float | None, int | None]:
    """Clean metric and steps of a record at a share of its steps."""
    for entry in record["earlier"]:
        if float(entry["share"]) == share:
            return entry["clean"], entry["steps"]
    return record["clean"], None


def small_part(records: Sequence[Record]) -> dict[str, Any] | None:
    """The small part of the cells that a table's rows were measured on earlier.

    Args:
        records: The finished records of a table; those without earlier measurements are left out.

    Returns:
        ``cells`` that count, ``seeds`` and ``shares`` (below 1); None if there are none.

    Raises:
        UserError: If the records differ in these cells.
    """
    having = [record for record in records if record.get("earlier")]
    if not having:
        return None
    parts = [_places(record["earlier"][0]["cells"]).keys() for record in having]
    require_equal("cells measured after a share of the steps", having, parts)
    counted = _places(counted_cells(having[0]))
    return {
        "cells": sum(counted[place]["counts"] for place in parts[0] if place in counted),
        "seeds": sorted({record["job"]["seed"] for record in having}),
        "shares": sorted({float(e["share"]) for record in having for e in record["earlier"]}),
    }


def order_changes(rows: Sequence[Sequence[Stage]], share: float) -> tuple[int, int]:
    """How many pairs of rows stand in another order at a share of the steps than at the end.

    Args:
        rows: The stages of each row.
        share: The share, below 1.

    Returns:
        The pairs that change and all pairs that have scores at both. A pair with equal scores at
        one of them does not change.
    """
    pairs = [
        (early.score.mean, late.score.mean)
        for mine in rows
        if (early := _stage(mine, share)) and (late := _stage(mine, WHOLE))
        if early.score.mean is not None and late.score.mean is not None
    ]
    changed = sum((a[0] - b[0]) * (a[1] - b[1]) < 0.0 for a, b in itertools.combinations(pairs, 2))
    return changed, len(pairs) * (len(pairs) - 1) // 2


def _stage(mine: Sequence[Stage], share: float) -> Stage | None:
    return next((stage for stage in mine if stage.share == share), None)
