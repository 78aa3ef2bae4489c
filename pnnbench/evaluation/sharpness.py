"""Sharpness of a trained workload: the largest Hessian eigenvalue and its companions.

λmax is the most positive eigenvalue of the Hessian of the task loss with respect to the control
parameters only: ideal device, evaluation mode, no noise, a fixed sample of training images. Digital
parameters are left out: rescaling them leaves the function unchanged and moves λmax at will.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence

import torch
from scipy.stats import t as student_t
from torch import Tensor

from pnnbench.errors import UserError, check_range
from pnnbench.evaluation.companions import (
    TEMPERATURE_RANGE,
    ball_increase,
    device_increases,
    fit_temperature,
)
from pnnbench.evaluation.hessian import ControlHessian, deployed
from pnnbench.evaluation.lanczos import SpectralDensity, lanczos, spectral_density
from pnnbench.evaluation.pyhessian_engine import pyhessian_eigenvalue
from pnnbench.platforms.base import Device, Environment, derive_seed
from pnnbench.workloads.base import Classification, Workload

#: Called with the stage, the steps done in it and the most it will take.
Progress = Callable[[str, int, int], None]
#: Images of the sample for PyHessian, the ball and the devices; λmax takes all of them.
SUBSAMPLE = 2_000


def image_interval(quotients: Tensor, counts: Tensor) -> tuple[float, float]:
    """95 % interval of an eigenvalue over the choice of images, from one product.

    To first order in the change of the Hessian, dλ = v' dH v, so that the eigenvalue of a sample
    is the mean of v' H_c v over its chunks. Student's t over chunks. What it leaves out is of
    second order: the largest eigenvalue of a sample is biased upwards, and v is taken as fixed.

    Args:
        quotients: v' H_c v of each chunk (chunks,).
        counts: Images in each chunk (chunks,).

    Returns:
        The two ends; both are the mean when there is one chunk.
    """
    weights = counts / counts.sum()
    mean = float(weights @ quotients)
    chunks = len(quotients)
    if chunks < 2:
        return mean, mean
    # Weighted by images: a shorter last chunk counts for less.
    variance = float((weights.square() * (quotients - mean).square()).sum()) * chunks / (chunks - 1)
    half = float(student_t.ppf(0.975, chunks - 1)) * math.sqrt(variance)
    return mean - half, mean + half


def measure_sharpness(
    workload: Workload,
    images: Tensor,
    labels: Tensor,
    *,
    seed: int,
    chunk: int = 250,
    devices: Sequence[Device],
    environment: Environment | None = None,
    progress: Progress | None = None,
    subsample: int = SUBSAMPLE,
    ball_steps: int = 10,
    top: int = 2,
    tol: float = 1e-3,
    pyhessian_tol: float = 1e-4,
    max_products: int = 100,
) -> dict[str, float | int | list[float]]:
    """Measures λmax and its companions; the workload is afterwards what it was, to the bit.

    Eigenvalues are in units of the loss per squared unit of the controls.

    Args:
        workload: A trained workload.
        images: Training images (N, ...), in random order: parts of the sample must be like it.
        labels: Their targets (N, ...).
        seed: Seed of the start vectors.
        chunk: Images per pass; at most a twentieth of the sample is taken at once, so that the
            interval has chunks to go by.
        devices: Devices for `device_increase`; without any that figure is left out.
        environment: Conditions for those devices; None is nominal.
        progress: Called after each Hessian product of the eigenvalue problems.
        subsample: Images for PyHessian, the ball and the devices: the first ones, at most.
        ball_steps: Ascent steps in the ball.
        top: Number of leading eigenvalues.
        tol: Relative error estimate at which λmax counts as found.
        pyhessian_tol: Relative change at which PyHessian stops.
        max_products: Most Hessian products for one eigenvalue problem.

    Returns:
        Finite numbers under these names:
        ``lambda_max``, ``lambda_max_low`` and ``lambda_max_high`` (95 % over images),
        ``lambda_max_error_bound`` (of the eigenvalue solver), ``lambda_min`` with
        ``lambda_min_error_bound``, ``top`` (descending), ``converged`` (1 or 0),
        ``lambda_max_pyhessian`` (largest magnitude, signed) with ``pyhessian_images`` and
        ``pyhessian_products``, ``lambda_max_subsample`` (ours on the same images, to compare),
        ``n_images``, ``n_controls``, ``products`` (all products on the whole sample),
        ``train_loss`` (mean over the sample), ``common_mode`` (second derivative of the loss when
        all controls shift together), ``ball_increase`` with ``ball_radius``,
        ``ball_radius_rms`` and ``ball_images``, ``device_increase`` (mean over devices) with
        ``device_increases`` and ``device_images``; for classification also ``temperature``,
        ``temperature_at_bound`` (1 or 0) and ``lambda_max_calibrated`` with
        ``lambda_max_calibrated_error_bound``.

    Raises:
        UserError: If an argument is out of range, or a figure is not finite.
    """
    check_range("chunk", chunk, low=1, high=1e9)
    check_range("subsample", subsample, low=1, high=1e9)
    chunk = min(chunk, max(1, math.ceil(len(images) / 20)))
    part = slice(0, subsample)
    result: dict[str, float | int | list[float]] = {}

    def report(stage: str) -> Callable[[int, int], None] | None:
        return None if progress is None else (lambda done, total: progress(stage, done, total))

    with deployed(workload):
        hessian = ControlHessian(workload, images, labels, chunk=chunk)
        train_loss = hessian.value()
        _check_finite({"train_loss": train_loss})
        pairs = lanczos(
            hessian.product,
            hessian.size,
            seed=derive_seed("lanczos", seed),
            device=hessian.device,
            top=min(top, hessian.size),
            tol=tol,
            others_tol=10.0 * tol,
            lowest_tol=0.15,
            lowest_products=16,
            max_products=max_products,
            progress=report("lambda_max"),
        )
        _, quotients, counts = hessian.product_and_quotients(pairs.vectors[0])
        low, high = image_interval(quotients, counts)
        ones = torch.ones_like(hessian.at)
        result |= {
            "lambda_max": float(pairs.top[0]),
            "lambda_max_low": low,
            "lambda_max_high": high,
            "lambda_max_error_bound": float(pairs.bounds[0]),
            "lambda_min": pairs.lowest,
            "lambda_min_error_bound": pairs.lowest_bound,
            "top": pairs.top.tolist(),
            "converged": int(pairs.converged),
            "n_images": len(images),
            "n_controls": hessian.size,
            "train_loss": train_loss,
            "common_mode": float(ones @ hessian.product(ones)),
        }
        hessian.release()
        products = hessian.products
        if isinstance(workload, Classification):
            calibrated, more = _calibrated(
                hessian, pairs.vectors, seed, tol, max_products, report("lambda_max_calibrated")
            )
            result |= calibrated
            products += more
        result["products"] = products
        small = ControlHessian(workload, images[part], labels[part], chunk=chunk)
        if len(small.images) < len(images):
            again = lanczos(
                small.product,
                small.size,
                seed=derive_seed("lanczos subsample", seed),
                start=_guess(pairs.vectors),
                device=small.device,
                tol=tol,
                max_products=max_products,
                progress=report("lambda_max_subsample"),
            )
            small.release()
            result["lambda_max_subsample"] = float(again.top[0])
        else:
            result["lambda_max_subsample"] = result["lambda_max"]
        # One step of the driver for each control. For a LeNet on rings a ball ten times as wide
        # drives the loss far above that of guessing, where it no longer tells models apart.
        radius_rms = max(layer.ball_radius_rms for layer in workload.layers().values())
        radius = radius_rms * math.sqrt(hessian.size)
        result |= {
            "ball_increase": ball_increase(
                small, radius, direction=pairs.vectors[0], steps=ball_steps
            ),
            "ball_radius": radius,
            "ball_radius_rms": radius_rms,
            "ball_images": len(small.images),
        }
        if devices:
            increases = device_increases(
                workload, images[part], labels[part], devices, environment, chunk=chunk
            )
            result |= {
                "device_increase": statistics.fmean(increases),
                "device_increases": increases,
                "device_images": len(small.images),
            }
    power = pyhessian_eigenvalue(
        workload,
        images[part],
        labels[part],
        seed=derive_seed("pyhessian", seed),
        chunk=chunk,
        tol=pyhessian_tol,
        max_products=max(2, max_products),
    )
    result |= {
        "lambda_max_pyhessian": power.value,
        "pyhessian_images": power.images,
        "pyhessian_products": power.products,
    }
    _check_finite(result)
    return result


def _guess(vectors: Tensor) -> Tensor:
    """Start vector for a Hessian like the one that has these leading eigenvectors (k, n)."""
    return vectors[0] + 0.3 * vectors[1:].sum(0)


def _calibrated(
    hessian: ControlHessian,
    vectors: Tensor,
    seed: int,
    tol: float,
    max_products: int,
    progress: Callable[[int, int], None] | None,
) -> tuple[dict[str, float | int], int]:
    """λmax of the loss with calibrated logits from the leading eigenvectors; products taken."""
    with torch.no_grad():
        logits = torch.cat([hessian.workload.network(x) for x, _ in hessian.chunks()])
    temperature = fit_temperature(logits, hessian.labels)
    scaled = ControlHessian(
        hessian.workload,
        hessian.images,
        hessian.labels,
        chunk=hessian.chunk,
        temperature=temperature,
    )
    pairs = lanczos(
        scaled.product,
        scaled.size,
        seed=derive_seed("lanczos calibrated", seed),
        start=_guess(vectors),
        device=scaled.device,
        tol=tol,
        max_products=max_products,
        progress=progress,
    )
    figures: dict[str, float | int] = {
        "temperature": temperature,
        "temperature_at_bound": int(temperature in TEMPERATURE_RANGE),
        "lambda_max_calibrated": float(pairs.top[0]),
        "lambda_max_calibrated_error_bound": float(pairs.bounds[0]),
    }
    return figures, scaled.products


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
    with deployed(workload):
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


def _check_finite(result: dict[str, float | int | list[float]]) -> None:
    for name, value in result.items():
        values = value if isinstance(value, list) else [value]
        if not all(math.isfinite(v) for v in values):
            raise UserError(
                f"{name} is {value}: sharpness is not defined for this model",
                next_step="check that training did not diverge",
            )
