"""The released diffractive networks: their files and the optics around them.

Files hold the phases of both masks in cycles, and in metres the distances from the first lens to
the first mask, between the masks, from the second mask to the second lens and on to the detectors.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from pnnbench.errors import UserError
from pnnbench.platforms.absorbers import ThresholdAbsorber
from pnnbench.platforms.diffractive import Detectors, DiffractiveStack, Plane
from pnnbench.platforms.misalignment import NEAREST
from pnnbench.published.checkpoints import read_checkpoint
from pnnbench.published.printed import recorded
from pnnbench.published.series import Recorded
from pnnbench.workloads.diffractive import FOCAL, ROWS, TO_LENS
from pnnbench.workloads.optical_networks import DiffractiveNet

#: Samples along a side of the planes and of the image in their middle.
SIDE, IMAGE_SIDE = 128, 64
PIXEL_UM, WAVELENGTH_NM = 2.0, 532.0
#: Threshold of the absorbers over the mean intensity on the plane.
THRESHOLD = 0.5
DETECTORS = Detectors(tuple((row, column) for row, columns in ROWS for column in columns), side=9)
#: Shapes of the arrays in a file.
SHAPES: dict[str, tuple[int, ...]] = {
    "phase_0": (SIDE, SIDE),
    "phase_1": (SIDE, SIDE),
    "distances_m": (4,),
}
#: Longest distance that is taken for one, in m.
LONGEST_M = 10.0


class _Surround(nn.Module):
    """Puts amplitudes (B, m, m) in the middle of a dark plane (B, n, n)."""

    def forward(self, amplitude: Tensor) -> Tensor:
        return F.pad(amplitude, ((SIDE - IMAGE_SIDE) // 2,) * 4)


class _Detect(nn.Module):
    """Powers on the detectors (B, detectors) from fields (B, n, n) on their plane."""

    pixels: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("pixels", DETECTORS.pixels(SIDE), persistent=False)

    def forward(self, field: Tensor) -> Tensor:
        at = field.flatten(1)[:, self.pixels]
        power = at.real.square() + at.imag.square()
        return power.unflatten(1, (len(DETECTORS.corners), -1)).sum(-1)


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """One released network.

    Attributes:
        name: File name without its ending.
        arrays: Phases and distances by their names in the file.
        recorded: Recorded values by quantity.
    """

    name: str
    arrays: Mapping[str, NDArray[Any]]
    recorded: Recorded

    def network(self, dtype: torch.dtype = torch.complex64) -> DiffractiveNet:
        """Builds the network on periodic planes, with nearest sampling and noiseless detectors.

        Args:
            dtype: complex64 or complex128; transfer functions are in double precision first.

        Returns:
            The network in evaluation mode, for images in [0, 1].
        """
        plane = Plane(SIDE, PIXEL_UM, WAVELENGTH_NM, padding=1)
        to_mask, between, from_mask, to_detectors = (
            1e3 * float(distance) for distance in self.arrays["distances_m"]
        )
        # The published lenses are centred half a pixel off the middle of the planes.
        lens = plane.lens(FOCAL, dtype, centre=SIDE / 2)
        imaging = nn.Sequential(
            _Surround(), plane.gap(TO_LENS, dtype), lens, plane.gap(to_mask, dtype)
        )
        behind = nn.Sequential(
            plane.gap(from_mask, dtype), lens, plane.gap(to_detectors, dtype), _Detect()
        )
        stack = DiffractiveStack(
            plane,
            [between],
            behind,
            ThresholdAbsorber(THRESHOLD),
            sampling=NEAREST,
            surroundings="clear",
            readout_noise=0.0,
            dtype=dtype,
        )
        cycles = np.stack([np.asarray(self.arrays[name]) for name in ("phase_0", "phase_1")])
        with torch.no_grad():
            # Whole cycles are taken off in double precision: the layer holds phases in single.
            stack.phase.copy_(2 * math.pi * torch.from_numpy(cycles.astype(np.float64) % 1.0))
        return DiffractiveNet(imaging, stack, IMAGE_SIDE).eval()


def load_checkpoint(path: Path) -> Checkpoint:
    """Reads one released network, or any other file of the same layout.

    Args:
        path: The npz file.

    Returns:
        The network, with what is recorded under the file's name.

    Raises:
        UserError: If the file is not such a network.
    """
    arrays = read_checkpoint(path, SHAPES)
    distances = arrays["distances_m"]
    if (distances < 0).any() or (distances > LONGEST_M).any():
        found = ", ".join(f"{distance:g}" for distance in distances)
        raise UserError(f"{path}: distances_m are {found}", allowed=f"0 to {LONGEST_M:g} m")
    return Checkpoint(path.stem, arrays, recorded("diffractive")["checkpoints"].get(path.stem, {}))
