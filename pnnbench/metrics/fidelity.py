"""Distances between generated and real images, from features: FID, KID, precision and recall.

The formulas are those of torch-fidelity. The Fréchet distance of N images a side is too large by
c / N; what is reported here is its limit for N to infinity, from all images and from both halves
(Chong and Forsyth, CVPR 2020). KID is unbiased as it is.
"""

from __future__ import annotations

from torch import Tensor
from torch_fidelity.metric_fid import (
    KEY_METRIC_FID,
    fid_features_to_statistics,
    fid_statistics_to_metric,
)
from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, kid_features_to_metric
from torch_fidelity.metric_prc import (
    KEY_METRIC_PRECISION,
    KEY_METRIC_RECALL,
    prc_features_to_metric,
)

from pnnbench.errors import UserError

#: Images of a subset of KID, at most, and the number of subsets where there are more.
KID_SUBSET, KID_SUBSETS = 5000, 4
#: Neighbour whose distance is the radius around an image. Kynkäänniemi et al., 2019.
NEIGHBOUR = 3


def _checked(generated: Tensor, real: Tensor) -> int:
    """Number of images a side; raises UserError if the two do not go together."""
    if generated.dim() != 2 or real.dim() != 2 or generated.shape[1] != real.shape[1]:
        raise UserError(
            f"features of shape {tuple(generated.shape)} and {tuple(real.shape)}",
            allowed="(N, features) both, of one extractor",
        )
    return min(len(generated), len(real))


def frechet(generated: Tensor, real: Tensor) -> float:
    """Fréchet distance of two Gaussians with the features' means and covariances.

    Args:
        generated: Features (N, d).
        real: Features (M, d).

    Returns:
        |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)), at least 0 up to rounding.

    Raises:
        UserError: If the shapes do not go together, or there are less than two images.
    """
    if _checked(generated, real) < 2:
        raise UserError("a covariance needs at least two images")
    a, b = (fid_features_to_statistics(x.double()) for x in (generated, real))
    return float(fid_statistics_to_metric(a, b, verbose=False)[KEY_METRIC_FID])


def frechet_unbiased(generated: Tensor, real: Tensor) -> float:
    """Limit of the Fréchet distance for infinitely many images.

    2 F(N) - F(N / 2), the second the mean over both halves; the bias of F(N) is c / N and a rest
    of higher order. The rest stays: of two halves of CIFAR-10, with 320 features of heavy tails,
    5 % of F(N) is left at 642 images a side, 3 % at 1,000 and 1 % at 2,000; of Gaussian features
    of one law less than 1 % from 700 on. Figures of one number of images share it.

    Args:
        generated: Features (N, d), in random order.
        real: Features (M, d), in random order; of the longer one the first are taken.

    Returns:
        The limit; it may come out below 0 where the two are alike.

    Raises:
        UserError: If the shapes do not go together, or there are less than 2 (d + 1) images a side.
    """
    half = _checked(generated, real) // 2
    least = generated.shape[1] + 1
    if half < least:
        raise UserError(
            f"{2 * half} images a side for {generated.shape[1]} features",
            allowed=f"at least {2 * least}: half of them must fill the covariance",
            next_step="take more images or an extractor of fewer features",
        )
    n = 2 * half
    halves = [frechet(generated[part], real[part]) for part in (slice(0, half), slice(half, n))]
    return 2.0 * frechet(generated[:n], real[:n]) - sum(halves) / 2


def kernel_distance(generated: Tensor, real: Tensor) -> float:
    """Kernel distance (KID), unbiased: squared MMD with the kernel (x.y / d + 1)^3.

    Source: Binkowski et al., ICLR 2018.

    Args:
        generated: Features (N, d).
        real: Features (M, d).

    Returns:
        The mean over `KID_SUBSETS` subsets of `KID_SUBSET` images, or of all images at once where
        there are no more; it may come out below 0.

    Raises:
        UserError: If the shapes do not go together, or there are less than two images.
    """
    n = _checked(generated, real)
    if n < 2:
        raise UserError("a kernel distance needs at least two images a side")
    found = kid_features_to_metric(
        generated.double(),
        real.double(),
        kid_subsets=1 if n <= KID_SUBSET else KID_SUBSETS,
        kid_subset_size=min(n, KID_SUBSET),
        rng_seed=0,
        verbose=False,
    )
    return float(found[KEY_METRIC_KID_MEAN])


def precision_recall(generated: Tensor, real: Tensor) -> tuple[float, float]:
    """Which share of either side lies among the other, by distances of the third neighbours.

    Source: Kynkäänniemi et al., NeurIPS 2019. As many images of either side as there are of both.

    Args:
        generated: Features (N, d).
        real: Features (M, d).

    Returns:
        Precision, the share of generated images that look real, and recall, the share of real
        images that are generated; in [0, 1].

    Raises:
        UserError: If the shapes do not go together, or there are too few images.
    """
    n = _checked(generated, real)
    if n < NEIGHBOUR + 1:
        raise UserError(f"{n} images a side", allowed=f"at least {NEIGHBOUR + 1}")
    # In single precision differences of large features lose what decides.
    found = prc_features_to_metric(
        generated[:n].double(),
        real[:n].double(),
        prc_neighborhood=NEIGHBOUR,
        prc_batch_size=2000,
        save_cpu_ram=True,
        verbose=False,
    )
    return float(found[KEY_METRIC_PRECISION]), float(found[KEY_METRIC_RECALL])
