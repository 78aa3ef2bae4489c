from __future__ import annotations

import cmath
import copy
import math
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torchoptics import Field

from pnnbench.errors import UserError
from pnnbench.platforms.propagation import (
    FreeSpace,
    Lens,
    axial_difference,
    critical_distance_m,
    transfer_function,
    transposed_matrix,
)

EXACT = torch.complex128
#: The published planes: 128 x 128 samples of 2 um at 532 nm.
N, PIXEL, WAVELENGTH = 128, 2.0, 532.0


def gap(z: float, padding: int = 2, n: int = N, dtype: torch.dtype = EXACT) -> FreeSpace:
    return FreeSpace(n, PIXEL, WAVELENGTH, z, padding, dtype)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=EXACT, generator=torch.Generator().manual_seed(seed))


def axis(n: int = N) -> Tensor:
    """Samples from the middle of the window."""
    return torch.arange(n, dtype=torch.float64) - (n - 1) / 2


def gaussian(width: float, n: int = N) -> Tensor:
    line = torch.exp(-((axis(n) / width) ** 2))
    return (line[:, None] * line).to(EXACT)


def smooth() -> Tensor:
    """Random light of narrow spectrum in a Gaussian window: no edges, dark at the border.

    White noise times exp(-(f / f_0)^2) with f_0 = 8 cycles per window, then times
    exp(-(r / 20 samples)^2). What leaves the doubled window over 4 mm is then below 1e-5.
    """
    f = torch.fft.fftfreq(N, 1 / N, dtype=torch.float64)
    low = torch.exp(-((f / 8) ** 2))
    return torch.fft.ifft2(torch.fft.fft2(noise(N, N)) * low[:, None] * low) * gaussian(20.0)


def torchoptics(field: Tensor, z: float, method: str, pad: int | None = None) -> Tensor:
    at = Field(field, wavelength=WAVELENGTH * 1e-9, z=0.0, spacing=PIXEL * 1e-6)
    padding = None if pad is None else (pad, pad)
    return at.propagate_to_z(z * 1e-3, propagation_method=method, asm_pad=padding).data


def off(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


def power(field: Tensor) -> Tensor:
    return field.abs().square().sum((-2, -1))


# --- against torchoptics ----------------------------------------------------------------------


@pytest.mark.parametrize("z", [0.5, 2.0, 4.0, 5.0])
def test_periodic_planes_are_torchoptics_without_padding(z: float) -> None:
    field = noise(2, N, N)
    assert off(gap(z, 1)(field), torchoptics(field, z, "ASM", 0)) < 1e-8


@pytest.mark.parametrize("z", [0.5, 2.0, 4.0, 5.0])
@pytest.mark.parametrize("padding", [2, 3])
def test_open_space_is_torchoptics_with_as_much_padding(z: float, padding: int) -> None:
    # Half of the dark on each side there, all of it behind the last sample here.
    field = noise(2, N, N)
    found, expected = (
        gap(z, padding)(field),
        torchoptics(field, z, "ASM", (padding - 1) * N // 2),
    )
    assert off(found, expected) < 1e-8
    assert off(gap(z, 1)(field), expected) > 0.01  # padding does matter


@pytest.mark.parametrize("z", [2.0, 4.0, 5.0])
def test_open_space_is_the_integral_over_spherical_waves(z: float) -> None:
    # Direct integration knows of no spectrum and no padding; from 1.9 mm on it is well sampled.
    field = smooth()
    assert off(gap(z)(field), torchoptics(field, z, "DIM")) < 1e-5
    assert off(gap(z, 1)(field), torchoptics(field, z, "DIM")) > 1e-3
    # At 4 mm a wider spot, 2 % of its peak left at the edge of the window, is good to 1e-3 too.
    field = gaussian(29.0)
    assert off(gap(4.0)(field), torchoptics(field, 4.0, "DIM")) < 1e-3


def test_light_with_edges_needs_more_dark_around_it() -> None:
    # A square of half the window: its diffraction leaves a window twice as wide, not one four
    # times as wide.
    line = (axis().abs() < N / 4).to(EXACT)
    field = line[:, None] * line
    expected = torchoptics(field, 4.0, "DIM")
    errors = [off(gap(4.0, padding)(field), expected) for padding in (1, 2, 4)]
    assert errors[0] > 0.1
    assert errors[1] > 0.03
    assert errors[2] < 1e-3


@pytest.mark.parametrize("padding", [1, 2])
@pytest.mark.parametrize("z", [2.0, 5.0])
def test_single_precision_loses_nothing_but_single_precision(z: float, padding: int) -> None:
    # kz z is 6e4 rad: a transfer function made in single precision would be off by 4e-3.
    field = noise(2, N, N)
    coarse = gap(z, padding, dtype=torch.complex64)(field)
    assert coarse.dtype == torch.complex64
    assert off(coarse.to(EXACT), gap(z, padding)(field)) < 1e-6


# --- closed forms -----------------------------------------------------------------------------


@pytest.mark.parametrize("order", [(0, 0), (3, -5), (-20, 11)])
def test_a_plane_wave_gets_the_phase_of_its_direction(order: tuple[int, int]) -> None:
    n, z = 64, 3.0
    x = torch.arange(n, dtype=torch.float64)
    turns = (order[0] * x[:, None] + order[1] * x) / n
    field = torch.polar(torch.ones_like(turns), 2 * math.pi * turns)
    fy, fx = (k / (n * PIXEL * 1e-6) for k in order)
    k_z = 2 * math.pi * math.sqrt(1 / (WAVELENGTH * 1e-9) ** 2 - fx**2 - fy**2)
    expected = field * cmath.exp(1j * k_z * z * 1e-3)
    torch.testing.assert_close(gap(z, 1, n)(field), expected, rtol=0, atol=1e-8)


def test_waves_finer_than_the_wavelength_decay() -> None:
    # Samples 0.1 wavelengths apart: period 0.2, f = 5 / lambda.
    h = transfer_function(8, 50e-9, 500e-9, 100e-9, 1)
    decay = math.exp(-2 * math.pi * math.sqrt(25 - 1) / 500e-9 * 100e-9)
    assert float(h[4, 0].abs()) == pytest.approx(decay, rel=1e-9)
    assert abs(complex(h[0, 0])) == pytest.approx(1.0)
    assert float(h.abs().max()) <= 1.0 + 1e-12


def test_a_gaussian_beam_spreads_as_it_should() -> None:
    # Second moment: w^2(z) = w0^2 (1 + (z / z_R)^2), z_R = pi w0^2 / lambda; w0 = 32 um here.
    waist = 16 * PIXEL * 1e-6
    rayleigh = math.pi * waist**2 / (WAVELENGTH * 1e-9)
    for z in (3.0, 6.0):
        intensity = gap(z)(gaussian(16.0)).abs().square()
        x = axis() * PIXEL * 1e-6
        moment = float((intensity.sum(0) * x.square()).sum() / intensity.sum())
        expected = waist * math.sqrt(1 + (z * 1e-3 / rayleigh) ** 2)
        assert 2 * math.sqrt(moment) == pytest.approx(expected, rel=2e-3)


@pytest.mark.parametrize("padding", [1, 2])
def test_over_no_distance_nothing_happens(padding: int) -> None:
    field = noise(2, 16, 16)
    torch.testing.assert_close(gap(0.0, padding, 16)(field), field)


def test_gaps_add_up() -> None:
    field = noise(32, 32)
    both = gap(1.3, 1, 32)(gap(0.9, 1, 32)(field))
    assert off(both, gap(2.2, 1, 32)(field)) < 1e-10


# --- laws -------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(n=st.integers(1, 20), z=st.floats(0, 50), padding=st.integers(1, 3), seed=st.integers(0, 99))
def test_periodic_planes_keep_the_power_and_open_space_never_gains(
    n: int, z: float, padding: int, seed: int
) -> None:
    field = noise(3, n, n, seed=seed)
    before, after = power(field), power(gap(z, padding, n)(field))
    if padding == 1:
        torch.testing.assert_close(after, before, rtol=1e-10, atol=1e-12)
    else:
        assert bool((after <= before * (1 + 1e-10)).all())


def test_open_space_does_lose_light() -> None:
    field = noise(16, 16)
    assert float(power(gap(2.0, 2, 16)(field)) / power(field)) < 0.9


@settings(deadline=None, max_examples=20)
@given(n=st.integers(1, 20), z=st.floats(0, 20), seed=st.integers(0, 99))
def test_there_and_back_is_where_it_was(n: int, z: float, seed: int) -> None:
    field, there = noise(n, n, seed=seed), gap(z, 1, n)
    back = gap(z, 1, n)
    back.h = there.h.conj().resolve_conj()
    torch.testing.assert_close(back(there(field)), field, rtol=0, atol=1e-10)


@settings(deadline=None, max_examples=30)
@given(n=st.integers(1, 20), z=st.floats(0, 20), padding=st.integers(1, 3), seed=st.integers(0, 99))
def test_light_takes_the_same_way_back(n: int, z: float, padding: int, seed: int) -> None:
    # Reciprocity: the operator is its own transpose (no conjugation), a P b = b P a.
    a, b = noise(2, n, n, seed=seed)
    element = gap(z, padding, n)
    torch.testing.assert_close((a * element(b)).sum(), (b * element(a)).sum(), rtol=0, atol=1e-9)
    if n > 2 and padding == 1 and z > 1:
        assert bool((element(a) - a).norm() > 1e-3)


@pytest.mark.parametrize("padding", [1, 2])
def test_propagation_is_linear_and_each_field_is_for_itself(padding: int) -> None:
    a, b = noise(2, 3, 12, 12)
    element = gap(1.5, padding, 12)
    mixed = (0.3 - 2j) * a + 1.7j * b
    torch.testing.assert_close(element(mixed), (0.3 - 2j) * element(a) + 1.7j * element(b))
    torch.testing.assert_close(element(a)[1], element(a[1]))
    torch.testing.assert_close(element(a[:, None])[:, 0], element(a))


@pytest.mark.parametrize("padding", [1, 2])
def test_gradients(padding: int) -> None:
    element = gap(1.5, padding, 3)
    field = noise(2, 3, 3).requires_grad_()
    assert torch.autograd.gradcheck(element, (field,))
    assert torch.autograd.gradgradcheck(element, (field,))
    # Linear alone has no second derivative; powers have.
    assert torch.autograd.gradgradcheck(lambda f: element(f).abs().square(), (field,))


def test_real_fields_are_taken_as_complex_ones() -> None:
    field = torch.rand(8, 8)
    out = gap(1.0, 2, 8, torch.complex64)(field)
    torch.testing.assert_close(out, gap(1.0, 2, 8, torch.complex64)(field + 0j))


def test_constants_are_computed_once_for_each_precision_and_all_copies() -> None:
    made: list[torch.dtype] = []

    class Counted(FreeSpace):
        def constants(self, dtype: torch.dtype) -> dict[str, Tensor]:
            made.append(dtype)
            return super().constants(dtype)

    one = Counted(8, 8.0, 532.0, 1.0)
    before, copied = one.h, copy.deepcopy(one)
    elsewhere = pickle.loads(pickle.dumps(FreeSpace(8, 8.0, 532.0, 1.0)))  # noqa: S301  (our own)
    for module in (one, copied, elsewhere):
        assert module.double().h.dtype == torch.complex128
        assert torch.equal(module.float().h, before)
    assert made == [torch.complex64, torch.complex128]
    assert one.h is before


def test_transfer_functions_are_made_once_and_are_not_state() -> None:
    a, b = gap(1.0), gap(1.0)
    assert a.h.data_ptr() == b.h.data_ptr()
    before = a.h.clone()
    a(noise(N, N).requires_grad_()).abs().sum().backward()
    assert torch.equal(a.h, before)
    assert not a.state_dict()


# --- sampling ---------------------------------------------------------------------------------


def ghosts(share: float, padding: int, n: int = 32) -> float:
    """Error of padded propagation over a share of the critical distance, against more padding.

    The steepest waves go z lambda / (2 pixel) aside. With padding 2 they come round the padded
    plane into the window once that is more than the window's width.
    """
    z = 1e3 * critical_distance_m(n, PIXEL * 1e-6, WAVELENGTH * 1e-9, padding) * share
    field = noise(n, n)
    return off(gap(z, padding, n)(field), gap(z, 8, n)(field))


def test_ghosts_vanish_below_the_critical_distance_and_are_there_beyond() -> None:
    assert ghosts(0.5, 2) < 0.05
    assert ghosts(1.5, 2) > 0.5


@pytest.mark.parametrize("padding", [2, 4])
def test_up_to_the_critical_distance_open_space_is_open(padding: int) -> None:
    assert ghosts(1.0, padding) < 0.2


# --- lenses -----------------------------------------------------------------------------------


def lens(focal: float, n: int = N, centre: float | None = None) -> Lens:
    return Lens(n, PIXEL, WAVELENGTH, focal, centre, EXACT)


@pytest.mark.parametrize("centre", [None, 64.0, 40.0])
def test_a_lens_focuses_a_plane_wave_at_its_focal_length(centre: float | None) -> None:
    # Middle of the window is between samples 63 and 64. The beam stands on the axis of the lens.
    middle = (N - 1) / 2 if centre is None else centre
    line = torch.exp(-(((torch.arange(N).double() - middle) / 24) ** 2))
    beam = (line[:, None] * line).to(EXACT)
    behind = lens(2.0, centre=centre)(beam)
    peaks = [float(gap(z)(behind).abs().square().max()) for z in (1.4, 2.0, 2.6)]
    assert peaks[1] > 20  # the beam has 1
    assert peaks[1] > 1.3 * max(peaks[0], peaks[2])
    spot = gap(2.0)(behind).abs().square()
    marginal = spot.sum(0) / spot.sum()
    assert float((marginal * torch.arange(N)).sum()) == pytest.approx(middle, abs=0.05)
    row, column = divmod(int(spot.argmax()), N)
    assert abs(row - middle) <= 0.5
    assert abs(column - middle) <= 0.5
    torch.testing.assert_close(marginal, spot.sum(1) / spot.sum(), rtol=0, atol=1e-9)


def test_a_lens_is_a_paraboloid_of_phase() -> None:
    found = lens(5.0, 8, centre=4.0).phase
    for i in range(8):
        for j in range(8):
            square = ((i - 4) ** 2 + (j - 4) ** 2) * (PIXEL * 1e-6) ** 2
            angle = -math.pi * square / (WAVELENGTH * 1e-9 * 5e-3)
            assert complex(found[i, j]) == pytest.approx(complex(math.cos(angle), math.sin(angle)))
    torch.testing.assert_close(lens(5.0, 8).phase * lens(-5.0, 8).phase, torch.ones(8, 8).to(EXACT))
    symmetric = lens(5.0, 8).phase
    torch.testing.assert_close(symmetric, symmetric.flip(0, 1))


def test_a_lens_turns_a_field_into_its_spectrum() -> None:
    # Front focal plane to back focal plane: a plane wave of tilt m becomes a spot f lambda m / L
    # aside, and light from the middle a plane wave.
    focal, tilt = 4.0, 6
    x = torch.arange(N).double()
    wave = torch.polar(torch.ones(N).double(), 2 * math.pi * tilt * x / N)
    front = gaussian(24.0) * wave
    spot = gap(focal)(lens(focal)(gap(focal)(front))).abs().square()
    aside = focal * 1e-3 * WAVELENGTH * 1e-9 * tilt / (N * PIXEL * 1e-6) / (PIXEL * 1e-6)
    columns = (spot.sum(0) * axis()).sum() / spot.sum()
    rows = (spot.sum(1) * axis()).sum() / spot.sum()
    assert aside == pytest.approx(24.9, abs=0.1)
    assert float(columns) == pytest.approx(aside, abs=0.3)
    assert float(rows) == pytest.approx(0.0, abs=0.05)


# --- the matrix of fixed optics ---------------------------------------------------------------


@pytest.mark.parametrize("padding", [1, 2])
@pytest.mark.parametrize("centred", [False, True])
def test_rows_of_the_matrix_are_the_columns_of_what_light_does(padding: int, centred: bool) -> None:
    n = 9
    first, second = (4.0, 4.0) if centred else (2.0, 6.0)  # off the middle nothing is mirrored
    elements: list[nn.Module] = [
        gap(0.3, padding, n),
        lens(0.5, n, centre=first),
        gap(0.2, padding, n),
        lens(-0.9, n, centre=second),
    ]
    columns = []
    for pixel in range(n * n):
        field = torch.zeros(n * n, dtype=EXACT)
        field[pixel] = 1.0
        field = field.view(n, n)
        for element in elements:
            field = element(field)
        columns.append(field.flatten())
    dense = torch.stack(columns, 1)
    assert off(dense.T, dense) > 0.1
    mirrored = dense.view(n * n, n, n).flip(-1).view(n, n, n, n).flip(1).flatten(2).flatten(0, 1)
    assert (off(mirrored, dense) < 1e-12) is centred
    some = torch.tensor([3, 80, 3, 40, *range(70)])  # more than one batch of 64
    torch.testing.assert_close(transposed_matrix(elements, n, some), dense[some])
    areas = torch.tensor([[0, 1], [7, 8], [8, 7], [79, 80], [72, 80], [4, 76]])
    torch.testing.assert_close(transposed_matrix(elements, n, areas), dense[areas].sum(1))


# --- what is refused --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"n": 0}, "samples"),
        ({"pixel_um": 0.0}, "pixel_um"),
        ({"pixel_um": -1.0}, "pixel_um"),
        ({"wavelength_nm": 0.0}, "wavelength_nm"),
        ({"distance_mm": -1.0}, "distance_mm"),
        ({"distance_mm": math.nan}, "distance_mm"),
        ({"padding": 0}, "padding"),
        ({"padding": 65}, "padding"),
    ],
)
def test_impossible_gaps_are_refused(options: dict[str, float], text: str) -> None:
    good = {"n": 8, "pixel_um": 2.0, "wavelength_nm": 532.0, "distance_mm": 1.0, "padding": 2}
    with pytest.raises(UserError, match=text):
        FreeSpace(**{**good, **options})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"n": 0}, "samples"),
        ({"pixel_um": 0.0}, "pixel_um"),
        ({"wavelength_nm": -5.0}, "wavelength_nm"),
        ({"focal_mm": 0.0}, "focal_mm"),
        ({"focal_mm": math.inf}, "focal_mm"),
    ],
)
def test_impossible_lenses_are_refused(options: dict[str, float], text: str) -> None:
    good = {"n": 8, "pixel_um": 2.0, "wavelength_nm": 532.0, "focal_mm": 1.0}
    with pytest.raises(UserError, match=text):
        Lens(**{**good, **options})  # type: ignore[arg-type]


# --- samples as areas, and limited gaps ---------------------------------------------------------


@pytest.mark.parametrize("finer", [3, 5])
def test_areas_send_the_light_of_their_squares(finer: int) -> None:
    """The same squares cut into finer areas send the same light at every angle that both have."""
    n, z = 16, 1.5
    shown = noise(2, n, n)
    coarse = FreeSpace(n, 6.0, WAVELENGTH, z, 1, EXACT, areas=1)(shown)
    squares = shown.repeat_interleave(finer, -1).repeat_interleave(finer, -2)
    fine = FreeSpace(finer * n, 6.0 / finer, WAVELENGTH, z, 1, EXACT, areas=1)(squares)
    waves = torch.arange(-(n // 2) + 1, n // 2)
    # A wave is where the middles of the coarse samples are: (finer - 1) / 2 fine samples in.
    tilt = torch.polar(
        torch.ones(n - 1).double(), waves.double() * (math.pi * (finer - 1) / (finer * n))
    )
    from_fine = torch.fft.fft2(fine)[:, waves % (finer * n)][:, :, waves % (finer * n)] / finer**2
    from_coarse = torch.fft.fft2(coarse)[:, waves % n][:, :, waves % n]
    assert off(from_fine * tilt[:, None] * tilt, from_coarse) < 1e-12
    points = FreeSpace(n, 6.0, WAVELENGTH, z, 1, EXACT)(shown)
    assert off(points, coarse) > 0.1


def test_areas_receive_the_mean_field() -> None:
    n, finer = 16, 5
    lines = torch.fft.fftfreq(n, 1 / n, dtype=torch.float64).abs() <= 5
    spectrum = noise(n, n) * (lines[:, None] & lines)
    wide = torch.zeros(finer * n, finer * n, dtype=EXACT)
    index = torch.fft.fftfreq(n, 1 / n, dtype=torch.float64).long()
    wide[index[:, None] % (finer * n), index % (finer * n)] = spectrum * finer**2
    fine = FreeSpace(finer * n, 6.0 / finer, WAVELENGTH, 1.5, 1, EXACT)(torch.fft.ifft2(wide))
    means = fine.unflatten(-1, (n, finer)).unflatten(-3, (n, finer)).mean((-3, -1))
    # The middles of the areas are those of the coarse samples moved by (finer - 1) / 2 fine ones.
    tilt = torch.polar(
        torch.ones(n).double(), index.double() * (math.pi * (finer - 1) / (finer * n))
    )
    moved = torch.fft.ifft2(spectrum * tilt[:, None] * tilt)
    found = FreeSpace(n, 6.0, WAVELENGTH, 1.5, 1, EXACT, areas=1)(moved)
    assert off(found, means) < 0.02  # of 5 points, not of the whole area
    assert off(FreeSpace(n, 6.0, WAVELENGTH, 1.5, 1, EXACT)(moved), means) > 0.1


def test_limited_gaps_are_open_without_more_dark_around() -> None:
    n, pixel, z = 96, 2.0, 4.0
    field = noise(n, n) * gaussian(20.0, n)
    padding = math.ceil(z * 1e-3 / critical_distance_m(n, pixel * 1e-6, WAVELENGTH * 1e-9, 1))
    assert padding > 4
    open_space = FreeSpace(n, pixel, WAVELENGTH, z, 4 * padding, EXACT)(field)
    limited = FreeSpace(n, pixel, WAVELENGTH, z, 2, EXACT, limited=True)(field)
    closed = FreeSpace(n, pixel, WAVELENGTH, z, 2, EXACT)(field)
    assert off(limited, open_space) < 0.2
    assert off(closed, open_space) > 0.4


@pytest.mark.parametrize("areas", [-1, 3])
def test_a_gap_has_two_planes(areas: int) -> None:
    with pytest.raises(UserError, match="planes of areas"):
        FreeSpace(4, PIXEL, WAVELENGTH, 1.0, areas=areas)


def test_a_first_use_in_inference_mode_leaves_later_gradients() -> None:
    transfer_function.cache_clear()
    axial_difference.cache_clear()
    with torch.inference_mode():
        gap(1.0, n=8)(noise(8, 8), torch.tensor(0.1))
    assert not axial_difference(8, PIXEL * 1e-6, WAVELENGTH * 1e-9, 2).is_inference()
    field = noise(8, 8).requires_grad_()
    gap(1.0, n=8)(field).abs().sum().backward()
    assert field.grad is not None
    assert bool(field.grad.any())
