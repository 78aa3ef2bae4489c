from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.optimize import brentq

from pnnbench.errors import UserError
from pnnbench.evaluation.companions import ball_increase, device_increases
from pnnbench.evaluation.gaps import NotFiniteError
from pnnbench.evaluation.hessian import ControlHessian, deployed
from pnnbench.platforms.base import Device
from pnnbench.platforms.mrr import MRREnvironment

from .small import Quadratic, blobs, trained


def quadratic(seed, gradient, limit=1e9):
    """A quadratic loss of 12 controls with a given size of gradient at its present controls."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(80, 12, generator=g, dtype=torch.float64)
    x *= torch.linspace(0.5, 2.0, 12, dtype=torch.float64)
    theta = torch.randn(12, generator=g, dtype=torch.float64)
    y = x @ (theta + gradient * torch.randn(12, generator=g, dtype=torch.float64))
    workload = Quadratic(theta, limit).double()
    return workload, x, y


def exact_ball_maximum(hessian, gradient, radius):
    """Maximum of g'd + d'Hd/2 over |d| = radius: d = (s - H)^-1 g with s above the spectrum."""
    values, vectors = np.linalg.eigh(hessian)
    g = vectors.T @ gradient

    def excess(s):
        return np.linalg.norm(g / (s - values)) - radius

    s = brentq(excess, values[-1] + 1e-12, values[-1] + 1e6, xtol=1e-14)
    d = g / (s - values)
    return float(g @ d + 0.5 * (values * d * d).sum())


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("radius", [0.05, 1.0])
def test_ball_of_a_quadratic_is_the_closed_form(seed, radius):
    workload, x, y = quadratic(seed, 0.2)
    with deployed(workload):
        objective = ControlHessian(workload, x, y, chunk=30)
        _, gradient = objective.value_and_gradient()
        h = (x.T @ x / 80).numpy()
        values, vectors = np.linalg.eigh(h)
        top = torch.from_numpy(vectors[:, -1].copy())
        found = ball_increase(objective, radius, direction=top, steps=60)
        start = ball_increase(objective, radius, direction=top, steps=0)
    slope = abs(float(gradient @ top))
    assert start >= slope * radius + 0.5 * values[-1] * radius**2 - 1e-12
    truth = exact_ball_maximum(h, gradient.numpy(), radius)
    assert found <= truth * (1 + 1e-9)
    assert found == pytest.approx(truth, rel=1e-4)


def test_ball_at_a_minimum_is_half_lambda_radius_squared():
    workload, x, y = quadratic(0, 0.0)
    h = (x.T @ x / 80).numpy()
    values, vectors = np.linalg.eigh(h)
    with deployed(workload):
        objective = ControlHessian(workload, x, y)
        top = torch.from_numpy(vectors[:, -1].copy())
        increase = ball_increase(objective, 0.3, direction=top)
    assert increase == pytest.approx(0.5 * values[-1] * 0.09, rel=1e-9)


def test_ball_stays_in_the_allowed_range_and_leaves_the_controls_alone():
    workload, x, y = quadratic(1, 0.2)
    with torch.no_grad():
        workload.network.layer.theta.clamp_(-1.0, 1.0)
    workload.network.layer.limit = 1.0
    before = workload.network.layer.theta.detach().clone()
    seen = []
    with deployed(workload):
        objective = ControlHessian(workload, x, y)
        inner = objective.value_and_gradient

        def spy(at=None):
            seen.append(objective.at if at is None else at)
            return inner(at)

        objective.value_and_gradient = spy
        inside = ball_increase(objective, 1.5, steps=20)
        workload.network.layer.limit = 1e9
        free = ball_increase(objective, 1.5, steps=20)
    assert 0.0 < inside < free
    limited = seen[: len(seen) // 2]
    assert all(float(at.abs().max()) <= 1.0 + 1e-12 for at in limited)
    assert all(float((at - before).norm()) <= 1.5 * (1 + 1e-9) for at in seen)
    assert torch.equal(workload.network.layer.theta, before)


def test_ball_of_rings_grows_with_its_radius_and_is_never_negative():
    workload = trained()
    x, y = blobs(120)
    with deployed(workload):
        objective = ControlHessian(workload, x, y, chunk=50)
        increases = [ball_increase(objective, r) for r in (1e-4, 1e-2, 1e-1, 1.0)]
        with pytest.raises(UserError, match="radius"):
            ball_increase(objective, 0.0)
    assert all(i >= 0.0 for i in increases)
    assert increases == sorted(increases)
    assert increases[-1] > 10 * increases[1]


def test_devices_as_a_batch_equal_one_device_at_a_time():
    workload = trained(dtype=torch.float64)
    x, y = blobs(70, torch.float64)
    devices = [workload.draw_device(0.3, seed) for seed in range(7)]
    warm = MRREnvironment(22.3)
    with deployed(workload):
        found = device_increases(workload, x, y, devices, warm, chunk=32, device_batch=3)
        nominal = device_increases(workload, x, y, devices, chunk=70, device_batch=7)
        ideal = float(workload.loss(workload(x), (x, y)))
        for device, increase in zip(devices, found, strict=True):
            with workload.operating(device, warm):
                alone = float(workload.loss(workload(x), (x, y)))
            assert increase == pytest.approx(alone - ideal, abs=1e-12)
            assert increase > 0.0
        assert nominal != pytest.approx(found, abs=1e-3)
        assert device_increases(workload, x, y, [Device.ideal()]) == pytest.approx([0.0], abs=1e-12)
        with pytest.raises(UserError, match="no device"):
            device_increases(workload, x, y, [])


def test_a_ball_with_a_loss_that_is_not_finite_has_no_worst_increase():
    class Broken(Quadratic):
        """Not finite once the outputs exceed a wall."""

        wall = 1e9

        def loss(self, outputs, batch):
            inside = (self.wall - outputs.abs().max()).clamp(max=0.0)
            return super().loss(outputs, batch) + 0.0 * torch.sqrt(inside)

    base, x, y = quadratic(2, 0.2)
    workload = Broken(base.network.layer.theta.detach()).double()
    with deployed(workload):
        objective = ControlHessian(workload, x, y)
        workload.wall = 1.01 * float(workload(x).abs().max())
        with pytest.raises(NotFiniteError, match="not finite in the ball"):
            ball_increase(objective, 5.0)


def test_a_device_with_a_loss_that_is_not_finite_leaves_the_others(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr("pnnbench.platforms.static_errors.LARGEST", 1.8e308)
    workload = trained()
    x, y = blobs(40)
    good = workload.draw_device(0.1, 1)
    bad = workload.draw_device(0.1, 2)
    bad.errors["fc"]["bias"].fill_(3e38)  # the sum over the inputs overflows
    with deployed(workload):
        alone = device_increases(workload, x, y, [good])
        found = device_increases(workload, x, y, [good, bad, good])
    assert not math.isfinite(found[1])
    assert [found[0], found[2]] == pytest.approx([alone[0]] * 2, abs=2e-6)
    with torch.no_grad():
        workload.network.fc.current.fill_(math.nan)
    with deployed(workload), pytest.raises(NotFiniteError, match="where the workload is operated"):
        device_increases(workload, x, y, [good])
