from __future__ import annotations

import math

import pytest
import torch

from pnnbench.data import DataModule, load
from pnnbench.methods.bp_weights import BPWeights
from pnnbench.methods.pruning import PUBLISHED_STRENGTH, OpticalPruning
from pnnbench.methods.pruning_weights import OpticalPruningWeights
from pnnbench.platforms.mrr import PUBLISHED_CALIBRATION, RingCalibration
from pnnbench.running.training import fit
from pnnbench.workloads.mrr import MRRDigits
from pnnbench.workloads.mzi import MZIDigits

DATA = DataModule(load("digits"), batch_size=20, limit_train=100)
X, Y = (t[:20] for t in DATA.train_tensors())


def attached(strength: float | str) -> tuple[MRRDigits, OpticalPruningWeights]:
    workload, method = MRRDigits(0).train(), OpticalPruningWeights(strength=strength)
    method.attach(workload)
    return workload, method


def test_at_the_same_rings_the_penalty_is_that_on_currents() -> None:
    workload, method = attached("0.3 HWHM")
    found = method.loss(workload, (X, Y))
    expected = OpticalPruning(strength="0.3 HWHM").loss(MRRDigits(0).train(), (X, Y))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_without_strength_it_is_back_propagation_on_weights() -> None:
    workload, method = attached(0.0)
    plain, other = MRRDigits(0).train(), BPWeights()
    other.attach(plain)
    assert torch.equal(method.loss(workload, (X, Y)), other.loss(plain, (X, Y)))


def test_slopes_follow_from_the_weights() -> None:
    ring = RingCalibration()
    u = torch.linspace(0.05, 3.9, 50, dtype=torch.float64)
    weight = (ring.bias - ring.depth / (1 + u**2)).requires_grad_()
    slope = ring.slope(weight)
    torch.testing.assert_close(slope, 2 * ring.depth * u / (1 + u**2) ** 2)
    assert torch.autograd.gradcheck(ring.slope, (weight,))
    ends = torch.tensor([ring.bias - ring.depth, ring.bias, -9.0, 9.0], requires_grad=True)
    ring.slope(ends).sum().backward()
    assert not ring.slope(ends).any()
    assert ends.grad is not None
    assert torch.isfinite(ends.grad).all()


def test_the_published_strength_is_that_of_the_published_code() -> None:
    """0.01 on half of dw/dx, of the normalised Lorentzian with x = 0.15 u."""
    weight = torch.linspace(-0.9, 0.9, 7)
    x = 0.15 * ((1 + weight) / (1 - weight)).sqrt()
    half_slope = 0.5 * 4 * (x / 0.15**2) / (1 + (x / 0.15).square()).square()
    published = 0.01 * torch.linalg.vector_norm(half_slope)
    ours = torch.linalg.vector_norm(PUBLISHED_CALIBRATION.slope(weight))
    strength = float(PUBLISHED_STRENGTH.split()[0])
    assert float(strength * ours) == pytest.approx(float(published), rel=2e-3)


def test_it_drives_weights_to_where_they_are_flat() -> None:
    def steepness(strength: float) -> float:
        workload = MRRDigits(0)
        method = OpticalPruningWeights(strength=f"{strength} HWHM", lr=0.05)
        fit(workload, method, DATA, epochs=4)
        slopes = [layer.sensitivity().norm() for layer in workload.layers().values()]
        return math.fsum(map(float, slopes))

    assert steepness(1.0) < 0.8 * steepness(0.0)


def test_only_where_a_weight_has_an_element_of_its_own() -> None:
    assert OpticalPruningWeights.supports(MRRDigits())
    assert not OpticalPruningWeights.supports(MZIDigits())
