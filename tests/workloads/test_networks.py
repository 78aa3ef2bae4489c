from __future__ import annotations

import copy
import functools
import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from pnnbench.errors import UserError
from pnnbench.platforms.absorbers import ThresholdAbsorber
from pnnbench.platforms.base import physical_layers
from pnnbench.platforms.diffractive import DiffractiveStack
from pnnbench.platforms.mzi import MZIMesh
from pnnbench.workloads.diffractive import DiffractiveDigits, optics
from pnnbench.workloads.freespace import FreeSpaceDigits
from pnnbench.workloads.mrr import MRRMNIST, MRRDigits, mrr_layers
from pnnbench.workloads.mzi import MZIDigits
from pnnbench.workloads.networks import DigitsNet, LeNet5, PhysicalNetwork, max_pool_2x2
from pnnbench.workloads.optical_networks import (
    DiffractiveNet,
    DigitsFront,
    ElectroOptic,
    FourierInput,
    MeshNet,
    OpticalNet,
    amplitudes,
    normalised,
    unit_power,
)


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


def threshold_net() -> PhysicalNetwork:
    fixed = optics(32, 8.0, 3)
    stack = DiffractiveStack(fixed.plane, [2.0], fixed.detectors, absorber=ThresholdAbsorber())
    return DiffractiveNet(fixed.imaging, stack, 16)


def optical_net() -> PhysicalNetwork:
    return OpticalNet(FourierInput(4), [MZIMesh(16, detected=False), MZIMesh(16)])


NETWORKS: dict[str, Callable[[], PhysicalNetwork]] = {
    "rings": lambda: MRRDigits(0).network,
    "mesh": lambda: MZIDigits(0).network,
    "optical": optical_net,
    "free space": lambda: FreeSpaceDigits(0).network,
    "diffractive": lambda: DiffractiveDigits(0).network,
    "diffractive, published absorber": threshold_net,
}


@functools.cache
def network_of(kind: str) -> PhysicalNetwork:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return NETWORKS[kind]().eval()


def finite(tensor: Tensor) -> bool:
    return bool(torch.isfinite(torch.view_as_real(tensor) if tensor.is_complex() else tensor).all())


def gradients(network: nn.Module, images: Tensor) -> list[Tensor]:
    x = images.clone().requires_grad_()
    loss = F.cross_entropy(network(x), torch.arange(len(x)) % 10)
    assert finite(loss)
    wanted = [x, *network.parameters()]
    found = torch.autograd.grad(loss, wanted, allow_unused=True)
    return [g for g in found if g is not None]


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("zero", [False, True], ids=["", "all parameters 0"])
@settings(deadline=None, max_examples=15)
@given(
    level=st.sampled_from([0.0, 1e-45, 1e-38, 1e-30, 1e-20, 1e-12, 1e-6, 1.0]),
    share=st.floats(0.0, 1.0),
    seed=st.integers(0, 1000),
)
def test_gradients_are_finite_wherever_it_is_dark(
    kind: str, zero: bool, level: float, share: float, seed: int
) -> None:
    network = network_of(kind)
    if zero:
        network = copy.deepcopy(network)
        with torch.no_grad():
            for p in network.parameters():
                p.zero_()
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(3, 1, 8, 8, generator=generator)
    images = level * images * (torch.rand(3, 1, 8, 8, generator=generator) < share)
    images[0] = 0.0
    for gradient in gradients(network, images):
        assert finite(gradient)


def test_the_gradient_of_an_image_with_black_pixels_is_right_where_there_is_light() -> None:
    torch.manual_seed(0)
    x = torch.rand(2, 3, dtype=torch.float64)
    x[:, 1] = 0.0
    x.requires_grad_()
    (slope,) = torch.autograd.grad(amplitudes(x).sum(), x)
    lit = x > 0
    torch.testing.assert_close(slope[lit], 0.5 / x[lit].sqrt())
    assert not slope[~lit].any()
    (curvature,) = torch.autograd.grad(
        torch.autograd.grad(amplitudes(x).sum(), x, create_graph=True)[0].sum(), x
    )
    assert finite(curvature)


@given(st.lists(st.floats(0.0, 2.0**100, width=32), min_size=1, max_size=20))
def test_amplitudes_are_square_roots_to_the_bit(values: list[float]) -> None:
    x = torch.tensor(values, dtype=torch.float32)
    assert torch.equal(amplitudes(x), x.sqrt())


def test_negative_light_is_refused() -> None:
    x = torch.rand(2, 1, 8, 8)
    x[1, 0, 3, 4] = -0.5
    with pytest.raises(UserError, match=r"pixels down to -0\.\d+: there is no negative light"):
        network_of("diffractive")(x)
    x[1, 0, 3, 4] = math.nan
    assert network_of("diffractive")(x)[1].isnan().any()


@pytest.mark.parametrize("complex_field", [False, True])
@pytest.mark.parametrize("level", [0.0, 1e-45, 1e-30, 1e-19, 1e-12, 1e-6, 1.0, 1e10])
def test_powers_and_norms_have_gradients_in_the_dark(complex_field: bool, level: float) -> None:
    field = torch.full((2, 4), level) + (0j if complex_field else 0.0)
    field[1, 1:] = 0.0
    field.requires_grad_()
    weights = torch.arange(1.0, 5.0)
    functions: list[Callable[[Tensor], Tensor]] = [unit_power]
    functions += [ElectroOptic()] if complex_field else [normalised, amplitudes]
    for function in functions:
        out = function(field)
        (gradient,) = torch.autograd.grad((out * weights).real.sum(), field)
        assert finite(out)
        assert finite(gradient)


@pytest.mark.parametrize("kind", ["rings", "mesh", "optical", "free space"])
def test_networks_in_double_precision_compute_in_it(kind: str) -> None:
    network = copy.deepcopy(network_of(kind))
    x = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    single = network(x)
    assert single.dtype == torch.float32
    exact = network.double()(x.double())
    assert exact.dtype == torch.float64
    torch.testing.assert_close(exact.float(), single, rtol=1e-4, atol=1e-4)
    # Far finer than single precision could tell.
    layer = next(iter(physical_layers(network).values()))
    with torch.no_grad():
        getattr(layer, layer.control_names[0]).add_(1e-10)
    moved = (network(x.double()) - exact).detach().abs().max()
    assert 1e-14 < float(moved) < 1e-6


def test_too_few_ports_for_the_classes_are_refused() -> None:
    for network in (
        MeshNet(DigitsFront(8), MZIMesh(8)),
        OpticalNet(FourierInput(2), [MZIMesh(4)]),
    ):
        with pytest.raises(UserError, match=r"mesh of \d ports cannot tell 10 classes"):
            network(torch.rand(2, 1, 8, 8))
    assert MeshNet(DigitsFront(8), MZIMesh(8), n_classes=8)(torch.rand(2, 1, 8, 8)).shape == (2, 8)


@pytest.mark.parametrize("kind", ["optical", "diffractive"])
@pytest.mark.parametrize("shape", [(2, 3, 8, 8), (2, 8, 8), (2, 0, 8, 8)])
def test_images_of_several_channels_are_refused(kind: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match="cannot be shown with one light"):
        network_of(kind)(torch.rand(shape))


def test_a_spectrum_smaller_than_its_centre_is_refused() -> None:
    with pytest.raises(UserError, match=r"no square of 8"):
        FourierInput(8)(torch.rand(2, 1, 12, 6))


@pytest.mark.parametrize(
    "make",
    [
        lambda: FourierInput(0),
        lambda: FourierInput(2.0),  # type: ignore[arg-type]
        lambda: ElectroOptic(tapped_power=1.1),
        lambda: ElectroOptic(tapped_power=-0.1),
        lambda: ElectroOptic(gain=math.nan),
    ],
)
def test_impossible_parts_are_refused(make: Callable[[], nn.Module]) -> None:
    with pytest.raises(UserError):
        make()
