from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as hs

from pnnbench.errors import UserError
from pnnbench.evaluation.gaps import NotFiniteError
from pnnbench.evaluation.lanczos import lanczos, spectral_density


def diagonal(*values):
    d = torch.tensor(values, dtype=torch.float64)
    return lambda v: d * v


def random_symmetric(n, seed=0):
    g = torch.Generator().manual_seed(seed)
    a = torch.randn(n, n, generator=g, dtype=torch.float64)
    return a + a.T


def test_most_positive_is_found_where_the_largest_magnitude_is_negative():
    pairs = lanczos(diagonal(1.0, 2.0, -4.0, 0.5), 4, seed=0, top=2)
    torch.testing.assert_close(pairs.top, torch.tensor([2.0, 1.0], dtype=torch.float64))
    assert pairs.lowest == pytest.approx(-4.0, abs=1e-12)
    assert pairs.lowest_vector.abs().argmax() == 2
    assert pairs.converged


@pytest.mark.parametrize("values", [(1.0, 4.0, -4.0), (-3.0, -1.0, -2.0), (5.0, 5.0, 5.0, 1.0)])
def test_ties_negative_spectra_and_multiplicities(values):
    pairs = lanczos(diagonal(*values), len(values), seed=1, top=3, tol=0.0)
    expected = torch.tensor(sorted(values, reverse=True)[:3], dtype=torch.float64)
    torch.testing.assert_close(pairs.top, expected, atol=1e-10, rtol=0)
    gram = pairs.vectors @ pairs.vectors.T
    torch.testing.assert_close(gram, torch.eye(3, dtype=torch.float64), atol=1e-9, rtol=0)


def with_spectrum(values, seed):
    """A dense symmetric matrix of these eigenvalues."""
    d = torch.tensor(values, dtype=torch.float64)
    g = torch.Generator().manual_seed(seed)
    q = torch.linalg.qr(torch.randn(len(d), len(d), generator=g, dtype=torch.float64))[0]
    a = q @ torch.diag(d) @ q.T
    return (a + a.T) / 2


@pytest.mark.parametrize("copies", [2, 3, 4])
@pytest.mark.parametrize("single", [False, True])
def test_repeated_eigenvalues_count_as_often_as_they_are_there(copies, single):
    a = with_spectrum([7.0] * copies + [6.0, *torch.linspace(-3, 5, 300).tolist()], copies)
    narrow = a.float()
    found = lanczos(
        (lambda v: (narrow @ v.float()).double()) if single else (lambda v: a @ v),
        len(a),
        seed=0,
        top=copies,
        tol=1e-5,
        **({} if single else {"rounding": 1e-14}),
    )
    assert found.converged
    assert found.products < len(a) / 2
    assert ((found.top - 7.0).abs() <= found.bounds).all()
    assert (found.bounds < 1e-3).all()
    residuals = (found.vectors @ a - 7.0 * found.vectors).norm(dim=1)
    assert (residuals < 0.1).all()
    after = lanczos(lambda v: a @ v, len(a), seed=0, top=copies + 1, tol=1e-5)
    assert float(after.top[-1]) == pytest.approx(6.0, rel=1e-4)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    size=hs.integers(12, 70),
    copies=hs.integers(1, 4),
    top=hs.integers(1, 3),
    shift=hs.floats(-3, 3),
    scale=hs.floats(-3, 3),
    single=hs.booleans(),
    seed=hs.integers(0, 10_000),
)
def test_bounds_hold_on_any_spectrum(size, copies, top, shift, scale, single, seed):
    g = torch.Generator().manual_seed(seed)
    values = (torch.randn(size, generator=g, dtype=torch.float64) + shift) * 10.0**scale
    values = values.sort(descending=True)[0]
    values[:copies] = values[0]
    a = with_spectrum(values.tolist(), seed)
    truth = torch.linalg.eigvalsh(a).flip(0)
    narrow = a.float()
    found = lanczos(
        (lambda v: (narrow @ v.float()).double()) if single else (lambda v: a @ v),
        size,
        seed=seed,
        top=top,
        tol=1e-6,
        **({} if single else {"rounding": 1e-13}),
    )
    assert ((found.top - truth[:top]).abs() <= found.bounds).all()
    nearest = (truth - found.lowest).abs().min()
    assert float(nearest) <= found.lowest_bound


def test_bounds_are_never_below_the_rounding_of_the_products():
    a = with_spectrum([3.0, 2.0, 1.0, -1.0], 0)
    for rounding in (1e-3, 1e-6):
        found = lanczos(lambda v: a @ v, 4, seed=0, top=2, rounding=rounding)
        assert float(found.bounds.min()) >= 0.5 * rounding * 3.0
        assert found.lowest_bound >= 0.5 * rounding * 3.0
    # The default is that of float32.
    assert 1e-6 * 3.0 < float(lanczos(lambda v: a @ v, 4, seed=0).bounds[0]) < 1e-4 * 3.0


def test_an_eigenvalue_far_below_the_norm_counts_as_found_at_the_rounding():
    a = with_spectrum([1e-6, -1e-7, *torch.linspace(-9, -5, 60).tolist()], 0).float()
    found = lanczos(lambda v: (a @ v.float()).double(), len(a), seed=0, tol=1e-3, max_products=50)
    assert found.converged
    assert abs(float(found.top[0]) - 1e-6) <= float(found.bounds[0])


def test_zero_operator_and_one_dimension():
    assert float(lanczos(lambda v: 0 * v, 6, seed=0).top[0]) == 0.0
    pairs = lanczos(diagonal(-2.5), 1, seed=0)
    assert pairs.top.tolist() == [-2.5]
    assert pairs.lowest == -2.5


@pytest.mark.parametrize("seed", range(5))
def test_dense_spectrum_vectors_and_bounds(seed):
    a = random_symmetric(120, seed)
    truth = torch.linalg.eigvalsh(a)
    pairs = lanczos(lambda v: a @ v, 120, seed=seed, top=3, tol=1e-10, rounding=1e-14)
    assert pairs.products < 120
    torch.testing.assert_close(pairs.top, truth.flip(0)[:3], rtol=2e-6, atol=0)
    assert (pairs.top <= truth.flip(0)[:3] + 1e-9).all()
    assert pairs.lowest == pytest.approx(float(truth[0]), rel=1e-4)
    errors = (pairs.top - truth.flip(0)[:3]).abs()
    assert (errors <= pairs.bounds).all()
    assert abs(pairs.lowest - float(truth[0])) <= pairs.lowest_bound
    for value, v in zip(pairs.top, pairs.vectors, strict=True):
        assert float((a @ v - value * v).norm()) < 1e-2 * float(value)


def test_products_run_out():
    a = random_symmetric(200)
    pairs = lanczos(lambda v: a @ v, 200, seed=0, tol=1e-9, max_products=5)
    assert not pairs.converged
    assert pairs.products == 5
    truth = float(torch.linalg.eigvalsh(a)[-1])
    assert float(pairs.top[0]) < truth
    assert float(pairs.bounds[0]) > 1e-3


def test_good_start_saves_products_and_seed_decides():
    a = random_symmetric(150)
    cold = lanczos(lambda v: a @ v, 150, seed=0)
    warm = lanczos(lambda v: a @ v, 150, seed=0, start=cold.vectors[0])
    assert warm.products < cold.products / 2
    again = lanczos(lambda v: a @ v, 150, seed=0)
    assert torch.equal(again.vectors, cold.vectors)
    assert not torch.equal(lanczos(lambda v: a @ v, 150, seed=1).vectors, cold.vectors)


def decaying(top, size):
    """An operator whose leading eigenvalues are given, over a bulk like that of a network."""
    bulk = 0.6 / torch.arange(1, size - len(top) + 1, dtype=torch.float64)
    d = torch.cat([torch.tensor(top, dtype=torch.float64), bulk])
    return (lambda v: d * v), torch.eye(size, dtype=torch.float64)[: len(top)]


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("guess", [[(0, 1, 0)], [(0, 1, 1)], [(0, 1, 0), (0, 0, 1)], [(0, 0, 1)]])
def test_a_guess_that_is_another_eigenvector_does_not_end_the_search(guess, seed):
    product, leading = decaying([1.077, 0.928, 0.794], 3_000)
    start = torch.tensor(guess, dtype=torch.float64) @ leading
    found = lanczos(product, 3_000, seed=seed, start=start)
    assert float(found.top[0]) == pytest.approx(1.077, rel=1e-3)
    assert found.converged


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_several_guesses_stand_side_by_side(sign):
    product, leading = decaying([1.077, 0.928], 3_000)
    turned = (
        torch.tensor([[0.96, 0.29 * sign], [-0.29 * sign, 0.96]], dtype=torch.float64) @ leading
    )
    found = lanczos(product, 3_000, seed=0, start=turned, tol=1e-5)
    assert float(found.top[0]) == pytest.approx(1.077, rel=1e-6)
    same = torch.stack([leading[1], leading[1], leading[1]])
    assert float(lanczos(product, 3_000, seed=0, start=same).top[0]) == pytest.approx(
        1.077, rel=1e-3
    )
    many = torch.eye(4, dtype=torch.float64)[:3]
    assert float(lanczos(diagonal(1.0, 2.0), 2, seed=0, start=many[:, :2]).top[0]) == 2.0


def test_each_product_is_told_and_the_lowest_is_not_waited_for():
    a = random_symmetric(300)
    seen = []
    lanczos(lambda v: a @ v, 300, seed=0, max_products=30, progress=lambda *p: seen.append(p))
    assert seen == [(i, 30) for i in range(1, 31)]
    found = lanczos(lambda v: a @ v, 300, seed=0, tol=1e-2, rounding=1e-14)
    assert found.converged
    truth = float(torch.linalg.eigvalsh(a)[0])
    assert 1e-5 * abs(truth) < found.lowest_bound
    assert 0.0 < found.lowest - truth <= found.lowest_bound
    nothing = lanczos(lambda v: 0 * v, 40, seed=0)
    assert (nothing.converged, nothing.products, nothing.lowest) == (True, 15, 0.0)


def test_not_finite_is_a_user_error():
    with pytest.raises(NotFiniteError, match="not finite"):
        lanczos(lambda v: v * math.nan, 5, seed=0)
    with pytest.raises(NotFiniteError, match="not finite"):
        spectral_density(lambda v: v * math.inf, 5, seed=0)
    with pytest.raises(UserError, match="top"):
        lanczos(diagonal(1.0, 2.0), 2, seed=0, top=3)


def test_density_moments_match_trace_and_norm():
    a = random_symmetric(100) + 3.0 * torch.eye(100, dtype=torch.float64)
    density = spectral_density(lambda v: a @ v, 100, seed=0, probes=40, steps=20)
    assert density.products == 800
    assert float(density.weights.sum()) == pytest.approx(1.0, abs=1e-12)
    for power, truth in ((1, float(a.trace())), (2, float(a.square().sum()))):
        mean, error = density.moment(power)
        assert abs(mean - truth) < 4 * error
        assert error < 0.2 * abs(truth)


def test_density_of_a_diagonal_is_exact():
    # Random signs have equal weight on every eigenvector: each probe gives the moments exactly.
    density = spectral_density(diagonal(1.0, 1.0, 2.0, -5.0), 4, seed=0, probes=2, steps=10)
    assert density.moment(1)[0] == pytest.approx(-1.0, abs=1e-10)
    assert density.moment(2)[0] == pytest.approx(31.0, abs=1e-10)
    near_one = (density.nodes - 1).abs() < 1e-9
    assert float(density.weights[near_one].sum()) == pytest.approx(0.5, abs=1e-12)
    told = density.as_dict()
    assert (told["size"], told["products"]) == (4, 8)
    assert (told["trace"], told["squares"]) == pytest.approx((-1.0, 31.0))
    assert told["places"] == sorted(told["places"])
    pairs = zip(told["places"], told["shares"], strict=True)
    assert sum(share for place, share in pairs if place < 0) == pytest.approx(0.25)
    alone = spectral_density(diagonal(1.0, 2.0), 2, seed=0, probes=1)
    assert math.isinf(alone.moment(1)[1])
    assert alone.as_dict()["trace_error"] is None
