from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pnnbench.platforms.base import Condition, Device, PhysicalLayer, operate
from pnnbench.platforms.mzi import MZIMesh
from pnnbench.platforms.mzi_layers import MZILinear
from pnnbench.platforms.phase_range import inner, mesh_phases, outer


def far(layer: Any, seed: int) -> Any:
    """The layer in double precision with phases many turns away."""
    generator = torch.Generator().manual_seed(seed)
    layer.double()
    with torch.no_grad():
        for name in layer.control_names:
            p = getattr(layer, name)
            p.add_(30 * torch.randn(p.shape, generator=generator, dtype=p.dtype))
    return layer


def put(layer: PhysicalLayer, low: float, high: float) -> None:
    with torch.no_grad():
        for name, value in layer.controls_within(low, high).items():
            getattr(layer, name).copy_(value)


@settings(max_examples=30)
@given(n=st.integers(2, 9), seed=st.integers(0, 100), low=st.floats(-20, 20))
def test_a_range_of_one_turn_takes_any_mesh_with_errors_too(n: int, seed: int, low: float) -> None:
    high = low + 2 * math.pi
    for layer in (far(MZIMesh(n, detected=False), seed), far(MZILinear(n, 4, ports=5), seed)):
        device = Device.draw(layer, 0.2, seed)
        with operate(layer, [Condition(device)]):
            before = layer.transfer().detach()
            put(layer, low, high)
            torch.testing.assert_close(layer.transfer().detach(), before, rtol=0, atol=1e-10)
        for name in layer.control_names:
            value = getattr(layer, name).detach()
            assert bool(((value >= low) & (value <= high)).all())


@pytest.mark.parametrize("n", [2, 3, 8])
def test_what_detectors_see_stays(n: int) -> None:
    mesh = far(MZIMesh(n), 1)
    x = torch.randn(4, n, dtype=torch.float64)
    before = mesh(x).detach()
    put(mesh, 0.0, 2 * math.pi)
    torch.testing.assert_close(mesh(x).detach(), before, rtol=0, atol=1e-12)


@settings(max_examples=20)
@given(n=st.integers(2, 8), seed=st.integers(0, 100))
def test_half_a_turn_is_enough_for_inner_phases(n: int, seed: int) -> None:
    mesh = far(MZIMesh(n, detected=False), seed)
    before = mesh.ideal_weight().detach()
    phases = (mesh.theta[None], mesh.phi[None], mesh.gamma[None])
    theta, phi, gamma = mesh_phases(*phases, 0.0, math.pi)
    assert 0.0 <= float(theta.min()) <= float(theta.max()) <= math.pi
    with torch.no_grad():
        mesh.theta.copy_(theta[0])
        mesh.phi.copy_(phi[0])
        mesh.gamma.copy_(gamma[0])
    torch.testing.assert_close(mesh.ideal_weight().detach(), before, rtol=0, atol=1e-10)


def test_an_inner_phase_is_moved_by_whole_turns_and_negated_only_where_it_must_be() -> None:
    theta = torch.tensor([1.0, 1.0 + 2 * math.pi, -1.0, 5.0])
    found, negative, sign = inner(theta, 0.0, 2 * math.pi)
    assert found.tolist() == pytest.approx([1.0, 1.0, 2 * math.pi - 1.0, 5.0], abs=1e-6)
    assert not negative.any()
    assert sign.tolist() == [1.0, -1.0, -1.0, 1.0]
    found, negative, _ = inner(theta, 0.0, math.pi)
    assert found.tolist() == pytest.approx([1.0, 1.0, 1.0, 2 * math.pi - 5.0], abs=1e-6)
    assert negative.tolist() == [False, False, True, True]


def test_an_outer_phase_beyond_the_range_lies_at_its_nearer_end() -> None:
    found = outer(torch.tensor([3.5, 6.0, 1.0]), 0.0, math.pi)
    assert found.tolist() == pytest.approx([3.5, 6.0 - 2 * math.pi, 1.0], abs=1e-6)
