"""Timing for ratios: variants take turns in one process, CPU seconds, median over rounds."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

import torch


def interleaved(
    variants: Mapping[str, Callable[[], object]], rounds: int, threads: int = 1
) -> dict[str, list[float]]:
    """Runs variants in turn.

    Args:
        variants: Name -> what to time.
        rounds: Counted rounds; one more comes first, uncounted.
        threads: Threads of torch.

    Returns:
        Name -> CPU seconds of each counted round.
    """
    torch.set_num_threads(threads)
    times: dict[str, list[float]] = {name: [] for name in variants}
    for turn in range(rounds + 1):
        for name, run in variants.items():
            begin = time.process_time()
            run()
            if turn:
                times[name].append(time.process_time() - begin)
    return times


def report(
    title: str, times: Mapping[str, list[float]], base: str, aims: Mapping[str, str] | None = None
) -> None:
    """Prints medians and the ratio to a base variant, round by round."""
    print(title)
    for name, values in times.items():
        ratios = [v / b for v, b in zip(values, times[base], strict=True)]
        aim = f"   aim: {aims[name]}" if aims and name in aims else ""
        print(
            f"  {name:<34}{statistics.median(values):9.3f} s CPU   x{statistics.median(ratios):.2f}"
            f" of {base} ({min(ratios):.2f} to {max(ratios):.2f}){aim}"
        )
