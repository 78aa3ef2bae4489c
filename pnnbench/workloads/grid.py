"""Perturbation grids: which devices in which environments a workload is measured on."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from pnnbench.platforms.base import Environment

#: First seed of the test devices; training devices are drawn from seeds below it.
FIRST_TEST_DEVICE = 1_000_000


@dataclasses.dataclass(frozen=True)
class Cell:
    """One point of a perturbation grid.

    Attributes:
        axis: What is varied, such as ``"device"`` or ``"temperature_fine"``.
        level: Position along the axis, signed where the axis is two-sided, 0 at nominal.
        unit: Unit of the level.
        severity: Severity of the device errors, in the platform's unit.
        device_seed: Which test device.
        environment: Operating conditions.
    """

    axis: str
    level: float
    unit: str
    severity: float
    device_seed: int
    environment: Environment


def test_devices(count: int) -> list[int]:
    """Returns the seeds of the first ``count`` test devices, the same for every method."""
    return [FIRST_TEST_DEVICE + i for i in range(count)]


def device_axis(
    severities: Sequence[float],
    devices: Sequence[int],
    environment: Environment,
    unit: str = "x measured spread",
) -> list[Cell]:
    """Varies the severity of the device errors in one environment."""
    return [Cell("device", s, unit, s, seed, environment) for s in severities for seed in devices]


def environment_axis(
    axis: str,
    unit: str,
    points: Sequence[tuple[float, Environment]],
    severity: float,
    devices: Sequence[int],
) -> list[Cell]:
    """Varies the environment at one severity.

    Args:
        axis: Name of the axis.
        unit: Unit of the levels.
        points: Level and environment of each point.
        severity: Severity of the device errors.
        devices: Seeds of the devices.

    Returns:
        The cells, point by point.
    """
    return [
        Cell(axis, level, unit, severity, seed, environment)
        for level, environment in points
        for seed in devices
    ]
