"""Figures of a record against what their metrics can be, and against each other.

A reading is a value of the metric with the figures beside it: on the ideal device, in a cell, on
the training device, after a step on each device, or early in the training.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pnnbench.records.checks import fail
from pnnbench.records.figure_names import parsed

#: Decibels by which single precision may move PSNR against the mean squared error.
_ROUNDING_DB = 0.01


@dataclass(frozen=True)
class Readings:
    """Some readings of one kind.

    Attributes:
        where: Where the values stand, with ``{}`` for the number of one of several.
        beside: The same of the figures beside them.
        values: The values of the metric; None where there is none.
        also: The figures beside each, by name.
    """

    where: str
    beside: str
    values: Sequence[float | None]
    also: Sequence[Mapping[str, float]]


def readings_of(record: Mapping[str, Any]) -> Iterator[Readings]:
    """All readings of a record.

    Args:
        record: A finished record whose shape is checked.
    """
    yield _one("", "clean", record)
    yield _cells("cells", record["cells"])
    if "training_device" in record:
        yield _one("training_device.", "value", record["training_device"])
    for i, step in enumerate(record.get("deployments", [])):
        where = f"deployments[{i}]"
        also = step.get("also", ())
        yield Readings(f"{where}.values[{{}}]", f"{where}.also[{{}}]", step["values"], also)
    for i, moment in enumerate(record.get("earlier", [])):
        yield _one(f"earlier[{i}].", "clean", moment)
        yield _cells(f"earlier[{i}].cells", moment["cells"])


def _one(where: str, key: str, holder: Mapping[str, Any]) -> Readings:
    return Readings(where + key, f"{where}also", [holder[key]], [holder.get("also", {})])


def _cells(where: str, cells: Sequence[Mapping[str, Any]]) -> Readings:
    values = [cell["value"] for cell in cells]
    also = [cell.get("also", {}) for cell in cells] if any("also" in c for c in cells) else []
    return Readings(f"{where}[{{}}].value", f"{where}[{{}}].also", values, also)


def check_bounds(record: Mapping[str, Any]) -> None:
    """Refuses a figure that its metric cannot have.

    Args:
        record: A finished record whose shape is checked.

    Raises:
        UserError: On the first such figure.
    """
    metric = record["metric"]
    check_column(metric["name"], "metric.chance", [metric.get("chance")])
    for found in readings_of(record):
        check_column(metric["name"], found.where, found.values)
        for name in dict.fromkeys(name for figures in found.also for name in figures):
            column = [figures.get(name) for figures in found.also]
            check_column(name, f"{found.beside}.{name}", column)


def check_column(name: str, where: str, values: Sequence[float | None]) -> None:
    """Refuses figures of one metric that it cannot have.

    Args:
        name: Name of the metric; one that is not known has no bounds.
        where: Where they stand, with ``{}`` for the number of one of several.
        values: The figures; None is none.

    Raises:
        UserError: On the first such figure.
    """
    bounds = parsed(name).bounds
    if bounds is None:
        return
    known = [value for value in values if value is not None]
    if not known or (bounds.hold(min(known)) and bounds.hold(max(known))):
        return
    for i, value in enumerate(values):
        if value is not None and not bounds.hold(value):
            raise fail(where.replace("{}", str(i), 1), value, f"{name} {bounds}")


def errors_that_disagree(record: Mapping[str, Any]) -> list[str]:
    """Readings whose mean squared error and PSNR are not of the same images.

    PSNR is -10 log10 of the error over all images, plus a constant for the peak, which is the same
    in all readings of a record: 0 dB for values in [0, 1].

    Args:
        record: A finished record whose shape is checked.

    Returns:
        What is wrong with each, in words; the peak is that of most readings.
    """
    name = record["metric"]["name"]
    found = []
    for readings in readings_of(record):
        for i, (value, also) in enumerate(zip(readings.values, readings.also, strict=False)):
            figures = {**also, name: value}
            error, ratio = figures.get("mse"), figures.get("psnr_db")
            if error is not None and ratio is not None and error > 0.0:
                peak = ratio + 10.0 * math.log10(error)
                found.append((readings.where.replace("{}", str(i), 1), error, ratio, peak))
    usual = sorted(peak for *_, peak in found)[len(found) // 2] if found else 0.0
    return [
        f"{where}: PSNR {ratio!r} dB and mean squared error {error!r} are not of the same images"
        for where, error, ratio, peak in found
        if abs(peak - usual) > _ROUNDING_DB
    ]
