"""Several training devices of one row and seed: one record that is their mean.

Rows in situ may train on several devices at each seed. What the row is worth at the seed is the
mean over them, figure by figure; everything after that sees one record a seed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pnnbench.leaderboard.grid import Record, places_of, require_equal

#: Figures of sharpness that mark a record: a mark of one device marks the mean.
_MARKS = {"at_guessing": max, "is_minimum": min}
#: Parts that are lists of entries with a name of their own.
_NAMED = {"deployments": "name", "earlier": "share"}
#: Parts that are figures, or hold some.
_FIGURES = ("clean", "cells", "training_device", "sharpness", "extra", "cost")
#: What names something, in whatever part: a mean of it has no meaning.
_NAMES = ("seed", "device_seed")


def mean_record(records: Sequence[Record]) -> Record:
    """The mean of a row's records at one seed, which differ in their training device.

    Args:
        records: Finished records of one row and seed, at least one, oldest first.

    Returns:
        The record itself if there is only one. Otherwise the newest with each figure the mean over
        all of them; a figure that one of them has not is missing (a cell is null). The seed of the
        training device is null, outcomes and parameters of one device are left out.

    Raises:
        UserError: If the records differ in their cells.
    """
    newest = records[-1]
    if len(records) == 1:
        return newest
    places = [places_of(record["cells"]) for record in records]
    require_equal("cells", records, places)
    left_out = ("outcomes", "parameters", "curves", *_FIGURES, *_NAMED)
    found = {key: value for key, value in newest.items() if key not in left_out}
    for part in _FIGURES:
        if all(part in record for record in records):
            found[part] = _mean([record[part] for record in records])
    for part, name in _NAMED.items():
        entries = [{entry[name]: entry for entry in r.get(part, [])} for r in records]
        shared = [key for key in entries[-1] if all(key in mine for mine in entries)]
        if shared:
            found[part] = [_mean([mine[key] for mine in entries]) for key in shared]
    for mark, worst in _MARKS.items():
        given = [r["sharpness"][mark] for r in records if mark in r.get("sharpness", {})]
        if given:
            found["sharpness"][mark] = worst(given)
    if "training_device" in found:
        found["training_device"]["seed"] = None
    job = newest["job"]
    found["job"] = {**job, "seeds": {**job["seeds"], "train_device": None}}
    return found


def _mean(values: Sequence[Any]) -> Any:
    """The mean of numbers; of mappings and lists, that of each entry which all of them have."""
    first = values[0]
    if all(isinstance(value, Mapping) for value in values):
        shared = [key for key in first if all(key in value for value in values)]
        return {
            key: first[key] if key in _NAMES else _mean([value[key] for value in values])
            for key in shared
        }
    if all(isinstance(value, list) for value in values):
        same = len({len(value) for value in values}) == 1
        return [_mean(entries) for entries in zip(*values, strict=True)] if same else first
    if any(value is None for value in values):
        return None
    if all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values):
        return first if len(set(values)) == 1 else sum(values) / len(values)
    return first
