"""Linear layers and convolutions with any real weight on meshes; see `mzi_matrix`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pnnbench.platforms.mzi_matrix import HEADROOM, PORTS, MZIMatrix
from pnnbench.platforms.products import (
    ConvProduct,
    Geometry,
    LinearProduct,
    Size,
    kernel_shape,
)


class MZILinear(LinearProduct, MZIMatrix):
    """A matrix-vector product on meshes, over the last dimension of inputs (B, ..., inputs).

    Args:
        in_features: Inputs.
        out_features: Outputs.
        bias: Whether to add a digital bias.
        ports: Ports of the largest mesh, 2 to 4096; a larger matrix is cut into tiles.
        headroom: Gain over the largest singular value when a weight is programmed, at least 1.
        imbalance_per_rad: Spread of the coupler imbalance as a multiple of that of the phase
            errors; see `pnnbench.platforms.mzi.MZIMesh`.
        readout_noise: Standard deviation of the homodyne detectors' noise as a fraction of the
            amplitude of the inputs. This project's choice, as for `MZIMesh`.
        weight: What the layer is programmed to (out_features, in_features); drawn if None.

    Raises:
        UserError: If an argument is out of range.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        ports: int = PORTS,
        headroom: float = HEADROOM,
        imbalance_per_rad: float = 1.0,
        readout_noise: float = 0.01,
        weight: Tensor | None = None,
    ) -> None:
        super().__init__(
            (out_features, in_features),
            bias=bias,
            ports=ports,
            headroom=headroom,
            imbalance_per_rad=imbalance_per_rad,
            readout_noise=readout_noise,
            weight=weight,
        )

    @classmethod
    def example(cls) -> tuple[MZILinear, Tensor]:
        """A small layer of several tiles and inputs (B, inputs) for it."""
        return cls(9, 6, ports=4), torch.rand(4, 9)

    def _amplitude(self, x: Tensor) -> Tensor:
        return torch.linalg.vector_norm(x, dim=-1, keepdim=True)


class _MZIConv(ConvProduct, MZIMatrix):
    """A convolution whose kernels are rows of the matrix on meshes; see `MZIConv2d`."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size | str = 0,
        bias: bool = True,
        ports: int = PORTS,
        headroom: float = HEADROOM,
        imbalance_per_rad: float = 1.0,
        readout_noise: float = 0.01,
        weight: Tensor | None = None,
        *,
        dilation: Size = 1,
        groups: int = 1,
        padding_mode: str = "zeros",
    ) -> None:
        geometry = Geometry(self.dims, stride, padding, dilation, groups, padding_mode)
        super().__init__(
            kernel_shape(in_channels, out_channels, kernel_size, geometry),
            groups,
            bias,
            ports,
            headroom,
            imbalance_per_rad,
            readout_noise,
            weight,
        )
        self.geometry = geometry

    def describe(self) -> dict[str, Any]:
        """Adds what is not as torch's convolutions have it by default."""
        return {**super().describe(), **self.geometry.describe()}

    def _amplitude(self, x: Tensor) -> Tensor:
        windows = x.new_ones(self.groups, *self.shape[1:])
        power = self.geometry.convolve(x.square(), windows).clamp(min=0.0)
        return power.sqrt().repeat_interleave(self.rows, 1)


class MZIConv1d(_MZIConv):
    """One-dimensional convolution whose kernels are rows of the matrix; see `MZIConv2d`."""

    dims = 1


class MZIConv2d(_MZIConv):
    """Two-dimensional convolution whose kernels are rows of the matrix: one product a position.

    Args:
        in_channels: Input channels.
        out_channels: Output channels.
        kernel_size: Side of the kernel in pixels, or both sides.
        stride: Stride in pixels.
        padding: Padding in pixels, ``"same"`` or ``"valid"``.
        bias: Whether to add a digital bias.
        ports: As for `MZILinear`, and so the next four.
        headroom: See there.
        imbalance_per_rad: See there.
        readout_noise: See there; the inputs are those under the kernel.
        weight: What the layer is programmed to (out_channels, in_channels / groups, *kernel).
        dilation: Distance of the kernel's elements in pixels.
        groups: Groups of channels that do not meet; each has meshes of its own.
        padding_mode: What stands beyond the edge; see
            `pnnbench.platforms.products.PADDING_MODES`.

    Raises:
        UserError: If an argument is out of range, or the groups do not share the channels out.
    """

    dims = 2

    @classmethod
    def example(cls) -> tuple[MZIConv2d, Tensor]:
        """A small layer and inputs (B, channels, height, width) for it."""
        return cls(2, 3, 3), torch.rand(4, 2, 6, 6)
