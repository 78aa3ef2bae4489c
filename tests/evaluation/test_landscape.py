from __future__ import annotations

import math

import pytest
import torch

from pnnbench.errors import UserError
from pnnbench.evaluation.hessian import ControlHessian, deployed
from pnnbench.evaluation.landscape import measure_landscape

from .small import Quadratic, SmallRings, blobs, trained
from .unchanged import same, state


def test_landscape_of_a_quadratic_loss_is_exact():
    g = torch.Generator().manual_seed(1)
    scale = torch.tensor([3.0, 2.0, 1.0, 0.5, 0.1], dtype=torch.float64)
    x = torch.randn(200, 5, generator=g, dtype=torch.float64) * scale
    theta = torch.randn(5, generator=g, dtype=torch.float64)
    workload = Quadratic(theta)  # the minimum: targets are x . theta
    measured = measure_landscape(workload, x, x @ theta, count=200, radius_rms=0.1, points=7)
    hessian = x.T @ x / 200
    values, vectors = torch.linalg.eigh(hessian)
    assert torch.allclose(measured.eigenvalues, values.flip(0)[:2], rtol=1e-3)
    radius = 0.1 * math.sqrt(5)
    assert torch.allclose(measured.steps, torch.linspace(-radius, radius, 7).double())
    assert measured.images == 200
    alignment = (measured.directions * vectors.T.flip(0)[:2]).sum(1).abs()
    assert torch.allclose(alignment, torch.ones(2).double(), atol=1e-4)
    a = measured.steps.square()
    expected = 0.5 * (values[-1] * a.unsqueeze(0) + values[-2] * a.unsqueeze(1))
    assert torch.allclose(measured.losses, expected, rtol=1e-3, atol=1e-9)


def test_landscape_curves_by_its_eigenvalues_around_the_loss():
    """In float64 and at small steps: rings, batch norm and ReLU, second differences to 1 %."""
    workload = trained(dtype=torch.float64)
    images, labels = blobs(96, torch.float64, seed=5)
    before = state(workload)
    measured = measure_landscape(workload, images, labels, count=96, radius_rms=5e-8, points=3)
    same(before, state(workload))
    with deployed(workload):
        hessian = ControlHessian(workload, images, labels)
        exact = hessian.value()
        for direction, eigenvalue in zip(measured.directions, measured.eigenvalues, strict=True):
            assert float(direction.norm()) == pytest.approx(1.0, abs=1e-12)
            residual = hessian.product(direction) - eigenvalue * direction
            assert float(residual.norm()) < 0.1 * float(eigenvalue)
    assert abs(float(measured.directions[0] @ measured.directions[1])) < 1e-10
    losses, step = measured.losses, float(measured.steps[2])
    assert step == pytest.approx(5e-8 * math.sqrt(396))
    assert float(losses[1, 1]) == pytest.approx(exact, rel=1e-12)
    along_first = float(losses[1, 2] + losses[1, 0] - 2 * losses[1, 1]) / step**2
    along_second = float(losses[2, 1] + losses[0, 1] - 2 * losses[1, 1]) / step**2
    assert along_first == pytest.approx(float(measured.eigenvalues[0]), rel=0.01)
    assert along_second == pytest.approx(float(measured.eigenvalues[1]), rel=0.01)
    assert measured.eigenvalues[0] > 1.05 * measured.eigenvalues[1] > 0


@pytest.mark.parametrize("seed", [None, 0, 1])
def test_landscape_is_where_the_controls_were_trained(seed: int | None):
    """On the digital model in training, or on the hardware; the middle has the loss there."""
    workload, (images, labels) = trained(), blobs(40, seed=5)
    device = None if seed is None else workload.draw_device(0.5, seed)
    digital = []
    hooks = [
        layer.register_forward_pre_hook(lambda layer, _: digital.append(layer.training))
        for layer in workload.layers().values()
    ]
    measured = measure_landscape(workload, images, labels, device=device, points=3)
    assert set(digital) == {device is None}
    for hook in hooks:
        hook.remove()
    with deployed(workload, device):
        there = ControlHessian(workload, images, labels).value()
    with deployed(workload):
        ideal = ControlHessian(workload, images, labels).value()
    assert float(measured.losses[1, 1]) == pytest.approx(there, rel=1e-6)
    assert (abs(there - ideal) > 0.01 * ideal) is (device is not None)


def test_landscape_has_its_own_draws_and_uses_no_more_images_than_asked():
    workload, (images, labels) = trained(), blobs(200, seed=5)
    first = measure_landscape(workload, images, labels, count=40, points=3)
    torch.manual_seed(99)
    again = measure_landscape(workload, images, labels, count=40, points=3)
    assert torch.equal(first.losses, again.losses)
    assert torch.equal(first.directions, again.directions)
    assert first.images == 40
    all_of_them = measure_landscape(workload, images, labels, count=1000, points=3)
    assert all_of_them.images == 200
    assert not torch.equal(all_of_them.losses, first.losses)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"points": 4}, "points is 4"),
        ({"radius_rms": 0.0}, "radius_rms"),
        ({"count": 0}, "count"),
        ({"count": 2.5}, r"count is 2\.5"),
    ],
)
def test_landscape_refuses_what_makes_no_plane(options, match):
    with pytest.raises(UserError, match=match):
        measure_landscape(SmallRings(), *blobs(20), **options)
