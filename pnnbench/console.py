"""What long work says: a progress bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any


class Console:
    """Shows progress on standard error.

    On a terminal the present line stands beside a bar of finished jobs; elsewhere each line is
    printed with the time since the start.

    Args:
        total: Number of jobs, for the bar.
    """

    def __init__(self, total: int) -> None:
        self._start = time.monotonic()
        self._bar: Any = None
        if sys.stderr.isatty() and total:
            from tqdm import tqdm

            self._bar = tqdm(total=total, unit="job", leave=True, dynamic_ncols=True)

    def __enter__(self) -> Console:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def say(self, line: str) -> None:
        """Shows one line."""
        if self._bar is not None:
            self._bar.set_postfix_str(line[-100:])
            return
        elapsed = int(time.monotonic() - self._start)
        print(f"{elapsed // 60:4d}:{elapsed % 60:02d}  {line}", file=sys.stderr, flush=True)  # noqa: T201

    def advance(self, count: int = 1) -> None:
        """Moves the bar on by some jobs."""
        if self._bar is not None:
            self._bar.update(count)
