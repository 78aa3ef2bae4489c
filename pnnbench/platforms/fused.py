"""Blocks of layers in one pass: a microring convolution up to its pooling, for evaluation.

Off unless `fusing` is on. What comes out is what the layers give one after another, but for
rounding; whoever switches it on compares.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import cast

import torch
from torch import Tensor, nn

from pnnbench.platforms import conv_op
from pnnbench.platforms.mrr import MRRConv2d

#: What all conditions are shown, the same once for each condition, and the blocks that were fused.
_SHOWN: ContextVar[tuple[Tensor, Tensor, list[nn.Module]] | None] = ContextVar(
    "shown", default=None
)


@contextmanager
def fusing(once: Tensor, repeated: Tensor) -> Iterator[list[nn.Module]]:
    """Context in which blocks that can be are computed in one pass.

    Args:
        once: Inputs (B, ...) that all conditions are shown.
        repeated: The same for the network (C * B, ...), condition after condition.

    Yields:
        The convolutions of the blocks that were, so far.
    """
    fused: list[nn.Module] = []
    token = _SHOWN.set((once, repeated, fused))
    try:
        yield fused
    finally:
        _SHOWN.reset(token)


def has_blocks(network: nn.Module) -> bool:
    """Whether a network has a layer with which a block can begin."""
    return any(type(module) is MRRConv2d for module in network.modules())


def pooled_block(conv: nn.Module, norm: nn.Module, x: Tensor) -> Tensor | None:
    """2 x 2 maximum pooling of relu(norm(conv(x))), in one pass.

    Args:
        conv: The convolution, operated on C conditions.
        norm: The batch norm behind it.
        x: Inputs (C * B, channels, height, width), condition-major.

    Returns:
        (C * B, outputs, height' // 2, width' // 2); None outside of `fusing`, and where the layers
        are not the project's own, trained, watched, or not in single precision on the CPU.
    """
    shown = _SHOWN.get()
    if shown is None or type(conv) is not MRRConv2d or type(norm) is not nn.BatchNorm2d:
        return None
    op = conv.operation
    mean, variance = norm.running_mean, norm.running_var
    if op is None or mean is None or variance is None or not _plain(conv, norm, x):
        return None
    padding = cast(int, conv.geometry.padding)
    held = conv.weight_override
    weight = conv.transfer() if held is None else held
    weight = weight.reshape(op.count, *conv.current.shape)
    outputs = len(conv.current)
    if mean.numel() not in (outputs, op.count * outputs):
        return None
    # A norm with statistics of each condition has weights and offsets in common.
    scale = torch.rsqrt(variance.view(-1, outputs) + norm.eps)
    if norm.weight is not None:
        scale = scale * norm.weight
    shift = -mean.view(-1, outputs) * scale
    if conv.bias is not None:
        shift = shift + conv.bias * scale
    if norm.bias is not None:
        shift = shift + norm.bias
    once, repeated, fused = shown
    blocks = once[None] if x is repeated else conv.blocks(x, op.count)
    noise, gain = None, 0.0
    share = conv.calibration.noise_of_sum(conv.current[0].numel())
    if op.shot is not None and share != 0.0:
        reach = 2 * padding - conv.current.shape[-1] + 1
        shape = (op.count, len(x) // op.count, outputs, *(size + reach for size in x.shape[-2:]))
        noise, gain = op.shot(conv.layer_name, shape), share * conv.known_scale()
    y = conv_op.conv_block(
        blocks,
        weight,
        scale.expand(op.count, outputs),
        shift.expand(op.count, outputs),
        padding=padding,
        noise=noise,
        gain=gain,
    )
    fused.append(conv)
    return y.flatten(0, 1)


def _plain(conv: MRRConv2d, norm: nn.BatchNorm2d, x: Tensor) -> bool:
    """Whether nothing but the block's own result is asked for, in the precision that it has."""
    kinds = {
        (t.dtype, t.device.type) for t in (x, conv.current, norm.running_mean) if t is not None
    }
    watched = any(m._forward_hooks or m._forward_pre_hooks for m in (conv, norm))
    return (
        kinds == {(torch.float32, "cpu")}
        and conv.geometry.plain
        and conv.current.shape[-1] == conv.current.shape[-2]
        and not (watched or norm.training or torch.is_grad_enabled())
        and not (conv.recording or conv.read_out_tap or conv.field_tap)
        and conv.operation is not None
        and not conv.operation.auto_range
    )
