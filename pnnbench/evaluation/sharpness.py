"""Sharpness of a trained workload: the largest Hessian eigenvalue and its companions.

λmax is the most positive eigenvalue of the Hessian of the task loss with respect to the control
parameters only: one device, evaluation mode, no noise, a fixed sample of training images. Digital
parameters are left out: rescaling them leaves the function unchanged and moves λmax at will. The
device is the ideal one of the digital model for what was trained in silico, else the hardware that
it was trained on: only there can the controls be at a minimum.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from scipy.stats import t as student_t
from torch import Tensor

from pnnbench.errors import check_range
from pnnbench.evaluation.companions import ball_increase, common_direction, device_increases
from pnnbench.evaluation.gaps import Gaps, LeftOutError, NotFiniteError, check_finite
from pnnbench.evaluation.hessian import CHUNK, ControlHessian, deployed, fitting_chunk
from pnnbench.evaluation.lanczos import Eigenpairs, lanczos
from pnnbench.evaluation.outputs import (
    SCALE_RANGE,
    OutputLoss,
    at_guessing,
    fit_scale,
    guessing_loss,
    require_free_scale,
)
from pnnbench.evaluation.points import falls_short, image_interval, is_minimum, require_agreement
from pnnbench.evaluation.pyhessian_engine import pyhessian_eigenvalue
from pnnbench.platforms.base import Device, Environment, derive_seed
from pnnbench.workloads.base import Workload

#: Figure name -> number, or one number for each of several; None where one of these is not finite.
Figures = dict[str, Any]
#: Called with the stage, the steps done in it and the most it will take.
Progress = Callable[[str, int, int], None]
#: Images of the sample for PyHessian, the ball and the devices; λmax takes all of them.
SUBSAMPLE = 2_000
#: Chunks over which the interval of λmax over images is taken, at least.
INTERVAL_CHUNKS = 20
#: Part of its tolerance at which PyHessian is asked once more where it stops short.
SHARPER = 0.01


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
    device: Device | None
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

    def hessian(
        self, count: int | None = None, scale: float = 1.0, chunk: int | None = None
    ) -> ControlHessian:
        """The Hessian over the first images of the sample, by default all."""
        part = slice(0, count)
        chunk = self.chunk if chunk is None else chunk
        return ControlHessian(
            self.workload, self.images[part], self.labels[part], chunk=chunk, scale=scale
        )

    def largest(self, hessian: ControlHessian, stage: str) -> Eigenpairs:
        """The largest eigenvalue of a Hessian that is like the one of the whole sample."""
        found = lanczos(
            hessian.product,
            hessian.size,
            seed=derive_seed(stage, self.seed),
            start=self.vectors,
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
    device: Device | None = None,
    held_out: tuple[Tensor, Tensor] | None = None,
    check: bool = True,
    chunk: int | None = None,
    devices: Sequence[Device],
    environment: Environment | None = None,
    progress: Progress | None = None,
    subsample: int = SUBSAMPLE,
    ball_steps: int = 5,
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
        device: Where all figures hold: the device, in its nominal environment, that the controls
            were trained on. None is the ideal one, of the digital model.
        held_out: Images and targets that training has not seen, for the scale of the outputs. With
            None or none of them there is no calibrated λmax.
        check: Whether PyHessian is asked too. It takes as long as most of the rest together.
        chunk: Images per pass, which bound the memory and move no figure beyond rounding; None
            takes as many as `fitting_chunk` says.
        devices: Devices for `device_increase`; without any that figure is left out.
        environment: Conditions for those devices; None is nominal.
        progress: Called after each Hessian product of the eigenvalue problems.
        subsample: Images for PyHessian, the ball and the devices: the first ones, at most.
        ball_steps: Ascent steps in the ball.
        top: Number of leading eigenvalues.
        tol: Relative error estimate at which λmax counts as found.
        pyhessian_tol: Relative change at which PyHessian stops; where it stops short of Lanczos,
            it is asked once more at a hundredth of it.
        max_products: Most Hessian products for one eigenvalue problem.
        gaps: Takes what could not be measured, under names such as ``sharpness.ball_increase``,
            and the other figures stand. None lets the first error through.

    Returns:
        Finite numbers under these names, those left out that are gaps:
        ``point``: where they hold, the seed of the device (None for the ideal one) and its
        severity;
        ``train_loss`` (mean over the sample), ``n_images``, ``n_controls``;
        ``gradient_norm`` (root of the sum of squares of that loss's derivatives with respect to
        the controls, in units of the loss per unit of the controls) and ``is_minimum`` (1 or 0, see
        `is_minimum`);
        ``lambda_max``, ``lambda_max_low`` and ``lambda_max_high`` (95 % over images),
        ``lambda_max_error_bound`` (of the eigenvalue solver), ``lambda_min`` with
        ``lambda_min_error_bound``, ``top`` (descending), ``converged`` (1 or 0);
        ``common_mode`` (second derivative of the loss when the controls in the layers'
        ``common_controls`` shift together; absent where there are none);
        ``softmax_scale``, the factor on the outputs at which the workload's own loss is least on
        held-out images, with ``softmax_scale_at_bound`` (1 or 0) and ``softmax_scale_images``, and
        ``lambda_max_calibrated`` at that scale with ``lambda_max_calibrated_error_bound``: left out
        where the metric follows the scale or the scale is at the end of its range;
        ``guessing_loss`` (the least loss of one output for all images) and ``at_guessing`` (1 where
        the network explains next to nothing of it, else 0);
        ``products`` (all products on the whole sample);
        ``ball_increase`` with ``ball_radius`` r, ``ball_radius_rms`` (r over the root of the number
        of controls), ``ball_images``, and what slope and curvature of the whole sample could give
        there at most: ``ball_slope``, |g| r, and ``ball_curvature``, 0.5 λmax r²;
        ``device_increase`` (mean over devices) with ``device_increase_low`` and
        ``device_increase_high`` (95 % over devices), ``device_increases`` (None on a device where
        the loss is not finite; then there is no mean) and ``device_images``;
        if asked for ``lambda_max_subsample`` (on the images that PyHessian has) and
        ``lambda_max_pyhessian`` (largest magnitude, signed) with ``pyhessian_images`` and
        ``pyhessian_products``; a disagreement is a gap in the place of the latter.

    Raises:
        NotFiniteError: If the loss of the model is not finite: then nothing is defined.
        UserError: If an argument is out of range.
    """
    if chunk is not None:
        check_range("chunk", chunk, low=1, high=1e9)
    check_range("subsample", subsample, low=1, high=1e9)
    gaps = Gaps(strict=True) if gaps is None else gaps
    images = workload.in_precision(images)
    labels = labels.to(images.device)
    with deployed(workload, device, digital=device is None):
        at_once = fitting_chunk(workload, images, labels) if chunk is None else int(chunk)
    run = _Run(workload, images, labels, seed, at_once, tol, max_products, progress, gaps, device)
    count = min(int(subsample), len(images))
    with deployed(workload, device, digital=device is None):
        hessian = run.hessian()
        loss, gradient = hessian.value_and_gradient()
        figures = {"train_loss": loss, "n_images": len(images), "n_controls": hessian.size}
        check_finite(figures)
        here = Device.ideal() if device is None else device
        run.result |= {"point": {"device_seed": here.seed, "severity": here.severity}, **figures}
        with run.part("gradient_norm") as figures:
            figures["gradient_norm"] = float(gradient.norm())
        _leading(run, hessian, top)
        common = common_direction(workload)
        if common is not None:
            with run.part("common_mode") as figures:
                along = common.to(hessian.at)
                figures["common_mode"] = float(along @ hessian.product(along))
        hessian.release()
        run.result["products"] = hessian.products
        _over_outputs(run, hessian, held_out)
        with run.part("is_minimum") as figures:
            figures["is_minimum"] = int(is_minimum(run.result))
        with run.part("ball_increase") as figures:
            radius = max(layer.ball_radius for layer in workload.layers().values())
            direction = None if run.vectors is None else run.vectors[0]
            figures |= {
                "ball_increase": ball_increase(
                    run.hessian(count), radius, direction=direction, steps=ball_steps
                ),
                "ball_radius": radius,
                "ball_radius_rms": radius / math.sqrt(hessian.size),
                "ball_images": count,
            }
            if "gradient_norm" in run.result:
                figures["ball_slope"] = run.result["gradient_norm"] * radius
            if "lambda_max" in run.result:
                figures["ball_curvature"] = 0.5 * run.result["lambda_max"] * radius**2
        reference = _subsample(run, count) if check else None
    if devices:
        with deployed(workload, device):
            _over_devices(run, devices, environment, count)
    if check:
        _checked(run, count, reference, pyhessian_tol)
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
            max_products=run.max_products,
            rounding=hessian.rounding,
            progress=run.report("lambda_max"),
        )
        # Small chunks for this one product only: they cost two to ten times as much.
        cut = min(run.chunk, CHUNK, max(1, math.ceil(len(run.images) / INTERVAL_CHUNKS)))
        over_images = hessian if cut == run.chunk else run.hessian(chunk=cut)
        _, quotients, counts = over_images.product_and_quotients(pairs.vectors[0])
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


def _over_outputs(
    run: _Run, hessian: ControlHessian, held_out: tuple[Tensor, Tensor] | None
) -> None:
    """The best scale of the outputs, λmax at that scale, and whether the network only guesses."""
    outputs = None
    least = float(run.result["train_loss"])
    with run.part("lambda_max_calibrated") as figures:
        outputs = OutputLoss(run.workload, hessian.images, hessian.labels, run.chunk)
        require_free_scale(outputs, run.workload.metric_name)
        least = min(least, outputs.scaled(fit_scale(outputs)))
        if held_out is None or len(held_out[1]) == 0:
            raise LeftOutError("no images were held out to calibrate the outputs on")
        unseen = [part.to(hessian.device) for part in held_out]
        scale = fit_scale(OutputLoss(run.workload, unseen[0], unseen[1], run.chunk))
        bound = scale in SCALE_RANGE
        run.result |= {
            "softmax_scale": scale,
            "softmax_scale_at_bound": int(bound),
            "softmax_scale_images": len(unseen[1]),
        }
        if bound:
            raise LeftOutError(
                f"the loss on {len(unseen[1])} held-out images is least at {scale:g} times the "
                f"outputs, an end of the range {SCALE_RANGE[0]:g} to {SCALE_RANGE[1]:g}"
            )
        scaled = run.hessian(scale=scale)
        found = run.largest(scaled, "lambda_max_calibrated")
        run.result["products"] = hessian.products + scaled.products
        figures |= {
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
    """The mean loss increase on devices with its interval, and that of each."""
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
        mean = statistics.fmean(increases)
        figures["device_increase"] = mean
        if len(increases) > 1:
            error = statistics.stdev(increases) / math.sqrt(len(increases))
            half = float(student_t.ppf(0.975, len(increases) - 1)) * error
            figures |= {"device_increase_low": mean - half, "device_increase_high": mean + half}


def _subsample(run: _Run, count: int) -> tuple[float, float, float] | None:
    """Largest and most negative eigenvalue on PyHessian's images, and the error of the latter."""
    with run.part("lambda_max_subsample") as figures:
        if count == len(run.images) and "lambda_max" in run.result:
            names = ("lambda_max", "lambda_min", "lambda_min_error_bound")
            top, lowest, bound = (float(run.result[name]) for name in names)
        else:
            found = run.largest(run.hessian(count), "lambda_max_subsample")
            top, lowest, bound = float(found.top[0]), found.lowest, found.lowest_bound
        figures["lambda_max_subsample"] = top
        return top, lowest, bound
    return None


def _checked(
    run: _Run, count: int, reference: tuple[float, float, float] | None, tol: float
) -> None:
    """PyHessian's eigenvalue, if it is that of Lanczos.

    Where eigenvalues are close, its iteration hardly changes long before it is there, and stops
    short: then it is asked once more, at a hundredth of the tolerance.
    """
    with run.part("lambda_max_pyhessian") as figures:
        for sharper in (tol, SHARPER * tol):
            power = pyhessian_eigenvalue(
                run.workload,
                run.images[:count],
                run.labels[:count],
                seed=derive_seed("pyhessian", run.seed),
                chunk=run.chunk,
                tol=sharper,
                max_products=max(2, run.max_products),
                device=run.device,
            )
            if reference is None or not falls_short(power.value, *reference[:2]):
                break
        if reference is not None:
            require_agreement(power.value, *reference)
        figures |= {
            "lambda_max_pyhessian": power.value,
            "pyhessian_images": power.images,
            "pyhessian_products": power.products,
        }
