"""Convolutions of inputs of which no derivative is asked, differentiable twice without one.

The second derivative of torch's convolution has the part towards the inputs whether anybody asks
for it or not. Nobody asks for that of a first layer, and it takes a third of a Hessian product of a
LeNet. Without it a convolution is linear in its kernels alone, and so is the derivative of that.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor

#: Stride, padding, dilation and groups of a convolution, the first three for each direction.
Moves = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], int]

_ON: ContextVar[bool] = ContextVar("fixed_inputs", default=False)


@contextmanager
def fixed_inputs() -> Iterator[None]:
    """Context in which convolutions leave out derivatives towards inputs that ask for none."""
    token = _ON.set(True)
    try:
        yield
    finally:
        _ON.reset(token)


def are_fixed(x: Tensor, weight: Tensor) -> bool:
    """Whether these inputs ask for no derivative, these kernels do, and that is made use of."""
    return _ON.get() and torch.is_grad_enabled() and weight.requires_grad and not x.requires_grad


def convolve(x: Tensor, weight: Tensor, moves: Moves) -> Tensor:
    """A convolution of inputs that `are_fixed`.

    Args:
        x: Inputs (B, channels, ...).
        weight: Kernels (outputs, channels / groups, ...).
        moves: How they move.

    Returns:
        (B, outputs, ...), differentiable any number of times in the kernels.
    """
    found: Tensor = _Convolution.apply(weight, x, moves)
    return found


class _Convolution(torch.autograd.Function):
    """The convolution as a linear function of the kernels."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, x: Tensor, moves: Moves) -> Tensor:
        ctx.save_for_backward(weight, x)
        ctx.moves = moves
        stride, padding, dilation, groups = moves
        none = (0,) * len(stride)
        return torch.convolution(x, weight, None, stride, padding, dilation, False, none, groups)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        weight, x = ctx.saved_tensors
        return _Transposed.apply(grads[0], weight, x, ctx.moves), None, None


class _Transposed(torch.autograd.Function):
    """Its transpose: what the gradient of the outputs is for the kernels."""

    @staticmethod
    def forward(ctx: Any, grad: Tensor, weight: Tensor, x: Tensor, moves: Moves) -> Tensor:
        ctx.save_for_backward(x)
        ctx.moves = moves
        stride, padding, dilation, groups = moves
        none = (0,) * len(stride)
        found: Tensor = torch.ops.aten.convolution_backward(
            *(grad, x, weight, None, stride, padding, dilation, False, none, groups),
            [False, True, False],
        )[1]
        return found

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        (x,) = ctx.saved_tensors
        return _Convolution.apply(grads[0], x, ctx.moves), None, None, None
