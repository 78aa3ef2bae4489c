"""FID, KID, precision and recall: closed forms, torchmetrics, halves of one set."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from pnnbench.data import load
from pnnbench.errors import UserError
from pnnbench.metrics.extractors import extractor
from pnnbench.metrics.fidelity import (
    frechet,
    frechet_unbiased,
    kernel_distance,
    precision_recall,
)


def normal(n: int, d: int, seed: int) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def digits() -> Tensor:
    data = load("digits")
    return extractor("digits").features(torch.cat([data.train_inputs, data.test_inputs]))


class AsTheyAre(nn.Module):
    """An extractor whose features are the numbers that it is given."""

    num_features = 6

    def forward(self, x: Tensor) -> Tensor:
        return x.double()


def test_a_set_has_no_distance_from_itself(digits: Tensor) -> None:
    assert abs(frechet(digits, digits)) < 1e-6
    assert abs(frechet_unbiased(digits, digits)) < 1e-6
    assert precision_recall(digits, digits) == (1.0, 1.0)


def test_frechet_distance_is_the_closed_form_of_gaussians_with_these_moments() -> None:
    """Samples are whitened and coloured, so that their moments are exact."""
    x = normal(400, 5, 0).double()
    x = x - x.mean(0)
    white = x @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(x.T))).T
    a = torch.tensor([1.0, 2.0, 0.5, 1.5, 3.0]).double()
    b = torch.tensor([2.0, 2.0, 1.0, 0.1, 1.0]).double()
    shift = torch.tensor([0.3, 0.0, -1.0, 0.0, 2.0]).double()
    expected = float(shift.square().sum() + (a - b).square().sum())
    assert frechet(white * a, white * b + shift) == pytest.approx(expected, rel=1e-9)


def test_frechet_distance_of_covariances_that_do_not_commute() -> None:
    """tr (S1 S2)^(1/2) from the symmetric root, which torch-fidelity does not take."""
    x, y = normal(300, 4, 1) @ normal(4, 4, 2), normal(300, 4, 3) @ normal(4, 4, 4) + 0.5
    s1, s2 = (torch.cov(v.double().T) for v in (x, y))
    values, vectors = torch.linalg.eigh(s1)
    root = vectors @ torch.diag(values.sqrt()) @ vectors.T
    middle = torch.linalg.eigvalsh(root @ s2 @ root).clamp(min=0).sqrt().sum()
    mean = (x.double().mean(0) - y.double().mean(0)).square().sum()
    expected = float(mean + s1.trace() + s2.trace() - 2 * middle)
    assert frechet(x, y) == pytest.approx(expected, rel=1e-8)


def test_values_are_those_of_torchmetrics() -> None:
    x, y = normal(200, 6, 5), 0.8 * normal(200, 6, 6) + 0.3
    fid = FrechetInceptionDistance(feature=AsTheyAre(), input_img_size=(6,), normalize=False)
    fid = fid.set_dtype(torch.float64)
    fid.update(y, real=True)
    fid.update(x, real=False)
    assert frechet(x, y) == pytest.approx(float(fid.compute()), rel=1e-6)
    kid = KernelInceptionDistance(feature=AsTheyAre(), subsets=1, subset_size=200)
    kid.update(y, real=True)
    kid.update(x, real=False)
    assert kernel_distance(x, y) == pytest.approx(float(kid.compute()[0]), rel=1e-6)


def test_kernel_distance_is_its_sum_over_pairs() -> None:
    x, y = normal(7, 3, 7).double(), normal(7, 3, 8).double() + 0.4

    def mean(a: Tensor, b: Tensor, *, apart: bool) -> float:
        kernel = (a @ b.T / 3 + 1) ** 3
        pairs = [float(kernel[i, j]) for i in range(7) for j in range(7) if not (apart and i == j)]
        return math.fsum(pairs) / len(pairs)

    expected = mean(x, x, apart=True) + mean(y, y, apart=True) - 2 * mean(x, y, apart=False)
    assert kernel_distance(x, y) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("n", [140, 280, 560, 898])
def test_halves_of_one_set_are_near_zero_whatever_their_size(digits: Tensor, n: int) -> None:
    """Against the plain distance, whose bias is 0.31, 0.15, 0.075 and 0.05 at these sizes."""
    generator = torch.Generator().manual_seed(0)
    plain, limit, kernel = [], [], []
    for _ in range(12):
        order = torch.randperm(len(digits), generator=generator)
        first, second = digits[order[:n]], digits[order[-n:]]
        plain.append(frechet(first, second))
        limit.append(frechet_unbiased(first, second))
        kernel.append(kernel_distance(first, second))
    bias = sum(plain) / len(plain)
    assert bias > 25.0 / n
    assert abs(sum(limit) / len(limit)) < 0.35 * bias
    assert abs(sum(kernel) / len(kernel)) < 0.1 * bias + 0.01


def test_the_limit_does_not_depend_on_the_number_of_images() -> None:
    """Two Gaussians of 8 features whose distance is 4."""
    shift = torch.zeros(8)
    shift[0] = 2.0
    for n in (40, 160, 640):
        found = [
            frechet_unbiased(normal(n, 8, s) + shift, normal(n, 8, 1000 + s)) for s in range(40)
        ]
        biased = [frechet(normal(n, 8, s) + shift, normal(n, 8, 1000 + s)) for s in range(40)]
        spread = torch.tensor(found).std() / 40**0.5
        assert abs(sum(found) / 40 - 4.0) < 4 * spread + 0.05
        assert n > 100 or sum(biased) / 40 > 4.5


def test_with_as_few_images_as_are_taken_a_few_percent_of_the_bias_are_left() -> None:
    """Features that are sums of exponentials; both sides are of one law, so that the truth is 0."""
    mix = normal(24, 24, 16).double()

    def skewed(seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return torch.empty(50, 24).double().exponential_(generator=generator) @ mix

    pairs = [(skewed(2 * s), skewed(2 * s + 1)) for s in range(60)]
    plain = sum(frechet(*pair) for pair in pairs) / len(pairs)
    limit = sum(frechet_unbiased(*pair) for pair in pairs) / len(pairs)
    assert abs(limit) < 0.12 * plain


def test_precision_and_recall_tell_what_is_missing() -> None:
    """Generated images are one of two clusters: all look real, half of the real ones lack."""
    one, two = normal(100, 4, 9), normal(100, 4, 10) + 50.0
    precision, recall = precision_recall(normal(200, 4, 11) * 0.5, torch.cat([one, two]))
    assert precision > 0.9
    assert 0.1 < recall < 0.55
    assert precision_recall(normal(100, 4, 12) + 500.0, one) == (0.0, 0.0)


@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_precision_and_recall_are_their_definition(offset: float) -> None:
    """From all distances, also where features are large against their differences."""
    a, b = (0.01 * normal(120, 8, s) + offset for s in (14, 15))

    def inside(x: Tensor, y: Tensor) -> float:
        apart = (x.double()[:, None] - y.double()).norm(dim=2)
        radius = (y.double()[:, None] - y.double()).norm(dim=2).sort(dim=1).values[:, 3]
        return float((apart <= radius).any(1).double().mean())

    assert precision_recall(a, b) == pytest.approx((inside(a, b), inside(b, a)), abs=1e-6)
    assert 0.05 < inside(a, b) < 0.95


def test_more_noise_is_farther(digits: Tensor) -> None:
    data = load("digits")
    images = torch.cat([data.train_inputs, data.test_inputs]).float() / 255.0
    noise = normal(images.numel(), 1, 13).view_as(images)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(1))
    real = digits[order[898:]]
    found = [
        extractor("digits").features(images[order[:898]] + sd * noise[:898]) for sd in (0, 0.2, 0.4)
    ]
    fid = [frechet_unbiased(f, real) for f in found]
    kid = [kernel_distance(f, real) for f in found]
    assert fid[0] + 0.03 < fid[1] < fid[2]
    assert kid[0] < kid[1] < kid[2]
    assert precision_recall(found[2], real)[0] < precision_recall(found[0], real)[0]


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(UserError, match="of one extractor"):
        frechet(normal(10, 3, 0), normal(10, 4, 0))
    with pytest.raises(UserError, match="at least two"):
        frechet(normal(1, 3, 0), normal(10, 3, 0))
    with pytest.raises(UserError, match="at least 8"):
        frechet_unbiased(normal(7, 3, 0), normal(10, 3, 0))
    with pytest.raises(UserError, match="at least 4"):
        precision_recall(normal(3, 3, 0), normal(10, 3, 0))
    with pytest.raises(UserError, match="at least two"):
        kernel_distance(normal(1, 3, 0), normal(10, 3, 0))
