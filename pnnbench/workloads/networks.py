"""Networks of physical and digital layers, built from whatever platform's layers they are given."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pnnbench.errors import UserError, check_count, check_range
from pnnbench.platforms.diffractive import DiffractiveStack
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


def at_least_single(x: Tensor) -> Tensor:
    """The same numbers in single precision, or in double if they come so."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def amplitudes(intensity: Tensor) -> Tensor:
    """Square roots of intensities, with slope 0 in the dark, where that of the root is infinite.

    Args:
        intensity: Any shape, at least 0.

    Returns:
        Amplitudes of that shape.

    Raises:
        UserError: If an intensity is negative: there is no such light.
    """
    if bool((intensity < 0).any()):
        raise UserError(
            f"an image has pixels down to {float(intensity.min()):.4g}: there is no negative light",
            allowed="intensities of at least 0",
            next_step="give the images as they are, in [0, 1], without subtracting a mean",
        )
    lit = intensity > 0
    return torch.where(lit, torch.where(lit, intensity, 1.0).sqrt(), 0.0 * intensity)


def unit_power(field: Tensor) -> Tensor:
    """Scales each field (B, n) to power 1; a dark one stays dark."""
    norm = torch.linalg.vector_norm(field, dim=-1, keepdim=True)
    return field / norm.clamp(min=1e-12)


def normalised(power: Tensor) -> Tensor:
    """Divides detected powers (B, n) by their Euclidean norm over all ports, digitally."""
    return F.normalize(at_least_single(power), dim=-1, eps=1e-12)


def class_ports(outputs: Tensor, n_classes: int) -> Tensor:
    """The first ports, one for each class.

    Args:
        outputs: One number for each port (B, ports).
        n_classes: Number of classes.

    Returns:
        (B, n_classes).

    Raises:
        UserError: If there are fewer ports than classes.
    """
    if outputs.shape[-1] < n_classes:
        raise UserError(
            f"a mesh of {outputs.shape[-1]} ports cannot tell {n_classes} classes apart",
            allowed=f"at least {n_classes} ports",
            next_step="take a larger mesh, or give the network its n_classes",
        )
    return outputs[:, :n_classes]


def one_channel(x: Tensor) -> Tensor:
    """Images (B, H, W) from (B, 1, H, W); raises UserError if there are more channels."""
    if x.dim() != 4 or x.shape[1] != 1:
        raise UserError(
            f"images of shape {tuple(x.shape)} cannot be shown with one light",
            allowed="(B, 1, H, W)",
        )
    return x[:, 0]


class MeshNet(PhysicalNetwork):
    """A digital front end, then one mesh with detectors: the class is the brightest port.

    Real features are field amplitudes, modulated onto light of one power per image. Logits are the
    detected powers of the first ports over the norm of all ports.

    Args:
        front: Digital front end, giving features (B, ports).
        mesh: Mesh with detectors.
        n_classes: Number of ports that stand for a class.
    """

    def __init__(self, front: nn.Module, mesh: nn.Module, n_classes: int = 10) -> None:
        super().__init__()
        self.front = front
        self.mesh = mesh
        self.n_classes = n_classes
        self.input_shape = getattr(front, "input_shape", None)

    def prefix(self, x: Tensor) -> Tensor:
        """Features (B, ports) of images (B, 1, H, W)."""
        return self.front(x)

    def physical(self, h: Tensor) -> Tensor:
        """Logits (B, n_classes) in [0, 1] from features (B, ports)."""
        return class_ports(normalised(self.mesh(unit_power(at_least_single(h)))), self.n_classes)


class LeNetFront(nn.Module):
    """The digital front end of the published mesh experiments, for 28 x 28 images.

    conv 1-6 k5 p2, conv 6-16 k5, each with batch norm, ReLU and 2 x 2 max pooling; then 400-120
    with batch norm and 120-64, both without activation. 58,720 parameters.

    Args:
        ports: Number of features.
    """

    input_shape = (1, 28, 28)

    def __init__(self, ports: int = 64) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 5, padding=2)
        self.norm1 = nn.BatchNorm2d(6)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.norm2 = nn.BatchNorm2d(16)
        self.fc1 = nn.Linear(400, 120)
        self.norm3 = nn.BatchNorm1d(120)
        self.fc2 = nn.Linear(120, ports)

    def forward(self, x: Tensor) -> Tensor:
        """Features (B, ports) from images (B, 1, 28, 28)."""
        h = norm_block(self.norm1, self.conv1(x))
        h = norm_block(self.norm2, self.conv2(h))
        return self.fc2(self.norm3(self.fc1(h.flatten(1))))


class DigitsFront(nn.Module):
    """A small front end for 8 x 8 digits: conv 1-8 k3 p1, batch norm, ReLU, pooling, 128-ports.

    Args:
        ports: Number of features.
        image: Channels, height and width of the images.
    """

    def __init__(self, ports: int, image: Sequence[int] = (1, 8, 8)) -> None:
        super().__init__()
        channels, height, width = image_size(image, "DigitsFront")
        self.input_shape = (channels, height, width)
        self.conv1 = nn.Conv2d(channels, 8, 3, padding=1)
        self.norm1 = nn.BatchNorm2d(8)
        self.fc1 = nn.Linear(8 * (height // 2) * (width // 2), ports)

    def forward(self, x: Tensor) -> Tensor:
        """Features (B, ports) from images (B, C, H, W)."""
        return self.fc1(norm_block(self.norm1, self.conv1(x)).flatten(1))


class FourierInput(nn.Module):
    """The centre of an image's spectrum as fields, the input of the all-optical network.

    Args:
        side: Side of the centre square of the shifted two-dimensional Fourier transform.
    """

    input_shape = (1, None, None)

    def __init__(self, side: int = 8) -> None:
        super().__init__()
        self.side = check_count("side of the centre", side)

    def forward(self, x: Tensor) -> Tensor:
        """Complex fields (B, side^2) of mean modulus 1 from images (B, 1, H, W).

        Raises:
            UserError: If the images have several channels or are smaller than the side.
        """
        image = at_least_single(one_channel(x))
        if self.side > min(image.shape[-2:]):
            raise UserError(
                f"the spectrum of {tuple(image.shape[-2:])} pixels has no square of {self.side}",
                allowed=f"a side of at most {min(image.shape[-2:])}",
            )
        spectrum = torch.fft.fftshift(torch.fft.fft2(image), dim=(-2, -1))
        rows, columns = ((size - self.side) // 2 for size in spectrum.shape[-2:])
        centre = spectrum[:, rows : rows + self.side, columns : columns + self.side].flatten(1)
        return centre / centre.abs().mean(1, keepdim=True).clamp(min=1e-12)


class ElectroOptic(nn.Module):
    """Electro-optic activation: a tenth of the power sets the modulation of the rest.

    z -> sqrt(1 - alpha) cos(p) exp(-i p) z with p = (g |z|^2 + pi) / 2. Source: Williamson et al.,
    IEEE JSTQE 26, 7700412 (2020), with the constants of the dual-adaptive-training experiments.

    Args:
        tapped_power: Share alpha of the power that is tapped, 0 to 1.
        gain: Modulation g in rad per unit of power.
    """

    def __init__(self, tapped_power: float = 0.1, gain: float = 0.05 * math.pi) -> None:
        super().__init__()
        self.amplitude = math.sqrt(1.0 - check_range("tapped_power", tapped_power, low=0, high=1))
        self.gain = check_range("gain", gain, low=-1e6, high=1e6)

    def forward(self, z: Tensor) -> Tensor:
        """Fields like ``z``."""
        p = 0.5 * self.gain * (z.real.square() + z.imag.square()) + 0.5 * math.pi
        c, s = torch.cos(p), torch.sin(p)
        return self.amplitude * torch.complex(c * c, -c * s) * z


class OpticalNet(PhysicalNetwork):
    """All-optical network: meshes with electro-optic activations between, detectors at the end.

    Args:
        front: Encodes images as fields (B, ports).
        meshes: At least one mesh; the last has detectors, the others give fields.
        n_classes: Number of ports that stand for a class.
    """

    def __init__(self, front: nn.Module, meshes: list[nn.Module], n_classes: int = 10) -> None:
        super().__init__()
        self.front = front
        self.n_meshes = len(meshes)
        for i, mesh in enumerate(meshes, start=1):
            self.add_module(f"mesh{i}", mesh)
        self.activation = ElectroOptic()
        self.n_classes = n_classes
        self.input_shape = getattr(front, "input_shape", None)

    def prefix(self, x: Tensor) -> Tensor:
        """Fields (B, ports) of images (B, 1, H, W)."""
        return self.front(x)

    def physical(self, h: Tensor) -> Tensor:
        """Logits (B, n_classes) in [0, 1] from fields (B, ports)."""
        for i in range(1, self.n_meshes):
            h = self.activation(self.get_submodule(f"mesh{i}")(h))
        last = self.get_submodule(f"mesh{self.n_meshes}")
        return class_ports(normalised(last(h)), self.n_classes)


class FreeSpaceNet(PhysicalNetwork):
    """Two products in free space with a sigmoid between: the hidden layer is shown again.

    Args:
        first: Layer (pixels, hidden).
        second: Layer (hidden, classes).
        image: Channels, height and width of the images that the first layer shows.
    """

    def __init__(
        self,
        first: nn.Module,
        second: nn.Module,
        image: tuple[int, int, int] | None = None,
    ) -> None:
        super().__init__()
        self.input_shape = image
        self.fc1 = first
        self.fc2 = second

    def physical(self, h: Tensor) -> Tensor:
        """Logits (B, classes) from images (B, 1, H, W)."""
        return self.fc2(torch.sigmoid(self.fc1(h.flatten(1))))


class DiffractiveNet(PhysicalNetwork):
    """An image modulated onto light, fixed optics, then a diffractive stack with detectors.

    Amplitudes are the square roots of the pixels, interpolated to the samples of the modulator;
    every image carries the power 1. Logits are each detector's share of the detected power, times a
    gain.

    Args:
        imaging: Fixed optics before the first mask, from amplitudes (B, m, m) to fields (B, n, n).
        stack: From those fields to detected powers (B, classes).
        side: m, pixels along a side of the modulator.
        gain: Logit of the whole detected power.
        fine_imaging: ``imaging`` onto the samples of the deployed stack, where these are finer than
            those of the model in training.
    """

    input_shape = (1, None, None)

    def __init__(
        self,
        imaging: nn.Module,
        stack: DiffractiveStack,
        side: int,
        gain: float = 10.0,
        fine_imaging: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.imaging = imaging
        self.fine_imaging = fine_imaging
        self.stack = stack
        self.side = side
        self.gain = gain

    def prefix(self, x: Tensor) -> Tensor:
        """What model and deployed stack have in common, of images (B, 1, H, W) in [0, 1].

        Returns:
            Complex fields (B, n, n) before the first mask; amplitudes (B, m, m) on the modulator
            where the two sample the fields differently.

        Raises:
            UserError: If a pixel is negative, or there are several channels.
        """
        size = (self.side, self.side)
        one_channel(x)
        pixels = F.interpolate(at_least_single(x), size, mode="bilinear", align_corners=False)
        amplitude = amplitudes(pixels).squeeze(1).flatten(1)
        shown = unit_power(amplitude).unflatten(1, size)
        return self.imaging(shown) if self.fine_imaging is None else shown

    def physical(self, h: Tensor) -> Tensor:
        """Logits (B, classes) from what `prefix` gives."""
        power = self.stack(h if self.fine_imaging is None else self._imaged(h, self.fine_imaging))
        share = power / power.sum(-1, keepdim=True).clamp(min=1e-12)
        return self.gain * share

    def _imaged(self, shown: Tensor, fine: nn.Module) -> Tensor:
        """Fields before the first mask from amplitudes; those that conditions share only once."""
        imaging = fine if self.stack.present_samples > 1 else self.imaging
        op = self.stack.operation
        if op is not None and op.count > 1:
            blocks = self.stack.blocks(shown, op.count)
            if bool((blocks == blocks[:1]).all()):
                return imaging(blocks[0]).repeat(op.count, 1, 1)
        return imaging(shown)
