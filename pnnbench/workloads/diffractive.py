"""Diffractive workloads: image classification with phase masks and saturable absorbers."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn

from pnnbench.platforms.base import tapped
from pnnbench.platforms.diffractive import (
    PHASE_RAD,
    DetectorPlane,
    Detectors,
    DiffractiveStack,
    Imaging,
    Plane,
)
from pnnbench.workloads.amounts import Scale
from pnnbench.workloads.base import Classification, Tier, Workload
from pnnbench.workloads.grid import Cell, misalignment_grid, test_devices
from pnnbench.workloads.networks import DiffractiveNet, PhysicalNetwork

#: Severities of the devices in multiples of the tolerances of `DiffractiveStack`.
SEVERITIES = (0.5, 1.0)
#: Both signs of each are on the grid: degrees, pixels of the masks, and magnifications off 1.
ROTATIONS_DEG = (1.0, 2.0)
SHIFTS_PX = (2.0,)
SCALES = (0.05,)
#: Rotation in degrees and shift along y in pixels of the corners of the joint grid.
JOINT = (2.0,)
#: Distances of the published set-up in mm: image to lens, lens to first mask, between masks, last
#: mask to lens, lens to detectors; and the focal length of both lenses.
TO_LENS, TO_MASK, BETWEEN, FROM_MASK, TO_DETECTORS, FOCAL = 5.0, 4.0, 2.0, 4.0, 5.0, 5.0
#: Most of an image's power that a detector of the fine planes may miss (a ten-thousandth of what
#: one typically gets).
DROPPED = 1e-7
#: First pixels of the published detectors, of 128: rows and the columns in each.
ROWS = ((32, (32, 59, 86)), (59, (32, 50, 68, 86)), (86, (32, 59, 86)))

_M = TypeVar("_M", bound=nn.Module)


@dataclasses.dataclass(frozen=True)
class Optics:
    """Fixed optics of the published set-up on planes of one sampling.

    Attributes:
        plane: The planes.
        imaging: What stands before the first mask.
        detectors: What stands behind the last.
    """

    plane: Plane
    imaging: Imaging
    detectors: DetectorPlane


def optics(n: int, pixel_um: float, detector_side: int, samples: int = 1) -> Optics:
    """Fixed optics of the published set-up, sampled anew with padded planes.

    Args:
        n: Pixels along a side of a mask; the aperture is the published 256 um at
            ``n * pixel_um = 256``.
        pixel_um: Side of a pixel in um.
        detector_side: Side of a detector in pixels.
        samples: Samples along a side of a pixel. The modulator that shows the image has square
            pixels of the size of those of the masks, and detectors keep their areas.

    Returns:
        The optics. Modules are new, what they hold is shared and not to be written to.
    """
    built = _optics(n, pixel_um, detector_side, samples)
    return Optics(built.plane, _again(built.imaging), _again(built.detectors))


def _again(module: _M) -> _M:
    """A module of its own with the same buffers."""
    new = copy.copy(module)
    new._buffers = dict(module._buffers)
    return new


@lru_cache(maxsize=4)
def _optics(n: int, pixel_um: float, detector_side: int, samples: int) -> Optics:
    plane = Plane(n, pixel_um).finer(samples)
    corners = tuple((row * n // 128, c * n // 128) for row, columns in ROWS for c in columns)
    detectors = Detectors(corners, detector_side).finer(samples)
    areas = 1 if samples > 1 else 0  # the image and the masks; lens and detectors are met by points
    before = [
        plane.gap(TO_LENS, areas=areas),
        plane.lens(FOCAL),
        plane.gap(TO_MASK, areas=areas),
    ]
    behind = [plane.gap(FROM_MASK, areas=areas), plane.lens(FOCAL), plane.gap(TO_DETECTORS)]
    return Optics(
        plane,
        Imaging(before, plane.n, n // 2, samples),
        DetectorPlane(behind, plane.n, detectors, DROPPED if samples > 1 else 0.0),
    )


class DiffractiveWorkload(Classification, Workload):
    """Classification on two masks, misaligned against the light, or made and set up with errors.

    Weakly nonlinear; see `pnnbench.platforms.diffractive`. What is trained has one sample for a
    pixel of a mask, what is measured `deployed_samples` along its side: calibration, clean metric,
    grid, sharpness, pictures (evaluation mode) and the black box of in-situ methods.
    """

    platform: ClassVar[str] = "diffractive"
    training_severity: ClassVar[float] = 0.5
    severity_unit: ClassVar[str] = "x tolerance"
    environment_ranges: ClassVar[Mapping[str, float]] = MappingProxyType(
        {"rotation_deg": 2.0, "shift_x_px": 2.0, "shift_y_px": 2.0, "scale": 0.05}
    )
    #: Pixels along a side of a mask, side of a pixel in um, side of a detector in pixels.
    sampling: ClassVar[tuple[int, float, int]]
    #: Samples along the side of a pixel of the deployed stack: as many as more do not change.
    deployed_samples: ClassVar[int]

    @property
    def control_scale(self) -> Scale:
        """Half a wave over the root of the masks that light passes (2.22 rad for two)."""
        masks = sum(len(p) for p in self.controls().values())
        return Scale(math.pi / math.sqrt(masks), self._unit("control_unit"))

    @property
    def offset_scale(self) -> Scale:
        """Phase errors of the worst devices of the grid (0.6 rad)."""
        return Scale(PHASE_RAD * max(SEVERITIES), self._unit("offset_unit"))

    @property
    def weight_scale(self) -> Scale:
        """Modulus of a transmission: 1."""
        return Scale(1.0, "weight")

    def build_network(self) -> PhysicalNetwork:
        """Builds the network: image, lens, two masks with absorbers, lens, detectors."""
        coarse, samples = optics(*self.sampling), self.deployed_samples
        fine = optics(*self.sampling, samples) if samples > 1 else None
        stack = DiffractiveStack(
            coarse.plane,
            [BETWEEN],
            coarse.detectors,
            samples=samples,
            fine_detector_plane=None if fine is None else fine.detectors,
        )
        imaging = None if fine is None else fine.imaging
        return DiffractiveNet(coarse.imaging, stack, coarse.plane.n // 2, fine_imaging=imaging)

    @torch.no_grad()
    def figures(self, images: Tensor) -> dict[str, float]:
        """Adds the share of an image's power that all detectors together get, in the mean.

        Of the ideal device where it should be, without noise.
        """
        powers: list[Tensor] = []

        def keep(power: Tensor) -> Tensor:
            powers.append(power.sum(-1).double())
            return power

        self.eval()
        with tapped(self.network, read_outs={"stack": keep}):
            for some in images.split(500):
                self(some)
        return {**super().figures(images), "light_on_detectors": float(torch.cat(powers).mean())}

    def perturbation_grid(self, tier: str) -> list[Cell]:
        """Each misalignment of all masks alone, rotation with shift, then devices with errors."""
        return misalignment_grid(
            ROTATIONS_DEG,
            SHIFTS_PX,
            SCALES,
            JOINT,
            SEVERITIES,
            test_devices(self.tier(tier).n_devices),
            self.severity_unit,
        )

    def describe(self, tier: str) -> dict[str, Any]:
        """Adds distances, the severity of the training device and the ranges."""
        return {
            **super().describe(tier),
            "distances_mm": [TO_LENS, TO_MASK, BETWEEN, FROM_MASK, TO_DETECTORS],
            "focal_mm": FOCAL,
            "training_severity": self.training_severity,
            "environment_ranges": dict(self.environment_ranges),
        }


class DiffractiveDigits(DiffractiveWorkload):
    """The embedded 8 x 8 digits on masks of 32 x 32 pixels of 8 um."""

    name: ClassVar[str] = "diffractive-digits"
    data: ClassVar[str] = "digits"
    sampling: ClassVar[tuple[int, float, int]] = (32, 8.0, 3)
    deployed_samples: ClassVar[int] = 3
    tiers: ClassVar[Mapping[str, Tier]] = {
        "smoke": Tier(
            epochs=1,
            batch_size=32,
            n_devices=2,
            train_images=256,
            test_images=64,
            sharpness_images=64,
        ),
        "quick": Tier(epochs=10, batch_size=32, n_devices=20, sharpness_images=200),
    }


class DiffractiveMNIST(DiffractiveWorkload):
    """MNIST on two masks of 64 x 64 pixels of 4 um, the published aperture, padded planes."""

    name: ClassVar[str] = "diffractive-mnist"
    data: ClassVar[str] = "mnist"
    sampling: ClassVar[tuple[int, float, int]] = (64, 4.0, 5)
    deployed_samples: ClassVar[int] = 2
    tiers: ClassVar[Mapping[str, Tier]] = {
        "smoke": Tier(
            epochs=1,
            batch_size=64,
            n_devices=2,
            train_images=128,
            test_images=50,
            sharpness_images=50,
        ),
        "quick": Tier(
            epochs=5,
            batch_size=64,
            n_devices=5,
            train_images=6_400,
            test_images=1_000,
            sharpness_images=100,
        ),
        # The deployed stack takes 2 ms for an image and a cell: all test images would take hours.
        "standard": Tier(
            epochs=5, batch_size=64, n_devices=20, test_images=2_000, sharpness_images=250
        ),
        "paper": Tier(epochs=10, batch_size=200, n_devices=100, sharpness_images=2_000),
    }
