"""Microring workloads: image classification with every weight on a ring."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar

import torch

from pnnbench.platforms.mrr import (
    EXPERIMENT_GAP_HWHM,
    MRRConv2d,
    MRREnvironment,
    MRRLinear,
    MRRWeightBank,
    RingCalibration,
)
from pnnbench.workloads.amounts import Scale
from pnnbench.workloads.base import Classification, Tier, Workload
from pnnbench.workloads.grid import (
    OFFSET_CALIBRATED,
    Cell,
    Deployment,
    counting,
    device_axis,
    environment_axis,
    test_devices,
)
from pnnbench.workloads.networks import (
    ConvFactory,
    DigitsNet,
    LeNet5,
    LinearFactory,
    PhysicalNetwork,
)
from pnnbench.workloads.tiers import DIGITS_TIERS, MNIST_TIERS

#: Levels of the grid. Which of them count was chosen, for networks as trained (frozen) and for
#: devices that have taken their batch-norm statistics again (calibrated), from BP and NAT on
#: held-out training images and validation devices: those at which the mean of the two lies between
#: 20 and 90 % on mrr-mnist, or on mrr-digits where it is above that on mrr-mnist. Measured with
#: benchmarks/reference_rows.py: 0.043 mA, noise of 0.5 HWHM, 12 and 20 epochs, seeds 100 and 101.
#: BP / NAT in percent:
#:
#: | axis | level | mrr-mnist frozen, calibrated | mrr-digits frozen, calibrated |
#: | device | 0.5 | 90/90, 94/96 | 67/92, 84/95 |
#: | device | 0.75 | 84/81, 93/96 | 58/86, 81/94 |
#: | device | 1 | 69/69, 92/95 | 46/77, 77/93 |
#: | device | 1.5 | 29/37, 84/91 | 28/51, 63/89 |
#: | device | 2 | 16/16, 67/83 | 20/28, 45/80 |
#: | device | 3 | 11/10, 30/50 | 11/16, 23/51 |
#: | device | 4.19 | 11/10, 13/23 | 10/11, 14/24 |
#: | temperature_fine | -0.5 | 13/18, 36/91 | 15/40, 40/89 |
#: | temperature_fine | -0.25 | 49/58, 89/96 | 30/81, 74/94 |
#: | temperature_fine | -0.1 | 88/85, 94/96 | 59/91, 83/95 |
#: | temperature_fine | 0.1 | 87/90, 94/96 | 57/89, 81/94 |
#: | temperature_fine | 0.25 | 77/83, 92/95 | 21/58, 67/93 |
#: | temperature_fine | 0.5 | 25/55, 75/94 | 10/15, 25/84 |
#: | temperature_wide | -2 | 10/10, 10/10 | 10/11, 9/10 |
#: | temperature_wide | 1 | 10/11, 9/16 | 10/10, 8/12 |
#: | crosstalk | 0.02 | 87/90, 94/96 | 58/89, 81/94 |
#: | crosstalk | 0.04 | 82/86, 93/96 | 32/72, 74/94 |
#: | crosstalk | 0.08 | 45/64, 85/95 | 13/25, 44/88 |
#: | crosstalk | 0.16 | 11/14, 18/36 | 9/9, 10/28 |
#:
#: Severities of the device errors, in multiples of the fabrication spread of the measured rings.
#: Four rings are few: what they leave open reaches from 0.5 to 6; all four with their detuning
#: taken out give 1.75.
SEVERITIES = (0.5, 0.75, 1.0, 1.5, 2.0, 3.0)
SEVERITIES_FROZEN, SEVERITIES_CALIBRATED = (0.75, 1.0, 1.5), (1.5, 2.0, 3.0)
#: The gap of the reference experiment as run, deliberate laser differences included; no weight.
EXPERIMENT = round(EXPERIMENT_GAP_HWHM / RingCalibration().offset_spread_hwhm, 2)
#: Severity at which temperature and cross-talk are varied.
TEMPERATURE_SEVERITY = 0.5
#: Shares of a neighbour's resonance shift that leak into a ring.
CROSSTALK = (0.02, 0.04, 0.08, 0.16)
CROSSTALK_FROZEN, CROSSTALK_CALIBRATED = (0.02, 0.04, 0.08), (0.08, 0.16)
#: Offsets from 22 degC: twice the published fine range, and the wide one, 20 to 23 degC.
FINE_DEGC = (-0.5, -0.25, -0.1, 0.1, 0.25, 0.5)
FINE_FROZEN, FINE_CALIBRATED = (-0.25, -0.1, 0.1, 0.25), (-0.5, 0.5)
WIDE_DEGC = (-2.0, 1.0)
#: Half-width of the range for methods that train against the temperature: 0.6 of the fine range,
#: and no level of it.
TRAINING_DEGC = 0.3


def mrr_layers(calibration: RingCalibration | None = None) -> tuple[ConvFactory, LinearFactory]:
    """Returns factories of microring layers with one calibration."""

    def conv(in_channels: int, out_channels: int, kernel_size: int, padding: int) -> MRRConv2d:
        return MRRConv2d(
            in_channels, out_channels, kernel_size, padding=padding, calibration=calibration
        )

    def linear(in_features: int, out_features: int) -> MRRLinear:
        return MRRLinear(in_features, out_features, calibration=calibration)

    return conv, linear


def half_width_current(calibration: RingCalibration) -> float:
    """The current that detunes a ring of weight 0 by one half width, from the slope there.

    Args:
        calibration: Constants of the ring.

    Returns:
        Current in mA, > 0. Where a heater at weight 0 carries less than what shifts a resonance by
        a half width, from the slope at that current.
    """
    c, slope = calibration, abs(calibration.tuning) / calibration.hwhm_nm
    if c.exponent == 2:
        slope *= 2.0 * max(float(c.current(torch.zeros(()))), math.sqrt(1.0 / slope))
    return 1.0 / slope


class MRRWorkload(Classification, Workload):
    """Classification on a microring weight bank under device errors and ambient temperature."""

    platform: ClassVar[str] = "mrr"
    training_severity: ClassVar[float] = 1.0
    severity_unit: ClassVar[str] = "x fabrication spread"
    sharpness_severity: ClassVar[float] = 0.5
    offset_calibration_images: ClassVar[int] = 256
    #: The score is that of calibrated devices: whoever deploys a chip takes the offset of every
    #: channel first, and without it the score tells how well sums of weights are balanced against a
    #: common shift. Boards show both.
    headline: ClassVar[Deployment] = OFFSET_CALIBRATED
    environment_ranges: ClassVar[Mapping[str, float]] = MappingProxyType(
        {"temperature_degc": TRAINING_DEGC}
    )

    @property
    def control_scale(self) -> Scale:
        """The current that detunes a ring of weight 0 by one half width (0.638 mA).

        The tuning curve is straight over about a tenth of that. The published step of 0.043 mA is
        0.067 of it.
        """
        return Scale(half_width_current(self._calibration), self._unit("control_unit"))

    @property
    def offset_scale(self) -> Scale:
        """The gap of the reference experiment as run (0.67 HWHM), the largest level of the grid."""
        return Scale(EXPERIMENT_GAP_HWHM, self._unit("offset_unit"))

    @property
    def weight_scale(self) -> Scale:
        """What `control_scale` makes of the weight 0, along the slope there (1.114)."""
        c = self._calibration
        u = math.sqrt(max(c.depth / c.bias - 1.0, 0.0)) if c.bias > 0.0 else 1.0
        return Scale(2.0 * c.depth * u / (1.0 + u * u) ** 2 or c.depth / 2, "weight")

    @property
    def _calibration(self) -> RingCalibration:
        bank = next(iter(self.layers().values()))
        assert isinstance(bank, MRRWeightBank)  # noqa: S101 - for the type checker
        return bank.calibration

    def perturbation_grid(self, tier: str) -> list[Cell]:
        """Device severities at 22 degC, then fine and wide temperatures and cross-talk; all layers.

        The gap of the experiment and the wide temperatures carry no weight: rows are at chance at
        the temperatures, and the gap is no spread of fabrication.
        """
        devices = test_devices(self.tier(tier).n_devices)
        nominal = MRREnvironment()

        def varied(
            axis: str,
            unit: str,
            levels: Sequence[float],
            environment: Callable[[float], MRREnvironment],
            frozen: Sequence[float] = (),
            calibrated: Sequence[float] = (),
        ) -> list[Cell]:
            points = [(level, environment(level)) for level in levels]
            cells = environment_axis(axis, unit, points, TEMPERATURE_SEVERITY, devices)
            return counting(cells, frozen, calibrated)

        def warmer(by: float) -> MRREnvironment:
            return MRREnvironment(nominal.temperature_degc + by)

        def leaking(share: float) -> MRREnvironment:
            return MRREnvironment(crosstalk=share)

        return [
            *counting(
                device_axis((*SEVERITIES, EXPERIMENT), devices, nominal, self.severity_unit),
                SEVERITIES_FROZEN,
                SEVERITIES_CALIBRATED,
            ),
            *varied("temperature_fine", "degC", FINE_DEGC, warmer, FINE_FROZEN, FINE_CALIBRATED),
            *varied("temperature_wide", "degC", WIDE_DEGC, warmer),
            *varied("crosstalk", "", CROSSTALK, leaking, CROSSTALK_FROZEN, CROSSTALK_CALIBRATED),
        ]


class MRRDigits(MRRWorkload):
    """The embedded 8 x 8 digits on a small microring network."""

    name: ClassVar[str] = "mrr-digits"
    data: ClassVar[str] = "digits"
    tiers: ClassVar[Mapping[str, Tier]] = DIGITS_TIERS

    def build_network(self) -> PhysicalNetwork:
        """Builds the network for 8 x 8 digits, or for images of another size."""
        return DigitsNet(*mrr_layers(), self.data_set.input_shape, self.n_classes)


class MRRMNIST(MRRWorkload):
    """MNIST on a microring LeNet-5, the published network."""

    name: ClassVar[str] = "mrr-mnist"
    data: ClassVar[str] = "mnist"
    tiers: ClassVar[Mapping[str, Tier]] = {
        **MNIST_TIERS,
        # What settings are searched on where a search at the standard tier would take too long.
        "search": Tier(
            epochs=4,
            batch_size=64,
            n_devices=5,
            train_images=18_000,
            test_images=1_000,
            sharpness_images=1_000,
            validation_images=1_000,
        ),
        "standard": Tier(epochs=12, batch_size=64, n_devices=20, validation_images=5000),
        "paper": Tier(epochs=20, batch_size=64, n_devices=100, validation_images=5000),
    }

    def build_network(self) -> PhysicalNetwork:
        """Builds the published LeNet-5 with calibration-B rings."""
        return LeNet5(*mrr_layers(), n_classes=self.n_classes)
