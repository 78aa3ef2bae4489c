"""Convolutions that leave out derivatives towards their inputs, against torch's own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from pnnbench.platforms.fixed_inputs import are_fixed, convolve, fixed_inputs
from pnnbench.platforms.products import Geometry

GEOMETRIES = [
    Geometry(2, padding=2),
    Geometry(2, stride=2, padding=1, dilation=2),
    Geometry(2, stride=(2, 1), padding=(0, 2), groups=2),
    Geometry(2, padding=1, padding_mode="circular"),
    Geometry(1, padding=1),
    Geometry(1, stride=3, dilation=2, groups=4),
]


def sample(geometry: Geometry) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 4, *(9,) * geometry.dims, generator=generator, dtype=torch.float64)
    shape = (8, 4 // geometry.groups, *(3,) * geometry.dims)
    weight = torch.randn(shape, generator=generator, dtype=torch.float64)
    return x, weight.requires_grad_()


def derivatives(geometry: Geometry, x: Tensor, weight: Tensor) -> list[Tensor]:
    """The outputs, the gradient of a function of them, and a product with its Hessian."""
    y = geometry.convolve(x, weight)
    (gradient,) = torch.autograd.grad(y.sin().sum(), weight, create_graph=True)
    v = torch.linspace(-1.0, 1.0, weight.numel(), dtype=weight.dtype).view_as(weight)
    (product,) = torch.autograd.grad(gradient, weight, v)
    return [y, gradient, product]


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=repr)
def test_values_and_derivatives_are_those_of_torch(geometry: Geometry) -> None:
    x, weight = sample(geometry)
    plain = derivatives(geometry, x, weight)
    with fixed_inputs():
        fixed = derivatives(geometry, x, weight)
    assert all(map(torch.equal, fixed[:2], plain[:2]))  # by the same operations
    torch.testing.assert_close(fixed[2], plain[2], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=repr)
def test_derivatives_are_those_of_differences(geometry: Geometry) -> None:
    x, weight = sample(geometry)

    def outputs(kernels: Tensor) -> Tensor:
        with fixed_inputs():
            return geometry.convolve(x[:1], kernels).square()

    assert torch.autograd.gradcheck(outputs, weight, fast_mode=True)
    assert torch.autograd.gradgradcheck(outputs, weight, fast_mode=True)


def kinds(y: Tensor) -> set[str]:
    """Names of the operations that a tensor comes from."""
    found: set[str] = set()
    waiting: list[Any] = [y.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None:
            found.add(node.name())
            waiting += [before for before, _ in node.next_functions]
    return found


def test_it_is_used_where_it_may_be_alone() -> None:
    geometry = Geometry(2, padding=1)
    x, weight = sample(geometry)
    own = "_ConvolutionBackward"
    assert own not in kinds(geometry.convolve(x, weight))
    with fixed_inputs():
        assert own in kinds(geometry.convolve(x, weight))
        asking = x.clone().requires_grad_()
        assert own not in kinds(geometry.convolve(asking, weight))
        assert own not in kinds(Geometry(2, padding="same").convolve(x, weight))
        assert not are_fixed(x, weight.detach())
        with torch.no_grad():
            assert not are_fixed(x, weight)
    assert not are_fixed(x, weight)


def test_the_part_towards_the_inputs_is_not_computed() -> None:
    geometry = Geometry(2, padding=1)
    x, weight = sample(geometry)
    direct = convolve(x, weight, ((1, 1), (1, 1), (1, 1), 1))
    (gradient,) = torch.autograd.grad(direct.square().sum(), weight, create_graph=True)
    with torch.autograd.profiler.profile() as seen:
        torch.autograd.grad(gradient.sum(), weight)
    names = [event.name for event in seen.function_events]
    assert names.count("aten::convolution") == 1
    assert names.count("aten::convolution_backward") == 1
