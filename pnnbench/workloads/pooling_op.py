"""Batch norm, ReLU and pooling of a training step in one pass in C, built on demand.

In the small networks of the benchmark these three take longer than the convolutions between them.
Their oracle are the same steps in PyTorch, one after another, which take their place wherever the
operation is not to be had. The source lies beside this file; `native` compiles it on first use.
``PNNBENCH_COMPILE=0`` switches it off.
"""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import forward_ad

from pnnbench.platforms.native import load

_SOURCE = Path(__file__).with_name("pooling_op.c")
#: Sums of a plane may be reordered.
_FLAGS = ("-fassociative-math", "-fno-signed-zeros")
#: Function -> how many tensors it takes, and lengths after them.
_SIGNATURES = {
    "norm_pool_statistics": (3, 3),
    "norm_pool_forward": (6, 4),
    "norm_pool_sums": (6, 4),
    "norm_pool_backward": (9, 4),
}


@functools.cache
def _library() -> ctypes.CDLL | str:
    """The loaded library, or why there is none."""
    library = load(_SOURCE, *_FLAGS)
    if not isinstance(library, str):
        for name, (tensors, lengths) in _SIGNATURES.items():
            function = getattr(library, name)
            function.argtypes = [ctypes.c_void_p] * tensors + [ctypes.c_int64] * lengths
            function.restype = None
    return library


def missing() -> str:
    """Why the operation cannot be used here, empty if it can; builds it if need be."""
    library = _library()
    return library if isinstance(library, str) else ""


def _call(name: str, *given: Tensor | int) -> None:
    values = [each.data_ptr() if isinstance(each, Tensor) else each for each in given]
    getattr(_library(), name)(*values)


def plain(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """The same by PyTorch, differentiable any number of times.

    Args:
        x: Inputs (B, channels, height, width).
        weight: Factor of each channel (channels,).
        bias: Offset of each channel (channels,).
        eps: What is added to the variance.

    Returns:
        (B, channels, height // 2, width // 2).
    """
    normal = F.batch_norm(x, None, None, weight, bias, training=True, eps=eps)
    return F.max_pool2d(F.relu(normal), 2)


class _NormPool(torch.autograd.Function):
    """The pass in C; differentiated twice it is `plain`."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        images, channels, height, width = x.shape
        mean, variance = torch.empty(2, channels, dtype=torch.float64).unbind()
        _call("norm_pool_statistics", x, mean, variance, images, channels, height * width)
        inverse = (variance + eps).rsqrt()
        scale = weight * inverse
        shift = (bias - mean * scale).float()
        y = x.new_empty(images, channels, height // 2, width // 2)
        at = torch.empty(y.shape, dtype=torch.int32)
        room = x.new_empty(height, width)
        _call("norm_pool_forward", x, scale.float(), shift, y, at, room, *x.shape)
        ctx.save_for_backward(x, weight, bias, mean, inverse, at)
        ctx.eps = eps
        ctx.mark_non_differentiable(mean, variance)
        return y, mean, variance

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, mean, inverse, at = ctx.saved_tensors
        grad = grads[0]
        if torch.is_grad_enabled():  # somebody will differentiate what comes out
            with torch.enable_grad():
                y = plain(x, weight, bias, ctx.eps)
            needed = ctx.needs_input_grad[:3]
            asked = [t for t, need in zip((x, weight, bias), needed, strict=True) if need]
            found = iter(torch.autograd.grad(y, asked, grad, create_graph=True))
            return *(next(found) if need else None for need in needed), None
        grad = grad.contiguous()
        images, channels, height, width = x.shape
        count = images * height * width
        room, middle = x.new_empty(height, width), mean.float()
        sums = torch.empty(2, channels, dtype=torch.float64)
        _call("norm_pool_sums", x, middle, grad, at, sums, room, *x.shape)
        d_bias, d_weight = sums[0], sums[1] * inverse
        d_x = None
        if ctx.needs_input_grad[0]:
            factor = weight * inverse
            slope = factor * inverse * d_weight / count
            offset = factor * d_bias / count
            d_x = torch.empty_like(x)
            rates = (factor.float(), slope.float(), offset.float())
            _call("norm_pool_backward", x, middle, grad, at, *rates, d_x, room, *x.shape)
        return d_x, d_weight.to(weight.dtype), d_bias.to(bias.dtype), None


def norm_pool(norm: nn.Module, x: Tensor) -> Tensor | None:
    """2 x 2 maximum pooling of relu(norm(x)) in a training step, in one pass.

    The running statistics of the norm move as they do when it is called.

    Args:
        norm: The batch norm.
        x: Inputs (B, channels, height, width).

    Returns:
        (B, channels, height // 2, width // 2), but for rounding what the steps give one after
        another. None where they have to be taken: without a gradient or in evaluation, where the
        norm is not the library's usual one or is watched, in other than single precision on the
        CPU, under torch's transforms, and without a C compiler.
    """
    if type(norm) is not nn.BatchNorm2d or not _a_step(norm, x):
        return None
    mean, var, seen, share = (
        norm.running_mean,
        norm.running_var,
        norm.num_batches_tracked,
        norm.momentum,
    )
    if mean is None or var is None or seen is None or share is None or norm.weight is None:
        return None
    if not _plain_memory(x, norm.weight, norm.bias, mean, var) or missing():
        return None
    y, batch_mean, batch_var = _NormPool.apply(x, norm.weight, norm.bias, norm.eps)
    count = x.numel() // x.shape[1]
    with torch.no_grad():
        seen.add_(1)
        mean.mul_(1 - share).add_(batch_mean, alpha=share)
        var.mul_(1 - share).add_(batch_var, alpha=share * count / (count - 1))
    return y


def _a_step(norm: nn.BatchNorm2d, x: Tensor) -> bool:
    """Whether it is a training step with blocks to pool, and nobody looks into it."""
    return (
        norm.training
        and torch.is_grad_enabled()
        and x.dim() == 4
        and x.shape[1] == norm.num_features
        and min(x.shape[2:]) >= 2
        and x.numel() > x.shape[1]
        and not (norm._forward_hooks or norm._forward_pre_hooks)
        and not torch._C._are_functorch_transforms_active()
        and forward_ad._current_level < 0
        and not torch.compiler.is_compiling()
    )


def _plain_memory(*tensors: Tensor) -> bool:
    """Whether all are ordinary, in single precision, on the CPU, and lie there in order."""
    return all(
        type(t) in (Tensor, nn.Parameter)
        and t.dtype == torch.float32
        and t.device.type == "cpu"
        and t.is_contiguous()
        for t in tensors
    )
