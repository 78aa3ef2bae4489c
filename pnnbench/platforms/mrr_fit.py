"""From measured tuning curves of microrings to the constants of a weight bank.

A heater shifts the resonance in proportion to its power, so a curve of weight against current is
fitted by

    w = b - d / (1 + ((I^2 - I0^2) / h)^2).

The fit alone leaves the wavelength scale open. It is anchored on the detuning of the laser at zero
current, which is known from how the bank was aligned: the heater crosses it at I0, so that the
resonance moves by detuning / I0^2 per mA^2 and the half width is h times that.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import curve_fit

from pnnbench.errors import UserError, check_range
from pnnbench.platforms.rings import RingCalibration

#: Number of fitted constants.
CONSTANTS = 4


@dataclasses.dataclass(frozen=True)
class TuningFit:
    """Constants of w = b - d / (1 + ((I^2 - I0^2) / h)^2), fitted to one ring.

    Attributes:
        bias: Weight far from resonance (b), dimensionless.
        depth: Depth of the dip (d), dimensionless, > 0.
        dip_ma: Current at the dip (I0), mA, > 0.
        width_ma2: Half width at half maximum in squared current (h), mA^2, > 0.
        rmse: Root mean square residual, in weight.
        bias_error: Standard error of `bias`.
        depth_error: Standard error of `depth`.
        dip_error_ma: Standard error of `dip_ma`, mA.
        width_error_ma2: Standard error of `width_ma2`, mA^2.
        points: Number of measured points.
    """

    bias: float
    depth: float
    dip_ma: float
    width_ma2: float
    rmse: float
    bias_error: float
    depth_error: float
    dip_error_ma: float
    width_error_ma2: float
    points: int

    @property
    def rest_detuning_hwhm(self) -> float:
        """Detuning at zero current in HWHM, I0^2 / h; needs no wavelength scale."""
        return self.dip_ma**2 / self.width_ma2

    @property
    def hwhm_ma(self) -> float:
        """Half width at half maximum at the dip in mA, h / (2 I0), to first order."""
        return self.width_ma2 / (2.0 * self.dip_ma)

    def weight(self, current_ma: ArrayLike) -> NDArray[np.float64]:
        """Fitted weights at currents in mA; same shape."""
        current = np.asarray(current_ma, dtype=np.float64)
        return _law(current, self.bias, self.depth, self.dip_ma, self.width_ma2)


def _law(
    current: NDArray[np.float64], b: float, d: float, i0: float, h: float
) -> NDArray[np.float64]:
    return b - d / (1.0 + ((current**2 - i0**2) / h) ** 2)


def fit_tuning_curve(current_ma: ArrayLike, weight: ArrayLike) -> TuningFit:
    """Fits the heater law to one measured ring by least squares.

    Args:
        current_ma: Heater currents in mA, at least 0, shape (N,) with N at least 5; any order.
        weight: Measured weights, dimensionless, shape (N,).

    Returns:
        The constants, their standard errors and the residual.

    Raises:
        UserError: If the arrays do not fit, hold values that are not finite, or show no dip.
    """
    current = np.asarray(current_ma, dtype=np.float64)
    measured = np.asarray(weight, dtype=np.float64)
    if current.shape != measured.shape or current.ndim != 1 or len(current) <= CONSTANTS:
        raise UserError(
            f"a tuning curve of {current.shape} currents and {measured.shape} weights",
            allowed=f"two arrays of one length, at least {CONSTANTS + 1}",
        )
    if not (np.isfinite(current).all() and np.isfinite(measured).all()):
        raise UserError("the tuning curve holds values that are not finite")
    if (current < 0.0).any():
        raise UserError(f"the tuning curve has a current of {current.min():g} mA", allowed=">= 0")
    depth, dip = float(np.ptp(measured)), float(current[measured.argmin()])
    below = current[measured < measured.max() - 0.5 * depth]
    width = float(np.ptp(below**2)) / 2.0 if len(below) else 0.0
    if depth == 0.0 or dip == 0.0:
        raise UserError(
            "the tuning curve has no dip at a positive current",
            next_step="measure from zero current to beyond the resonance",
        )
    start = (float(measured.max()), depth, dip, width or 0.25 * dip**2)
    try:
        found, covariance = curve_fit(_law, current, measured, p0=start)
    except RuntimeError as error:
        raise UserError(
            f"the heater law does not fit the tuning curve: {error}",
            next_step="measure from zero current to beyond the resonance",
        ) from error
    b, d, i0, h = (float(p) for p in found)
    if d <= 0.0 or not np.isfinite(covariance).all():
        raise UserError(
            f"the tuning curve does not fix the heater law: depth {d:g}, dip at {i0:g} mA",
            next_step="measure from zero current to beyond the resonance",
        )
    residual = measured - _law(current, b, d, i0, h)
    b_error, d_error, i0_error, h_error = (float(e) for e in np.sqrt(np.diag(covariance)))
    return TuningFit(
        bias=b,
        depth=d,
        dip_ma=abs(i0),
        width_ma2=abs(h),
        rmse=float(np.sqrt(np.mean(residual**2))),
        bias_error=b_error,
        depth_error=d_error,
        dip_error_ma=i0_error,
        width_error_ma2=h_error,
        points=len(current),
    )


def calibrations_from_fit(
    fits: Sequence[TuningFit],
    rest_detuning_nm: Sequence[float],
    like: RingCalibration | None = None,
) -> list[RingCalibration]:
    """Anchors each fitted ring on the detuning of its laser at zero current.

    Args:
        fits: One fit per ring.
        rest_detuning_nm: Laser minus resonance wavelength at zero current in nm, > 0, per ring.
        like: Gives the constants that a tuning curve does not fix; None takes the defaults.

    Returns:
        One calibration per ring; limits, drift and spreads are those of `like`.

    Raises:
        UserError: If the lengths differ, nothing is given, or a detuning is not positive.
    """
    if not fits or len(fits) != len(rest_detuning_nm):
        raise UserError(
            f"{len(fits)} fits and {len(rest_detuning_nm)} rest detunings",
            allowed="one detuning for each fit, at least one fit",
        )
    like = like or RingCalibration()
    calibrations = []
    for fit, detuning in zip(fits, rest_detuning_nm, strict=True):
        check_range("rest_detuning_nm", detuning, low=0.0, high=100.0, low_open=True, unit="nm")
        tuning = detuning / fit.dip_ma**2
        calibrations.append(
            dataclasses.replace(
                like,
                rest_detuning_nm=detuning,
                hwhm_nm=tuning * fit.width_ma2,
                tuning=tuning,
                exponent=2,
                bias=fit.bias,
                depth=fit.depth,
            )
        )
    return calibrations


def bank_calibration_from_fit(
    fits: Sequence[TuningFit],
    rest_detuning_nm: Sequence[float],
    like: RingCalibration | None = None,
) -> RingCalibration:
    """Constants of a bank of rings like the measured ones: their means and their spread.

    The resonance spread is the standard deviation of the dips in squared current, to which the
    shift is proportional, over the mean half width, pooled within the groups of rings that share a
    laser setting, so that no deliberate detuning is in it. Where no two rings share one, the
    detuning of each is taken out at the common tuning constant. The linewidth spread is that of the
    half width in squared current, which needs no wavelength scale.

    Args:
        fits: One fit per ring, at least two.
        rest_detuning_nm: As for `calibrations_from_fit`.
        like: As for `calibrations_from_fit`.

    Returns:
        The calibration of the bank.

    Raises:
        UserError: As `calibrations_from_fit`, and if there are fewer than two fits.
    """
    rings = calibrations_from_fit(fits, rest_detuning_nm, like)
    if len(fits) < 2:
        raise UserError("one fitted ring shows no spread", allowed="at least 2 fits")
    widths = np.array([fit.width_ma2 for fit in fits])

    def mean(name: str) -> float:
        return float(np.mean([getattr(ring, name) for ring in rings]))

    return dataclasses.replace(
        rings[0],
        rest_detuning_nm=mean("rest_detuning_nm"),
        hwhm_nm=mean("hwhm_nm"),
        tuning=mean("tuning"),
        bias=mean("bias"),
        depth=mean("depth"),
        offset_spread_hwhm=_resonance_spread(
            fits, rest_detuning_nm, mean("tuning"), mean("hwhm_nm")
        ),
        hwhm_spread=float(widths.std(ddof=1) / widths.mean()),
        floor_spread=float(np.std([fit.bias - fit.depth for fit in fits], ddof=1)),
        depth_spread=float(np.std([fit.depth for fit in fits], ddof=1)),
    )


def _resonance_spread(
    fits: Sequence[TuningFit], rest_detuning_nm: Sequence[float], tuning: float, hwhm_nm: float
) -> float:
    """Standard deviation of the resonances in HWHM without the deliberate laser detunings."""
    lasers = np.asarray(rest_detuning_nm, dtype=float)
    dips = np.array([fit.dip_ma**2 for fit in fits])
    width = float(np.mean([fit.width_ma2 for fit in fits]))
    groups = [dips[lasers == laser] for laser in np.unique(lasers)]
    freedom = sum(len(group) - 1 for group in groups)
    if freedom > 0:
        squares = sum(float(((group - group.mean()) ** 2).sum()) for group in groups)
        return float(np.sqrt(squares / freedom)) / width
    shifts = tuning * dips - lasers
    return float(shifts.std(ddof=1) / hwhm_nm)
