"""Networks for small images: a residual classifier, an encoder with its decoder, a generator.

Layers that stand for hardware come from the factories that a platform gives; everything else is
digital. Width and depth are parameters.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from pnnbench.errors import UserError, check_count
from pnnbench.workloads.networks import LinearFactory, PhysicalNetwork


class StridedConvFactory(Protocol):
    """Makes a convolution without bias; a batch norm follows each."""

    def __call__(
        self, in_channels: int, out_channels: int, kernel_size: int, *, stride: int, padding: int
    ) -> nn.Module:
        """The layer, (B, in, H, W) -> (B, out, H', W')."""
        ...


class Residual(nn.Module):
    """Two 3 x 3 convolutions with batch norm, and a way past them.

    Source: He et al., CVPR 2016, the basic block; where size or channels change, the way past is a
    1 x 1 convolution with batch norm.

    Args:
        conv: Makes the convolutions.
        channels: Channels that come in.
        width: Channels that go out.
        stride: Stride of the first convolution.
    """

    def __init__(self, conv: StridedConvFactory, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = conv(channels, width, 3, stride=stride, padding=1)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = conv(width, width, 3, stride=1, padding=1)
        self.norm2 = nn.BatchNorm2d(width)
        self.past: nn.Module | None = None
        if stride != 1 or channels != width:
            self.past = conv(channels, width, 1, stride=stride, padding=0)
            self.norm3 = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) -> (B, width, H / stride, W / stride)."""
        h = F.relu(self.norm1(self.conv1(x)))
        h = self.norm2(self.conv2(h))
        past = x if self.past is None else self.norm3(self.past(x))
        return F.relu(h + past)


class ResNet(PhysicalNetwork):
    """ResNet with the stem for small images: one 3 x 3 convolution, no pooling.

    Stages of basic blocks, each of twice the width of the one before and half its side; then the
    mean over space and a linear layer. ``blocks=(2, 2, 2, 2)`` and ``width=64`` is ResNet-18, with
    11,159,232 weights in convolutions and 5,120 in the last layer for 3 channels and 10 classes.

    Args:
        conv: Makes the convolutions.
        linear: Makes the last layer.
        width: Channels of the first stage.
        blocks: Blocks of each stage.
        channels: Channels of an image.
        n_classes: Number of classes.
    """

    def __init__(
        self,
        conv: StridedConvFactory,
        linear: LinearFactory,
        width: int = 64,
        blocks: Sequence[int] = (2, 2, 2, 2),
        channels: int = 3,
        n_classes: int = 10,
    ) -> None:
        super().__init__()
        check_count("width", width)
        for count in blocks:
            check_count("blocks of a stage", count)
        self.conv = conv(channels, width, 3, stride=1, padding=1)
        self.norm = nn.BatchNorm2d(width)
        stages: list[nn.Module] = []
        inside = width
        for stage, count in enumerate(blocks):
            outside = width * 2**stage
            for block in range(count):
                stride = 2 if stage > 0 and block == 0 else 1
                stages.append(Residual(conv, inside, outside, stride))
                inside = outside
        self.stages = nn.Sequential(*stages)
        self.fc = linear(inside, n_classes)

    def physical(self, h: Tensor) -> Tensor:
        """Logits (B, n_classes) from images (B, channels, H, W)."""
        h = F.relu(self.norm(self.conv(h)))
        return self.fc(self.stages(h).mean((2, 3)))


def _halvings(side: int, depth: int) -> int:
    """Side after so many halvings; raises UserError if it cannot be halved so often."""
    check_count("depth", depth)
    if side % 2**depth:
        raise UserError(
            f"images of {side} pixels cannot be halved {depth} times",
            allowed=f"a side that is a multiple of {2**depth}",
            next_step="choose a smaller depth",
        )
    return side // 2**depth


class Autoencoder(PhysicalNetwork):
    """A physical encoder to a short latent vector, and a digital decoder.

    Encoder: strided 3 x 3 convolutions with batch norm and ReLU, then a linear layer. Decoder: a
    linear layer, then nearest-neighbour doubling and 3 x 3 convolutions, a sigmoid at the end.

    Args:
        conv: Makes the encoder's convolutions.
        linear: Makes its last layer.
        side: Side of an image in pixels.
        channels: Channels of an image.
        width: Channels after the first convolution; each further one has twice as many.
        depth: Number of halvings.
        latent: Numbers that an image is compressed to.
    """

    def __init__(
        self,
        conv: StridedConvFactory,
        linear: LinearFactory,
        side: int = 32,
        channels: int = 3,
        width: int = 16,
        depth: int = 3,
        latent: int = 128,
    ) -> None:
        super().__init__()
        check_count("latent", latent)
        small = _halvings(side, depth)
        widths = [width * 2**i for i in range(depth)]
        encoder: list[nn.Module] = []
        for inside, outside in zip([channels, *widths], widths, strict=False):
            encoder += [
                conv(inside, outside, 3, stride=2, padding=1),
                nn.BatchNorm2d(outside),
                nn.ReLU(),
            ]
        self.encoder = nn.Sequential(*encoder, nn.Flatten())
        self.code = linear(widths[-1] * small * small, latent)
        self.norm = nn.BatchNorm1d(latent)
        self.decoder = _upwards(_digital, _digital_linear, latent, small, widths[::-1], channels)

    def encode(self, h: Tensor) -> Tensor:
        """Latent vectors (B, latent) of images (B, channels, side, side)."""
        return self.norm(self.code(self.encoder(h)))

    def physical(self, h: Tensor) -> Tensor:
        """Images in [0, 1] from images, (B, channels, side, side) both."""
        return self.decoder(self.encode(h))


class Generator(PhysicalNetwork):
    """Images from latent vectors: a linear layer, then doubling and 3 x 3 convolutions.

    All of its linear and convolution layers are physical; doubling, batch norm, ReLU and the last
    sigmoid are digital.

    Args:
        conv: Makes the convolutions.
        linear: Makes the first layer.
        side: Side of an image in pixels.
        channels: Channels of an image.
        width: Channels before the last convolution; each one before has twice as many.
        depth: Number of doublings.
        latent: Numbers that an image is made from.
    """

    def __init__(
        self,
        conv: StridedConvFactory,
        linear: LinearFactory,
        side: int = 32,
        channels: int = 3,
        width: int = 16,
        depth: int = 3,
        latent: int = 64,
    ) -> None:
        super().__init__()
        check_count("latent", latent)
        widths = [width * 2**i for i in reversed(range(depth))]
        small = _halvings(side, depth)
        self.latent = latent
        self.layers = _upwards(conv, linear, latent, small, widths, channels)

    def physical(self, h: Tensor) -> Tensor:
        """Images (B, channels, side, side) in [0, 1] from latent vectors (B, latent)."""
        return self.layers(h)


class _Grid(nn.Module):
    """(B, channels * side^2) -> (B, channels, side, side)."""

    def __init__(self, channels: int, side: int) -> None:
        super().__init__()
        self.shape = (channels, side, side)

    def forward(self, x: Tensor) -> Tensor:
        return x.unflatten(1, self.shape)


def _upwards(
    conv: StridedConvFactory,
    linear: LinearFactory,
    latent: int,
    small: int,
    widths: Sequence[int],
    channels: int,
) -> nn.Sequential:
    """From latent vectors to images: one doubling for each width."""
    first = widths[0] * small * small
    layers: list[nn.Module] = [linear(latent, first), _Grid(widths[0], small)]
    for inside, outside in zip(widths, [*widths[1:], widths[-1]], strict=True):
        layers += [
            nn.BatchNorm2d(inside),
            nn.ReLU(),
            nn.Upsample(scale_factor=2),
            conv(inside, outside, 3, stride=1, padding=1),
        ]
    layers += [
        nn.BatchNorm2d(widths[-1]),
        nn.ReLU(),
        conv(widths[-1], channels, 3, stride=1, padding=1),
        nn.BatchNorm2d(channels),
        nn.Sigmoid(),
    ]
    return nn.Sequential(*layers)


def _digital(
    in_channels: int, out_channels: int, kernel_size: int, *, stride: int, padding: int
) -> nn.Module:
    return nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, bias=False)


def _digital_linear(in_features: int, out_features: int) -> nn.Module:
    return nn.Linear(in_features, out_features)


class Discriminator(nn.Module):
    """Tells real images from generated ones; digital, every weight of spectral norm 1.

    Strided 4 x 4 convolutions with leaky ReLU, then a linear layer. Source: Miyato et al., ICLR
    2018.

    Args:
        side: Side of an image in pixels.
        channels: Channels of an image.
        width: Channels after the first convolution; each further one has twice as many.
        depth: Number of halvings.
    """

    def __init__(self, side: int = 32, channels: int = 3, width: int = 32, depth: int = 3) -> None:
        super().__init__()
        small = _halvings(side, depth)
        layers: list[nn.Module] = []
        inside = channels
        for i in range(depth):
            outside = width * 2**i
            layers += [
                spectral_norm(nn.Conv2d(inside, outside, 3, 1, 1)),
                nn.LeakyReLU(0.1),
                spectral_norm(nn.Conv2d(outside, outside, 4, 2, 1)),
                nn.LeakyReLU(0.1),
            ]
            inside = outside
        layers += [nn.Flatten(), spectral_norm(nn.Linear(inside * small * small, 1))]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """How real images (B, channels, side, side) in [0, 1] look, (B,), unbounded."""
        score: Tensor = self.layers(2.0 * x - 1.0)
        return score.squeeze(1)


@torch.no_grad()
def normalise(network: nn.Module) -> None:
    """Makes every spectral norm of a network 1, whatever its singular vectors were before.

    In training these are of a power iteration, a step behind the weights; a file can hold any
    others, which would scale what the network gives.

    Args:
        network: Layers of it may have the spectral norm of ``torch.nn.utils.parametrizations``.
    """
    for layer in network.modules():
        for held in getattr(layer, "parametrizations", {}).values():
            for norm in held:
                if {"_u", "_v"} <= dict(norm.named_buffers()).keys():
                    matrix = norm._reshape_weight_to_matrix(held.original).double().cpu()
                    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
                    norm.get_buffer("_u").copy_(left[:, 0])
                    norm.get_buffer("_v").copy_(right[0])


def hinge_loss(real: Tensor, generated: Tensor) -> Tensor:
    """The discriminator's loss: scores of real images above 1, of generated ones below -1.

    Args:
        real: Scores (B,).
        generated: Scores (B,).

    Returns:
        A scalar, at least 0. Source: Lim and Ye, 2017.
    """
    return F.relu(1.0 - real).mean() + F.relu(1.0 + generated).mean()


def realism_loss(generated: Tensor) -> Tensor:
    """The generator's loss: the mean score of its images, negative.

    Args:
        generated: Scores (B,).

    Returns:
        A scalar.
    """
    return torch.neg(generated.mean())
