"""What a phase of a job has taken: wall time, CPU time, memory."""

from __future__ import annotations

import sys
import time

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
