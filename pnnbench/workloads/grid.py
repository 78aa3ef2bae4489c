"""Perturbation grids: which devices in which environments a workload is measured on."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Sequence
from typing import Any, Literal

from pnnbench.platforms.base import FABRICATION, Environment
from pnnbench.platforms.sources import DeviceSource
from pnnbench.seeds import FIRST_TEST_DEVICE as FIRST_TEST_DEVICE

#: How the errors of a device are drawn: ``"fabrication"`` as the platform says, in multiples of its
#: measured spread; ``"offsets"`` Gaussian on what the controls tune, in the layer's `offset_unit`;
#: any other name is a kind of error that the platform draws alone (`PhysicalLayer.draw_alone`).
Law = str
#: How a network is put on a device: ``"frozen"`` with the batch-norm statistics that it has,
#: or ``"offset-calibrated"`` with those that the device itself gives for a few hundred images.
Deployment = Literal["frozen", "offset-calibrated"]
FROZEN: Deployment = "frozen"
OFFSET_CALIBRATED: Deployment = "offset-calibrated"
#: Axis of the cell that has the read-out's noise and nothing else.
SHOT_AXIS = "shot"


@dataclasses.dataclass(frozen=True)
class Cell:
    """One point of a perturbation grid.

    Attributes:
        axis: What is varied, such as ``"device"`` or ``"temperature_fine"``.
        level: Position along the axis, signed where the axis is two-sided, 0 at nominal.
        unit: Unit of the level.
        severity: Severity of the device errors, in the unit of their law.
        device_seed: Which test device; None for the ideal one, which stands for all of them.
        environment: Operating conditions.
        counts: Whether the cell carries weight in the robust score. Part of the protocol: chosen
            once, from reference rows, never from the rows of a table. The others are measured and
            shown.
        law: How the errors of the device are drawn.
        counts_calibrated: The same as `counts` where devices have taken their offsets again, which
            other levels tell apart; None for no difference.
        nominal: Level at which nothing is off along the axis: 0, or infinite where the axis has no
            end there, such as bits of resolution. The same for all cells of an axis.
        source: Where its device comes from, such as ``"measured"``; empty for a drawn one.
    """

    axis: str
    level: float
    unit: str
    severity: float
    device_seed: int | None
    environment: Environment
    counts: bool = True
    law: Law = FABRICATION
    counts_calibrated: bool | None = None
    nominal: float = 0.0
    source: str = ""

    def counts_when(self, deployment: Deployment) -> bool:
        """Whether the cell carries weight in the score of a deployment."""
        if deployment == FROZEN or self.counts_calibrated is None:
            return self.counts
        return self.counts_calibrated

    def as_dict(self) -> dict[str, Any]:
        """Where the cell stands, as records have it: all but `counts`."""
        return {
            "axis": self.axis,
            "level": self.level,
            "unit": self.unit,
            "severity": self.severity,
            "environment": self.environment.as_dict(),
            "device_seed": self.device_seed,
            **({"nominal": _plain(self.nominal)} if self.nominal else {}),
            **({"source": self.source} if self.source else {}),
        }


def _plain(level: float) -> float | str:
    """A level as records have it: an infinite one is a text."""
    return level if math.isfinite(level) else str(level)


def test_devices(count: int) -> list[int]:
    """Returns the seeds of the first ``count`` test devices, the same for every method."""
    return [FIRST_TEST_DEVICE + i for i in range(count)]


def shot_cell(environment: Environment) -> Cell:
    """The ideal device at nominal conditions, read out with noise; it never counts.

    Beside the clean metric it tells the noise of the read-out from the errors of devices.

    Args:
        environment: The nominal conditions.

    Returns:
        The one cell of the axis.
    """
    return Cell(SHOT_AXIS, 0.0, "", 0.0, None, environment, counts=False)


def device_axis(
    severities: Sequence[float],
    devices: Sequence[int],
    environment: Environment,
    unit: str = "x measured spread",
    *,
    counts: bool = True,
) -> list[Cell]:
    """Varies the severity of the device errors in one environment."""
    return [
        Cell("device", s, unit, s, seed, environment, counts)
        for s in severities
        for seed in devices
    ]


def law_axis(
    axis: str,
    law: Law,
    sigmas: Sequence[float],
    devices: Sequence[int],
    environment: Environment,
    unit: str,
    *,
    counts: bool = True,
) -> list[Cell]:
    """Varies the spread of errors of one law in one environment.

    Args:
        axis: Name of the axis.
        law: How the errors are drawn.
        sigmas: Standard deviations.
        devices: Seeds of the devices.
        environment: Where they are met.
        unit: Unit of the standard deviations.
        counts: Whether the cells carry weight in the score.

    Returns:
        The cells, spread by spread.
    """
    return [
        Cell(axis, sigma, unit, sigma, seed, environment, counts, law)
        for sigma in sigmas
        for seed in devices
    ]


def environment_axis(
    axis: str,
    unit: str,
    points: Sequence[tuple[float, Environment]],
    severity: float,
    devices: Sequence[int | None],
    *,
    counts: bool = True,
    nominal: float = 0.0,
) -> list[Cell]:
    """Varies the environment at one severity.

    Args:
        axis: Name of the axis.
        unit: Unit of the levels.
        points: Level and environment of each point.
        severity: Severity of the device errors.
        devices: Seeds of the devices; ``[None]`` at severity 0, where all are the ideal one.
        counts: Whether the cells carry weight in the score.
        nominal: Level at which nothing is off, finite or infinite.

    Returns:
        The cells, point by point.
    """
    return [
        Cell(axis, level, unit, severity, seed, environment, counts, nominal=nominal)
        for level, environment in points
        for seed in devices
    ]


def of_source(cells: Sequence[Cell], source: DeviceSource, one: float) -> list[Cell]:
    """The cells of a grid as they are met on the devices of a source.

    Args:
        cells: The grid, for drawn devices.
        source: Where devices come from.
        one: Severity of a drawn device that stands for a real one: the multiple is 1 there.

    Returns:
        Of drawn devices the same cells. Of others those whose device there is, with severities in
        multiples of a real device; axes that draw errors of one kind alone are left out.
    """
    if not source.label:
        return list(cells)
    other = {c.axis for c in cells if c.level != c.severity or c.environment != _nominal(c)}
    found = []
    for cell in cells:
        if cell.device_seed is None:
            found.append(cell)
        elif cell.law == FABRICATION and source.having([cell.device_seed]):
            severity = round(cell.severity / one, 4)
            met = dataclasses.replace(cell, severity=severity, source=source.label)
            if cell.axis not in other:  # its levels are the severities
                _, unit = source.as_it_is(cell.severity, cell.unit)
                met = dataclasses.replace(met, level=severity, unit=unit)
            found.append(met)
    return found


def _nominal(cell: Cell) -> Environment:
    """The nominal conditions of the platform of a cell."""
    return type(cell.environment)()


def counting(
    cells: Sequence[Cell],
    frozen: Collection[float],
    calibrated: Collection[float] | None = None,
) -> list[Cell]:
    """The cells of an axis, of which only some levels carry weight.

    Args:
        cells: Cells of one axis.
        frozen: Levels that count for networks as trained.
        calibrated: Levels that count for devices that have taken their offsets again; None for the
            same.

    Returns:
        The same cells.
    """
    return [
        dataclasses.replace(
            cell,
            counts=cell.level in frozen,
            counts_calibrated=None if calibrated is None else cell.level in calibrated,
        )
        for cell in cells
    ]


def part_of_grid(cells: Sequence[Cell], levels: int = 4, devices: int = 2) -> list[Cell]:
    """A small part of a grid: some of the levels that count on each axis, on the first devices.

    Args:
        cells: The grid.
        levels: Levels of an axis, at most: evenly spread over those that count, both ends included.
        devices: Devices; conditions that the ideal device meets are taken as they are.

    Returns:
        Cells of the grid, in its order; those that carry weight for networks as trained.
    """
    counted = [cell for cell in cells if cell.counts]
    groups: dict[str, list[tuple[float, Environment]]] = {}
    for cell in counted:
        points = groups.setdefault(cell.axis, [])
        if (cell.severity, cell.environment) not in points:
            points.append((cell.severity, cell.environment))
    kept = {
        axis: [points[i] for i in _spread(len(points), levels)] for axis, points in groups.items()
    }
    first = sorted({cell.device_seed for cell in counted if cell.device_seed is not None})[:devices]
    return [
        cell
        for cell in counted
        if (cell.severity, cell.environment) in kept[cell.axis]
        and (cell.device_seed is None or cell.device_seed in first)
    ]


def _spread(count: int, most: int) -> list[int]:
    """Indices evenly spread over so many, both ends included."""
    if count <= most:
        return list(range(count))
    return [round(i * (count - 1) / (most - 1)) for i in range(most)]


def both_signs(values: Sequence[float]) -> tuple[float, ...]:
    """The values and their negatives, in order."""
    return (*(-v for v in reversed(values)), *values)
