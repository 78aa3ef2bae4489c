from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pnnbench.errors import UserError
from pnnbench.platforms import mesh, mesh_op
from pnnbench.platforms.mesh import (
    column_product,
    coupler_places,
    decompose,
    differentiable_product,
    edge_columns,
    n_couplers,
    plain_build,
)
from pnnbench.platforms.mzi import MZIMesh, couplings, entries

compiler = pytest.mark.skipif(not mesh_op.available(), reason="no C compiler")
BUILDS = [False, pytest.param(True, marks=compiler)]


def unitary_blocks(n: int, devices: int = 1, dtype: torch.dtype = torch.complex128) -> Tensor:
    """Random unitary 2 x 2 couplers (devices, 4, M)."""
    generator = torch.Generator().manual_seed(n + 1000 * devices)
    shape = (devices, n_couplers(n), 2, 2)
    raw = torch.complex(
        *(torch.randn(shape, dtype=torch.float64, generator=generator) for _ in range(2))
    )
    return torch.linalg.qr(raw)[0].flatten(2).movedim(2, 1).contiguous().to(dtype)


def by_columns(blocks: Tensor, n: int) -> Tensor:
    """Oracle: one dense matrix per column, multiplied in order."""
    columns, tops = coupler_places(n)
    product = torch.eye(n, dtype=blocks.dtype)
    for column in range(n):
        dense = torch.eye(n, dtype=blocks.dtype)
        for i in np.flatnonzero(columns == column):
            top = int(tops[i])
            dense[top : top + 2, top : top + 2] = blocks[:, i].view(2, 2)
        product = dense @ product
    return product


def haar(n: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    raw = torch.complex(
        *(torch.randn(n, n, dtype=torch.float64, generator=generator) for _ in range(2))
    )
    q, r = torch.linalg.qr(raw)
    return q * (r.diagonal() / r.diagonal().abs())


@pytest.mark.parametrize("n", [2, 3, 4, 5, 8, 13, 64])
def test_couplers_are_rectangular(n: int) -> None:
    columns, tops = coupler_places(n)
    assert len(columns) == n_couplers(n) == n * (n - 1) // 2
    assert set(columns.tolist()) == set(range(n)) - ({1} if n == 2 else set())
    assert ((tops - columns) % 2 == 0).all()
    assert tops.min() >= 0
    assert tops.max() == n - 2
    assert len({(c, t) for c, t in zip(columns, tops, strict=True)}) == len(columns)


def test_columns_with_an_edge() -> None:
    assert edge_columns(4).tolist() == [False, True, False, True]
    assert edge_columns(3).tolist() == [True, True, True]


@pytest.mark.parametrize("compiled", BUILDS)
@pytest.mark.parametrize("n", [2, 3, 4, 5, 7, 8, 9, 16, 17, 33, 64])
def test_product_is_that_of_dense_columns(n: int, compiled: bool) -> None:
    blocks = unitary_blocks(n, 3)
    got = column_product(blocks, n, compiled=compiled)
    for device, product in zip(blocks, got, strict=True):
        torch.testing.assert_close(product, by_columns(device, n), rtol=0, atol=1e-12)


@pytest.mark.parametrize("compiled", BUILDS)
@pytest.mark.parametrize("n", [2, 3, 5, 8, 17])
def test_gradient_is_that_of_ordinary_operations(n: int, compiled: bool) -> None:
    # The shortcut through unitarity holds for unitary couplers, so the gradient is compared after
    # the chain rule to phases, which keep them unitary.
    generator = torch.Generator().manual_seed(n)
    shape = (2, n_couplers(n))
    theta, phi = (
        torch.rand(shape, dtype=torch.float64, generator=generator).mul_(6).requires_grad_()
        for _ in range(2)
    )
    weight = haar(n, 1)

    def gradients(product: Tensor) -> tuple[Tensor, ...]:
        loss = ((product @ weight).abs() ** 2 * torch.arange(1.0, n + 1)).sum() + product.real.sum()
        return torch.autograd.grad(loss, (theta, phi))

    fast = gradients(column_product(entries(theta, phi), n, compiled=compiled))
    slow = gradients(differentiable_product(entries(theta, phi), n))
    torch.testing.assert_close(fast, slow, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("compiled", BUILDS)
def test_first_and_second_derivatives_by_finite_differences(compiled: bool) -> None:
    n = 4
    generator = torch.Generator().manual_seed(0)
    theta, phi = (
        torch.rand(1, n_couplers(n), dtype=torch.float64, generator=generator).requires_grad_()
        for _ in range(2)
    )

    def powers(theta: Tensor, phi: Tensor) -> Tensor:
        return column_product(entries(theta, phi), n, compiled=compiled)[0, :2].abs().square()

    assert torch.autograd.gradcheck(powers, (theta, phi))
    assert torch.autograd.gradgradcheck(powers, (theta, phi))


def test_a_first_use_in_inference_mode_leaves_later_gradients() -> None:
    mesh._blocks.cache_clear()
    blocks = unitary_blocks(4, dtype=torch.complex64).requires_grad_()
    with torch.inference_mode():
        column_product(blocks, 4, compiled=False)
    (slope,) = torch.autograd.grad(
        differentiable_product(blocks, 4).real.square().sum(), blocks, create_graph=True
    )
    assert bool(torch.autograd.grad(slope.abs().square().sum(), blocks)[0].any())


@compiler
def test_builds_agree_in_single_precision() -> None:
    blocks = unitary_blocks(64, 2, torch.complex64)
    plain = column_product(blocks, 64, compiled=False)
    torch.testing.assert_close(plain, column_product(blocks, 64, compiled=True), rtol=0, atol=2e-6)


def test_plain_build_context_switches_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    called = []
    monkeypatch.setattr(mesh_op, "available", lambda: called.append(1) or False)
    blocks = unitary_blocks(4)
    with plain_build():
        column_product(blocks, 4)
    assert called == []
    column_product(blocks, 4)
    assert called == [1]


@pytest.mark.parametrize("shape", [(1, 4, 5), (4, 6), (1, 3, 6), (1, 4, 7)])
def test_a_wrong_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match="waveguides"):
        column_product(torch.zeros(shape, dtype=torch.complex64), 4)


@settings(deadline=None, max_examples=25)
@given(n=st.integers(2, 20), seed=st.integers(0, 2**31))
def test_any_unitary_is_decomposed_and_built_again(n: int, seed: int) -> None:
    wanted = haar(n, seed)
    theta, phi, gamma = decompose(wanted.numpy())
    assert ((theta >= 0) & (theta <= math.pi)).all()
    assert ((phi >= 0) & (phi < 2 * math.pi)).all()
    layer = MZIMesh(n, detected=False).double()
    layer._set(*(torch.from_numpy(a) for a in (theta, phi, gamma)))
    torch.testing.assert_close(layer.ideal_weight(), wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("many", [(3,), (2, 2), (0,)])
def test_matrices_side_by_side_are_decomposed_as_each_alone(many: tuple[int, ...]) -> None:
    n, count = 5, math.prod(many)
    matrices = [haar(n, seed).numpy() for seed in range(count)]
    together = decompose(np.array(matrices, dtype=np.complex128).reshape(*many, n, n))
    assert [part.shape for part in together] == [(*many, 10), (*many, 10), (*many, n)]
    for i, matrix in enumerate(matrices):
        for part, alone in zip(together, decompose(matrix), strict=True):
            found = np.exp(1j * part.reshape(count, len(alone))[i])
            np.testing.assert_allclose(found, np.exp(1j * alone), atol=1e-10)


@pytest.mark.parametrize(
    "special",
    [
        torch.eye(6, dtype=torch.complex128),
        torch.eye(6, dtype=torch.complex128).flip(0),
        torch.eye(6, dtype=torch.complex128).roll(1, 0) * 1j,
        torch.diag(torch.polar(torch.ones(5), torch.arange(5.0))).to(torch.complex128),
        torch.fft.fft(torch.eye(8, dtype=torch.complex128), norm="ortho"),
    ],
    ids=["identity", "reversal", "shift", "diagonal", "Fourier"],
)
def test_matrices_with_zeros_are_decomposed(special: Tensor) -> None:
    n = len(special)
    layer = MZIMesh(n, detected=False).double()
    layer._set(*(torch.from_numpy(a) for a in decompose(special.numpy())))
    torch.testing.assert_close(layer.ideal_weight(), special, rtol=0, atol=2e-7)


@pytest.mark.parametrize(
    ("matrix", "text"),
    [
        (np.ones((3, 3)), "not unitary"),
        (np.eye(3)[:2], r"shape \(2, 3\)"),
        (np.full((2, 2), np.nan), "not unitary"),
        (np.eye(1), r"shape \(1, 1\)"),
    ],
)
def test_what_cannot_be_decomposed_is_refused(matrix: np.ndarray, text: str) -> None:
    with pytest.raises(UserError, match=text):
        decompose(matrix)


def test_an_absurd_size_is_refused() -> None:
    with pytest.raises(UserError, match="number of waveguides is 1"):
        mesh.coupler_places(1)


def lossy_gradients(
    n: int, amplitude: Tensor, dtype: torch.dtype, compiled: bool | None
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Gradients of phases and amplitudes: of `column_product`, and of ordinary operations."""
    generator = torch.Generator().manual_seed(n)
    theta, phi = (
        torch.rand(2, n_couplers(n), dtype=dtype, generator=generator).mul_(6).requires_grad_()
        for _ in range(2)
    )
    amplitude = amplitude.to(dtype).requires_grad_()
    weight = haar(n, 1).to(torch.promote_types(dtype, torch.complex64))

    def gradients(product: Tensor) -> tuple[Tensor, ...]:
        loss = ((product @ weight).abs() ** 2 * torch.arange(1.0, n + 1)).sum() + product.real.sum()
        return torch.autograd.grad(loss, (theta, phi, amplitude))

    blocks = amplitude * entries(theta, phi)
    return (
        gradients(column_product(blocks, n, compiled=compiled)),
        gradients(differentiable_product(amplitude * entries(theta, phi), n)),
    )


@settings(deadline=None, max_examples=30)
@given(
    n=st.integers(2, 12),
    loss_db=st.floats(-6, 6),
    compiled=st.sampled_from([False, None]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_gradients_are_right_with_loss_and_with_gain(
    n: int, loss_db: float, compiled: bool | None, dtype: torch.dtype
) -> None:
    amplitude = torch.tensor(10 ** (-loss_db / 20))
    fast, slow = lossy_gradients(n, amplitude, dtype, compiled)
    for a, b in zip(fast, slow, strict=True):
        scale = float(b.abs().max())
        torch.testing.assert_close(
            a / scale, b / scale, rtol=0, atol=1e-9 if dtype is torch.float64 else 2e-4
        )


@pytest.mark.parametrize("compiled", BUILDS)
def test_one_lossy_coupler_among_many_is_found(compiled: bool) -> None:
    n = 9
    for device in (0, 1):
        for place in (0, 17, n_couplers(n) - 1):
            amplitude = torch.ones(2, 1, n_couplers(n), dtype=torch.float64)
            amplitude[device, 0, place] = 0.999
            fast, slow = lossy_gradients(n, amplitude, torch.float64, compiled)
            torch.testing.assert_close(fast, slow, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("compiled", BUILDS)
@pytest.mark.parametrize("power", [1.0, 0.8])
def test_derivatives_with_loss_by_finite_differences(compiled: bool, power: float) -> None:
    n = 4
    generator = torch.Generator().manual_seed(0)
    theta, phi = (
        torch.rand(1, n_couplers(n), dtype=torch.float64, generator=generator).requires_grad_()
        for _ in range(2)
    )
    amplitude = torch.full((1,), power**0.5, dtype=torch.float64, requires_grad=True)

    def powers(theta: Tensor, phi: Tensor, amplitude: Tensor) -> Tensor:
        blocks = amplitude * entries(theta, phi)
        return column_product(blocks, n, compiled=compiled)[0, :2].abs().square()

    assert torch.autograd.gradcheck(powers, (theta, phi, amplitude))
    assert torch.autograd.gradgradcheck(powers, (theta, phi, amplitude))


@pytest.mark.parametrize("compiled", BUILDS)
def test_couplers_that_skew_or_turn_light_over_are_not_unitary(compiled: bool) -> None:
    # Columns of norm 1 that are not orthogonal, and rows: |M' M - 1| shows off the diagonal only.
    for block in ([[1.0, 1.0], [0.0, 0.0]], [[1.0, 0.6], [0.0, 0.8]], [[0.6, 0.6j], [0.8, -0.8j]]):
        raw = torch.tensor(block, dtype=torch.complex128).flatten().view(1, 4, 1)
        blocks = raw.expand(1, 4, 3).clone().requires_grad_()
        weight = haar(3, 5)
        fast, slow = (
            torch.autograd.grad((product @ weight)[0, 0].abs().square().sum(), blocks)[0]
            for product in (
                column_product(blocks, 3, compiled=compiled),
                differentiable_product(blocks, 3),
            )
        )
        torch.testing.assert_close(fast, slow, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("compiled", BUILDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("n", [4, 64])
def test_unitary_couplers_keep_the_short_way_back(
    n: int, dtype: torch.dtype, compiled: bool
) -> None:
    generator = torch.Generator().manual_seed(n)
    theta, phi, left, right = (
        torch.rand(20, n_couplers(n), dtype=torch.float64, generator=generator).to(dtype)
        for _ in range(4)
    )
    for coupling in (None, couplings(1.9 * left - 0.95, 1.9 * right - 0.95)):
        blocks = entries(40 * theta - 20, 40 * phi - 20, coupling).requires_grad_()
        product = column_product(blocks, n, compiled=compiled)
        assert type(product.grad_fn).__name__ == (
            "_CompiledBackward" if compiled else "_BlockedBackward"
        )


@pytest.mark.parametrize("compiled", BUILDS)
def test_couplers_that_are_not_numbers_give_no_numbers(compiled: bool) -> None:
    blocks = unitary_blocks(4)
    blocks[0, 0, 2] = math.nan
    blocks.requires_grad_()
    product = column_product(blocks, 4, compiled=compiled)
    assert product.isnan().any()
    (gradient,) = torch.autograd.grad(product.abs().square().sum(), blocks)
    assert gradient.isnan().any()


@pytest.mark.parametrize("compiled", BUILDS)
def test_a_conjugated_view_is_read_as_what_it_is(compiled: bool) -> None:
    blocks = unitary_blocks(5, 2)
    expected = column_product(blocks.conj().resolve_conj(), 5, compiled=compiled)
    torch.testing.assert_close(column_product(blocks.conj(), 5, compiled=compiled), expected)
    turned = blocks.movedim(1, 2).contiguous().movedim(2, 1)
    torch.testing.assert_close(
        column_product(turned, 5, compiled=compiled), column_product(blocks, 5, compiled=compiled)
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64])
def test_entries_of_another_kind_are_refused(dtype: torch.dtype) -> None:
    with pytest.raises(UserError, match="entries hold"):
        column_product(torch.zeros(1, 4, 1, dtype=dtype), 2)
