"""What long work says: a progress bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import codecs
import io
import os
import sys
import time
from types import TracebackType
from typing import Any, TextIO

_PLAIN = {
    "─": "-", "−": "-", "–": "-", "±": "+-", "×": "x", "·": ".", "…": "...", "λ": "lambda_",
    "Θ": "Theta", "θ": "theta", "ε": "eps", "ρ": "rho", "α": "alpha", "σ": "sigma", "²": "2",
    "°": "deg ", "µ": "u",
}  # fmt: skip


def _spell(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    encoded = "".join(_PLAIN.get(character, "?") for character in text)
    return encoded, error.end


def speak_plainly(*streams: TextIO) -> None:
    """Makes streams write words for signs that their encoding lacks, instead of failing.

    Args:
        streams: Text streams, such as standard output.
    """
    codecs.register_error("pnnbench", _spell)
    for stream in streams:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="pnnbench")


def hush(stream: TextIO) -> None:
    """Lets a stream go nowhere: nobody reads it any more."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    except (OSError, ValueError):  # it has no file behind it
        return


def duration(seconds: float) -> str:
    """Formats a duration for people.

    Args:
        seconds: In s, at least 0.

    Returns:
        Such as ``"40 s"``, ``"12 min"`` or ``"3 h 20 min"``.
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 120:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def _is_screen() -> bool:
    """Whether standard error is a terminal that says how large it is."""
    try:
        return sys.stderr.isatty() and os.get_terminal_size(sys.stderr.fileno()).lines > 0
    except (OSError, ValueError):
        return False


class Console:
    """Shows progress on standard error.

    On a terminal the present line stands beside a bar, which moves within a job and says how much
    time is left. Elsewhere each line is printed with the time since the start.

    Args:
        total: Number of jobs; 0 for no bar.
        done: How many of them are finished before the start.
    """

    def __init__(self, total: int = 0, done: int = 0) -> None:
        self._start = time.monotonic()
        self._total, self._before, self._done = total, done, done
        self._bar: Any = None
        if total > done and _is_screen():
            from tqdm import tqdm

            self._bar = tqdm(
                total=total,
                initial=done,
                smoothing=0.0,
                dynamic_ncols=True,
                bar_format="{percentage:3.0f}% {bar:20} {n:.1f}/{total} jobs, {elapsed} so far, "
                "{remaining} left{postfix}",
            )

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
        """Shows one line; what has several lines stays on the terminal.

        Work goes on where nobody reads any more.
        """
        if self._bar is None:
            elapsed = int(time.monotonic() - self._start)
            clock = f"{elapsed // 60:4d}:{elapsed % 60:02d}"
            try:
                print(f"{clock}  {line}", file=sys.stderr, flush=True)  # noqa: T201
            except OSError:
                hush(sys.stderr)
        elif "\n" in line:
            self._bar.write(line, file=sys.stderr)
        else:
            self._bar.set_postfix_str(line[-100:])

    def share(self, share: float) -> None:
        """Moves the bar within the present job.

        Args:
            share: How much of the job is done, in [0, 1].
        """
        if self._bar is not None:
            # Never back: a job that goes on from a checkpoint starts in its middle.
            self._bar.update(max(0.0, min(self._done + share, self._total) - self._bar.n))

    def advance(self, count: int = 1) -> None:
        """Notes that some jobs are finished."""
        self._done += count
        if self._bar is not None:
            self._bar.update(self._done - self._bar.n)
        elif self._done < self._total:
            each = (time.monotonic() - self._start) / (self._done - self._before)
            left = duration(each * (self._total - self._done))
            self.say(f"{self._done} of {self._total} jobs, about {left} left")
