"""Spectral density of the Hessian with respect to the controls."""

from __future__ import annotations

from torch import Tensor

from pnnbench.evaluation.hessian import ControlHessian, deployed
from pnnbench.evaluation.lanczos import SpectralDensity, spectral_density
from pnnbench.evaluation.sharpness import Progress
from pnnbench.platforms.base import derive_seed
from pnnbench.workloads.base import Workload


def control_spectrum(
    workload: Workload,
    images: Tensor,
    labels: Tensor,
    *,
    seed: int,
    chunk: int = 250,
    probes: int = 4,
    steps: int = 30,
    progress: Progress | None = None,
) -> SpectralDensity:
    """Spectral density of the Hessian whose largest eigenvalue is λmax.

    Args:
        workload: A trained workload; afterwards it is what it was, to the bit.
        images: Training images (N, ...).
        labels: Their targets (N, ...).
        seed: Seed of the probes.
        chunk: Images per pass.
        probes: Random probes.
        steps: Lanczos steps for each probe.
        progress: Called after each Hessian product of the eigenvalue problems.

    Returns:
        The density over all controls.
    """
    with deployed(workload, digital=True):
        hessian = ControlHessian(workload, images, labels, chunk=chunk)
        return spectral_density(
            hessian.product,
            hessian.size,
            seed=derive_seed("spectral density", seed),
            device=hessian.device,
            probes=probes,
            steps=steps,
            progress=None if progress is None else lambda a, b: progress("density", a, b),
        )
