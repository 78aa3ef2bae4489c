"""Constants of microrings, and the law from heater current to weight with its inverse."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal, get_args

import torch
from torch import Tensor

from pnnbench.errors import UserError, check_count, check_range

#: How light becomes a number.
Detection = Literal["single-ended", "balanced"]
DETECTIONS: tuple[Detection, ...] = get_args(Detection)
#: Spread of the four measured resonances in HWHM as the experiment was run: one curve for all
#: rings, with the deliberate differences between their laser settings in it.
EXPERIMENT_GAP_HWHM = 0.67


@dataclasses.dataclass(frozen=True)
class RingCalibration:
    """Constants of one ring design and the spread between fabricated rings.

    Sources: fits to the four measured tuning curves of the sharpness-aware-training paper, anchored
    on the stated laser detuning (calibration B). The resonance spread is that of fabrication,
    within the two pairs of rings that share a laser setting: 0.16 HWHM, from two degrees of freedom
    (95 % interval 0.08 to 1.0). Over all four rings with their detuning taken out it is 0.28 HWHM,
    and `EXPERIMENT_GAP_HWHM` with it. The floor b - d and the depth d vary independently, and b
    follows.

    Attributes:
        rest_detuning_nm: Laser minus resonance wavelength at zero current and T0, in nm.
        hwhm_nm: Half width at half maximum of the resonance, in nm, > 0.
        tuning: Resonance shift per current to the power `exponent`: nm/mA^2 for a heater.
        exponent: 2 for a heater (shift follows power); 1 for the published normalised law.
        bias: Weight far from resonance (b), dimensionless.
        depth: Depth of the dip (d), dimensionless, > 0; the least weight is b - d.
        resistance_ohm: Effective heater resistance in ohm, >= 0: power is I^2 R. The default gives
            the stated tuning efficiency of 0.53 nm/mW.
        drift_nm_per_degc: Resonance drift with ambient temperature, nm/degC.
        nominal_temperature_degc: Temperature T0 at which the drift is zero, degC.
        min_current: Least allowed current, mA; at least 0 for a heater.
        max_current: Largest allowed current, mA; the measured curves end at 5 mA.
        offset_spread_hwhm: Standard deviation of the resonance between rings, in HWHM.
        hwhm_spread: Relative standard deviation of the linewidth.
        floor_spread: Standard deviation of the floor b - d.
        depth_spread: Standard deviation of d.
        bank_rows: Rows of rings on the chip, >= 0; 0 for one ring for each weight.
        bank_columns: Rings in a row, likewise.
        readout_noise: Standard deviation of one read-out as a share of the photodiode's full scale,
            the largest light that a row of the bank can pass on to it. Measured: 0.025 to 0.027 in
            250 products each of two runs.
        detection: ``"single-ended"``, one photodiode at the through port, as in the experiment, or
            ``"balanced"``, the difference of two at through and drop port.
    """

    rest_detuning_nm: float = 0.25
    hwhm_nm: float = 0.0636
    tuning: float = 0.0131
    exponent: int = 2
    bias: float = 1.116
    depth: float = 2.117
    resistance_ohm: float = 25.0
    drift_nm_per_degc: float = 0.06
    nominal_temperature_degc: float = 22.0
    min_current: float = 0.0
    max_current: float = 5.0
    offset_spread_hwhm: float = 0.16
    hwhm_spread: float = 0.175
    floor_spread: float = 0.045
    depth_spread: float = 0.11
    bank_rows: int = 4
    bank_columns: int = 4
    readout_noise: float = 0.025
    detection: Detection = "single-ended"

    def __post_init__(self) -> None:
        for name in ("rest_detuning_nm", "tuning", "bias", "drift_nm_per_degc"):
            check_range(name, getattr(self, name), low=-1e6, high=1e6)
        check_range(
            "nominal_temperature_degc", self.nominal_temperature_degc, low=-40.0, high=120.0
        )
        check_range("hwhm_nm", self.hwhm_nm, low=0.0, high=100.0, low_open=True, unit="nm")
        check_range("depth", self.depth, low=0.0, high=10.0, low_open=True)
        check_range("resistance_ohm", self.resistance_ohm, low=0.0, high=1e6, unit="ohm")
        for name in ("bank_rows", "bank_columns"):
            check_count(name, getattr(self, name), low=0)
        if (self.bank_rows == 0) != (self.bank_columns == 0):
            raise UserError(
                f"the bank has {self.bank_rows} rows and {self.bank_columns} columns",
                allowed="both above 0, or both 0 for one ring for each weight",
            )
        check_range("readout_noise", self.readout_noise, low=0.0, high=1.0)
        if self.detection not in DETECTIONS:
            raise UserError(f"detection is {self.detection!r}", allowed=", ".join(DETECTIONS))
        for name in ("offset_spread_hwhm", "hwhm_spread", "floor_spread", "depth_spread"):
            check_range(name, getattr(self, name), low=0.0, high=10.0)
        if self.exponent not in (1, 2):
            raise UserError(f"exponent is {self.exponent!r}", allowed="1 or 2")
        if self.tuning == 0.0:
            raise UserError("tuning is 0: the current would not tune the ring", allowed="non-zero")
        if not self.min_current < self.max_current:
            raise UserError(
                f"min_current {self.min_current} mA is not below max_current {self.max_current} mA"
            )
        if self.exponent == 2 and self.min_current < 0.0:
            raise UserError(
                f"min_current is {self.min_current} mA, but a heater answers to the square",
                allowed="at least 0 mA",
            )

    def noise_of_sum(self, inputs: int) -> float:
        """Noise of an output that sums over all inputs, tile by tile.

        Transmission is T = (1 + w) / 2, so that a row of the bank with inputs x gives
        sum w x = 2 sum T x - sum x. One photodiode sees sum T x, and its noise counts twice; with
        two of them, of which the other sees sum (1 - T) x, it counts sqrt(2) times. The tiles that
        one output takes are read out one by one, and their noise adds up in quadrature.

        Args:
            inputs: Inputs of a row of the matrix.

        Returns:
            Standard deviation in multiples of the full scale, the largest sum x of a tile.
        """
        tiles = -(-inputs // self.bank_columns) if self.bank_columns else 1
        counted = 2.0 if self.detection == "single-ended" else math.sqrt(2.0)
        return self.readout_noise * counted * math.sqrt(tiles)

    def detuning(self, current: Tensor) -> Tensor:
        """Detuning u of an ideal ring in HWHM, from currents in mA; same shape."""
        return (self.rest_detuning_nm - self.tuning * self.drive(current)) / self.hwhm_nm

    def resonance_current(self) -> float:
        """Current in mA that puts an ideal ring on resonance; 0 where no heater current does."""
        drive = self.rest_detuning_nm / self.tuning
        return math.sqrt(max(drive, 0.0)) if self.exponent == 2 else drive

    def drive(self, current: Tensor) -> Tensor:
        """Current to the power `exponent`, to which the resonance shift is proportional."""
        return current.square() if self.exponent == 2 else current

    def weight(self, current: Tensor) -> Tensor:
        """Ideal weight from currents in mA; same shape."""
        # As a tensor: a plain number over a tensor is rounded twice, and an operated ring once.
        depth = torch.full_like(current, self.depth)
        return self.bias - depth / (1.0 + self.detuning(current).square())

    def slope(self, weight: Tensor) -> Tensor:
        """|dw/du| per HWHM of an ideal ring that has a weight; same shape, differentiable.

        From w = b - d / (1 + u^2): |dw/du| = 2 |u| (b - w)^2 / d. At the dip it is 0, and so is its
        derivative, where that of the root is infinite.

        Args:
            weight: Weights from b - d to below b; beyond them the slope is 0.
        """
        squared = self.depth / (self.bias - weight).clamp(min=1e-12) - 1.0
        lit = (squared > 0.0) & (weight < self.bias)
        detuning = torch.where(lit, torch.where(lit, squared, 1.0).sqrt(), 0.0)
        return 2.0 * detuning * (self.bias - weight).square() / self.depth

    def current(self, weight: Tensor) -> Tensor:
        """Current in mA that gives a weight, on the branch before the dip (u >= 0).

        Where no allowed current leaves a ring before the dip, the branch behind it (u <= 0).

        Args:
            weight: Target weights, any shape. Targets outside `weight_range` get the nearest
                reachable weight.

        Returns:
            Currents in mA, same shape, within [min_current, max_current], always finite.
        """
        side = 1.0 if max(self._detuning_range()) > 0.0 else -1.0
        low, high = self.weight_range()
        w = weight.clamp(low, high)
        u = (self.depth / (self.bias - w).clamp(min=1e-12) - 1.0).clamp(min=0.0).sqrt()
        drive = (self.rest_detuning_nm - side * self.hwhm_nm * u) / self.tuning
        current = drive.clamp(min=0.0).sqrt() if self.exponent == 2 else drive
        return current.clamp(self.min_current, self.max_current)

    def weight_range(self) -> tuple[float, float]:
        """Least and largest weight on the branch of `current` that allowed currents reach."""
        ends = self._detuning_range()
        if max(ends) > 0.0:
            near, far = max(0.0, min(ends)), max(ends)
        else:
            near, far = -max(ends), -min(ends)
        return self._weight_at(near), self._weight_at(far)

    def _detuning_range(self) -> tuple[float, float]:
        """Detuning in HWHM at the ends of the allowed currents; may be infinite."""
        ends = (self.min_current, self.max_current)
        drives = (c * c if self.exponent == 2 else c for c in ends)
        first, last = ((self.rest_detuning_nm - self.tuning * d) / self.hwhm_nm for d in drives)
        return first, last

    def _weight_at(self, detuning: float) -> float:
        return self.bias - self.depth / (1.0 + detuning * detuning)


#: The normalised Lorentzian of the published code: x in units of its own, u = x / 0.15, and a drift
#: of 0.08 per degC of the released sweep. No current limits, noise or cross-talk.
PUBLISHED_CALIBRATION = RingCalibration(
    rest_detuning_nm=0.0,
    hwhm_nm=0.15,
    tuning=-1.0,
    exponent=1,
    bias=1.0,
    depth=2.0,
    drift_nm_per_degc=0.08,
    min_current=-math.inf,
    max_current=math.inf,
    bank_rows=0,
    bank_columns=0,
    readout_noise=0.0,
)
