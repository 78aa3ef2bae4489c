"""Products of a weight with inputs, one condition or many at once: linear and convolution.

What layers of several platforms share: how a real weight meets the inputs, whatever made it.
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pnnbench.errors import UserError, check_count
from pnnbench.platforms import fixed_inputs
from pnnbench.platforms.layer import PhysicalLayer

#: A number for all directions, or one for each.
Size = int | tuple[int, ...]
#: What stands beyond the edge of an image.
PADDING_MODES = ("zeros", "reflect", "replicate", "circular")

_CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d}


def sizes(name: str, value: Size, dims: int, low: int = 1) -> tuple[int, ...]:
    """One number for each direction.

    Args:
        name: What it is, for the message.
        value: A number for all directions, or one for each.
        dims: Number of directions.
        low: Least allowed number.

    Raises:
        UserError: If there are not as many numbers as directions, or one is out of range.
    """
    each = (value,) * dims if isinstance(value, int) else tuple(value)
    if len(each) != dims:
        raise UserError(f"{name} is {value!r}", allowed=f"a number, or {dims} of them")
    return tuple(check_count(name, one, low=low) for one in each)


@dataclasses.dataclass(frozen=True)
class Geometry:
    """How a kernel moves over its inputs, as of torch's convolutions.

    Attributes:
        dims: Number of directions, 1 or 2.
        stride: Stride in pixels.
        padding: Padding in pixels; ``"same"`` and ``"valid"`` as torch has them.
        dilation: Distance of the kernel's elements in pixels.
        groups: Groups of channels that do not meet.
        padding_mode: One of `PADDING_MODES`.
    """

    dims: int
    stride: Size = 1
    padding: Size | str = 0
    dilation: Size = 1
    groups: int = 1
    padding_mode: str = "zeros"

    def __post_init__(self) -> None:
        sizes("stride", self.stride, self.dims)
        sizes("dilation", self.dilation, self.dims)
        check_count("groups", self.groups)
        if self.padding_mode not in PADDING_MODES:
            raise UserError(
                f"padding_mode is {self.padding_mode!r}", allowed=", ".join(PADDING_MODES)
            )
        if isinstance(self.padding, str):
            if self.padding not in ("same", "valid"):
                raise UserError(f"padding is {self.padding!r}", allowed="same, valid, or pixels")
            if self.padding == "same" and set(sizes("stride", self.stride, self.dims)) != {1}:
                raise UserError("padding 'same' with a stride above 1", allowed="stride 1")
        else:
            sizes("padding", self.padding, self.dims, low=0)

    @property
    def plain(self) -> bool:
        """Whether it is stride 1 and the same zero padding on all sides, and nothing else."""
        return (
            self.stride == self.dilation == self.groups == 1
            and isinstance(self.padding, int)
            and self.padding_mode == "zeros"
        )

    def describe(self) -> dict[str, Any]:
        """What is not as torch has it by default, but for stride and padding."""
        plain = {"dilation": 1, "groups": 1, "padding_mode": "zeros"}
        return {name: getattr(self, name) for name in plain if getattr(self, name) != plain[name]}

    def convolve(self, x: Tensor, weight: Tensor, groups: int | None = None) -> Tensor:
        """Convolves inputs (B, channels, ...) with kernels (outputs, channels / groups, ...).

        Args:
            x: Inputs.
            weight: Kernels.
            groups: Other groups than `groups`.
        """
        padding: Any = self.padding
        if self.padding_mode != "zeros":
            x, padding = self._padded(x, weight.shape[2:]), 0
        groups = self.groups if groups is None else groups
        if fixed_inputs.are_fixed(x, weight) and not isinstance(padding, str):
            each = (self.stride, padding, self.dilation)
            stride, padding, dilation = (sizes("", one, self.dims, low=0) for one in each)
            return fixed_inputs.convolve(x, weight, (stride, padding, dilation, groups))
        return _CONVOLUTIONS[self.dims](
            x,
            weight,
            stride=self.stride,
            padding=padding,
            dilation=self.dilation,
            groups=groups,
        )

    def _padded(self, x: Tensor, kernel: tuple[int, ...]) -> Tensor:
        if self.padding == "valid":
            return x
        if self.padding == "same":
            spans = zip(sizes("dilation", self.dilation, self.dims), kernel, strict=True)
            whole = [d * (k - 1) for d, k in spans]
            ends = [(w // 2, w - w // 2) for w in whole]
        else:
            ends = [(p, p) for p in sizes("padding", self.padding, self.dims, low=0)]  # type: ignore[arg-type]
        return F.pad(x, [p for end in reversed(ends) for p in end], mode=self.padding_mode)


class ProductLayer(PhysicalLayer):
    """A layer whose transfer is a matrix: measured products, then a digital bias.

    `LinearProduct` and the convolutions say how inputs meet the matrix, a platform what its
    detectors make of the products.

    Attributes:
        bias: Digital bias (outputs,), or None.
    """

    bias: nn.Parameter | None

    def _product(self, x: Tensor, weight: Tensor) -> Tensor:
        """Products of inputs (B, ...) with one matrix."""
        raise NotImplementedError

    def _products(self, blocks: Tensor, weight: Tensor) -> Tensor:
        """Products of inputs (C, B, ...) with C matrices, or with one for all."""
        raise NotImplementedError

    def _over_outputs(self, values: Tensor, y: Tensor) -> Tensor:
        """One value for each output, as it is added to outputs ``y``."""
        raise NotImplementedError

    def _detected(self, y: Tensor, x: Tensor) -> Tensor:
        """What the detectors make of products ``y`` of inputs ``x``."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Measured product plus digital bias.

        Args:
            x: Inputs, batch first; under C conditions C * B of them, condition-major.

        Returns:
            Outputs, batch first.
        """
        weight = self.transfer() if self.weight_override is None else self.weight_override
        op = self.operation
        if op is not None and op.count > 1:
            y = self._products(self.blocks(x, op.count), weight).flatten(0, 1)
        else:
            y = self._product(x, weight)
        y = self._detected(y, x)
        return y if self.bias is None else y + self._over_outputs(self.bias, y)


class LinearProduct:
    """Mixin: a matrix (outputs, inputs) times the last dimension of inputs (B, ..., inputs)."""

    def _product(self, x: Tensor, weight: Tensor) -> Tensor:
        return F.linear(x, weight)

    def _products(self, blocks: Tensor, weight: Tensor) -> Tensor:
        """Conditions (C, B, ..., inputs) times matrices (C, outputs, inputs), or one for all."""
        weight = weight.expand(len(blocks), *weight.shape[-2:])
        if blocks.dim() == 3:
            return torch.bmm(blocks, weight.transpose(1, 2))
        flat = torch.bmm(blocks.flatten(1, -2), weight.transpose(1, 2))
        return flat.unflatten(1, blocks.shape[1:-1])

    def _over_outputs(self, values: Tensor, y: Tensor) -> Tensor:
        """Values of each output, as they meet outputs (B, ..., outputs)."""
        return values


class ConvProduct:
    """Mixin: a convolution with kernels (outputs, channels / groups, ...).

    Attributes:
        channels_last: Whether products have the channels of a pixel side by side in memory, which
            is faster with many channels. They differ by rounding; the controls lie as ever.
    """

    #: Directions of the convolution.
    dims: ClassVar[int]
    geometry: Geometry
    channels_last: bool = False

    def _product(self, x: Tensor, weight: Tensor) -> Tensor:
        if self.channels_last and weight.dim() == 4:  # what comes out follows the kernel
            weight = weight.contiguous(memory_format=torch.channels_last)
        return self.geometry.convolve(x, weight)

    def _products(self, blocks: Tensor, weight: Tensor) -> Tensor:
        # One kernel call per condition: on a CPU twice as fast as one grouped convolution with few
        # channels (benchmarks/speed/conditions.py), and the same numbers as one condition alone.
        weight = weight.expand(len(blocks), *weight.shape[-self.dims - 2 :])
        found = [self._product(x, w) for x, w in zip(blocks, weight, strict=True)]
        return torch.cat(found).unflatten(0, tuple(blocks.shape[:2]))

    def _over_outputs(self, values: Tensor, y: Tensor) -> Tensor:
        """Values of each output, as they meet outputs (B, outputs, ...)."""
        return values.view(1, -1, *[1] * (y.dim() - 2))


def kernel_shape(
    in_channels: int, out_channels: int, kernel_size: Size, geometry: Geometry
) -> tuple[int, ...]:
    """Shape of a convolution's kernels.

    Raises:
        UserError: If the groups do not share the channels out evenly, or a size is out of range.
    """
    for name, channels in (("in_channels", in_channels), ("out_channels", out_channels)):
        if check_count(name, channels) % geometry.groups:
            raise UserError(
                f"{name} is {channels} for {geometry.groups} groups",
                allowed="a multiple of the groups",
            )
    kernel = sizes("kernel_size", kernel_size, geometry.dims)
    return (out_channels, in_channels // geometry.groups, *kernel)
