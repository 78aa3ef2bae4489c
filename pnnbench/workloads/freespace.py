"""Free-space workloads: image classification with products between a display and a modulator."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

from pnnbench.platforms.freespace import FreeSpaceLayer, Layout
from pnnbench.workloads.amounts import Scale
from pnnbench.workloads.base import Classification, Tier, Workload
from pnnbench.workloads.grid import Cell, misalignment_grid, test_devices
from pnnbench.workloads.networks import FreeSpaceNet, PhysicalNetwork

#: Spread of each layer's own misalignment, in multiples of the assembly tolerance.
SEVERITIES = (0.1, 0.25, 0.5, 1.0)
#: Both signs of each are on the grid: degrees, modulator pixels, and magnifications off 1.
ROTATIONS_DEG = (0.5, 1.0, 1.5, 2.0)
SHIFTS_PX = (0.5, 1.0, 1.5, 2.0)
SCALES = (0.025, 0.05, 0.075, 0.1)
#: Offset of the weights in which noise is stated, of full modulation. No device error of this
#: platform offsets weights; noise of half of it, 0.1, is the most that costs no accuracy.
WEIGHT_OFFSET = 0.2
#: Rotations in degrees and shifts along y in pixels of the joint grid.
JOINT = (1.0, 2.0)


class FreeSpaceWorkload(Classification, Workload):
    """Classification in free space under misalignment, all layers at once or each by its own."""

    platform: ClassVar[str] = "freespace"
    training_severity: ClassVar[float] = 0.5
    severity_unit: ClassVar[str] = "x assembly tolerance"
    sharpness_severity: ClassVar[float] = 0.25
    environment_ranges: ClassVar[Mapping[str, float]] = MappingProxyType(
        {"rotation_deg": 2.0, "shift_x_px": 2.0, "shift_y_px": 2.0, "scale": 0.1}
    )

    @property
    def control_scale(self) -> Scale:
        """The largest initial weight, 1 / sqrt(inputs) of the widest product (0.036 for 784).

        Changes of that size in every weight of an output, each on its own, add up to the full
        modulation of one input.
        """
        inputs = max(p.shape[1] for p in self.controls().values())
        return Scale(1.0 / math.sqrt(inputs), self._unit("control_unit"))

    @property
    def offset_scale(self) -> Scale:
        """A fifth of full modulation; see `WEIGHT_OFFSET`."""
        return Scale(WEIGHT_OFFSET, self._unit("offset_unit"))

    @property
    def weight_scale(self) -> Scale:
        """The weights are the controls."""
        return Scale(self.control_scale.value, "weight")

    def perturbation_grid(self, tier: str) -> list[Cell]:
        """Each misalignment alone, rotation with shift, then assembled devices; all layers."""
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
        """Adds the severities of the training device and of the sharpness figures."""
        return {
            **super().describe(tier),
            "training_severity": self.training_severity,
            "sharpness_severity": self.sharpness_severity,
            "environment_ranges": dict(self.environment_ranges),
        }


class FreeSpaceDigits(FreeSpaceWorkload):
    """The embedded 8 x 8 digits: 64-36-10, on modulator images of 36 x 80 pixels."""

    name: ClassVar[str] = "freespace-digits"
    data: ClassVar[str] = "digits"
    tiers: ClassVar[Mapping[str, Tier]] = {
        "smoke": Tier(epochs=1, batch_size=32, n_devices=2, train_images=256, test_images=64),
        "quick": Tier(epochs=20, batch_size=32, n_devices=20),
    }

    def build_network(self) -> PhysicalNetwork:
        """Builds the network for 8 x 8 digits."""
        return FreeSpaceNet(
            FreeSpaceLayer(64, 36, Layout((8, 8), cell=(12, 10))),
            FreeSpaceLayer(36, 10, Layout((6, 6), cell=(12, 10))),
        )


class FreeSpaceMNIST(FreeSpaceWorkload):
    """MNIST on the published network 784-144-10, every layer misaligned.

    Images are shown as they are, intensities in [0, 1]; a display has no negative light.
    """

    name: ClassVar[str] = "freespace-mnist"
    data: ClassVar[str] = "mnist"
    tiers: ClassVar[Mapping[str, Tier]] = {
        "smoke": Tier(epochs=1, batch_size=64, n_devices=2, train_images=640, test_images=200),
        "quick": Tier(
            epochs=2,
            batch_size=64,
            n_devices=5,
            train_images=10_000,
            test_images=2_000,
            sharpness_images=2_000,
        ),
        "standard": Tier(epochs=5, batch_size=64, n_devices=20),
        "paper": Tier(epochs=15, batch_size=64, n_devices=100),
    }

    def build_network(self) -> PhysicalNetwork:
        """Builds the published network."""
        return FreeSpaceNet(FreeSpaceLayer(784, 144), FreeSpaceLayer(144, 10))
