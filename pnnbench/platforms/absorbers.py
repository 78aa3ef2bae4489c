"""Absorbers behind phase masks: what of the light gets through depends on the light."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pnnbench.errors import check_range


class Absorber(nn.Module):
    """An absorber behind a mask; it acts on intensities and keeps the phase."""

    def describe(self) -> dict[str, Any]:
        """Constants that decide the transmission, as plain values."""
        raise NotImplementedError


class SaturableAbsorber(Absorber):
    """An absorber that light bleaches: power transmission exp(-D / (1 + I / I_s)).

    Smooth, with bounded derivatives, and finite in the dark.

    Args:
        optical_density: D, of the dark absorber, in natural units, 0 to 50.
        saturation: I_s in multiples of the mean intensity of a plane that carries the whole
            power 1, > 0.
    """

    def __init__(self, optical_density: float = 2.0, saturation: float = 1.0) -> None:
        super().__init__()
        self.optical_density = check_range("optical_density", optical_density, low=0.0, high=50.0)
        self.saturation = check_range("saturation", saturation, low=0.0, high=1e6, low_open=True)

    def forward(self, field: Tensor) -> Tensor:
        """Field (..., n, n) behind the absorber; the phase is kept."""
        intensity = field.real.square() + field.imag.square()
        level = intensity * (field.shape[-1] * field.shape[-2] / self.saturation)
        return field * torch.exp(-0.5 * self.optical_density / (1.0 + level))

    def describe(self) -> dict[str, Any]:
        """Constants as plain values."""
        return {"optical_density": self.optical_density, "saturation": self.saturation}


class Transparent(Absorber):
    """No absorber: all light gets through, and a stack of masks is linear in the field."""

    def forward(self, field: Tensor) -> Tensor:
        """The field (..., n, n) itself."""
        return field

    def describe(self) -> dict[str, Any]:
        """No constants."""
        return {}


class ThresholdAbsorber(Absorber):
    """The published absorber: max(0, 1 - I_th / I) of the power gets through.

    I_th is a share of each image's mean intensity on the plane. Its slope is infinite at the
    threshold, so that second derivatives mean nothing. Intensities below the least normal number,
    about 1e-38 in single precision, count as dark: their reciprocals are infinite.

    Args:
        share: I_th over the mean intensity, 0 to 1.
    """

    def __init__(self, share: float = 0.5) -> None:
        super().__init__()
        self.share = check_range("share", share, low=0.0, high=1.0)

    def forward(self, field: Tensor) -> Tensor:
        """Field (..., n, n) behind the absorber; the phase is kept."""
        intensity = field.real.square() + field.imag.square()
        threshold = self.share * intensity.mean((-2, -1), keepdim=True)
        passed = F.relu(intensity - threshold)
        # Elsewhere the slope of the root, or that of the quotient, is infinite.
        lit = (passed > 0.0) & (intensity >= torch.finfo(intensity.dtype).tiny)
        share = torch.where(lit, passed / torch.where(lit, intensity, 1.0), 1.0)
        return field * (torch.sqrt(share) * lit)

    def describe(self) -> dict[str, Any]:
        """Constants as plain values."""
        return {"threshold_share": self.share}
