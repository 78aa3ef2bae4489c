"""Operations in C that are built on demand: compiled with the machine's compiler, kept in a cache.

A library is built on first use into the user's cache folder, under a name that holds its source,
the compiler, its flags and the processor, and called through ctypes. Each operation has an oracle
in plain PyTorch, which takes its place where there is no compiler.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

#: Not -ffast-math: that links start-up code which makes the whole process flush denormal numbers to
#: zero.
_FLAGS = ("-O3", "-march=native", "-shared", "-fPIC", "-fno-trapping-math", "-fno-math-errno")


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


def build(source: Path, *flags: str) -> ctypes.CDLL:
    """Builds the library of a source file if it is not in the cache, and loads it.

    Two processes may do so at once: each puts a whole file in the place.

    Args:
        source: The C file.
        flags: Flags of the compiler beside `_FLAGS`.

    Returns:
        The loaded library.

    Raises:
        OSError: If there is no compiler, it fails, or the cache cannot be written or loaded.
    """
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc")
    if not compiler:
        raise OSError("there is no C compiler: neither cc nor gcc is on the path")
    every = (*_FLAGS, *flags)
    key = hashlib.sha256(
        source.read_bytes() + " ".join((*every, compiler, platform.machine(), _machine())).encode()
    ).hexdigest()[:16]
    target = _cache() / f"{source.stem}_{key}.so"
    if not target.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:
            built = Path(folder) / target.name
            command = [*compiler.split(), *every, "-o", str(built), str(source), "-lm"]
            try:
                done = subprocess.run(  # noqa: S603 - the machine's compiler on our own source
                    command, capture_output=True, text=True, timeout=120, check=False
                )
            except subprocess.TimeoutExpired:
                raise OSError("the C compiler took more than 120 s") from None
            if done.returncode != 0:
                raise OSError(f"the C compiler failed: {done.stderr.strip()[-500:]}")
            built.replace(target)
    return ctypes.CDLL(str(target))


def load(source: Path, *flags: str) -> ctypes.CDLL | str:
    """The library of a source file, as `build` gives it, or why it is not to be had.

    Args:
        source: The C file.
        flags: Flags of the compiler beside `_FLAGS`.

    Returns:
        The loaded library; a reason where ``PNNBENCH_COMPILE=0`` switches it off or it cannot be
        built.
    """
    if os.environ.get("PNNBENCH_COMPILE", "") == "0":
        return "PNNBENCH_COMPILE=0 switches it off"
    try:
        return build(source, *flags)
    except OSError as error:
        return str(error)
