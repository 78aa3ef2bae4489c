"""Mesh workloads: image classification with light through Mach-Zehnder interferometers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

from pnnbench.platforms.mzi import MZIEnvironment, MZIMesh
from pnnbench.workloads.amounts import Scale
from pnnbench.workloads.base import Classification, Tier, Workload
from pnnbench.workloads.grid import Cell, device_axis, test_devices
from pnnbench.workloads.networks import (
    DigitsFront,
    FourierInput,
    LeNetFront,
    MeshNet,
    OpticalNet,
    PhysicalNetwork,
)

#: Standard deviations of the device errors: phases in rad and, with the same number, the power
#: imbalance of the couplers.
SEVERITIES = (0.03, 0.06, 0.09, 0.12, 0.15, 0.20)
#: Ports of the published meshes.
PORTS = 64


class MZIWorkload(Classification, Workload):
    """Classification on meshes with phase and coupler errors."""

    platform: ClassVar[str] = "mzi"
    severities: ClassVar[tuple[float, ...]] = SEVERITIES
    training_severity: ClassVar[float] = 0.15
    severity_unit: ClassVar[str] = "rad"

    @property
    def control_scale(self) -> Scale:
        """Half a wave over the root of the columns that light passes (0.393 rad for 64).

        Changes of that size in every column, each on its own, add up to half a wave along a path.
        """
        columns = sum(mesh.n for mesh in self._meshes())
        return Scale(math.pi / math.sqrt(columns), self._unit("control_unit"))

    @property
    def offset_scale(self) -> Scale:
        """Phase errors of the worst devices of the grid (0.2 rad on one mesh)."""
        return Scale(max(self.severities), self._unit("offset_unit"))

    @property
    def weight_scale(self) -> Scale:
        """Root mean square of the entries of a unitary matrix: 1 / sqrt(waveguides)."""
        return Scale(1.0 / math.sqrt(self._meshes()[0].n), "weight")

    def _meshes(self) -> list[MZIMesh]:
        return [layer for layer in self.layers().values() if isinstance(layer, MZIMesh)]

    def perturbation_grid(self, tier: str) -> list[Cell]:
        """Fresh devices at each standard deviation of the errors; all meshes."""
        devices = test_devices(self.tier(tier).n_devices)
        return device_axis(self.severities, devices, MZIEnvironment(), self.severity_unit)

    def describe(self, tier: str) -> dict[str, Any]:
        """Adds the severity of the training device."""
        return {**super().describe(tier), "training_severity": self.training_severity}


class MZIDigits(MZIWorkload):
    """The embedded 8 x 8 digits on a mesh of 16 waveguides behind a small front end."""

    name: ClassVar[str] = "mzi-digits"
    data: ClassVar[str] = "digits"
    tiers: ClassVar[Mapping[str, Tier]] = {
        "smoke": Tier(
            epochs=1,
            batch_size=32,
            n_devices=2,
            train_images=256,
            test_images=64,
            validation_images=50,
        ),
        "quick": Tier(epochs=20, batch_size=32, n_devices=20, validation_images=140),
    }

    def build_network(self) -> PhysicalNetwork:
        """Builds the network for 8 x 8 digits."""
        return MeshNet(DigitsFront(16), MZIMesh(16))


_MNIST_TIERS = {
    "smoke": Tier(
        epochs=1,
        batch_size=64,
        n_devices=2,
        train_images=640,
        test_images=200,
        validation_images=100,
    ),
    "quick": Tier(
        epochs=2,
        batch_size=100,
        n_devices=5,
        train_images=10_000,
        test_images=2_000,
        sharpness_images=2_000,
        validation_images=1000,
    ),
}


class MZIMNIST(MZIWorkload):
    """MNIST on the published network: LeNet front end, one mesh of 64 waveguides."""

    name: ClassVar[str] = "mzi-mnist"
    data: ClassVar[str] = "mnist"
    tiers: ClassVar[Mapping[str, Tier]] = {
        **_MNIST_TIERS,
        "standard": Tier(epochs=5, batch_size=240, n_devices=20, validation_images=5000),
        "paper": Tier(epochs=40, batch_size=600, n_devices=100, validation_images=5000),
    }

    def build_network(self) -> PhysicalNetwork:
        """Builds the published network."""
        return MeshNet(LeNetFront(PORTS), MZIMesh(PORTS))


class MZIMNISTLargeBatch(MZIMNIST):
    """The same network trained in the published 400 steps of few, large batches.

    The paper tier is the published recipe, batches of 6,000 for 40 epochs; the standard tier takes
    as many steps with batches of 1,200.
    """

    name: ClassVar[str] = "mzi-mnist-large-batch"
    tiers: ClassVar[Mapping[str, Tier]] = {
        **_MNIST_TIERS,
        "standard": Tier(epochs=8, batch_size=1200, n_devices=20, validation_images=5000),
        "paper": Tier(epochs=40, batch_size=6000, n_devices=100, validation_images=5000),
    }


class MZI3MNIST(MZIWorkload):
    """MNIST on the all-optical network of three meshes of 64 waveguides.

    Errors are a smaller multiple than on one mesh, since they act three times.
    """

    name: ClassVar[str] = "mzi3-mnist"
    data: ClassVar[str] = "mnist"
    severities: ClassVar[tuple[float, ...]] = (0.02, 0.04, 0.06, 0.08, 0.10)
    training_severity: ClassVar[float] = 0.06
    tiers: ClassVar[Mapping[str, Tier]] = {
        **_MNIST_TIERS,
        "standard": Tier(epochs=10, batch_size=500, n_devices=20, validation_images=5000),
        "paper": Tier(epochs=50, batch_size=500, n_devices=100, validation_images=5000),
    }

    def build_network(self) -> PhysicalNetwork:
        """Builds the network: Fourier input, three meshes, activations between."""
        meshes = [MZIMesh(PORTS, detected=i == 2) for i in range(3)]
        return OpticalNet(FourierInput(), list(meshes))
