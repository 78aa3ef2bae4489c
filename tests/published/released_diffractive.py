"""The published diffractive network written out in plain tensors, and files in its layout."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms.functional import affine

N, PIXEL, WAVELENGTH, FOCAL = 128, 2e-6, 532e-9, 5e-3
CORNERS = [(32, 32), (32, 59), (32, 86), (59, 32), (59, 50), (59, 68), (59, 86)]
CORNERS += [(86, 32), (86, 59), (86, 86)]


def random_model(seed: int) -> dict[str, np.ndarray]:
    """Random phases in cycles and the published distances, in the released layout."""
    rng = np.random.default_rng(seed)
    phases = rng.uniform(-0.5, 1.5, (2, N, N)).astype(np.float32)
    distances = np.array([4e-3, 2e-3, 4e-3, 5e-3], dtype=np.float32)
    return {"phase_0": phases[0], "phase_1": phases[1], "distances_m": distances}


def travelled(field: Tensor, distance: float) -> Tensor:
    f = torch.from_numpy(np.fft.fftfreq(N, PIXEL))
    kz = 2 * math.pi * torch.sqrt(1 / WAVELENGTH**2 - f[:, None] ** 2 - f[None, :] ** 2)
    return torch.fft.ifft2(torch.fft.fft2(field) * torch.exp(1j * kz * distance))


def through_lens(field: Tensor) -> Tensor:
    x = torch.arange(-N // 2, N // 2, dtype=torch.float64) * PIXEL
    square = x[:, None] ** 2 + x[None, :] ** 2
    return field * torch.exp(-1j * math.pi * square / (WAVELENGTH * FOCAL))


def through_mask(field: Tensor, cycles: np.ndarray, degrees: float) -> Tensor:
    turned = affine(torch.from_numpy(cycles)[None], degrees, [0, 0], 1.0, [0.0, 0.0])[0]
    field = field * torch.exp(2j * math.pi * turned.double())
    intensity = field.abs() ** 2
    threshold = 0.5 * intensity.mean((-2, -1), keepdim=True)
    return field / field.abs() * torch.sqrt(torch.relu(intensity - threshold))


def shares(model: dict[str, np.ndarray], images: Tensor, degrees: float) -> Tensor:
    """Share of each detector (B, 10) in complex128, for images (B, 1, 28, 28) in [0, 1]."""
    pixels = F.interpolate(images.double(), (64, 64), mode="bilinear", align_corners=False)
    field = F.pad(pixels[:, 0], (32, 32, 32, 32)).sqrt().to(torch.complex128)
    to_mask, between, from_mask, to_detectors = map(float, model["distances_m"])
    field = travelled(through_lens(travelled(field, 5e-3)), to_mask)
    field = through_mask(field, model["phase_0"], degrees)
    field = through_mask(travelled(field, between), model["phase_1"], degrees)
    field = travelled(through_lens(travelled(field, from_mask)), to_detectors)
    power = field.abs() ** 2
    sums = [power[:, r : r + 9, c : c + 9].sum((-2, -1)) for r, c in CORNERS]
    detected = torch.stack(sums, dim=1)
    return detected / detected.sum(1, keepdim=True)
