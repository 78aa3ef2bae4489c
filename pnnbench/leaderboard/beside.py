"""Figures beside the metric: PSNR and SSIM beside an error, KID, precision and recall beside a FID.

They are measured in the same cells as the metric and order nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pnnbench.errors import UserError
from pnnbench.leaderboard import statistics as st
from pnnbench.leaderboard.deployments import FROZEN, deployment_of
from pnnbench.leaderboard.grid import Grid, Record, places_of
from pnnbench.leaderboard.score import device_scores
from pnnbench.records.figure_names import parsed

Columns = dict[str, st.Array]
"""Name of a figure to its values, shape (n_groups, n_devices); not a number where there is none."""


@dataclass(frozen=True)
class Beside:
    """A figure beside the metric, of one row.

    Attributes:
        clean: On the ideal device, over seeds.
        robust: Over the conditions that count, weighted as the metric's are, over seeds and
            devices. Seeds at which a cell that counts has no value are left out: there is no
            guessing that could stand for it.
        seeds: Seeds that enter ``robust``.
    """

    clean: st.Interval
    robust: st.Interval
    seeds: tuple[int, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Returns the figure as plain JSON types."""
        return {
            "clean": self.clean.as_dict(),
            "robust": self.robust.as_dict(),
            "seeds": list(self.seeds),
        }


def columns(record: Record, grid: Grid, deployment: str = FROZEN) -> Columns:
    """The figures beside the metric in every cell of a record.

    Args:
        record: A finished record.
        grid: Its grid in that deployment.
        deployment: Which values: those of the network as trained, or of a deployment that the
            record has.

    Returns:
        Values by group and device of the grid, names in the order of the record; empty where the
        record has none.

    Raises:
        UserError: If the deployment has not one entry for each cell.
    """
    cells = record["cells"]
    if deployment == FROZEN:
        also = [cell.get("also", {}) for cell in cells]
    else:
        also = deployment_of(record, deployment).get("also", [])
    if not any(also):
        return {}
    if len(also) != len(cells):
        raise UserError(
            f"job {record['job']['hash']}: figures of {len(also)} cells beside the metric of "
            f"{len(cells)}, deployment {deployment!r}",
            next_step="evaluate the job again",
        )
    names = dict.fromkeys(record.get("also", {})) | {n: None for one in also for n in one}
    rows = {group: i for i, group in enumerate(grid.groups)}
    places: dict[int | None, int | slice] = {d: j for j, d in enumerate(grid.devices)}
    places.setdefault(None, slice(None))
    at = [(rows[group], places[device]) for group, device in places_of(cells)]
    made: Columns = {}
    for name in names:
        made[name] = np.full((len(grid.groups), len(grid.devices)), math.nan)
        for place, values in zip(at, also, strict=True):
            made[name][place] = values.get(name, math.nan)
    return made


def as_metric(record: Record, name: str) -> Record:
    """A record whose metric is one of the figures beside it; guessing has no level there.

    Args:
        record: A finished record; it stays as it is.
        name: Name of the figure.

    Returns:
        The record with that figure in the place of the metric, None where it has no value.
    """

    def seen(part: Mapping[str, Any], key: str = "value") -> dict[str, Any]:
        return {**part, key: part.get("also", {}).get(name)}

    made = {
        **seen(record, "clean"),
        "metric": {"name": name, "higher_is_better": bool(parsed(name).higher_is_better)},
        "cells": [seen(cell) for cell in record["cells"]],
    }
    if "training_device" in record:
        made["training_device"] = seen(record["training_device"])
    if "deployments" in record:
        made["deployments"] = [
            {
                **step,
                "values": [one.get(name) for one in step.get("also") or [{}] * len(step["values"])],
            }
            for step in record["deployments"]
        ]
    return made


def figures_at(
    record: Record, place: tuple[str, float, float, int | None], deployment: str = FROZEN
) -> dict[str, float]:
    """The metric and the figures beside it in one cell of a record.

    Args:
        record: A finished record.
        place: Axis, level, severity and device of the cell.
        deployment: Which values.

    Returns:
        Name to value, the metric first; empty where the record has no such cell or no value in it.
    """
    keys = ("axis", "level", "severity", "device_seed")
    found = [i for i, cell in enumerate(record["cells"]) if tuple(cell[k] for k in keys) == place]
    if len(found) != 1:
        return {}
    cell = record["cells"][found[0]]
    value, also = cell["value"], cell.get("also", {})
    if deployment != FROZEN:
        step = deployment_of(record, deployment)
        value = step["values"][found[0]]
        also = step["also"][found[0]] if "also" in step else {}
    return {} if value is None else {record["metric"]["name"]: value, **also}


def figures_beside(
    members: Sequence[Record], grids: Sequence[Grid], found: Sequence[Columns]
) -> dict[str, Beside]:
    """The figures beside the metric of one row.

    Args:
        members: Its finished records, one per seed.
        grids: Their grids.
        found: What `columns` gave of each.

    Returns:
        Name to figure.
    """
    names = dict.fromkeys(name for mine in found for name in mine)
    return {name: _beside(name, members, grids, found) for name in names}


def _beside(
    name: str, members: Sequence[Record], grids: Sequence[Grid], found: Sequence[Columns]
) -> Beside:
    clean = [record["also"][name] for record in members if name in record.get("also", {})]
    scores = {
        record["job"]["seed"]: score
        for record, grid, mine in zip(members, grids, found, strict=True)
        if name in mine and (score := device_scores(mine[name], grid.weights)) is not None
    }
    robust = st.crossed(np.stack(list(scores.values()))) if scores else st.NOTHING
    return Beside(st.one_way(clean), robust, tuple(scores))


def stacked(found: Mapping[str, Sequence[Columns]]) -> dict[str, dict[str, st.Array]]:
    """Values of all rows, by figure and then by row.

    Args:
        found: Label of each row to what `columns` gave of its records.

    Returns:
        Name to label to shape (n_groups, n_seeds, n_devices); a row without the figure is left out,
        a record without it is not a number.
    """
    names = dict.fromkeys(name for mine in found.values() for one in mine for name in one)
    made: dict[str, dict[str, st.Array]] = {}
    for name in names:
        rows = {label: mine for label, mine in found.items() if any(name in one for one in mine)}
        made[name] = {
            label: np.stack([one.get(name, _nothing(mine, name)) for one in mine], axis=1)
            for label, mine in rows.items()
        }
    return made


def _nothing(mine: Sequence[Columns], name: str) -> st.Array:
    return np.full_like(next(one[name] for one in mine if name in one), math.nan)
