"""The one error that a user sees: what happened, the value, what is allowed, what to do next."""

from __future__ import annotations

import difflib
import errno
import inspect
import linecache
import re
import sysconfig
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path
from typing import Any

#: Packages whose frames say nothing to somebody who looks for a mistake in a file of their own.
_LIBRARIES = frozenset(
    {"pnnbench", "torch", "torchmetrics", "torchvision", "lightning", "lightning_fabric",
     "lightning_utilities", "pytorch_lightning", "numpy", "scipy"}
)  # fmt: skip
#: Why nothing more can be written, by the number of the error.
_NO_ROOM = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "a file would be larger than is allowed here (ulimit -f)",
}
#: What PyYAML raises for texts that it cannot make values of, beside its own YAMLError: of
#: 2024-13-45 or 0x_, of what is tagged as something that it is not, of too many digits or brackets.
NO_VALUE = (ValueError, LookupError, AttributeError, TypeError, ArithmeticError, RecursionError)
_STANDARD_LIBRARY = Path(sysconfig.get_paths()["stdlib"])
#: Names that an error lists at most.
_SHOWN = 24


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
        error: The error that says so, if there is one: it, or one behind it, tells whether a disk,
            a quota or the largest file that is allowed is the limit.
    """

    def __init__(self, where: Path | str | None = None, error: BaseException | None = None) -> None:
        numbers = (getattr(each, "errno", None) for each in _behind(error))
        why = next((_NO_ROOM[n] for n in numbers if n in _NO_ROOM), _NO_ROOM[errno.ENOSPC])
        super().__init__(
            why + (f": {where} could not be written" if where else ""),
            next_step="make room and run the same command again: it goes on where it stopped",
        )


def _behind(error: BaseException | None) -> Iterator[BaseException]:
    """An error and those behind it, 16 at most."""
    for _ in range(16):
        if error is None:
            return
        yield error
        error = error.__cause__ or error.__context__


def disk_full(error: BaseException) -> bool:
    """Whether an error, or one behind it, says that a disk, a quota or a file is full."""
    return any(
        isinstance(each, DiskFullError) or (isinstance(each, OSError) and each.errno in _NO_ROOM)
        for each in _behind(error)
    )


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
            raise DiskFullError(where, error) from error
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
    hint = did_you_mean(str(name), names)
    prefix = f"{where}: " if where else ""
    shown = ", ".join(names[:_SHOWN])
    if len(names) > _SHOWN:
        shown += f" and {len(names) - _SHOWN} more"
    return UserError(f"{prefix}unknown {kind} {name!r}{hint}", allowed=shown, next_step=next_step)


def did_you_mean(
    name: str, known: Iterable[str], spelling: Callable[[str], str] | None = None
) -> str:
    """Suggests the closest known name.

    Args:
        name: The name that was given.
        known: The names that exist.
        spelling: What counts in a name; `fold` if None.

    Returns:
        Such as ``"; did you mean 'sat'?"``; empty where nothing is close.
    """
    spelling = spelling or fold
    spelled: dict[str, str] = {}
    for one in known:
        spelled.setdefault(spelling(one), one)
    close = difflib.get_close_matches(spelling(name), spelled, n=1, cutoff=0.5)
    return f"; did you mean {spelled[close[0]]!r}?" if close else ""


def fold(name: str) -> str:
    """What is left of a name when spelling does not count: ``BP_Weights`` is ``bp-weights``."""
    return name.casefold().replace("_", "-")


def kind_word(value: Any) -> str:
    """Says in plain words what kind of value something is.

    Args:
        value: A value, or a type.

    Returns:
        Such as ``"a number"`` or ``"a text"``.
    """
    kind = value if isinstance(value, type) else type(value)
    words = {
        bool: "a truth value (true, false)",
        int: "an integer",
        float: "a number",
        str: "a text",
        list: "a list",
        tuple: "a list",
        dict: "a mapping",
        type(None): "nothing",
    }
    return words.get(kind, f"a {kind.__name__}")


def check_kind(
    name: str,
    value: Any,
    kinds: type | tuple[type, ...],
    *,
    allowed: str,
    next_step: str = "",
) -> None:
    """Checks of which kind an argument is.

    Args:
        name: Name of the argument, for the message.
        value: What was given.
        kinds: What it may be; a truth value counts as no number, and an empty text as no text.
        allowed: The same in words.
        next_step: The command or edit that gets the user on.

    Raises:
        UserError: If it is something else.
    """
    if isinstance(value, kinds) and not isinstance(value, bool) and value != "":
        return
    if isinstance(value, type):
        said = f"the class {value.__name__}"
    elif value is None or isinstance(value, (bool, int, float, str)):
        said = repr(value)
    else:
        said = kind_word(value)
    raise UserError(f"{name} is {said}", allowed=allowed, next_step=next_step)


def check_texts(name: str, value: Any, what: str) -> list[str]:
    """Checks that an argument is texts; one text is a list of one.

    Args:
        name: Name of the argument, for the message.
        value: What was given.
        what: What the texts are, in words.

    Returns:
        The texts.

    Raises:
        UserError: If it is something else, or one of them is.
    """
    allowed = f"a list of {what}, or one of them"
    if isinstance(value, str):
        return [value]
    check_kind(name, value, (list, tuple, set, frozenset), allowed=allowed)
    for one in value:
        check_kind(f"{name}: an entry", one, str, allowed=allowed)
    return list(value)


def own_frames(error: BaseException, count: int = 2) -> list[str]:
    """The last places in the user's own files that an error passed through.

    Frames of this package, of the libraries below it and of the standard library are left out.
    Where nothing else is there, the frame that raised the error stands alone.

    Args:
        error: The error, raised.
        count: Number of places, at least 1.

    Returns:
        Lines such as ``"my_method.py, line 12, in loss: return moved"``, outermost first. The
        place of a syntax error comes last.
    """
    own = _own(error)
    syntax = isinstance(error, SyntaxError) and error.filename is not None
    chosen = own[-(count - syntax) :] if count > syntax else []
    chosen = chosen or ([] if syntax else traceback.extract_tb(error.__traceback__)[-1:])
    lines = [_place(frame) for frame in chosen]
    if isinstance(error, SyntaxError) and error.filename is not None:
        number = error.lineno or 0
        text = error.text or linecache.getline(error.filename, number)
        lines.append(f"{_near(error.filename)}, line {number}: {text.strip()}")
    return lines


def own_place(error: BaseException) -> str:
    """The last place in the user's own files that an error passed through, as `own_frames`.

    Args:
        error: The error, raised.

    Returns:
        The place in one line; empty where no file of the user's took part.
    """
    own = _own(error)
    return _place(own[-1]) if own else ""


def _own(error: BaseException) -> list[traceback.FrameSummary]:
    frames = traceback.extract_tb(error.__traceback__)
    modules = [f.f_globals.get("__name__", "") for f, _ in traceback.walk_tb(error.__traceback__)]
    return [
        frame
        for frame, module in zip(frames, modules, strict=True)
        if str(module).partition(".")[0] not in _LIBRARIES and not _is_standard(frame.filename)
    ]


def _place(frame: traceback.FrameSummary) -> str:
    line = (frame.line or "").strip()
    return f"{_near(frame.filename)}, line {frame.lineno}, in {frame.name}: {line}"


def _is_standard(file: str) -> bool:
    path = Path(file)
    return file.startswith("<") or (
        path.is_relative_to(_STANDARD_LIBRARY) and "site-packages" not in path.parts
    )


def _near(file: str) -> str:
    path = Path(file)
    try:
        return str(path.relative_to(Path.cwd()))
    except (ValueError, OSError):
        return file


def first_sentence(text: str) -> str:
    """The first sentence of what an error says on several lines; one line stays whole."""
    lines = text.strip().splitlines()
    if len(lines) < 2:
        return text.strip()
    paragraph = " ".join(" ".join(takewhile(str.strip, lines)).split())
    return re.split(r"(?<=[.!?])\s", paragraph, maxsplit=1)[0]


def line_of(function: Callable[..., Any]) -> str:
    """Where a function of the user's own begins: file and line."""
    code = inspect.unwrap(function).__code__
    return f"{_near(code.co_filename)}, line {code.co_firstlineno}"


def storable(text: str) -> str:
    """A text in signs that a file can hold, such as one with an undecodable byte of a path."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def failure_text(error: BaseException) -> str:
    """Says what an error is and where in the user's own files it came from.

    Args:
        error: The error, raised.

    Returns:
        What it says, cut to 1,000 characters, then a line per place; a `UserError` names its place
        itself and comes back as it reads.
    """
    if isinstance(error, UserError):
        return str(error)
    said = error.msg if isinstance(error, SyntaxError) else str(error)
    return "\n".join([said[:1000], *(f"  {line[:300]}" for line in own_frames(error))])


@contextmanager
def own_code(what: str, next_step: str = "") -> Iterator[None]:
    """Context in which code of the user's own runs, which may raise whatever it likes.

    Args:
        what: What could not be done, such as ``"Net cannot be built"``.
        next_step: The command or edit that gets the user on.

    Raises:
        UserError: As it was raised, or in place of any other exception, with its place.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"{what}: {type(error).__name__}: {failure_text(error)}", next_step=next_step
        ) from error


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
        raise UserError(f"{name} is {value!r}", allowed="two integers")
    for number in value:
        check_count(name, number, low=low, high=high)
