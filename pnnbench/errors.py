"""The one error that a user sees: what happened, the value, what is allowed, what to do next."""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class UserError(Exception):
    """A mistake in what the user gave; the command line prints it without a traceback.

    Args:
        what: What is wrong, with the offending value in it.
        allowed: What would have been accepted, if that can be said in a line.
        next_step: The command or edit that gets the user on.
    """

    def __init__(self, what: str, *, allowed: str = "", next_step: str = "") -> None:
        self.what = what
        self.allowed = allowed
        self.next_step = next_step
        lines = [what]
        if allowed:
            lines.append(f"  allowed: {allowed}")
        if next_step:
            lines.append(f"  next:    {next_step}")
        super().__init__("\n".join(lines))


class DiskFullError(UserError):
    """There is no room left where something was to be written.

    Args:
        where: The file or folder, if it is known.
    """

    def __init__(self, where: Path | str | None = None) -> None:
        super().__init__(
            "the disk is full" + (f": {where} could not be written" if where else ""),
            next_step="make room and run the same command again: it goes on where it stopped",
        )


def disk_full(error: BaseException) -> bool:
    """Whether an error, or one behind it, says that a disk or a quota is full."""
    seen: BaseException | None = error
    for _ in range(16):
        if seen is None:
            return False
        if isinstance(seen, DiskFullError):
            return True
        if isinstance(seen, OSError) and seen.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


@contextmanager
def writing(where: Path | str) -> Iterator[None]:
    """Context that turns the error of a full disk into the one that a user sees.

    Args:
        where: What is written.

    Raises:
        DiskFullError: If there is no room left.
    """
    try:
        yield
    except OSError as error:
        if disk_full(error):
            raise DiskFullError(where) from error
        raise


def unknown_name(
    kind: str, name: str, known: Iterable[str], *, where: str = "", next_step: str = ""
) -> UserError:
    """Builds the error for a name that is not among the known ones.

    Args:
        kind: What the name should name, such as ``"method"``.
        name: The name that was given.
        known: The names that exist.
        where: Where it was given, such as ``"suite.yaml: methods[2]"``.
        next_step: The command or edit that gets the user on.

    Returns:
        The error, with the closest known name as a suggestion where there is one.
    """
    names = sorted(known)
    close = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    prefix = f"{where}: " if where else ""
    return UserError(
        f"{prefix}unknown {kind} {name!r}{hint}", allowed=", ".join(names), next_step=next_step
    )


def check_range(
    name: str,
    value: float,
    *,
    low: float = float("-inf"),
    high: float = float("inf"),
    low_open: bool = False,
    unit: str = "",
) -> float:
    """Checks that a number lies in its range.

    Args:
        name: Name of the quantity, for the message.
        value: The number to check.
        low: Smallest allowed value.
        high: Largest allowed value.
        low_open: Whether ``low`` itself is excluded.
        unit: Unit, for the message.

    Returns:
        The value as a float.

    Raises:
        UserError: If the value is not a finite number inside the range.
    """
    unit = f" {unit}" if unit else ""
    bracket = "(" if low_open else "["
    allowed = f"a number in {bracket}{low:g}, {high:g}]{unit}"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise UserError(f"{name} is {value!r}, which is not a number", allowed=allowed)
    if not low <= value <= high or (low_open and value <= low):
        raise UserError(f"{name} is {value!r}{unit}, out of range", allowed=allowed)
    return float(value)


def check_count(name: str, value: int, *, low: int = 1, high: int = 2**31) -> int:
    """Checks that a number is an integer in its range.

    Args:
        name: Name of the quantity, for the message.
        value: The number to check.
        low: Smallest allowed value.
        high: Largest allowed value.

    Returns:
        The value.

    Raises:
        UserError: If the value is not an integer inside the range.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise UserError(f"{name} is {value!r}", allowed=f"an integer from {low} to {high}")
    return value


def check_pair(name: str, value: Any, *, low: int = 1, high: int = 2**31) -> None:
    """Checks that something is two integers, each in its range.

    Args:
        name: Name of the quantity, for the message.
        value: What to check.
        low: Smallest allowed number.
        high: Largest allowed number.

    Raises:
        UserError: If it is not a tuple of two such integers.
    """
    if not isinstance(value, tuple) or len(value) != 2:
        raise UserError(f"{name} is {value!r}", allowed="a tuple of two integers")
    for number in value:
        check_count(name, number, low=low, high=high)
