"""Networks of physical and digital layers, built from whatever platform's layers they are given."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: (in_channels, out_channels, kernel_size, padding) -> layer.
ConvFactory = Callable[[int, int, int, int], nn.Module]
#: (in_features, out_features) -> layer.
LinearFactory = Callable[[int, int], nn.Module]


def max_pool_2x2(x: Tensor) -> Tensor:
    """Largest value of each 2 x 2 block, stride 2; (B, C, H, W) -> (B, C, H // 2, W // 2).

    Without gradients the four strided views are compared directly, about ten times faster on a CPU
    than the library's pooling, which also records indices; the values are the same.
    """
    if torch.is_grad_enabled():
        return F.max_pool2d(x, 2)
    x = x[..., : x.shape[-2] // 2 * 2, : x.shape[-1] // 2 * 2]
    rows = torch.maximum(x[..., ::2, :], x[..., 1::2, :])
    return torch.maximum(rows[..., ::2], rows[..., 1::2])


class PhysicalNetwork(nn.Module):
    """A network split at its first physical layer.

    `prefix` holds what lies before the first physical layer, so that a grid of devices computes it
    once per batch; `physical` is the rest.
    """

    def prefix(self, x: Tensor) -> Tensor:
        """Digital layers before the first physical one; the identity by default."""
        return x

    def physical(self, h: Tensor) -> Tensor:
        """From the first physical layer to the outputs."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Outputs (B, ...) for inputs (B, ...)."""
        return self.physical(self.prefix(x))


class LeNet5(PhysicalNetwork):
    """LeNet-5 with batch normalisation, as in the published microring experiments.

    conv 1-6 k5 p2, conv 6-16 k5, each with batch norm, ReLU and 2 x 2 max pooling; then fully
    connected 400-120-84-10 with batch norm after the first two. 61,470 weights.

    Args:
        conv: Makes a convolution layer.
        linear: Makes a linear layer.
        fc_relu: ReLU after the first two linear layers; False is a variant of the published code.
    """

    def __init__(self, conv: ConvFactory, linear: LinearFactory, fc_relu: bool = True) -> None:
        super().__init__()
        self.conv1 = conv(1, 6, 5, 2)
        self.norm1 = nn.BatchNorm2d(6)
        self.conv2 = conv(6, 16, 5, 0)
        self.norm2 = nn.BatchNorm2d(16)
        self.fc1 = linear(400, 120)
        self.norm3 = nn.BatchNorm1d(120)
        self.fc2 = linear(120, 84)
        self.norm4 = nn.BatchNorm1d(84)
        self.fc3 = linear(84, 10)
        self.fc_relu = fc_relu

    def physical(self, h: Tensor) -> Tensor:
        """Logits (B, 10) from images (B, 1, 28, 28)."""
        h = max_pool_2x2(F.relu(self.norm1(self.conv1(h))))
        h = max_pool_2x2(F.relu(self.norm2(self.conv2(h))))
        activation = F.relu if self.fc_relu else nn.Identity()
        h = activation(self.norm3(self.fc1(h.flatten(1))))
        h = activation(self.norm4(self.fc2(h)))
        return self.fc3(h)


class DigitsNet(PhysicalNetwork):
    """Small network for the embedded 8 x 8 digits: conv 1-8 k3 p1, then 128-32-10; 4,488 weights.

    Args:
        conv: Makes a convolution layer.
        linear: Makes a linear layer.
    """

    def __init__(self, conv: ConvFactory, linear: LinearFactory) -> None:
        super().__init__()
        self.conv1 = conv(1, 8, 3, 1)
        self.norm1 = nn.BatchNorm2d(8)
        self.fc1 = linear(128, 32)
        self.norm2 = nn.BatchNorm1d(32)
        self.fc2 = linear(32, 10)

    def physical(self, h: Tensor) -> Tensor:
        """Logits (B, 10) from images (B, 1, 8, 8)."""
        h = max_pool_2x2(F.relu(self.norm1(self.conv1(h))))
        h = F.relu(self.norm2(self.fc1(h.flatten(1))))
        return self.fc2(h)
