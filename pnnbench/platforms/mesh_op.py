"""The product of the columns of a mesh in C, built on demand; plain PyTorch is its oracle.

The source lies beside this file; `native` compiles it on first use. Where there is no compiler the
plain build of `mesh` takes its place. ``PNNBENCH_MESH=plain`` switches it off.
"""

from __future__ import annotations

import ctypes
import functools
import os
from pathlib import Path

import torch
from torch import Tensor

from pnnbench.errors import UserError
from pnnbench.platforms.native import build

_SOURCE = Path(__file__).with_name("mesh_op.c")
#: Sums may be reordered.
_FLAGS = ("-fassociative-math", "-fno-signed-zeros")
_SUFFIX = {torch.complex64: "float", torch.complex128: "double"}


@functools.cache
def _library() -> ctypes.CDLL | str:
    """The loaded library, or why there is none."""
    if os.environ.get("PNNBENCH_MESH", "") == "plain":
        return "PNNBENCH_MESH=plain switches it off"
    try:
        library = build(_SOURCE, *_FLAGS)
    except OSError as error:
        return str(error)
    pointer, number = ctypes.c_void_p, ctypes.c_int64
    for suffix in _SUFFIX.values():
        forward = getattr(library, f"mesh_forward_{suffix}")
        forward.argtypes, forward.restype = [pointer, pointer, number, number], ctypes.c_int
        backward = getattr(library, f"mesh_backward_{suffix}")
        backward.argtypes = [pointer, pointer, pointer, pointer, number, number]
        backward.restype = ctypes.c_int
        unitary = getattr(library, f"mesh_unitary_{suffix}")
        unitary.argtypes, unitary.restype = [pointer, number, number, ctypes.c_double], ctypes.c_int
    return library


def available() -> bool:
    """Whether the operation can be used here; builds it if need be."""
    return not isinstance(_library(), str)


def require() -> None:
    """Raises UserError, with the reason, if the operation cannot be used here."""
    library = _library()
    if isinstance(library, str):
        raise UserError(
            f"the compiled mesh is not to be had: {library}",
            next_step="install a C compiler, or take the plain build",
        )


def _call(name: str, dtype: torch.dtype, *args: int) -> None:
    library = _library()
    assert not isinstance(library, str)  # noqa: S101 - callers have checked
    if getattr(library, f"mesh_{name}_{_SUFFIX[dtype]}")(*args):
        raise MemoryError(f"mesh {name}: out of memory")


def unitary(entries: Tensor, bound: float) -> bool:
    """Whether every coupler is unitary.

    Args:
        entries: As for `forward`.
        bound: Largest deviation of an entry of M' M from the identity.

    Returns:
        False as soon as one is off by more, or is not a number.
    """
    library = _library()
    assert not isinstance(library, str)  # noqa: S101 - callers have checked
    check = getattr(library, f"mesh_unitary_{_SUFFIX[entries.dtype]}")
    devices, _, couplers = entries.shape
    return bool(check(entries.data_ptr(), devices, couplers, bound))


def forward(entries: Tensor, n: int) -> Tensor:
    """Multiplies the columns out.

    Args:
        entries: Contiguous complex (C, 4, M) on the CPU, complex64 or complex128.
        n: Number of waveguides.

    Returns:
        Products (C, n, n).
    """
    product = torch.empty(len(entries), n, n, dtype=entries.dtype)
    _call("forward", entries.dtype, entries.data_ptr(), product.data_ptr(), len(entries), n)
    return product


def backward(entries: Tensor, product: Tensor, grad: Tensor, n: int) -> Tensor:
    """Gradient with respect to the entries, going back through the columns by unitarity.

    Args:
        entries: As for `forward`.
        product: What `forward` returned (C, n, n).
        grad: Gradient with respect to the product (C, n, n), contiguous.
        n: Number of waveguides.

    Returns:
        Gradient (C, 4, M).
    """
    out = torch.empty_like(entries)
    pointers = (entries.data_ptr(), product.data_ptr(), grad.data_ptr(), out.data_ptr())
    _call("backward", entries.dtype, *pointers, len(entries), n)
    return out
