from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pnnbench.workloads.mrr import MRRMNIST, MRRDigits, mrr_layers
from pnnbench.workloads.networks import DigitsNet, LeNet5, PhysicalNetwork, max_pool_2x2


def test_lenet5_has_the_published_number_of_weights() -> None:
    counts = {n: m.current.numel() for n, m in MRRMNIST(0).layers().items()}
    assert counts == {"conv1": 150, "conv2": 2400, "fc1": 48_000, "fc2": 10_080, "fc3": 840}
    assert sum(counts.values()) == 61_470


def test_digits_net_has_the_stated_number_of_weights() -> None:
    assert sum(m.current.numel() for m in MRRDigits(0).layers().values()) == 4_488


@pytest.mark.parametrize(
    ("network", "shape"), [(LeNet5, (3, 1, 28, 28)), (DigitsNet, (3, 1, 8, 8))]
)
def test_networks_give_ten_logits(network: type[PhysicalNetwork], shape: tuple[int, ...]) -> None:
    net = network(*mrr_layers())  # type: ignore[call-arg]
    outputs = net(torch.rand(shape))
    assert outputs.shape == (3, 10)
    assert torch.isfinite(outputs).all()
    assert torch.equal(net.prefix(torch.ones(2)), torch.ones(2))


def test_lenet5_without_relu_is_another_function_of_the_same_parameters() -> None:
    torch.manual_seed(0)
    net = LeNet5(*mrr_layers()).eval()
    x = torch.rand(4, 1, 28, 28)
    with_relu = net(x)
    net.fc_relu = False
    assert not torch.allclose(net(x), with_relu)


def test_lenet5_equals_the_layers_written_out() -> None:
    torch.manual_seed(0)
    net = LeNet5(*mrr_layers()).train()
    x = torch.rand(5, 1, 28, 28)
    found = net(x)

    def norm(h: torch.Tensor) -> torch.Tensor:
        dims = [0, *range(2, h.dim())]
        mean = h.mean(dims, keepdim=True)
        return (h - mean) / (h.var(dims, correction=0, keepdim=True) + 1e-5).sqrt()

    w = {
        n: m.ideal_weight()
        for n, m in net.named_children()
        if not isinstance(m, nn.BatchNorm2d) and hasattr(m, "ideal_weight")
    }
    h = F.max_pool2d(norm(F.conv2d(x, w["conv1"], net.conv1.bias, padding=2)).relu(), 2)
    h = F.max_pool2d(norm(F.conv2d(h, w["conv2"], net.conv2.bias)).relu(), 2)
    h = norm(F.linear(h.flatten(1), w["fc1"], net.fc1.bias)).relu()
    h = norm(F.linear(h, w["fc2"], net.fc2.bias)).relu()
    torch.testing.assert_close(found, F.linear(h, w["fc3"], net.fc3.bias), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [(2, 2), (8, 8), (7, 9), (3, 2), (28, 28), (5, 4)])
def test_pooling_without_gradients_equals_the_library(size: tuple[int, int]) -> None:
    x = torch.randn(3, 4, *size, generator=torch.Generator().manual_seed(0))
    expected = F.max_pool2d(x, 2)
    with torch.no_grad():
        assert torch.equal(max_pool_2x2(x), expected)
        assert torch.equal(max_pool_2x2(x.to(memory_format=torch.channels_last)), expected)
    assert torch.equal(max_pool_2x2(x), expected)


def test_pooling_hands_on_values_that_are_not_finite() -> None:
    x = torch.zeros(1, 1, 4, 4)
    x[0, 0, 0, 0], x[0, 0, 2, 3], x[0, 0, 3, 0] = float("nan"), float("inf"), -float("inf")
    with torch.no_grad():
        torch.testing.assert_close(max_pool_2x2(x), F.max_pool2d(x, 2), equal_nan=True)


def test_pooling_keeps_the_gradient() -> None:
    x = torch.arange(16.0).reshape(1, 1, 4, 4).requires_grad_()
    max_pool_2x2(x).sum().backward()
    assert x.grad is not None
    assert x.grad.flatten().nonzero().flatten().tolist() == [5, 7, 13, 15]


def test_a_network_without_physical_part_says_so() -> None:
    with pytest.raises(NotImplementedError):
        PhysicalNetwork()(torch.ones(1))
