from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import nullcontext

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as hs
from torch import Tensor, nn

from pnnbench.workloads import pooling_op
from pnnbench.workloads.mrr import MRRMNIST
from pnnbench.workloads.networks import norm_block
from pnnbench.workloads.pooling_op import norm_pool

from ..defaults import double_by_default
from ..programs import said

built = pytest.mark.skipif(bool(pooling_op.missing()), reason="no C compiler")


def norm_of(channels: int, seed: int = 0) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(channels)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        norm.weight.copy_(torch.randn(channels, generator=generator))  # of both signs
        norm.bias.copy_(torch.randn(channels, generator=generator))
    return norm


def by_the_library(norm: nn.BatchNorm2d, x: Tensor) -> Tensor:
    return F.max_pool2d(F.relu(norm(x)), 2)


@built
@settings(max_examples=80, deadline=None)
@given(
    images=hs.integers(1, 5),
    channels=hs.integers(1, 4),
    height=hs.integers(2, 21),
    width=hs.integers(2, 75),
    offset=hs.sampled_from([0.0, 3.0, -300.0]),
    seed=hs.integers(0, 1000),
)
def test_it_is_the_library_in_double_precision_but_for_rounding(
    images: int, channels: int, height: int, width: int, offset: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = (
        torch.randn(images, channels, height, width, generator=generator) + offset
    ).requires_grad_()
    norm, exact = norm_of(channels, seed), norm_of(channels, seed).double()
    y, expected = (
        norm_pool(norm, x),
        by_the_library(exact, (wide := x.detach().double().requires_grad_())),
    )
    assert y is not None
    error = 3e-6 * (1.0 + abs(offset))
    torch.testing.assert_close(y.double(), expected, rtol=error, atol=error)
    grad = torch.randn(y.shape, generator=generator)
    # Where rounding decides which pixel is the largest, or whether it is above 0, both are right.
    assume_clear(exact, wide, 20 * error)
    found = torch.autograd.grad(y, (x, norm.weight, norm.bias), grad)
    meant = torch.autograd.grad(expected, (wide, exact.weight, exact.bias), grad.double())
    for one, other in zip(found, meant, strict=True):
        scale = float(other.abs().max()) + 1.0
        torch.testing.assert_close(one.double(), other, rtol=0, atol=10 * error * scale)
    for name, buffer in norm.named_buffers():
        torch.testing.assert_close(
            buffer.double(), exact.get_buffer(name).double(), rtol=error, atol=error
        )
    assert dict(norm.named_buffers())["num_batches_tracked"] == 1


def assume_clear(norm: nn.BatchNorm2d, x: Tensor, margin: float) -> None:
    with torch.no_grad():
        normal = F.batch_norm(x, None, None, norm.weight, norm.bias, training=True, eps=norm.eps)
        blocks = F.unfold(normal.flatten(0, 1)[:, None], 2, stride=2)
        best = blocks.topk(2, dim=1).values
    assume(bool((best[:, 0].abs() > margin).all()))
    assume(bool(((best[:, 0] - best[:, 1] > margin) | (best[:, 0] < 0)).all()))


@built
def test_of_equal_pixels_the_first_takes_the_gradient_as_in_the_library() -> None:
    x = torch.zeros(3, 2, 8, 10)
    x[:, :, 3:6, 2:7] = 1.0  # the dark around a figure
    x.requires_grad_()
    norm = nn.BatchNorm2d(2)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([1.0, -1.0]))
        norm.bias.fill_(2.0)
    grad = torch.randn(3, 2, 4, 5)
    found = norm_pool(norm, x)
    assert found is not None
    expected = by_the_library(norm, x)
    torch.testing.assert_close(found, expected)
    mine, theirs = (torch.autograd.grad(y, x, grad)[0] for y in (found, expected))
    torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


@built
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_a_number_spoils_its_channel_as_in_the_library(bad: float) -> None:
    x = torch.randn(4, 3, 6, 7, requires_grad=True)
    with torch.no_grad():
        x[1, 1, 2, 3] = bad
    norm = norm_of(3)
    y = norm_pool(norm, x)
    assert y is not None
    assert torch.equal(y.isnan(), by_the_library(norm, x).isnan())
    assert bool(y[:, 1].isnan().all())
    assert not bool(y[:, ::2].isnan().any())
    (grad,) = torch.autograd.grad(y.sum(), x)
    assert bool(grad[:, 1].isnan().all())
    assert not bool(grad[:, ::2].isnan().any())


@built
def test_second_derivatives_are_those_of_the_library() -> None:
    x = torch.randn(5, 3, 6, 6, requires_grad=True)
    norm = norm_of(3)
    asked = (x, norm.weight, norm.bias)

    def products(step: Callable[[nn.BatchNorm2d, Tensor], Tensor | None]) -> tuple[Tensor, ...]:
        y = step(norm, x)
        assert y is not None
        first = torch.autograd.grad(y.square().sum(), asked, create_graph=True)
        along = torch.cat([g.flatten() * torch.linspace(-1, 1, g.numel()) for g in first]).sum()
        return torch.autograd.grad(along, asked)

    for one, other in zip(products(norm_pool), products(by_the_library), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)


@built
def test_a_part_of_the_gradients_may_be_asked_for() -> None:
    norm = norm_of(2)
    x = torch.randn(4, 2, 5, 5)
    for again in (False, True):
        y = norm_pool(norm, x)
        assert y is not None
        found = torch.autograd.grad(y.sum(), norm.bias, create_graph=again)
        expected = torch.autograd.grad(by_the_library(norm, x).sum(), norm.bias)
        torch.testing.assert_close(found, expected)
    norm.requires_grad_(False)
    y = norm_pool(norm, x.requires_grad_())
    assert y is not None
    found = torch.autograd.grad(y.square().sum(), x)
    torch.testing.assert_close(
        found, torch.autograd.grad(by_the_library(norm, x).square().sum(), x), atol=1e-4, rtol=1e-4
    )


def test_where_it_cannot_be_the_steps_are_taken() -> None:
    x = torch.randn(4, 3, 6, 6)
    assert norm_pool(norm_of(3).eval(), x) is None
    assert norm_pool(norm_of(3).double(), x.double()) is None
    assert norm_pool(nn.BatchNorm2d(3, momentum=None), x) is None
    assert norm_pool(nn.BatchNorm2d(3, affine=False), x) is None
    assert norm_pool(nn.BatchNorm2d(3, track_running_stats=False), x) is None
    assert norm_pool(nn.InstanceNorm2d(3), x) is None
    assert norm_pool(norm_of(3), x.to(memory_format=torch.channels_last)) is None
    assert norm_pool(norm_of(3), x[..., :1]) is None
    assert norm_pool(norm_of(3), torch.randn(0, 3, 6, 6)) is None
    with torch.no_grad():
        assert norm_pool(norm_of(3), x) is None
    watched, seen = norm_of(3), []
    watched.register_forward_hook(lambda *_: seen.append(1))
    norm_block(watched, x)
    assert seen


@built
def test_transforms_of_torch_go_past_it() -> None:
    norm, found = norm_of(3), []
    x = torch.randn(4, 3, 6, 6)

    def total(t: Tensor) -> Tensor:
        found.append(norm_pool(norm, t))
        return t.sum()

    torch.func.grad(total)(x)
    torch.func.vmap(total)(x[None])
    assert found == [None, None]
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(x, torch.ones_like(x))
        assert torch.autograd.forward_ad.unpack_dual(norm_block(norm, dual)).tangent is not None


def step() -> tuple[bool, float, float]:
    """Whether it is missing, and loss and size of the gradients of a step."""
    torch.manual_seed(0)
    workload = MRRMNIST(0).train()
    loss = workload(torch.rand(6, 1, 28, 28)).square().sum()
    loss.backward()
    size = sum(float(p.grad.square().sum()) for p in workload.controls().values())
    return bool(pooling_op.missing()), float(loss.detach()), size


PROGRAM = f"""
import torch
from pnnbench.workloads import pooling_op
from pnnbench.workloads.mrr import MRRMNIST
{inspect.getsource(step)}
print(*step())
"""


@pytest.mark.slow
@built
def test_a_network_trains_as_without_it() -> None:
    missing, loss, size = said(PROGRAM, PNNBENCH_COMPILE="0").split()
    with_it = step()
    assert (missing, with_it[0]) == ("True", False)
    assert with_it[1:] == pytest.approx((float(loss), float(size)), rel=1e-3)


@built
def test_training_uses_it_and_extra_passes_leave_statistics_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[str] = []
    call = pooling_op._call

    def noted(name: str, *given: Tensor | int) -> None:
        calls.append(name)
        call(name, *given)

    monkeypatch.setattr(pooling_op, "_call", noted)
    workload = MRRMNIST(0).train()
    before = {n: b.clone() for n, b in workload.network.named_buffers()}
    with workload.extra_pass():
        workload(torch.rand(6, 1, 28, 28)).sum().backward()
    assert calls.count("norm_pool_forward") == calls.count("norm_pool_backward") == 2
    assert all(torch.equal(b, before[n]) for n, b in workload.network.named_buffers())
    workload(torch.rand(6, 1, 28, 28))
    moved = [n for n, b in workload.network.named_buffers() if not torch.equal(b, before[n])]
    assert set(moved) == {n for n in before if n.startswith("norm")}


@built
def test_it_is_in_single_precision_whatever_torch_has_by_default() -> None:
    x = torch.randn(4, 3, 6, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    found = []
    for context in (nullcontext, double_by_default):
        norm = norm_of(3)
        with context():
            y = norm_pool(norm, x)
            assert y is not None
            found.append((y, *torch.autograd.grad(y.square().sum(), (x, norm.weight, norm.bias))))
    for expected, value in zip(*found, strict=True):
        assert value.dtype == torch.float32
        assert torch.equal(value, expected)
