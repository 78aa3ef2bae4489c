"""Spectral density of the Hessian with respect to the controls."""

from __future__ import annotations

from torch import Tensor

from pnnbench.evaluation.hessian import ControlHessian, deployed, fitting_chunk
from pnnbench.evaluation.lanczos import SpectralDensity, spectral_density
from pnnbench.platforms.base import Device, derive_seed
from pnnbench.workloads.base import Workload


def control_spectrum(
    workload: Workload,
    images: Tensor,
    labels: Tensor,
    *,
    seed: int,
    device: Device | None = None,
    probes: int = 4,
    steps: int = 30,
) -> SpectralDensity:
    """Spectral density of the Hessian whose largest eigenvalue is λmax.

    Args:
        workload: A trained workload; afterwards it is what it was, to the bit.
        images: Training images (N, ...).
        labels: Their targets (N, ...).
        seed: Seed of the probes.
        device: Where it is measured, in its nominal environment: the device that the controls were
            trained on. None is the ideal one, of the digital model.
        probes: Random probes.
        steps: Lanczos steps for each probe.

    Returns:
        The density over all controls.

    Raises:
        NotFiniteError: If the Hessian is not finite.
    """
    with deployed(workload, device, digital=device is None):
        chunk = fitting_chunk(workload, images, labels)
        hessian = ControlHessian(workload, images, labels, chunk=chunk)
        return spectral_density(
            hessian.product,
            hessian.size,
            seed=derive_seed("spectral density", seed),
            device=hessian.device,
            probes=probes,
            steps=steps,
        )
