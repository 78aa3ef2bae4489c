"""Sharpness of trained digits networks of every platform."""

from __future__ import annotations

import copy

import pytest
import torch

from pnnbench.data.datamodule import DataModule
from pnnbench.evaluation.companions import common_direction
from pnnbench.evaluation.hessian import ControlHessian, deployed
from pnnbench.evaluation.lanczos import lanczos
from pnnbench.evaluation.points import MINIMUM_GAIN
from pnnbench.evaluation.sharpness import measure_sharpness
from pnnbench.methods.bp import BP
from pnnbench.platforms.diffractive import DiffractiveStack
from pnnbench.platforms.fixed_optics import DetectorPlane, Detectors, Imaging
from pnnbench.running.jobs import workload_class
from pnnbench.running.training import fit
from pnnbench.workloads.diffractive import (
    BETWEEN,
    FOCAL,
    FROM_MASK,
    ROWS,
    TO_DETECTORS,
    TO_LENS,
    TO_MASK,
    DiffractiveDigits,
    optics,
)
from pnnbench.workloads.optical_networks import DiffractiveNet

RATES = {
    "mrr-digits": "0.1 mA",
    "mzi-digits": "0.03 rad",
    "freespace-digits": "0.005 full modulation",
    "diffractive-digits": "0.2 rad",
}


#: Its optics take half a minute here; what is asked of it is asked of free space too.
LONG = pytest.param("diffractive-digits", marks=pytest.mark.slow)


@pytest.fixture(scope="module", params=[*(name for name in RATES if name not in LONG.values), LONG])
def row(request):
    """The reference row BP of the quick tier, its sample and its figures."""
    workload = workload_class(request.param)(0)
    tier = workload.tier("quick")
    data = DataModule("digits", batch_size=tier.batch_size, seed=0, holdout=256)
    method = BP(lr=RATES[request.param])
    method.seed = 0
    fit(workload, method, data, epochs=tier.epochs)
    # Without the method, as a job measures it.
    trained = workload_class(request.param)(0)
    trained.network.load_state_dict(workload.network.state_dict())
    x, y = data.train_tensors()
    trained.calibrate(x)
    sample = x[: min(600, tier.sharpness_images)], y[: min(600, tier.sharpness_images)]
    figures = measure_sharpness(
        trained, *sample, seed=0, held_out=data.validation_tensors(), devices=[], check=False
    )
    return trained.eval(), sample, figures


class DoubleDiffractive(DiffractiveDigits):
    """The digital model with optics that are computed in double precision."""

    def build_network(self):
        n, pixel_um, side = self.sampling
        coarse = optics(n, pixel_um, side)
        plane, exact = coarse.plane, torch.complex128
        before = [
            plane.gap(TO_LENS, exact),
            plane.lens(FOCAL, dtype=exact),
            plane.gap(TO_MASK, exact),
        ]
        behind = [
            plane.gap(FROM_MASK, exact),
            plane.lens(FOCAL, dtype=exact),
            plane.gap(TO_DETECTORS, exact),
        ]
        corners = tuple((row * n // 128, c * n // 128) for row, columns in ROWS for c in columns)
        detectors = DetectorPlane(behind, n, Detectors(corners, side), 0.0)
        stack = DiffractiveStack(plane, [BETWEEN], detectors, dtype=exact)
        return DiffractiveNet(Imaging(before, n, n // 2, 1), stack, n // 2)


def in_float64(workload):
    """The same network in double precision, its fixed optics included."""
    if workload.platform != "diffractive":
        return copy.deepcopy(workload).double()
    exact = DoubleDiffractive(0)
    state = {k: v.double() for k, v in workload.network.state_dict().items()}
    exact.network.load_state_dict(state)
    return exact.double().eval()


def test_in_the_ball_the_curvature_decides_and_the_loss_stays_under_guessing(row):
    _, _, figures = row
    radius, slope = figures["ball_radius"], figures["gradient_norm"]
    assert figures["ball_radius_rms"] == pytest.approx(radius / figures["n_controls"] ** 0.5)
    assert figures["ball_slope"] == pytest.approx(slope * radius)
    assert figures["ball_curvature"] == pytest.approx(0.5 * figures["lambda_max"] * radius**2)
    assert figures["ball_curvature"] > 3.0 * figures["ball_slope"]
    assert figures["train_loss"] + figures["ball_increase"] < figures["guessing_loss"]
    assert figures["is_minimum"] == 1
    gain = slope**2 / (2.0 * figures["lambda_max"])
    assert gain < 0.5 * MINIMUM_GAIN * figures["guessing_loss"]  # well inside the rule


@pytest.mark.parametrize("scale", [1.0, "calibrated", 3.0, 8.0])
def test_error_bounds_hold_against_float64(row, scale):
    """Scaled by 3 or 8 the outputs of the rings tell all images apart: next to no loss is left."""
    workload, (x, y), figures = row
    name = "lambda_max_calibrated" if scale == "calibrated" else "lambda_max"
    factor = figures["softmax_scale"] if scale == "calibrated" else scale
    if scale in (1.0, "calibrated"):
        found, bound = figures[name], figures[f"{name}_error_bound"]
    else:
        with deployed(workload, digital=True):
            hessian = ControlHessian(workload, x, y, scale=factor)
            pairs = lanczos(hessian.product, hessian.size, seed=1, rounding=hessian.rounding)
            assert pairs.converged
        found, bound = float(pairs.top[0]), float(pairs.bounds[0])
    exact = in_float64(workload)
    with deployed(exact, digital=True):
        hessian = ControlHessian(exact, x.double(), y, scale=factor)
        truth = lanczos(
            hessian.product, hessian.size, seed=5, tol=1e-9, rounding=1e-12, max_products=200
        )
        assert truth.converged
    assert abs(found - float(truth.top[0])) <= bound <= 0.01 * found


def test_common_mode_is_there_only_where_it_is_no_gauge(row):
    workload, (x, y), figures = row
    with deployed(workload, digital=True):
        hessian = ControlHessian(workload, x, y)
        everything = torch.ones_like(hessian.at)
        curvature = float(everything @ hessian.product(everything))
    scale = figures["lambda_max"] * hessian.size
    if workload.platform == "diffractive":
        assert abs(curvature) < 1e-6 * scale
    if workload.platform in ("diffractive", "freespace"):
        assert "common_mode" not in figures
        assert common_direction(workload) is None
    else:
        assert abs(figures["common_mode"]) > 1e-4 * scale
    if workload.platform == "mzi":  # the input phases in common are a gauge
        assert figures["common_mode"] == pytest.approx(curvature, rel=1e-3)


def test_on_a_training_device_the_figures_are_those_of_that_device(row):
    workload, (x, y), figures = row
    device = workload.training_device(3)
    x, y = x[:100], y[:100]
    there = measure_sharpness(
        workload, x, y, seed=0, device=device, held_out=(x, y), devices=[device], check=False
    )
    assert there["point"] == {"device_seed": device.seed, "severity": device.severity}
    assert figures["point"] == {"device_seed": None, "severity": 0.0}
    with torch.no_grad(), workload.operating(device):
        loss = float(workload.loss(workload(x), (x, y)))
    assert there["train_loss"] == pytest.approx(loss, rel=1e-4)
    # The increase on the device itself over itself.
    assert there["device_increase"] == pytest.approx(0.0, abs=1e-5 * max(1.0, loss))
    with deployed(workload, device):
        hessian = ControlHessian(workload, x, y)
        _, gradient = hessian.value_and_gradient()
        top = lanczos(hessian.product, hessian.size, seed=1).top[0]
    assert there["gradient_norm"] == pytest.approx(float(gradient.norm()), rel=1e-4)
    assert there["lambda_max"] == pytest.approx(float(top), rel=5e-3)


def test_the_check_is_of_the_model_that_was_measured() -> None:
    """PyHessian asks for evaluation mode, in which a stack is the deployed one."""
    data = DataModule("digits", limit_train=12)
    x, y = data.train_tensors()
    workload = DiffractiveDigits(0)
    workload.calibrate(x)
    found = measure_sharpness(workload, x, y, seed=0, devices=[], check=True)
    assert found["lambda_max_pyhessian"] == pytest.approx(found["lambda_max"], rel=1e-2)
