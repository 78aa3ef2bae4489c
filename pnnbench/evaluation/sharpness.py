"""Sharpness of a trained workload: the largest Hessian eigenvalue and its companions.

λmax is the most positive eigenvalue of the Hessian of the task loss with respect to the control
parameters only: ideal device, evaluation mode, no noise, a fixed sample of training images. Digital
parameters are left out: rescaling them leaves the function unchanged and moves λmax at will.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from scipy.stats import t as student_t
from torch import Tensor

from pnnbench.errors import check_range
from pnnbench.evaluation.companions import ball_increase, device_increases
from pnnbench.evaluation.gaps import Gaps, NotFiniteError, check_finite
from pnnbench.evaluation.hessian import ControlHessian, deployed
from pnnbench.evaluation.lanczos import Eigenpairs, SpectralDensity, lanczos, spectral_density
from pnnbench.evaluation.outputs import (
    SCALE_RANGE,
    OutputLoss,
    at_guessing,
    fit_scale,
    guessing_loss,
    require_free_scale,
)
from pnnbench.evaluation.pyhessian_engine import pyhessian_eigenvalue
from pnnbench.platforms.base import Device, Environment, derive_seed
from pnnbench.workloads.base import Workload

#: Figure name -> number, or one number for each of several; None where one of these is not finite.
Figures = dict[str, Any]
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


@dataclasses.dataclass
class _Run:
    """One measurement of sharpness: the sample, the settings, and what was found so far."""

    workload: Workload
    images: Tensor
    labels: Tensor
    seed: int
    chunk: int
    tol: float
    max_products: int
    progress: Progress | None
    gaps: Gaps
    result: Figures = dataclasses.field(default_factory=dict)
    vectors: Tensor | None = None

    @contextmanager
    def part(self, name: str) -> Iterator[Figures]:
        """Context for one part: the figures put into what it yields are kept if it succeeds."""
        with self.gaps.part(f"sharpness.{name}"):
            figures: Figures = {}
            yield figures
            check_finite(figures)
            self.result |= figures

    def hessian(self, count: int | None = None, scale: float = 1.0) -> ControlHessian:
        """The Hessian over the first images of the sample, by default all."""
        part = slice(0, count)
        return ControlHessian(
            self.workload, self.images[part], self.labels[part], chunk=self.chunk, scale=scale
        )

    def largest(self, hessian: ControlHessian, stage: str) -> Eigenpairs:
        """The largest eigenvalue of a Hessian that is like the one of the whole sample."""
        start = None
        if self.vectors is not None:
            start = self.vectors[0] + 0.3 * self.vectors[1:].sum(0)
        found = lanczos(
            hessian.product,
            hessian.size,
            seed=derive_seed(stage, self.seed),
            start=start,
            device=hessian.device,
            tol=self.tol,
            max_products=self.max_products,
            rounding=hessian.rounding,
            progress=self.report(stage),
        )
        hessian.release()
        return found

    def report(self, stage: str) -> Callable[[int, int], None] | None:
        """Progress of one stage."""
        told = self.progress
        return None if told is None else (lambda done, total: told(stage, done, total))


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
    gaps: Gaps | None = None,
) -> Figures:
    """Measures λmax and its companions; the workload is afterwards what it was, to the bit.

    Eigenvalues are in units of the loss per squared unit of the controls.

    Args:
        workload: A trained workload.
        images: Training images (N, ...), in random order: parts of the sample must be like it.
        labels: Their targets (N, ...), as the workload's own loss and metric take them.
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
        gaps: Takes what could not be measured, under names such as ``sharpness.ball_increase``,
            and the other figures stand. None lets the first error through.

    Returns:
        Finite numbers under these names, those left out that are gaps:
        ``train_loss`` (mean over the sample), ``n_images``, ``n_controls``;
        ``lambda_max``, ``lambda_max_low`` and ``lambda_max_high`` (95 % over images),
        ``lambda_max_error_bound`` (of the eigenvalue solver), ``lambda_min`` with
        ``lambda_min_error_bound``, ``top`` (descending), ``converged`` (1 or 0);
        ``common_mode`` (second derivative of the loss when all controls shift together);
        ``softmax_scale``, the factor on the outputs at which the workload's own loss is least, with
        ``softmax_scale_at_bound`` (1 or 0), and ``lambda_max_calibrated`` at that scale with
        ``lambda_max_calibrated_error_bound``: left out where the metric follows the scale;
        ``guessing_loss`` (the least loss of one output for all images) and ``at_guessing`` (1 where
        the network explains next to nothing of it, else 0);
        ``products`` (all products on the whole sample);
        ``lambda_max_subsample`` (on the images that PyHessian has, to compare);
        ``ball_increase`` with ``ball_radius``, ``ball_radius_rms`` and ``ball_images``;
        ``device_increase`` (mean over devices) with ``device_increases`` (None on a device where
        the loss is not finite; then there is no mean) and ``device_images``;
        ``lambda_max_pyhessian`` (largest magnitude, signed) with ``pyhessian_images`` and
        ``pyhessian_products``.

    Raises:
        NotFiniteError: If the loss of the model is not finite: then nothing is defined.
        UserError: If an argument is out of range.
    """
    check_range("chunk", chunk, low=1, high=1e9)
    check_range("subsample", subsample, low=1, high=1e9)
    chunk = min(chunk, max(1, math.ceil(len(images) / 20)))
    gaps = Gaps(strict=True) if gaps is None else gaps
    run = _Run(workload, images, labels, seed, chunk, tol, max_products, progress, gaps)
    count = min(int(subsample), len(images))
    with deployed(workload):
        hessian = run.hessian()
        run.result |= {
            "train_loss": hessian.value(),
            "n_images": len(images),
            "n_controls": hessian.size,
        }
        check_finite(run.result)
        _leading(run, hessian, top)
        with run.part("common_mode") as figures:
            ones = torch.ones_like(hessian.at)
            figures["common_mode"] = float(ones @ hessian.product(ones))
        hessian.release()
        run.result["products"] = hessian.products
        _over_outputs(run, hessian)
        small = run.hessian(count)
        with run.part("lambda_max_subsample") as figures:
            if count == len(images) and "lambda_max" in run.result:
                figures["lambda_max_subsample"] = run.result["lambda_max"]
            else:
                found = run.largest(small, "lambda_max_subsample")
                figures["lambda_max_subsample"] = float(found.top[0])
        with run.part("ball_increase") as figures:
            # One step of the driver for each control. For a LeNet on rings a ball ten times as wide
            # drives the loss far above that of guessing, where it no longer tells models apart.
            rms = max(layer.ball_radius_rms for layer in workload.layers().values())
            radius = rms * math.sqrt(hessian.size)
            direction = None if run.vectors is None else run.vectors[0]
            figures |= {
                "ball_increase": ball_increase(
                    small, radius, direction=direction, steps=ball_steps
                ),
                "ball_radius": radius,
                "ball_radius_rms": rms,
                "ball_images": count,
            }
        if devices:
            _over_devices(run, devices, environment, count)
    with run.part("lambda_max_pyhessian") as figures:
        power = pyhessian_eigenvalue(
            workload,
            images[:count],
            labels[:count],
            seed=derive_seed("pyhessian", seed),
            chunk=chunk,
            tol=pyhessian_tol,
            max_products=max(2, max_products),
        )
        figures |= {
            "lambda_max_pyhessian": power.value,
            "pyhessian_images": power.images,
            "pyhessian_products": power.products,
        }
    return run.result


def _leading(run: _Run, hessian: ControlHessian, top: int) -> None:
    """λmax with its interval, the leading eigenvalues and the most negative one."""
    with run.part("lambda_max") as figures:
        pairs = lanczos(
            hessian.product,
            hessian.size,
            seed=derive_seed("lanczos", run.seed),
            device=hessian.device,
            top=min(top, hessian.size),
            tol=run.tol,
            others_tol=10.0 * run.tol,
            lowest_tol=0.15,
            lowest_products=16,
            max_products=run.max_products,
            rounding=hessian.rounding,
            progress=run.report("lambda_max"),
        )
        _, quotients, counts = hessian.product_and_quotients(pairs.vectors[0])
        low, high = image_interval(quotients, counts)
        figures |= {
            "lambda_max": float(pairs.top[0]),
            "lambda_max_low": low,
            "lambda_max_high": high,
            "lambda_max_error_bound": float(pairs.bounds[0]),
            "lambda_min": pairs.lowest,
            "lambda_min_error_bound": pairs.lowest_bound,
            "top": pairs.top.tolist(),
            "converged": int(pairs.converged),
        }
        run.vectors = pairs.vectors


def _over_outputs(run: _Run, hessian: ControlHessian) -> None:
    """The best scale of the outputs, λmax at that scale, and whether the network only guesses."""
    outputs = None
    least = float(run.result["train_loss"])
    with run.part("lambda_max_calibrated") as figures:
        outputs = OutputLoss(run.workload, hessian.images, hessian.labels, run.chunk)
        require_free_scale(outputs, run.workload.metric_name)
        scale = fit_scale(outputs)
        least = min(least, outputs.scaled(scale))
        scaled = run.hessian(scale=scale)
        found = run.largest(scaled, "lambda_max_calibrated")
        run.result["products"] = hessian.products + scaled.products
        figures |= {
            "softmax_scale": scale,
            "softmax_scale_at_bound": int(scale in SCALE_RANGE),
            "lambda_max_calibrated": float(found.top[0]),
            "lambda_max_calibrated_error_bound": float(found.bounds[0]),
        }
    with run.part("at_guessing") as figures:
        if outputs is None:
            outputs = OutputLoss(run.workload, hessian.images, hessian.labels, run.chunk)
        guess = guessing_loss(outputs)
        figures["guessing_loss"] = guess
        figures["at_guessing"] = int(at_guessing(least, guess))


def _over_devices(
    run: _Run, devices: Sequence[Device], environment: Environment | None, count: int
) -> None:
    """The mean loss increase on devices, and that of each."""
    with run.part("device_increase") as figures:
        increases = device_increases(
            run.workload,
            run.images[:count],
            run.labels[:count],
            devices,
            environment,
            chunk=run.chunk,
        )
        run.result |= {
            "device_increases": [i if math.isfinite(i) else None for i in increases],
            "device_images": count,
        }
        lost = [
            str(d.seed) for d, i in zip(devices, increases, strict=True) if not math.isfinite(i)
        ]
        if lost:
            raise NotFiniteError(
                f"the loss is not finite on {len(lost)} of {len(devices)} devices: "
                + ", ".join(lost)
            )
        figures["device_increase"] = statistics.fmean(increases)


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
