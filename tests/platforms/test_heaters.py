"""Heat of neighbouring heaters: a function of the phases, not of their rounding."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from pnnbench.platforms.base import Condition, Device, PhysicalLayer, operate
from pnnbench.platforms.heaters import UNDRIVEN
from pnnbench.platforms.mzi import MZIEnvironment, MZIMesh
from pnnbench.platforms.mzi_layers import MZIConv2d, MZILinear

JITTER_RAD = 1e-6
HOT = Condition(Device.ideal(), MZIEnvironment(thermal_crosstalk=0.05))


def hot(layer: PhysicalLayer) -> Tensor:
    with torch.no_grad(), operate(layer, [HOT]):
        return layer.transfer()


def programmed(kind: str) -> PhysicalLayer:
    """Layers programmed to a matrix, in single precision and then taken to double."""
    if kind == "linear":
        return MZILinear(24, 10, weight=torch.randn(10, 24)).double()
    if kind == "tiles":
        return MZILinear(9, 6, ports=4, weight=torch.randn(6, 9)).double()
    if kind == "identity":
        return MZILinear(5, 5, weight=torch.eye(5)).double()
    if kind == "sparse":
        return MZILinear(8, 6, weight=torch.randn(6, 8) * (torch.rand(6, 8) < 0.2)).double()
    if kind == "zeros":
        return MZILinear(4, 3, weight=torch.zeros(3, 4)).double()
    if kind == "convolution":
        return MZIConv2d(2, 3, 3, weight=torch.randn(3, 2, 3, 3)).double()
    mesh = MZIMesh(8)
    q, _ = torch.linalg.qr(torch.randn(8, 8))
    mesh.program(q.to(torch.complex64))
    return mesh.double()


@pytest.mark.parametrize(
    "kind", ["linear", "tiles", "identity", "sparse", "zeros", "convolution", "orthogonal"]
)
def test_jitter_of_programmed_phases_moves_the_transfer_by_as_much(kind: str) -> None:
    torch.manual_seed(0)
    layer = programmed(kind)
    exact = hot(layer)
    scale = max(float(exact.abs().max()), 1e-6)
    heated = float((exact - layer.ideal_weight().detach()).abs().max())
    assert heated > 1e-3 * scale
    for _ in range(3):
        moved = copy.deepcopy(layer)
        with torch.no_grad():
            for name in moved.control_names:
                phase = getattr(moved, name)
                phase.add_(JITTER_RAD * torch.randn_like(phase))
        change = float((hot(moved) - exact).abs().max()) / scale
        assert 0 < change < 100 * JITTER_RAD


def test_rounding_to_single_precision_is_as_small() -> None:
    torch.manual_seed(0)
    weight = torch.randn(6, 9, dtype=torch.float64)
    fine = MZILinear(9, 6, weight=weight).double()
    fine.program(weight)
    coarse = MZILinear(9, 6, weight=weight).double()
    torch.testing.assert_close(hot(coarse), hot(fine), rtol=0, atol=1e-5)


def test_jitter_of_random_meshes_away_from_the_end_of_the_range() -> None:
    torch.manual_seed(1)
    mesh = MZIMesh(12).double()
    to_end = (mesh.phi.detach() - UNDRIVEN) % (2 * math.pi)
    near = torch.minimum(to_end, 2 * math.pi - to_end) < 1e-3
    with torch.no_grad():
        mesh.phi[near] += 0.01
    exact = hot(mesh)
    with torch.no_grad():
        for name in mesh.control_names:
            phase = getattr(mesh, name)
            phase.add_(JITTER_RAD * torch.randn_like(phase))
    assert 0 < float((hot(mesh) - exact).abs().max()) < 100 * JITTER_RAD


@pytest.mark.parametrize("layer", [MZIMesh(4), MZILinear(4, 4)], ids=["mesh", "matrix"])
def test_the_gradient_through_heat_is_that_of_finite_differences(layer: PhysicalLayer) -> None:
    torch.manual_seed(2)
    layer = copy.deepcopy(layer).double()
    if isinstance(layer, MZILinear):  # outer phases of a real matrix, each at 0 or pi
        layer.program(torch.randn(4, 4, dtype=torch.float64))
    network, names = nn.Sequential(layer), layer.control_names
    x = torch.rand(3, 4, dtype=torch.float64)
    with operate(network, [HOT]):

        def outputs(*controls: Tensor) -> Tensor:
            given = {f"0.{name}": value for name, value in zip(names, controls, strict=True)}
            return torch.func.functional_call(network, given, (x,))

        given = tuple(getattr(layer, name).detach().requires_grad_() for name in names)
        assert torch.autograd.gradcheck(outputs, given, atol=1e-6)


def test_a_period_makes_no_difference_to_heat() -> None:
    torch.manual_seed(3)
    layer = MZILinear(5, 4).double()
    exact = hot(layer)
    with torch.no_grad():
        layer.u_phi.add_(2 * math.pi)
        layer.v_theta.sub_(4 * math.pi)
    torch.testing.assert_close(hot(layer), exact)
