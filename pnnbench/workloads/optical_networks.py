"""Networks with one optical layer or stack, and what prepares the light: meshes, free space."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pnnbench.errors import UserError, check_count, check_range
from pnnbench.platforms.diffractive import DiffractiveStack
from pnnbench.workloads.networks import PhysicalNetwork, image_size, norm_block


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
