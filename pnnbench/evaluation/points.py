"""Rules on the figures of sharpness: what is a minimum, what agrees, how sure an eigenvalue is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from scipy.stats import t as student_t
from torch import Tensor

from pnnbench.errors import UserError
from pnnbench.evaluation.gaps import LeftOutError

#: Largest gain of a safe step down the gradient, |g|² / 2 λmax, in shares of the loss of guessing,
#: at which a point counts as a minimum. Free of the scales of controls and loss.
#:
#: `benchmarks/sharpness_rows.py`, seed 0; digits quick, freespace-mnist standard; PAT and what it
#: finds at the ideal device instead of its own (of MNIST not measured):
#:
#: | | BP | NAT | SAT | PAT at its device | PAT at the ideal one |
#: | mrr-digits | 0.00006 | 0.0010 | 0.0004 | 0.0021 | 0.15 |
#: | mzi-digits | 0.000002 | 0.00001 | 0.00002 | 0.0032 | 0.000003 |
#: | freespace-digits | 0.0005 | 0.011 | 0.020 | 0.0005 | 0.0006 |
#: | diffractive-digits | 0.0007 | 0.0027 | 0.0071 | 0.0089 | 0.11 |
#: | freespace-mnist | 0.0001 | 0.0019 | 0.0005 | - | - |
#:
#: The bar is the share of guessing at which a network counts as having learnt nothing. Above it
#: stand controls on a device that they were not trained on, and rows that minimise another loss and
#: are not done with it: NAT and SAT of free space after 20 epochs of digits, not after MNIST.
#:
#: It is a lower bound of what is to be gained. The whole way down the gradient, |g|⁴ / 2 g'Hg,
#: promises up to 43 times as much, on free-space digits 0.02 for BP and 0.37 for SAT, but by steps
#: of 3 and 14 radii of the ball, where no quadratic holds; the safe step stays inside the ball.
MINIMUM_GAIN = 0.01
#: Largest relative disagreement of PyHessian. Its power iteration stops up to 5e-4 short of the
#: eigenvalue on trained networks, more where the leading eigenvalues lie close together.
PYHESSIAN_TOLERANCE = 0.02


class DisagreementError(UserError):
    """PyHessian finds another eigenvalue than Lanczos."""


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


def is_minimum(figures: Mapping[str, Any]) -> bool:
    """Whether the curvature at a point tells of a minimum: next to no slope, and no saddle.

    Down the gradient by 1 / λmax, the longest step that no curvature up to λmax turns into a loss,
    a point gains |g|² / 2 λmax or more; that may be a `MINIMUM_GAIN` of the loss of guessing at
    most. And no curvature may be more negative than λmax is positive. Neither depends on the units
    of controls and loss.

    Args:
        figures: ``gradient_norm``, ``lambda_max``, ``lambda_min`` and ``guessing_loss``.

    Returns:
        Whether the point counts as a minimum; a point without positive curvature does only where
        its gradient is zero and nothing curves down.

    Raises:
        LeftOutError: If one of the figures is missing.
    """
    names = ("gradient_norm", "lambda_max", "lambda_min", "guessing_loss")
    missing = [name for name in names if name not in figures]
    if missing:
        raise LeftOutError(f"there is no {missing[0]} to judge by")
    slope, top, lowest, guess = (float(figures[name]) for name in names)
    flat = slope**2 <= 2.0 * top * MINIMUM_GAIN * guess if top > 0.0 else slope == 0.0
    return flat and -lowest <= max(top, 0.0)


def falls_short(power: float, top: float, lowest: float) -> bool:
    """Whether a power iteration has stopped below the eigenvalue of largest magnitude.

    It comes from below, and so does Lanczos: of two that differ the larger is nearer.

    Args:
        power: What it found, signed.
        top: The largest eigenvalue.
        lowest: The most negative one.
    """
    return abs(power) < (1.0 - PYHESSIAN_TOLERANCE) * max(abs(top), abs(lowest))


def require_agreement(power: float, top: float, lowest: float, bound: float) -> None:
    """Refuses a value of PyHessian that is not the eigenvalue of largest magnitude.

    Args:
        power: What PyHessian found, signed.
        top: The largest eigenvalue.
        lowest: The most negative one.
        bound: Error of `lowest`, which is often not waited for.

    Raises:
        DisagreementError: If the value is off by more than `PYHESSIAN_TOLERANCE`.
    """
    allowed = PYHESSIAN_TOLERANCE * max(abs(top), abs(lowest))
    positive = top + allowed >= -lowest and abs(power - top) <= allowed
    negative = -lowest + bound + allowed >= top and abs(power - lowest) <= allowed + bound
    if not (positive or negative):
        raise DisagreementError(
            f"PyHessian finds {power:.6g}, Lanczos {top:.6g} as the largest and {lowest:.6g} as "
            "the most negative eigenvalue"
        )
