"""Axes of misalignment of equal displacement, inside and beyond the range of training.

Levels are displacements: how far the positions of a modulator are moved, root mean square, in a
length that matters to the workload. Every parameter is asked at displacements, so that none is
asked more than another for its unit.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from pnnbench.platforms.base import Environment
from pnnbench.platforms.misalignment import MisalignmentEnvironment
from pnnbench.workloads.grid import Cell, both_signs, environment_axis

#: Axis of one parameter -> field of the environment and unit of the level.
ALONE: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "rotation": ("rotation_deg", "deg"),
        "shift_x": ("shift_x_px", "px"),
        "shift_y": ("shift_y_px", "px"),
        "scale": ("scale", "%"),
    }
)
JOINT_AXIS, BEYOND_AXIS = "rotation_and_shift", "beyond"
BEYOND_UNIT = "x training range"


def displaced(
    shape: tuple[int, int], lengths_px: tuple[float, float], displacement: float
) -> dict[str, float]:
    """Misalignments that displace the positions on a modulator equally far.

    A modulator of H x W pixels has mean squares of its positions from the centre
    y² = (H² - 1) / 12 and x² = (W² - 1) / 12 pixels. Let one length be q pixels along y and p along
    x. A rotation by a small angle a displaces by a x / q and a y / p lengths, a magnification by
    1 + k by k y / q and k x / p. Root mean squares: a sqrt(x² / q² + y² / p²) and
    k sqrt(y² / q² + x² / p²).

    Args:
        shape: Rows and columns of the modulator in pixels.
        lengths_px: The unit of the displacement in pixels along y and along x.
        displacement: Root mean square of the displacement, in that unit.

    Returns:
        Field of the environment -> its offset from nominal in degrees, pixels, and as a ratio, to
        four digits.
    """
    q, p = lengths_px
    y2, x2 = ((side**2 - 1) / 12 for side in shape)
    exact = {
        "rotation_deg": math.degrees(displacement / math.sqrt(x2 / q**2 + y2 / p**2)),
        "shift_x_px": displacement * p,
        "shift_y_px": displacement * q,
        "scale": displacement / math.sqrt(y2 / q**2 + x2 / p**2),
    }
    return {name: float(f"{value:.4g}") for name, value in exact.items()}


@dataclasses.dataclass(frozen=True)
class Levels:
    """Displacements at which one parameter is asked, both signs of each.

    Attributes:
        inside: Inside the range of training, those that count.
        inside_shown: Inside it, those that are shown only.
        beyond: Beyond it, those that count.
        beyond_shown: Beyond it, those that are shown only.
    """

    inside: tuple[float, ...]
    inside_shown: tuple[float, ...] = ()
    beyond: tuple[float, ...] = ()
    beyond_shown: tuple[float, ...] = ()


@dataclasses.dataclass(frozen=True)
class MisalignmentGrid:
    """Misalignments of a workload that are common to all its modulators.

    Attributes:
        shape: Rows and columns of a modulator in pixels.
        lengths_px: The unit of displacements in pixels along y and along x.
        unit: Its name.
        end: End of the training range, a displacement. No level is there.
        levels: Axis of `ALONE` -> its levels.
        joint: Rotation with a shift along y, all signs, each displaced by the level: what counts.
            ``inside_shown`` and ``beyond_shown`` are not used.
        assembled: Counted environments are met by devices of this severity, set up with errors of
            their own; at 0 by the ideal device, once for all of them. Environments that are shown
            only are met by the ideal device.
    """

    shape: tuple[int, int]
    lengths_px: tuple[float, float]
    unit: str
    end: float
    levels: Mapping[str, Levels]
    joint: Levels
    assembled: float

    def displaced(self, displacement: float) -> dict[str, float]:
        """Offsets of equal displacement; see `displaced`."""
        return displaced(self.shape, self.lengths_px, displacement)

    def training_ranges(self) -> Mapping[str, float]:
        """Half-widths of the ranges for methods that train against the environment."""
        return MappingProxyType(self.displaced(self.end))

    def inside(self, devices: Sequence[int]) -> list[Cell]:
        """Axes of one parameter, then ``rotation_and_shift``, inside the range of training.

        Levels of the first are in the unit of the parameter (scale in percent), of the last in that
        of displacements.
        """
        cells = []
        for axis, levels in self.levels.items():
            for chosen, counts in ((levels.inside_shown, False), (levels.inside, True)):
                points = [self._place(axis, d) for d in both_signs(chosen)]
                cells += self._met(axis, ALONE[axis][1], points, devices, counts=counts)
        points = self._corners(self.joint.inside, 1.0)
        return cells + self._met(JOINT_AXIS, self.unit, points, devices, counts=True)

    def beyond(self, devices: Sequence[int]) -> list[Cell]:
        """Axis ``beyond``: all of them outside of it, levels in multiples of the training range."""
        cells = []
        for axis, levels in self.levels.items():
            for chosen, counts in ((levels.beyond, True), (levels.beyond_shown, False)):
                points = [
                    (round(abs(d) / self.end, 4), self._place(axis, d)[1])
                    for d in both_signs(chosen)
                ]
                cells += self._met(BEYOND_AXIS, BEYOND_UNIT, points, devices, counts=counts)
        points = self._corners(self.joint.beyond, self.end)
        return cells + self._met(BEYOND_AXIS, BEYOND_UNIT, points, devices, counts=True)

    def _place(self, axis: str, displacement: float) -> tuple[float, Environment]:
        """Level on the axis of one parameter, and the environment displaced so far."""
        field, _ = ALONE[axis]
        offset = math.copysign(self.displaced(abs(displacement))[field], displacement)
        if field == "scale":
            environment = MisalignmentEnvironment(scale=round(1.0 + offset, 6))
            return round(100.0 * offset, 4), environment
        return offset, MisalignmentEnvironment(**{field: offset})

    def _corners(
        self, displacements: Sequence[float], one: float
    ) -> list[tuple[float, Environment]]:
        """Rotation with a shift along y, all signs; levels in multiples of ``one``."""
        points: list[tuple[float, Environment]] = []
        for displacement in displacements:
            by = self.displaced(displacement)
            for turn, move in itertools.product((-1, 1), repeat=2):
                place = MisalignmentEnvironment(
                    rotation_deg=turn * by["rotation_deg"], shift_y_px=move * by["shift_y_px"]
                )
                points.append((round(displacement / one, 4), place))
        return points

    def _met(
        self,
        axis: str,
        unit: str,
        points: Sequence[tuple[float, Environment]],
        devices: Sequence[int],
        *,
        counts: bool,
    ) -> list[Cell]:
        """Environments, met by assembled devices where they count, else by the ideal one."""
        if counts and self.assembled > 0.0:
            return environment_axis(axis, unit, points, self.assembled, devices)
        return environment_axis(axis, unit, points, 0.0, [None], counts=counts)
