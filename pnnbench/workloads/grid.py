"""Perturbation grids: which devices in which environments a workload is measured on."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

from pnnbench.platforms.base import Environment
from pnnbench.seeds import FIRST_TEST_DEVICE as FIRST_TEST_DEVICE

#: How the errors of a device are drawn: ``"fabrication"`` as the platform says, in multiples of its
#: measured spread; ``"offsets"`` Gaussian on what the controls tune, in the layer's `offset_unit`.
Law = Literal["fabrication", "offsets"]


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
    """

    axis: str
    level: float
    unit: str
    severity: float
    device_seed: int | None
    environment: Environment
    counts: bool = True
    law: Law = "fabrication"

    def as_dict(self) -> dict[str, Any]:
        """Where the cell stands, as records have it: all but `counts`."""
        return {
            "axis": self.axis,
            "level": self.level,
            "unit": self.unit,
            "severity": self.severity,
            "environment": self.environment.as_dict(),
            "device_seed": self.device_seed,
        }


def test_devices(count: int) -> list[int]:
    """Returns the seeds of the first ``count`` test devices, the same for every method."""
    return [FIRST_TEST_DEVICE + i for i in range(count)]


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


def offset_axis(
    axis: str,
    sigmas: Sequence[float],
    devices: Sequence[int],
    environment: Environment,
    unit: str,
    *,
    counts: bool = True,
) -> list[Cell]:
    """Varies the spread of Gaussian errors of what the controls tune, in one environment.

    Args:
        axis: Name of the axis.
        sigmas: Standard deviations.
        devices: Seeds of the devices.
        environment: Where they are met.
        unit: Unit of the standard deviations, the layers' `offset_unit`.
        counts: Whether the cells carry weight in the score.

    Returns:
        The cells, spread by spread.
    """
    return [
        Cell(axis, sigma, unit, sigma, seed, environment, counts, "offsets")
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
) -> list[Cell]:
    """Varies the environment at one severity.

    Args:
        axis: Name of the axis.
        unit: Unit of the levels.
        points: Level and environment of each point.
        severity: Severity of the device errors.
        devices: Seeds of the devices; ``[None]`` at severity 0, where all are the ideal one.
        counts: Whether the cells carry weight in the score.

    Returns:
        The cells, point by point.
    """
    return [
        Cell(axis, level, unit, severity, seed, environment, counts)
        for level, environment in points
        for seed in devices
    ]


def both_signs(values: Sequence[float]) -> tuple[float, ...]:
    """The values and their negatives, in order."""
    return (*(-v for v in reversed(values)), *values)
