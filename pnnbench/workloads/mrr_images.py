"""Demanding tasks on microring weight banks: classification, compression, generation of images.

Each has a small version on the embedded digits. Width and depth are class attributes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar

from pnnbench.platforms.mrr import MRRConv2d, MRREnvironment, MRRLinear, RingCalibration
from pnnbench.workloads.base import Tier
from pnnbench.workloads.grid import Cell, counting, device_axis, environment_axis, test_devices
from pnnbench.workloads.image_networks import (
    Autoencoder,
    Discriminator,
    Generator,
    ResNet,
    StridedConvFactory,
)
from pnnbench.workloads.imaging import Generation, Reconstruction, image_shape
from pnnbench.workloads.mrr import TEMPERATURE_SEVERITY, MRRWorkload
from pnnbench.workloads.networks import LinearFactory, PhysicalNetwork
from pnnbench.workloads.tiers import DIGITS_TIERS

#: Offsets from 22 degC, those of the published sweep; 0 is the device alone.
STEPS_DEGC = tuple(round(-0.25 + 0.05 * i, 2) for i in range(11))
#: Severities of the device errors, in multiples of the fabrication spread.
SEVERITIES = (0.5, 1.0, 1.5)


def ring_layers(
    calibration: RingCalibration | None = None,
) -> tuple[StridedConvFactory, LinearFactory]:
    """Factories of convolutions on rings without bias, and of products with a digital bias.

    Args:
        calibration: Constants of the rings; calibration B if None.
    """

    def conv(
        in_channels: int, out_channels: int, kernel_size: int, *, stride: int, padding: int
    ) -> MRRConv2d:
        return MRRConv2d(
            in_channels,
            out_channels,
            kernel_size,
            stride=stride,
            padding=padding,
            bias=False,
            calibration=calibration,
        )

    def linear(in_features: int, out_features: int) -> MRRLinear:
        return MRRLinear(in_features, out_features, calibration=calibration)

    return conv, linear


class ImagesOnRings(MRRWorkload):
    """An image network on microring weight banks, over the published sweep of temperatures."""

    width: ClassVar[int]
    depth: ClassVar[int]
    #: Constants of the rings; None for calibration B.
    calibration: ClassVar[RingCalibration | None] = None
    #: Severities of the devices; offsets from 22 degC, and the severity at which they are met.
    severities: ClassVar[tuple[float, ...]] = SEVERITIES
    temperatures_degc: ClassVar[tuple[float, ...]] = STEPS_DEGC
    temperature_severity: ClassVar[float] = TEMPERATURE_SEVERITY
    #: Methods that train for other temperatures meet half of the sweep.
    environment_ranges: ClassVar[Mapping[str, float]] = MappingProxyType({"temperature_degc": 0.13})
    #: Axis -> levels that count for networks as trained, and for calibrated devices. Of an axis
    #: that is not named all levels count but that at which nothing is off.
    counted_frozen: ClassVar[Mapping[str, tuple[float, ...]]] = MappingProxyType({})
    counted_calibrated: ClassVar[Mapping[str, tuple[float, ...]]] = MappingProxyType({})

    def perturbation_grid(self, tier: str) -> list[Cell]:
        """Device severities at 22 degC, then temperatures around it."""
        devices = test_devices(self.tier(tier).n_devices)
        nominal = MRREnvironment()
        points = [(t, MRREnvironment(nominal.temperature_degc + t)) for t in self.temperatures_degc]
        severity = self.temperature_severity
        warm = environment_axis(
            "temperature_fine", "degC", points, severity, devices if severity else [None]
        )
        unlike = [t for t in self.temperatures_degc if t]
        return [
            *self._counting(device_axis(self.severities, devices, nominal, self.severity_unit)),
            *self._counting(warm, unlike),
        ]

    def _counting(self, cells: list[Cell], usual: Sequence[float] | None = None) -> list[Cell]:
        """The cells of an axis, of which those count that the class says, or the usual levels."""
        axis, every = cells[0].axis, usual or [cell.level for cell in cells]
        frozen = self.counted_frozen.get(axis, tuple(every))
        return counting(cells, frozen, self.counted_calibrated.get(axis, tuple(every)))


class ResNetOnRings(ImagesOnRings):
    """A residual network, every convolution and linear layer on rings."""

    blocks: ClassVar[tuple[int, ...]]

    def build_network(self) -> PhysicalNetwork:
        """Builds the network for the images of the data set."""
        channels, _, _ = image_shape(self, self.data_set)
        return ResNet(
            *ring_layers(self.calibration),
            self.width,
            self.blocks,
            channels,
            n_classes=self.n_classes,
        )


class AutoencoderOnRings(Reconstruction, ImagesOnRings):
    """Compression: an encoder on rings, a digital decoder."""

    latent: ClassVar[int]

    def build_network(self) -> PhysicalNetwork:
        """Builds the network for the images of the data set."""
        channels, side, _ = image_shape(self, self.data_set)
        return Autoencoder(
            *ring_layers(self.calibration), side, channels, self.width, self.depth, self.latent
        )


class GeneratorOnRings(Generation, ImagesOnRings):
    """Generation: a generator on rings against a digital discriminator."""

    judge_width: ClassVar[int]

    def build_network(self) -> PhysicalNetwork:
        """Builds the generator for the images of the data set."""
        channels, side, _ = image_shape(self, self.data_set)
        (latent,) = self.data_set.input_shape
        layers = ring_layers(self.calibration)
        return Generator(*layers, side, channels, self.width, self.depth, latent)

    def build_judge(self) -> Discriminator:
        """Builds the discriminator for the same images."""
        channels, side, _ = image_shape(self, self.data_set)
        return Discriminator(side, channels, self.judge_width, self.depth)


class MRRDigitsResNet(ResNetOnRings):
    """The embedded digits on a small residual network on rings."""

    name: ClassVar[str] = "mrr-digits-resnet"
    data: ClassVar[str] = "digits"
    width: ClassVar[int] = 8
    blocks: ClassVar[tuple[int, ...]] = (1, 1)
    tiers: ClassVar[Mapping[str, Tier]] = DIGITS_TIERS


class MRRDigitsAutoencoder(AutoencoderOnRings):
    """The embedded digits compressed to eight numbers by an encoder on rings."""

    name: ClassVar[str] = "mrr-digits-autoencoder"
    data: ClassVar[str] = "digits"
    width: ClassVar[int] = 8
    depth: ClassVar[int] = 2
    latent: ClassVar[int] = 8
    tiers: ClassVar[Mapping[str, Tier]] = DIGITS_TIERS


class MRRDigitsGAN(GeneratorOnRings):
    """Digits generated on rings from sixteen numbers."""

    name: ClassVar[str] = "mrr-digits-gan"
    data: ClassVar[str] = "latents:digits,16"
    extractor: ClassVar[str] = "digits"
    width: ClassVar[int] = 8
    depth: ClassVar[int] = 2
    judge_width: ClassVar[int] = 32
    judge_step: ClassVar[float] = 1e-3
    tiers: ClassVar[Mapping[str, Tier]] = {
        "smoke": Tier(
            epochs=1,
            batch_size=32,
            n_devices=2,
            train_images=256,
            test_images=80,
            sharpness_images=80,
            validation_images=80,
        ),
        "quick": Tier(
            epochs=30,
            batch_size=32,
            n_devices=10,
            sharpness_images=500,
            validation_images=140,
        ),
    }
