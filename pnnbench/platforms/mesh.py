"""Rectangular meshes of 2 x 2 couplers: topology, product of the columns, decomposition.

A mesh of ``n`` waveguides has ``n`` columns; column ``l`` couples the pairs (l % 2, l % 2 + 1),
(l % 2 + 2, ...), ... (Clements et al., Optica 3, 1460 (2016)). Couplers are listed column by
column, from the input to the output, each column from the top: ``n (n - 1) / 2`` of them.
Waveguides that a column leaves alone pass unchanged.

`column_product` is the product of the columns. Three ways to compute it agree to rounding: the
blocked build in plain PyTorch, the same operation in C (`mesh_op`), and a differentiable build for
second derivatives and for couplers that are not unitary. The first two go back through the columns
by unitarity, so that no activation of a column is stored.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pnnbench.errors import UserError, check_count
from pnnbench.platforms import mesh_op


def n_couplers(n: int) -> int:
    """Number of couplers of a mesh of ``n`` waveguides: n (n - 1) / 2."""
    return n * (n - 1) // 2


@functools.cache
def coupler_places(n: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Column and upper waveguide of every coupler.

    Args:
        n: Number of waveguides, at least 2.

    Returns:
        Two arrays (n (n - 1) / 2,), in the order of the couplers.

    Raises:
        UserError: If ``n`` is below 2.
    """
    check_count("number of waveguides", n, low=2, high=4096)
    pairs = [(column, top) for column in range(n) for top in range(column % 2, n - 1, 2)]
    columns, tops = np.array(pairs, dtype=np.int64).T
    return columns, tops


def edge_columns(n: int) -> NDArray[np.bool_]:
    """Which columns leave at least one waveguide alone: odd ones if ``n`` is even, else all."""
    return (np.arange(n) % 2 == 1) | (n % 2 == 1)


class _Blocks:
    """How the columns are cut into groups that are multiplied out side by side."""

    def __init__(self, n: int) -> None:
        # Groups of equal, even length, so that step j of every group has the parity of j; their
        # number is a power of two, filled up with empty columns.
        self.n = n
        groups = 1
        while groups * groups < n and groups < 8:
            groups *= 2
        self.groups = groups
        self.steps = -(-n // (2 * groups)) * 2
        columns, tops = coupler_places(n)
        self.width = n // 2
        self.live = [(n - step % 2) // 2 for step in range(self.steps)]
        slots = columns * self.width + (tops - columns % 2) // 2
        self.slots = torch.from_numpy(slots)
        identity = torch.zeros(4, groups * self.steps * self.width, dtype=torch.complex64)
        identity[0] = identity[3] = 1.0
        self.identity = identity

    def padded(self, entries: Tensor) -> Tensor:
        """Entries (C, 4, M) in slots (C, 4, groups, steps, width), the identity where none is."""
        blank = self.identity.to(entries).expand(len(entries), -1, -1)
        filled = blank.index_copy(2, self.slots.to(entries.device), entries)
        return filled.unflatten(2, (self.groups, self.steps, self.width))


@functools.cache
@torch.inference_mode(False)  # what is shared outlives the mode that asks first
def _blocks(n: int) -> _Blocks:
    return _Blocks(n)


def _apply(m: tuple[Tensor, ...], top: Tensor, bottom: Tensor) -> tuple[Tensor, Tensor]:
    upper = (m[0] * top).addcmul_(m[1], bottom)
    lower = (m[2] * top).addcmul_(m[3], bottom)
    return upper, lower


def _column(padded: Tensor, blocks: _Blocks, step: int) -> tuple[Tensor, ...]:
    k = blocks.live[step]
    return tuple(padded[:, e, :, step, :k, None] for e in range(4))


def _pair(state: Tensor, blocks: _Blocks, step: int) -> tuple[Tensor, Tensor]:
    first, k = step % 2, blocks.live[step]
    rows = state[:, :, first : first + 2 * k]
    return rows[:, :, 0::2], rows[:, :, 1::2]


def _tree(groups: Tensor) -> list[Tensor]:
    """Products of neighbouring groups, level by level; the last holds the whole product."""
    levels = [groups]
    while levels[-1].shape[1] > 1:
        last = levels[-1]
        levels.append(last[:, 1::2] @ last[:, 0::2])
    return levels


def _build(entries: Tensor, n: int) -> list[Tensor]:
    blocks = _blocks(n)
    padded = blocks.padded(entries)
    eye = torch.eye(n, dtype=entries.dtype, device=entries.device)
    state = eye.repeat(len(entries), blocks.groups, 1, 1)
    for step in range(blocks.steps):
        top, bottom = _pair(state, blocks, step)
        upper, lower = _apply(_column(padded, blocks, step), top, bottom)
        top.copy_(upper)
        bottom.copy_(lower)
    return _tree(state)


class _Blocked(torch.autograd.Function):
    """The blocked build in plain PyTorch."""

    @staticmethod
    def forward(ctx: Any, entries: Tensor, n: int) -> Tensor:
        levels = _build(entries, n)
        ctx.n = n
        ctx.save_for_backward(entries, *levels[:-1])
        # A copy, since with one group the product is the saved group itself.
        return levels[-1][:, 0].clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (grad,) = grads
        entries, *levels = ctx.saved_tensors
        if torch.is_grad_enabled():  # somebody wants a second derivative
            return _second_order(entries, ctx.n, grad), None
        blocks = _blocks(ctx.n)
        if not levels:
            levels = [_build(entries, ctx.n)[-1]]
            g = grad[:, None]
        else:
            g = grad[:, None]
            for level in reversed(levels):
                later, earlier = level[:, 1::2], level[:, 0::2]
                g = torch.stack((later.mH @ g, g @ earlier.mH), 2).flatten(1, 2)
        padded = blocks.padded(entries)
        out = torch.zeros_like(padded)
        # Matrix and gradient go back through the columns together: m is unitary.
        both = torch.cat((levels[0], g), -1)
        conjugate = padded.conj().resolve_conj()
        n = ctx.n
        for step in reversed(range(blocks.steps)):
            top, bottom = _pair(both, blocks, step)
            m11, m12, m21, m22 = _column(conjugate, blocks, step)
            upper, lower = _apply((m11, m21, m12, m22), top, bottom)  # the adjoint
            k = blocks.live[step]
            # Gradient of the output (2, n) times the input (n, 2), adjoint, per coupler.
            g_out = torch.stack((top[..., n:], bottom[..., n:]), 3)
            x_in = torch.stack((upper[..., :n], lower[..., :n]), 3)
            gm = g_out @ x_in.mH
            out[:, :, :, step, :k] = gm.flatten(3).movedim(3, 1)
            top.copy_(upper)
            bottom.copy_(lower)
        return out.flatten(2)[:, :, blocks.slots.to(out.device)], None


class _Compiled(torch.autograd.Function):
    """The column sweep in C."""

    @staticmethod
    def forward(ctx: Any, entries: Tensor, n: int) -> Tensor:
        entries = _plain_memory(entries)
        product = mesh_op.forward(entries, n)
        ctx.n = n
        ctx.save_for_backward(entries, product)
        return product

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (grad,) = grads
        entries, product = ctx.saved_tensors
        if torch.is_grad_enabled():
            return _second_order(entries, ctx.n, grad), None
        return mesh_op.backward(entries, product, _plain_memory(grad), ctx.n), None


def differentiable_product(entries: Tensor, n: int) -> Tensor:
    """The product of the columns by ordinary operations, differentiable any number of times.

    Args:
        entries: Entries of the couplers (C, 4, M), as for `column_product`.
        n: Number of waveguides.

    Returns:
        Products (C, n, n).
    """
    blocks = _blocks(n)
    padded = blocks.padded(entries)
    eye = torch.eye(n, dtype=entries.dtype, device=entries.device)
    state = eye.expand(len(entries), blocks.groups, n, n)
    for step in range(blocks.steps):
        first, k = step % 2, blocks.live[step]
        top, bottom = _pair(state, blocks, step)
        m = _column(padded, blocks, step)
        pairs = torch.stack((m[0] * top + m[1] * bottom, m[2] * top + m[3] * bottom), 3)
        rows = pairs.flatten(2, 3)
        state = torch.cat((state[:, :, :first], rows, state[:, :, first + 2 * k :]), 2)
    return _tree(state)[-1][:, 0]


def _second_order(entries: Tensor, n: int, grad: Tensor) -> Tensor:
    with torch.enable_grad():
        product = differentiable_product(entries, n)
        return torch.autograd.grad(product, entries, grad, create_graph=True)[0]


_plain: ContextVar[bool] = ContextVar("plain", default=False)


@contextmanager
def plain_build() -> Iterator[None]:
    """Context in which the plain build is the default even where the operation in C is to be had.

    Yields:
        None.
    """
    token = _plain.set(True)
    try:
        yield
    finally:
        _plain.reset(token)


def column_product(entries: Tensor, n: int, *, compiled: bool | None = None) -> Tensor:
    """Multiplies the columns of meshes out, many devices at once.

    Args:
        entries: Entries m11, m12, m21, m22 of the 2 x 2 couplers, complex64 or complex128
            (C, 4, M) with M = n (n - 1) / 2 couplers in order. Where a gradient is wanted and they
            are not unitary to rounding, as with loss, the differentiable build takes over.
        n: Number of waveguides, at least 2.
        compiled: Whether to use the operation in C; None where it is to be had and the tensors lie
            on a CPU. See `mesh_op.available`.

    Returns:
        Products (C, n, n): output fields = product @ input fields. Differentiable twice.

    Raises:
        UserError: If shape or kind do not fit, or the operation in C is asked for and not to be
            had.
    """
    if entries.dim() != 3 or entries.shape[1:] != (4, n_couplers(n)):
        raise UserError(
            f"entries of shape {tuple(entries.shape)} do not make meshes of {n} waveguides",
            allowed=f"(devices, 4, {n_couplers(n)})",
        )
    if entries.dtype not in (torch.complex64, torch.complex128):
        raise UserError(f"entries hold {entries.dtype}", allowed="complex64 or complex128")
    on_cpu = entries.device.type == "cpu"
    if compiled is None:
        compiled = on_cpu and not _plain.get() and mesh_op.available()
    elif compiled:
        mesh_op.require()
        if not on_cpu:
            raise UserError(f"the compiled mesh cannot take entries on {entries.device}")
    if torch.is_grad_enabled() and entries.requires_grad and not _unitary(entries, compiled):
        return differentiable_product(entries, n)
    function: Any = _Compiled if compiled else _Blocked
    return function.apply(entries, n)


#: A coupler of the decomposition: its upper port, theta and phi of each matrix.
_Factor = tuple[int, NDArray[np.float64], NDArray[np.float64]]
#: Largest deviation of a coupler from a unitary one, in units of the rounding of its numbers.
_ROUNDING = 16


def _unitary(entries: Tensor, compiled: bool) -> bool:
    """Whether every coupler is unitary to rounding: |M' M - 1| in each entry."""
    entries = entries.detach()
    bound = _ROUNDING * torch.finfo(entries.dtype).eps
    if compiled:
        return mesh_op.unitary(_plain_memory(entries), bound)
    m11, m12, m21, m22 = entries.unbind(1)
    power = torch.view_as_real(entries.resolve_conj()).square().sum(-1)
    norms = (power[:, :2] + power[:, 2:] - 1.0).abs().amax()
    overlap = torch.view_as_real(m11.conj() * m12 + m21.conj() * m22).abs().amax()
    return bool(torch.maximum(norms, overlap) <= bound)


def _plain_memory(tensor: Tensor) -> Tensor:
    """The numbers as they lie in memory: contiguous, no conjugation or sign left to be done."""
    return tensor.resolve_conj().resolve_neg().contiguous()


def decompose(
    unitary: NDArray[np.complexfloating[Any, Any]],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Finds the phases with which an ideal rectangular mesh is a given unitary matrix.

    Elements are nulled from both sides along antidiagonals (Clements et al., Optica 3, 1460
    (2016)); then all phases are moved towards the input, into the couplers and the input phases.
    Several matrices go through the same steps side by side.

    Args:
        unitary: Complex (..., n, n), unitary to 1e-3.

    Returns:
        theta (..., M) in [0, pi], phi (..., M) in [0, 2 pi) and gamma (..., n) in [0, 2 pi), in
        rad, in the order of the couplers.

    Raises:
        UserError: If the matrix is not square, not finite or not unitary.
    """
    u = np.array(unitary, dtype=np.complex128)
    if u.ndim < 2 or u.shape[-1] != u.shape[-2] or u.shape[-1] < 2:
        raise UserError(f"a matrix of shape {u.shape}", allowed="(..., n, n) with n at least 2")
    n = u.shape[-1]
    finite = np.isfinite(u).all()
    excess = np.abs(u @ u.conj().swapaxes(-1, -2) - np.eye(n)) if finite else np.inf
    error = np.max(excess, initial=0.0)
    if not error < 1e-3:
        raise UserError(
            f"the matrix is not unitary: |U U' - 1| is up to {error:.3g}",
            allowed="at most 1e-3",
            next_step="take the nearest unitary matrix, its polar factor",
        )
    many = u.shape[:-2]
    u = np.moveaxis(
        u.reshape(math.prod(many), n, n), 0, -1
    )  # all matrices' values of an element together
    left: list[_Factor] = []
    right: list[_Factor] = []
    for i in range(1, n):
        for j in range(i):
            if i % 2:
                row, a = n - 1 - j, i - 1 - j
                phi = np.angle(-u[row, a]) - np.angle(u[row, a + 1])
                theta = 2 * np.arctan2(abs(u[row, a + 1]), abs(u[row, a]))
                u[:, a] *= np.exp(-1j * phi)
                u[:, a], u[:, a + 1] = _reflected(theta, u[:, a], u[:, a + 1])
                right.append((a, theta, phi))
            else:
                a, col = n - 1 + j - i, j
                phi = np.angle(u[a, col]) - np.angle(u[a + 1, col])
                theta = 2 * np.arctan2(abs(u[a, col]), abs(u[a + 1, col]))
                u[a] *= np.exp(-1j * phi)
                u[a], u[a + 1] = _reflected(theta, u[a], u[a + 1])
                left.append((a, theta, phi))
    diagonal = np.stack([u[i, i] for i in range(n)])
    theta, phi, gamma = (np.moveaxis(part, -1, 0) for part in _collect(n, left, diagonal, right))
    m = n_couplers(n)
    return theta.reshape(*many, m), phi.reshape(*many, m), gamma.reshape(*many, n)


def _reflected(
    theta: NDArray[np.float64], first: NDArray[np.complex128], second: NDArray[np.complex128]
) -> tuple[NDArray[np.complex128], NDArray[np.complex128]]:
    """Two rows or columns, mixed by a coupler: -1j [[s, c], [c, -s]]."""
    s, c = np.sin(theta / 2), np.cos(theta / 2)
    return -1j * (s * first + c * second), -1j * (c * first - s * second)


def _collect(
    n: int,
    left: list[_Factor],
    diagonal: NDArray[np.complex128],
    right: list[_Factor],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Places factors in columns and moves stray phases to the input; matrices stand last."""
    from_input = [(f, False) for f in right] + [(f, True) for f in reversed(left)]
    depth = np.zeros(n, dtype=np.int64)
    columns = []
    for (a, _, _), _ in from_input:
        column = int(depth[a : a + 2].max())
        column += (column - a) % 2
        depth[a : a + 2] = column + 1
        columns.append(column)
    edges = edge_columns(n)
    index = {place: i for i, place in enumerate(zip(*coupler_places(n), strict=True))}
    theta = np.zeros((n_couplers(n), diagonal.shape[-1]))
    phi = np.zeros_like(theta)
    stray = np.ones_like(diagonal)  # phases between the factors seen so far and the rest
    passed = False
    for column, ((a, angle, shift), is_left) in reversed(
        list(zip(columns, from_input, strict=True))
    ):
        if not is_left and not passed:
            stray, passed = stray * diagonal, True
        i = index[column, a]
        theta[i] = angle
        phi[i] = np.angle(stray[a] / stray[a + 1]) + (shift if is_left else 0.0)
        # The mesh has 1j times the coupler in columns with an edge, see `platforms.mzi`.
        common = stray[a + 1] * (-1j if edges[column] else 1.0)
        stray[a : a + 2] = common
        if not is_left:
            stray[a] *= np.exp(1j * shift)
    stray = stray * 1j ** int(edges.sum())
    return theta, phi % (2 * np.pi), np.angle(stray) % (2 * np.pi)
