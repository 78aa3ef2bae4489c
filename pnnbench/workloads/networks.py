"""Networks of physical layers: the interface, and those that any weight bank is put into."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pnnbench.errors import UserError
from pnnbench.platforms.fused import pooled_block
from pnnbench.workloads.pooling_op import norm_pool

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


def norm_block(norm: nn.Module, x: Tensor) -> Tensor:
    """Batch norm, ReLU and 2 x 2 pooling; (B, C, H, W) -> (B, C, H // 2, W // 2)."""
    fused = norm_pool(norm, x)
    return max_pool_2x2(F.relu(norm(x))) if fused is None else fused


@contextmanager
def modes_kept(module: nn.Module) -> Iterator[None]:
    """Context after which each module is in training or in evaluation as it was.

    Args:
        module: The outermost one.
    """
    modes = [(part, part.training) for part in module.modules()]
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


def conv_block(conv: nn.Module, norm: nn.Module, x: Tensor) -> Tensor:
    """Convolution, batch norm, ReLU and 2 x 2 pooling; (B, C, H, W) -> (B, outputs, H', W')."""
    fused = pooled_block(conv, norm, x)
    return norm_block(norm, conv(x)) if fused is None else fused


def image_size(shape: Sequence[int], network: str) -> tuple[int, int, int]:
    """Channels, height and width of images that are pooled by two.

    Args:
        shape: Shape of one input.
        network: What takes them, for the message.

    Returns:
        The three lengths.

    Raises:
        UserError: If the inputs are no images, or smaller than 2 x 2.
    """
    if len(shape) != 3 or min(shape[1:]) < 2:
        raise UserError(
            f"{network} takes images, and one input is {' x '.join(map(str, shape))}",
            allowed="channels x height x width, at least 2 x 2 pixels",
            next_step="write a workload with a network for these inputs",
        )
    channels, height, width = shape
    return channels, height, width


class PhysicalNetwork(nn.Module):
    """A network split at its first physical layer.

    `prefix` holds what lies before the first physical layer, so that a grid of devices computes it
    once per batch; `physical` is the rest.

    Attributes:
        input_shape: The one shape of an input that the network takes, and None in the place of a
            length that is free; None where other inputs fail by themselves.
    """

    input_shape: tuple[int | None, ...] | None = None

    def check_input(self, shape: tuple[int, ...], data: str) -> None:
        """Refuses a data set whose inputs the network cannot take.

        Args:
            shape: Shape of one input.
            data: Name of the set.

        Raises:
            UserError: If it is not `input_shape`.
        """
        mine = self.input_shape
        if mine is None or (
            len(mine) == len(shape)
            and all(a is None or a == b for a, b in zip(mine, shape, strict=True))
        ):
            return
        words = " x ".join("any" if size is None else str(size) for size in mine)
        raise UserError(
            f"{type(self).__name__} takes inputs of {words}, and those of data {data!r} are "
            f"{' x '.join(map(str, shape))}",
            allowed="a data set with inputs of that shape",
            next_step="write a workload with a network for these inputs",
        )

    def check_outputs(self, x: Tensor) -> None:
        """Raises a UserError if the network is not the function that it was made from.

        Here nothing is known of another one.

        Args:
            x: Inputs (N, ...); the network is in evaluation.
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
        n_classes: Number of outputs.
    """

    input_shape = (1, 28, 28)

    def __init__(
        self,
        conv: ConvFactory,
        linear: LinearFactory,
        fc_relu: bool = True,
        n_classes: int = 10,
    ) -> None:
        super().__init__()
        self.conv1 = conv(1, 6, 5, 2)
        self.norm1 = nn.BatchNorm2d(6)
        self.conv2 = conv(6, 16, 5, 0)
        self.norm2 = nn.BatchNorm2d(16)
        self.fc1 = linear(400, 120)
        self.norm3 = nn.BatchNorm1d(120)
        self.fc2 = linear(120, 84)
        self.norm4 = nn.BatchNorm1d(84)
        self.fc3 = linear(84, n_classes)
        self.fc_relu = fc_relu

    def physical(self, h: Tensor) -> Tensor:
        """Logits (B, classes) from images (B, 1, 28, 28)."""
        h = conv_block(self.conv1, self.norm1, h)
        h = conv_block(self.conv2, self.norm2, h)
        activation = F.relu if self.fc_relu else nn.Identity()
        h = activation(self.norm3(self.fc1(h.flatten(1))))
        h = activation(self.norm4(self.fc2(h)))
        return self.fc3(h)


class DigitsNet(PhysicalNetwork):
    """Small network for the embedded 8 x 8 digits: conv 1-8 k3 p1, then 128-32-10; 4,488 weights.

    Args:
        conv: Makes a convolution layer.
        linear: Makes a linear layer.
        image: Channels, height and width of the images; their size decides that of the second
            layer.
        n_classes: Number of outputs.
    """

    def __init__(
        self,
        conv: ConvFactory,
        linear: LinearFactory,
        image: Sequence[int] = (1, 8, 8),
        n_classes: int = 10,
    ) -> None:
        super().__init__()
        channels, height, width = image_size(image, "DigitsNet")
        self.input_shape = (channels, height, width)
        self.conv1 = conv(channels, 8, 3, 1)
        self.norm1 = nn.BatchNorm2d(8)
        self.fc1 = linear(8 * (height // 2) * (width // 2), 32)
        self.norm2 = nn.BatchNorm1d(32)
        self.fc2 = linear(32, n_classes)

    def physical(self, h: Tensor) -> Tensor:
        """Logits (B, classes) from images (B, C, H, W)."""
        h = conv_block(self.conv1, self.norm1, h)
        h = F.relu(self.norm2(self.fc1(h.flatten(1))))
        return self.fc2(h)
