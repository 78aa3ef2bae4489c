"""Systematic-error prediction networks of dual adaptive training: complex mini-UNets.

Source: Zheng et al., Nature Machine Intelligence 5, 1119 (2023). A field of 64 ports is an 8 x 8
plane. Two levels down, each from the level above it and not from that level's block:

    Block1(x), Down1(x), Block2(Down1), Down2(Down1), Block3(Down2), Up1(Block3),
    Up2([Block2, Up1]), Out([Block1, Up2])

A complex layer has two real ones A and B: (A re - B im) + i (A im + B re). Then come complex batch
normalisation, if any, and a ReLU on real and imaginary parts; Out has neither.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pnnbench.accelerator import without_autocast
from pnnbench.errors import check_range


class ComplexBatchNorm(nn.Module):
    """Complex batch normalisation of several networks side by side.

    Subtracts the complex mean of each channel, whitens by the inverse square root of the 2 x 2
    covariance of real and imaginary part, multiplies by a learned symmetric matrix and adds a
    learned bias. Source: Trabelsi et al., Deep Complex Networks, ICLR 2018.

    Args:
        count: Networks side by side.
        channels: Complex channels of each.
        momentum: Weight of a batch in the running statistics, in (0, 1].
        eps: Added to the variances.
    """

    running_mean: Tensor
    running_covariance: Tensor

    def __init__(self, count: int, channels: int, momentum: float = 0.1, eps: float = 1e-5) -> None:
        super().__init__()
        self.momentum = momentum
        self.eps = eps
        start = torch.tensor([math.sqrt(2), math.sqrt(2), 0.0])
        self.weight = nn.Parameter(start.repeat(count, channels, 1))  # (re, re), (im, im), (re, im)
        self.bias = nn.Parameter(torch.zeros(count, channels, 2))
        self.register_buffer("running_mean", torch.zeros(count, channels, 2))
        self.register_buffer("running_covariance", start.repeat(count, channels, 1))

    def affine(self, covariance: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
        """The map z -> matrix z + shift of (re, im) that the layer is at given statistics.

        Args:
            covariance: (re, re), (im, im), (re, im) (count, channels, 3).
            mean: Means of re and im (count, channels, 2).

        Returns:
            Matrices (count, channels, 2, 2) and shifts (count, channels, 2).
        """
        rr, ii, ri = covariance.unbind(-1)
        rr, ii = rr + self.eps, ii + self.eps
        s = torch.sqrt((rr * ii - ri.square()).clamp(min=1e-20))
        t = torch.sqrt(rr + ii + 2 * s)
        white = torch.stack((ii + s, -ri, -ri, rr + s), -1) / (s * t)[..., None]
        learned = self.weight[..., [0, 2, 2, 1]]
        matrix = learned.unflatten(-1, (2, 2)) @ white.unflatten(-1, (2, 2))
        return matrix, self.bias - (matrix @ mean[..., None])[..., 0]

    def frozen(self) -> tuple[Tensor, Tensor]:
        """The map at the running statistics; see `affine`."""
        return self.affine(self.running_covariance, self.running_mean)

    def forward(self, x: Tensor) -> Tensor:
        """Normalises (B, count, 2, channels, H, W) with the statistics of the batch."""
        n = x.numel() // (x.shape[1] * 2 * x.shape[3])
        re, im = x.unbind(2)
        mean = x.mean((0, 4, 5)).movedim(1, 2)
        second = torch.stack(
            [(p * q).mean((0, 3, 4)) for p, q in ((re, re), (im, im), (re, im))], -1
        )
        covariance = second - mean[..., [0, 1, 0]] * mean[..., [0, 1, 1]]
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_covariance.lerp_(covariance * (n / max(1, n - 1)), self.momentum)
        matrix, shift = self.affine(covariance, mean)
        m = matrix[None, ..., None, None]
        rows = [
            torch.addcmul(
                torch.addcmul(shift[None, :, :, i, None, None], m[:, :, :, i, 0], re),
                m[:, :, :, i, 1],
                im,
            )
            for i in (0, 1)
        ]
        return torch.stack(rows, 2)


class ComplexConv(nn.Module):
    """A complex 3 x 3 convolution of several networks side by side, with what follows it.

    Args:
        count: Networks side by side.
        inputs: Complex input channels of each.
        outputs: Complex output channels of each.
        stride: 1, or 2 to halve (transposed: to double) the sides.
        transposed: Whether it is a transposed convolution.
        batch_norm: Whether complex batch normalisation follows.
        activation: Whether a ReLU on real and imaginary parts follows.
    """

    def __init__(
        self,
        count: int,
        inputs: int,
        outputs: int,
        *,
        stride: int = 1,
        transposed: bool = False,
        batch_norm: bool = True,
        activation: bool = True,
    ) -> None:
        super().__init__()
        self.count, self.stride, self.transposed = count, stride, transposed
        self.activation = activation
        shape = (inputs, outputs, 3, 3) if transposed else (outputs, inputs, 3, 3)
        bound = 1.0 / math.sqrt(shape[1] * 9)  # the usual initial values of a real layer

        def drawn(*size: int) -> nn.Parameter:
            return nn.Parameter(torch.empty(count, *size).uniform_(-bound, bound))

        self.a_weight, self.b_weight = drawn(*shape), drawn(*shape)
        self.a_bias, self.b_bias = drawn(outputs), drawn(outputs)
        self.norm = ComplexBatchNorm(count, outputs) if batch_norm else None

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, count, 2, inputs, H, W) to (B, count, 2, outputs, H', W')."""
        a, b = self.a_weight, self.b_weight
        if self.transposed:  # (inputs, outputs): rows are inputs
            weight = torch.cat((torch.cat((a, b), 2), torch.cat((-b, a), 2)), 1)
        else:
            weight = torch.cat((torch.cat((a, -b), 2), torch.cat((b, a), 2)), 1)
        bias = torch.cat((self.a_bias - self.b_bias, self.a_bias + self.b_bias), 1)
        if self.norm is not None and not self.training:
            weight, bias = self._folded(weight, bias)
        flat, weight, bias = x.flatten(1, 3), weight.flatten(0, 1), bias.flatten()
        if self.transposed:
            y = F.conv_transpose2d(
                flat, weight, bias, self.stride, 1, output_padding=1, groups=self.count
            )
        else:
            y = F.conv2d(flat, weight, bias, self.stride, 1, groups=self.count)
        y = y.unflatten(1, (self.count, 2, -1))
        if self.norm is not None and self.training:
            y = self.norm(y)
        return F.relu(y) if self.activation else y

    def _folded(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """Real weight and bias with frozen batch normalisation multiplied in."""
        assert self.norm is not None  # noqa: S101 - for the type checker
        matrix, shift = self.norm.frozen()
        b = bias.unflatten(1, (2, -1))  # (count, 2, outputs)
        bias = (torch.einsum("gcij,gjc->gic", matrix, b) + shift.movedim(2, 1)).flatten(1)
        if self.transposed:
            w = weight.unflatten(2, (2, -1))
            return torch.einsum("gcij,gnjchw->gnichw", matrix, w).flatten(2, 3), bias
        w = weight.unflatten(1, (2, -1))
        return torch.einsum("gcij,gjcnhw->gicnhw", matrix, w).flatten(1, 2), bias


class SEPNs(nn.Module):
    """Parallel error-prediction networks, computed together; their outputs are added up.

    Args:
        ports: Fields, at least 1; they are filled up with zeros to a square plane whose side is a
            multiple of 4.
        count: Networks in parallel.
        channels: Complex channels of the three levels.
        batch_norm: Whether there is batch normalisation.
    """

    def __init__(
        self,
        ports: int = 64,
        count: int = 6,
        channels: tuple[int, int, int] = (4, 8, 16),
        batch_norm: bool = True,
    ) -> None:
        super().__init__()
        check_range("ports", ports, low=1, high=1_000_000)
        check_range("count", count, low=1, high=100)
        self.ports, self.count, self.channels = ports, count, channels
        self.side = 4 * math.ceil(math.sqrt(ports) / 4)
        first, second, third = channels

        def conv(inputs: int, outputs: int, **options: Any) -> ComplexConv:
            return ComplexConv(count, inputs, outputs, **{"batch_norm": batch_norm, **options})

        def block(inputs: int, outputs: int) -> nn.Sequential:
            return nn.Sequential(
                conv(inputs, outputs), conv(outputs, outputs), conv(outputs, outputs)
            )

        self.block1 = block(1, first)
        self.down1 = conv(1, first, stride=2)
        self.block2 = block(first, second)
        self.down2 = conv(first, second, stride=2)
        self.block3 = block(second, third)
        self.up1 = conv(third, second, stride=2, transposed=True)
        self.up2 = conv(2 * second, first, stride=2, transposed=True)
        self.out = conv(2 * first, 1, batch_norm=False, activation=False)

    def forward(self, field: Tensor) -> Tensor:
        """Predicted systematic error of fields.

        Args:
            field: Complex fields (B, ports).

        Returns:
            Complex (B, ports): the sum over the networks, to be added to the field.
        """
        with without_autocast(field.device):
            plane = F.pad(torch.view_as_real(field), (0, 0, 0, self.side**2 - self.ports))
            x = plane.movedim(-1, 1).unflatten(2, (1, self.side, self.side))
            x = x[:, None].expand(-1, self.count, -1, -1, -1, -1)
            d1 = self.down1(x)
            b3 = self.block3(self.down2(d1))
            u2 = self.up2(torch.cat((self.block2(d1), self.up1(b3)), 3))
            y = self.out(torch.cat((self.block1(x), u2), 3)).sum(1)
            parts = y.flatten(2)[:, :, : self.ports]
            return torch.complex(parts[:, 0], parts[:, 1])
