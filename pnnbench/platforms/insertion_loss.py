"""Losses that differ between the interferometers of meshes."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from pnnbench.platforms.static_errors import StaticError

#: Standard deviation of the loss of an interferometer as a share of the mean of all: what couplers
#: and bends of one design scatter by is a part of what they lose. A choice, not a measurement.
LOSS_SPREAD = 0.2


def loss_law(shape: tuple[int, ...]) -> StaticError:
    """Declares losses of interferometers in dB.

    Args:
        shape: Shape of the losses of one device.

    Returns:
        Losses of 0 to 1000 dB: nothing amplifies.
    """
    return StaticError("insertion loss of an interferometer", "dB", shape, 0.0, 1e3)


def amplitude(loss_db: Tensor) -> Tensor:
    """What a loss of power in dB leaves of a field."""
    return 10.0 ** (-loss_db / 20.0)


def losses(loss_db: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Losses of the interferometers of meshes, of which waveguides left alone lose the mean.

    Args:
        loss_db: Losses (N, M) in dB.
        n: Number of waveguides, and so of columns that all light passes.

    Returns:
        What to multiply the entries (N, 4, M) of the interferometers by, (N, 1, M), and the product
        of the columns by, (N, 1, 1).
    """
    mean = loss_db.mean(-1, keepdim=True)
    return amplitude(loss_db - mean)[:, None], amplitude(n * mean)[..., None]


def draw_losses(
    laws: Mapping[str, StaticError], mean_db: float, generator: torch.Generator
) -> dict[str, Tensor]:
    """Draws losses of a device.

    Args:
        laws: Name -> what `loss_law` declares.
        mean_db: Mean in dB, around which they scatter by `LOSS_SPREAD` of it.
        generator: Source of randomness; the unit draw does not depend on the mean.

    Returns:
        Name -> losses, not below 0.
    """
    return {
        name: law.within(
            mean_db
            * (1.0 + LOSS_SPREAD * torch.randn(law.shape, generator=generator, dtype=torch.float32))
        )
        for name, law in laws.items()
    }
