from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from pnnbench.errors import UserError
from pnnbench.platforms.mrr import RingCalibration
from pnnbench.platforms.mrr_fit import (
    TuningFit,
    bank_calibration_from_fit,
    calibrations_from_fit,
    fit_tuning_curve,
)

# ring: b, d, I0 and its error in mA, h and its error in mA^2, HWHM at the dip in mA, rmse,
# and under calibration B the tuning in nm/mA^2, the half width in nm and Q in thousands.
MEASURED = {
    "00": (1.021, 1.995, 4.573, 0.007, 4.57, 0.14, 0.500, 0.101, 0.01435, 0.066, 11.8),
    "03": (1.100, 2.053, 4.737, 0.003, 5.98, 0.06, 0.631, 0.030, 0.01337, 0.080, 9.7),
    "12": (1.175, 2.203, 4.005, 0.003, 4.82, 0.06, 0.602, 0.049, 0.01247, 0.060, 12.8),
    "15": (1.168, 2.216, 4.037, 0.002, 3.95, 0.03, 0.490, 0.021, 0.01227, 0.049, 15.9),
}
REST_DETUNING_NM = {"00": 0.3, "03": 0.3, "12": 0.2, "15": 0.2}


@pytest.fixture(scope="module")
def fits(reference_dir: Path) -> dict[str, TuningFit]:
    with np.load(reference_dir / "series" / "mrr_tuning_curves.npz", allow_pickle=False) as curves:
        return {ring: fit_tuning_curve(*curves[f"ring_{ring}"].T) for ring in MEASURED}


@pytest.mark.parametrize("ring", MEASURED)
def test_measured_rings_give_the_published_constants(fits: dict[str, TuningFit], ring: str) -> None:
    b, d, i0, i0_error, h, h_error, hwhm_ma, rmse, *_ = MEASURED[ring]
    fit = fits[ring]
    assert fit.bias == pytest.approx(b, abs=6e-4)
    assert fit.depth == pytest.approx(d, abs=6e-4)
    assert fit.dip_ma == pytest.approx(i0, abs=6e-4)
    assert fit.dip_error_ma == pytest.approx(i0_error, abs=6e-4)
    assert fit.width_ma2 == pytest.approx(h, abs=6e-3)
    assert fit.width_error_ma2 == pytest.approx(h_error, abs=6e-3)
    assert fit.hwhm_ma == pytest.approx(hwhm_ma, abs=6e-4)
    assert fit.rmse == pytest.approx(rmse, abs=6e-4)


def test_anchoring_gives_calibration_b_ring_by_ring(fits: dict[str, TuningFit]) -> None:
    rings = calibrations_from_fit(list(fits.values()), [REST_DETUNING_NM[r] for r in fits])
    for (ring, fit), calibration in zip(fits.items(), rings, strict=True):
        *_, tuning, hwhm_nm, kilo_q = MEASURED[ring]
        assert calibration.tuning == pytest.approx(tuning, abs=1.5e-5)
        assert calibration.hwhm_nm == pytest.approx(hwhm_nm, abs=6e-4)
        assert 1550.0 / (2.0 * calibration.hwhm_nm) / 1e3 == pytest.approx(kilo_q, abs=0.1)
        assert calibration.rest_detuning_nm / calibration.hwhm_nm == pytest.approx(
            fit.rest_detuning_hwhm
        )
        current = torch.linspace(0.0, 5.0, 101, dtype=torch.float64)
        np.testing.assert_allclose(calibration.weight(current), fit.weight(current), atol=1e-12)


def test_default_constants_are_those_of_the_measured_bank(fits: dict[str, TuningFit]) -> None:
    bank = bank_calibration_from_fit(list(fits.values()), [REST_DETUNING_NM[r] for r in fits])
    default = RingCalibration()
    assert bank.rest_detuning_nm == pytest.approx(default.rest_detuning_nm)
    assert bank.tuning == pytest.approx(default.tuning, rel=0.005)
    assert bank.hwhm_nm == pytest.approx(default.hwhm_nm, rel=0.005)
    assert bank.offset_spread_hwhm == pytest.approx(default.offset_spread_hwhm, abs=0.005)
    assert bank.hwhm_spread == pytest.approx(default.hwhm_spread, abs=0.001)
    assert bank.floor_spread == pytest.approx(default.floor_spread, abs=0.005)
    assert bank.depth_spread == pytest.approx(default.depth_spread, abs=0.005)
    assert (bank.bias, bank.depth) == pytest.approx((default.bias, default.depth), abs=6e-4)
    assert bank.resistance_ohm == default.resistance_ohm
    assert bank.max_current == default.max_current


@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_known_curve_is_found_again(noise: float) -> None:
    truth = (1.05, 2.1, 4.2, 3.3)
    current = np.random.default_rng(0).permutation(np.linspace(0.0, 5.0, 200))
    b, d, i0, h = truth
    weight = b - d / (1 + ((current**2 - i0**2) / h) ** 2)
    weight += noise * np.random.default_rng(1).standard_normal(len(current))
    fit = fit_tuning_curve(current, weight)
    found = (fit.bias, fit.depth, fit.dip_ma, fit.width_ma2)
    if noise == 0.0:
        assert found == pytest.approx(truth, rel=1e-9)
        assert fit.rmse < 1e-9
        return
    errors = (fit.bias_error, fit.depth_error, fit.dip_error_ma, fit.width_error_ma2)
    assert fit.rmse == pytest.approx(noise, rel=0.15)
    for value, expected, error in zip(found, truth, errors, strict=True):
        assert abs(value - expected) < 4.0 * error
        assert 0.0 < error < 0.05 * expected


def test_standard_errors_are_the_scatter_of_repeated_fits() -> None:
    rng = np.random.default_rng(2)
    current = np.linspace(0.0, 5.0, 100)
    clean = 1.0 - 2.0 / (1 + ((current**2 - 16.0) / 4.0) ** 2)
    fits = [fit_tuning_curve(current, clean + 0.02 * rng.standard_normal(100)) for _ in range(200)]
    for value, error in (("dip_ma", "dip_error_ma"), ("width_ma2", "width_error_ma2")):
        scatter = np.std([getattr(f, value) for f in fits], ddof=1)
        assert np.mean([getattr(f, error) for f in fits]) == pytest.approx(scatter, rel=0.2)


def test_bad_curves_are_user_errors() -> None:
    current = np.linspace(0.0, 5.0, 50)
    weight = 1.0 - 2.0 / (1 + ((current**2 - 16.0) / 4.0) ** 2)
    with pytest.raises(UserError, match="one length"):
        fit_tuning_curve(current, weight[:-1])
    with pytest.raises(UserError, match="at least 5"):
        fit_tuning_curve(current[:4], weight[:4])
    with pytest.raises(UserError, match="not finite"):
        fit_tuning_curve(current, np.where(current > 2, np.nan, weight))
    with pytest.raises(UserError, match="-1 mA"):
        fit_tuning_curve(current - 1.0, weight)
    with pytest.raises(UserError, match="no dip"):
        fit_tuning_curve(current, np.ones(50))


def test_bad_anchors_are_user_errors() -> None:
    current = np.linspace(0.0, 5.0, 50)
    fit = fit_tuning_curve(current, 1.0 - 2.0 / (1 + ((current**2 - 16.0) / 4.0) ** 2))
    with pytest.raises(UserError, match="1 fits and 2 rest detunings"):
        calibrations_from_fit([fit], [0.2, 0.3])
    with pytest.raises(UserError, match="0 fits"):
        calibrations_from_fit([], [])
    with pytest.raises(UserError, match="rest_detuning_nm"):
        calibrations_from_fit([fit], [0.0])
    with pytest.raises(UserError, match="no spread"):
        bank_calibration_from_fit([fit], [0.2])
