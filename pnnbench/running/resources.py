"""What a phase of a job has taken: wall time, CPU time, memory; and memory kept for the next."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

#: Wall time and CPU time, in s.
Clock = tuple[float, float]


def clock() -> Clock:
    """Wall time and CPU time of this process, in s; differences alone have a meaning."""
    return time.perf_counter(), time.process_time()


def spent(phase: str, begun: Clock, ended: Clock) -> dict[str, float]:
    """Seconds of a phase as a record's cost has them.

    Args:
        phase: Such as ``"evaluate"``.
        begun: When it began.
        ended: When it ended, in the same process.

    Returns:
        ``PHASE_seconds`` and ``PHASE_cpu_seconds``. The CPU time does not depend on what else runs
        on the machine; with several threads it is the sum over them.
    """
    return {
        f"{phase}_seconds": ended[0] - begun[0],
        f"{phase}_cpu_seconds": ended[1] - begun[1],
    }


def peak_memory() -> int:
    """The most memory that this process has had so far, in bytes; 0 where the system does not say.

    The jobs that the process has run before are part of it.
    """
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else 1024 * peak)


@contextmanager
def collected() -> Iterator[None]:
    """Context after which nothing that was made in it stays in memory without being in use.

    Trainer and workload refer to each other: their images would stay until a collection happens to
    come. What was there before, libraries above all, is not looked through: there is much of it.
    """
    gc.freeze()
    try:
        yield
    finally:
        gc.collect()
        gc.unfreeze()


#: Parameters of glibc's ``mallopt`` (malloc.h) and what they are set to, in bytes: how much free
#: memory at the end of the heap is kept, and from which size on a block is mapped by itself.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = (-1, 512 * 2**20), (-3, 256 * 2**20)
#: Variables by which a user has decided about glibc's heap.
_HEAP = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TOP_PAD_", "GLIBC_TUNABLES")


@cache
def keep_memory() -> bool:
    """Lets the process keep the memory that it frees, up to 512 MiB, for what comes next.

    A pass through a network makes and frees the same large blocks again and again. glibc gives
    them back to the system each time, and the next use of each page costs a fault and a page of
    zeros: a third of the time of a calibrated grid of microrings. No figure depends on it.

    Returns:
        Whether it does; False where the C library is another one, or the user has set it.
    """
    if not sys.platform.startswith("linux") or any(name in os.environ for name in _HEAP):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
        ctypes.CDLL(None).gnu_get_libc_version  # noqa: B018 - other libraries have an idle mallopt
    except (OSError, AttributeError):
        return False
    return all(mallopt(*setting) == 1 for setting in (_TRIM_THRESHOLD, _MMAP_THRESHOLD))
