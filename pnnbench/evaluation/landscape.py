"""The training loss over the plane of the two leading Hessian eigenvectors of the controls."""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor

from pnnbench.data.order import permutation
from pnnbench.errors import UserError, check_count, check_range
from pnnbench.evaluation.hessian import ControlHessian, deployed, fitting_chunk
from pnnbench.evaluation.lanczos import lanczos
from pnnbench.platforms.base import Device, derive_seed
from pnnbench.workloads.base import Workload

#: Images behind the landscape, and its half width: root mean square of the change of one control.
LANDSCAPE_IMAGES = 256
LANDSCAPE_RMS = 0.005


@dataclasses.dataclass(frozen=True)
class Landscape:
    """Mean training loss over a plane through the trained controls.

    Attributes:
        steps: Displacements along each direction (n,), in control units, ascending, 0 among them.
        losses: Loss (n, n): row i is step i along the second direction, column j along the first.
        eigenvalues: The two most positive Hessian eigenvalues on the same images, descending (2,).
        directions: Their unit eigenvectors (2, controls).
        images: Number of images.
    """

    steps: Tensor
    losses: Tensor
    eigenvalues: Tensor
    directions: Tensor
    images: int


def measure_landscape(
    workload: Workload,
    images: Tensor,
    labels: Tensor,
    *,
    device: Device | None = None,
    count: int = LANDSCAPE_IMAGES,
    radius_rms: float = LANDSCAPE_RMS,
    points: int = 21,
) -> Landscape:
    """Measures the loss over the plane of the two leading Hessian eigenvectors of the controls.

    One device, evaluation mode, no noise, as sharpness is measured. The plane goes straight: limits
    of the controls are not applied, and a displacement is small against them.

    Args:
        workload: A trained workload with at least two controls; afterwards it is what it was.
        images: Training images (N, ...).
        labels: Their targets (N, ...).
        device: Where it is measured, in its nominal environment: the device that the controls were
            trained on. None is the ideal one, of the digital model.
        count: Images to use, at most; the first of the sample on which sharpness is measured.
        radius_rms: Half width of the plane: root mean square over all controls of their change,
            in the layers' `control_unit`, so that the length is radius_rms * sqrt(controls). This
            project's choice: 5 uA, a thousandth of the rings' range, shows the walls of a basin.
        points: Points along each direction, odd.

    Returns:
        The landscape.

    Raises:
        UserError: If an argument is out of range.
    """
    check_range("radius_rms", radius_rms, low=0.0, high=1e6, low_open=True)
    check_count("count", count)
    if points < 3 or points % 2 == 0:
        raise UserError(f"points is {points}", allowed="an odd number >= 3")
    chosen = permutation(len(labels), derive_seed("sharpness"), 0)[:count]
    with deployed(workload, device, digital=device is None):
        sample = images[chosen], labels[chosen]
        hessian = ControlHessian(workload, *sample, chunk=fitting_chunk(workload, *sample))
        pairs = lanczos(
            hessian.product,
            hessian.size,
            seed=derive_seed("landscape"),
            device=hessian.device,
            top=2,
            tol=1e-3,
            others_tol=1e-2,
        )
        hessian.release()
        # The sign of an eigenvector means nothing: the largest entry is made positive.
        signs = pairs.vectors.gather(1, pairs.vectors.abs().argmax(1, keepdim=True)).sign()
        directions = pairs.vectors * signs
        half = points // 2
        radius = radius_rms * math.sqrt(hessian.size)
        steps = torch.arange(-half, half + 1, dtype=torch.float64) * (radius / half)
        losses = torch.tensor(
            [
                [hessian.value(hessian.at + a * directions[0] + b * directions[1]) for a in steps]
                for b in steps
            ],
            dtype=torch.float64,
        )
    return Landscape(steps, losses, pairs.top.cpu(), directions.cpu(), len(chosen))
