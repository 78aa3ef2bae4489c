"""The product of the columns of a mesh in C, built on demand; plain PyTorch is its oracle.

The source lies beside this file. It is compiled with the machine's C compiler on first use, into
the user's cache folder, and called through ctypes. Where there is no compiler the plain build of
`mesh` takes its place. ``PNNBENCH_MESH=plain`` switches it off.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

import torch
from torch import Tensor

from pnnbench.errors import UserError

_SOURCE = Path(__file__).with_name("mesh_op.c")
# Sums may be reordered. Not -ffast-math: that links start-up code which makes the whole process
# flush denormal numbers to zero.
_FLAGS = (
    *("-O3", "-march=native", "-shared", "-fPIC"),
    *("-fassociative-math", "-fno-signed-zeros", "-fno-trapping-math", "-fno-math-errno"),
)
_SUFFIX = {torch.complex64: "float", torch.complex128: "double"}


def _machine() -> str:
    """What code for this very processor depends on."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.platform() + platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")


def _cache() -> Path:
    root = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(root) / "pnnbench" / "ops"


def _compile() -> Path:
    """Builds the library if it is not in the cache; returns its path.

    Raises:
        OSError: If there is no compiler, or it fails.
    """
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc")
    if not compiler:
        raise OSError("there is no C compiler: neither cc nor gcc is on the path")
    source = _SOURCE.read_bytes()
    key = hashlib.sha256(
        source + " ".join((*_FLAGS, compiler, platform.machine(), _machine())).encode()
    ).hexdigest()[:16]
    target = _cache() / f"mesh_{key}.so"
    if target.is_file():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        built = Path(folder) / target.name
        command = [*compiler.split(), *_FLAGS, "-o", str(built), str(_SOURCE), "-lm"]
        try:
            done = subprocess.run(  # noqa: S603 - the machine's compiler on our own source
                command, capture_output=True, text=True, timeout=120, check=False
            )
        except subprocess.TimeoutExpired:
            raise OSError("the C compiler took more than 120 s") from None
        if done.returncode != 0:
            raise OSError(f"the C compiler failed: {done.stderr.strip()[-500:]}")
        built.replace(target)
    return target


@functools.cache
def _library() -> ctypes.CDLL | str:
    """The loaded library, or why there is none."""
    if os.environ.get("PNNBENCH_MESH", "") == "plain":
        return "PNNBENCH_MESH=plain switches it off"
    try:
        library = ctypes.CDLL(str(_compile()))
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
