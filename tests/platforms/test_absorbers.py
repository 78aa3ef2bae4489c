from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from pnnbench.errors import UserError
from pnnbench.platforms.absorbers import SaturableAbsorber, ThresholdAbsorber

from .test_diffractive import EXACT, N, light


@settings(deadline=None, max_examples=40)
@given(density=st.floats(0, 8), saturation=st.floats(0.01, 100), scale=st.floats(0, 30))
def test_the_saturable_absorber_is_its_formula(
    density: float, saturation: float, scale: float
) -> None:
    field = scale * light(3, dtype=EXACT)
    out = SaturableAbsorber(density, saturation)(field)
    into = field.abs().square()
    # I_s is a multiple of the mean intensity of a plane with the power 1: 1 / N^2.
    transmission = torch.exp(-density / (1 + into * N * N / saturation))
    torch.testing.assert_close(out.abs().square(), into * transmission, rtol=1e-9, atol=1e-15)
    torch.testing.assert_close(out, field * transmission.sqrt(), rtol=1e-9, atol=1e-15)
    assert bool((transmission >= math.exp(-density) * (1 - 1e-12)).all())
    assert bool((transmission <= 1).all())


def test_the_saturable_absorber_bleaches_monotonically_with_bounded_slope() -> None:
    density, saturation = 2.0, 0.5
    intensity = torch.logspace(-8, 4, 400, dtype=torch.float64).requires_grad_()
    field = torch.sqrt(intensity).view(-1, 1, 1).to(EXACT)  # planes of one sample
    out = SaturableAbsorber(density, saturation)(field).abs().square().flatten()
    (slope,) = torch.autograd.grad(out.sum(), intensity)
    transmission = (out / intensity).detach()
    assert bool((transmission.diff() > 0).all())
    assert float(transmission[0]) == pytest.approx(math.exp(-density), rel=1e-6)
    assert float(transmission[-1]) == pytest.approx(1.0, abs=1e-3)
    u = intensity.detach() / saturation
    torch.testing.assert_close(slope, transmission * (1 + density * u / (1 + u) ** 2))
    assert float(slope.min()) > 0
    assert float(slope.max()) <= 1 + density / 4


def absorbed(field: Tensor) -> Tensor:
    return torch.view_as_real(SaturableAbsorber(2.0, 1.0)(torch.view_as_complex(field)))


def test_the_saturable_absorber_is_smooth_in_the_dark() -> None:
    for dtype in (torch.complex64, EXACT):
        dark = torch.zeros(1, 4, 4, dtype=dtype, requires_grad=True)
        out = SaturableAbsorber()(dark)
        assert torch.equal(out, torch.zeros_like(out))
        (first,) = torch.autograd.grad(out.real.sum(), dark, create_graph=True)
        # At zero field the amplitude transmission is exp(-D / 2).
        torch.testing.assert_close(first, torch.full_like(first, math.exp(-1.0)))
        (second,) = torch.autograd.grad(first.abs().square().sum(), dark)
        assert torch.equal(second, torch.zeros_like(second))
    field = torch.zeros(1, 2, 2, 2, dtype=torch.float64)
    field[0, 0] = torch.randn(2, 2, dtype=torch.float64)  # two of four pixels dark
    field.requires_grad_()
    assert torch.autograd.gradcheck(absorbed, (field,))
    assert torch.autograd.gradgradcheck(absorbed, (field,))


def test_without_optical_density_nothing_is_absorbed() -> None:
    field = light(2)
    assert torch.equal(SaturableAbsorber(0.0)(field), field)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_the_threshold_absorber_is_the_published_one(share: float) -> None:
    field = light(3, dtype=EXACT) * torch.tensor([0.1, 1.0, 20.0])[:, None, None]
    out = ThresholdAbsorber(share)(field)
    into = field.abs().square()
    for i in range(3):
        threshold = share * into[i].mean()  # of each image for itself
        transmission = (1 - threshold / into[i]).clamp(min=0.0)
        torch.testing.assert_close(out[i].abs().square(), into[i] * transmission)
        open_ = transmission > 1e-9
        torch.testing.assert_close(out[i].angle()[open_], field[i].angle()[open_])
        if share == 0.5:
            assert 0.2 < float(open_.double().mean()) < 0.8
    assert torch.equal(ThresholdAbsorber()(torch.zeros(1, 4, 4) + 0j), torch.zeros(1, 4, 4) + 0j)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: SaturableAbsorber(-0.1), "optical_density"),
        (lambda: SaturableAbsorber(51.0), "optical_density"),
        (lambda: SaturableAbsorber(1.0, 0.0), "saturation"),
        (lambda: SaturableAbsorber(1.0, math.nan), "saturation"),
        (lambda: ThresholdAbsorber(1.1), "share"),
        (lambda: ThresholdAbsorber(-0.1), "share"),
    ],
)
def test_impossible_absorbers_are_refused(make: Callable[[], nn.Module], text: str) -> None:
    with pytest.raises(UserError, match=text):
        make()


def test_the_published_absorber_has_a_gradient_in_the_dark() -> None:
    field = light(2, seed=3)
    field[0, :4] = 0.0  # and the other pixels are below and above the threshold
    field.requires_grad_()
    out = ThresholdAbsorber()(field)
    assert 0 < int((out == 0).sum()) < out.numel()
    (gradient,) = torch.autograd.grad(out.abs().square().sum(), field)
    assert bool(torch.isfinite(torch.view_as_real(gradient)).all())
    assert float(gradient.abs().max()) > 0.0


@settings(deadline=None, max_examples=60)
@given(
    exponent=st.floats(-45, 15),
    share=st.sampled_from([0.0, 0.5, 1.0]),
    dark=st.integers(0, 16),
    seed=st.integers(0, 100),
)
def test_absorbers_have_finite_gradients_at_any_level_of_light(
    exponent: float, share: float, dark: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    field = 10.0**exponent * torch.randn(2, 4, 4, dtype=torch.complex64, generator=generator)
    field.flatten(1)[:, :dark] = 0.0
    field.requires_grad_()
    for absorber in (SaturableAbsorber(), ThresholdAbsorber(share)):
        out = absorber(field)
        (gradient,) = torch.autograd.grad(torch.view_as_real(out).sum(), field)
        assert bool(torch.isfinite(torch.view_as_real(out)).all())
        assert bool(torch.isfinite(torch.view_as_real(gradient)).all())
