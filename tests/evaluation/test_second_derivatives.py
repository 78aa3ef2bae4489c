"""Cheaper second derivatives: the same ones, and the network is left as it was."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from pnnbench.evaluation.hessian import ControlHessian, deployed
from pnnbench.evaluation.second_derivatives import cheap_second_derivatives
from pnnbench.registry import workload_class
from pnnbench.workloads.base import Workload


class Own(nn.BatchNorm1d):
    """A norm that may do anything."""


def shaken(name: str) -> Workload:
    """A workload whose norms have statistics, scales and shifts that are not trivial."""
    workload = workload_class(name)(0).double()
    generator = torch.Generator().manual_seed(0)
    for norm in workload.modules():
        if isinstance(norm, (nn.BatchNorm1d, nn.BatchNorm2d)):
            assert norm.running_mean is not None
            assert norm.running_var is not None
            norm.running_mean.normal_(0.0, 0.3, generator=generator)
            norm.running_var.uniform_(0.5, 2.0, generator=generator)
            with torch.no_grad():
                norm.weight.uniform_(0.5, 1.5, generator=generator)
                norm.bias.normal_(0.0, 0.3, generator=generator)
    return workload


def product(workload: Workload, x: Tensor, y: Tensor, *, plain: bool) -> tuple[Tensor, int]:
    with deployed(workload, digital=True):
        hessian = ControlHessian(workload, x, y, chunk=8, plain=plain)
        v = torch.linspace(-1.0, 1.0, hessian.size, dtype=torch.float64).cos()
        return hessian.product(v), hessian.graph_bytes()


@pytest.mark.parametrize("name", ["mrr-digits", "mrr-digits-resnet", "mrr-digits-autoencoder"])
def test_a_product_is_that_of_plain_operations(name: str) -> None:
    workload = shaken(name)
    x = torch.rand(16, *workload.data_set.input_shape, dtype=torch.float64)
    y = x if "autoencoder" in name else torch.arange(16) % 10
    cheap, less = product(workload, x, y, plain=False)
    plain, more = product(workload, x, y, plain=True)
    assert float((cheap - plain).norm()) <= 1e-12 * float(plain.norm())
    assert less < 0.9 * more  # and a graph holds less


@pytest.mark.parametrize("affine", [True, False])
def test_norms_are_what_they_are_in_evaluation(affine: bool) -> None:
    norm = nn.BatchNorm2d(3, affine=affine).double()
    x = torch.randn(5, 3, 4, 4, dtype=torch.float64)
    norm(x)
    norm.eval()
    with torch.no_grad():
        for p in norm.parameters():
            p.uniform_(0.5, 1.5)
    right = norm(x)
    with cheap_second_derivatives(norm):
        assert "forward" in norm.__dict__
        found = norm(x)
    torch.testing.assert_close(found, right, rtol=1e-13, atol=1e-13)


def test_only_norms_with_fixed_statistics_are_replaced_and_all_are_put_back() -> None:
    network = nn.Sequential(
        nn.BatchNorm1d(2), nn.BatchNorm1d(2, track_running_stats=False), Own(2), nn.BatchNorm1d(2)
    ).eval()
    network[3].train()

    def fails() -> None:
        with cheap_second_derivatives(network):
            assert ["forward" in m.__dict__ for m in network] == [True, False, False, False]
            with cheap_second_derivatives(network):
                pass
            assert "forward" in network[0].__dict__  # which is for the outer one to put back
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert not any("forward" in m.__dict__ for m in network)
