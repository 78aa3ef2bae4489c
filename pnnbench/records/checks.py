"""What one field of a record may hold: checks, and how they are put together.

Numbers are finite and of a size that figures are computed with, see `LARGEST` and `INTEGERS`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

from pnnbench.errors import UserError

#: Takes the dotted path of a field and what stands there; raises UserError.
Check = Callable[[str, Any], None]
#: Largest number that a figure may be: above every one of single precision, and small enough that
#: boards can add up its fourth powers.
LARGEST = 1e50
#: Integers are those of 64 bits, which arrays hold.
INTEGERS = range(-(2**63), 2**63)
_FINITE = f"a finite number from {-LARGEST:g} to {LARGEST:g}, an integer of 64 bits"


def fail(where: str, value: Any, allowed: str) -> UserError:
    """Builds the error for one field of a record.

    Args:
        where: Dotted path of the field inside the record.
        value: What stands there.
        allowed: What may stand there.

    Returns:
        The error, with the value cut to a readable length.
    """
    shown = repr(value)
    shown = shown if len(shown) <= 80 else shown[:77] + "..."
    return UserError(f"record: {where} is {shown}", allowed=allowed)


def plain(value: Any, where: str = "record") -> Any:
    """Turns a value into plain JSON types and refuses what JSON cannot hold.

    Tuples become lists and zero-dimensional numpy or torch scalars become numbers.

    Args:
        value: Any nesting of dicts with string keys, lists, tuples, numbers, strings and None.
        where: Dotted path of the value, for the message.

    Returns:
        The same value in dict, list, str, int, float, bool and None only.

    Raises:
        UserError: On NaN, infinity, a key that is no string, or a type JSON does not have.
    """
    kind = type(value)
    if kind is str or kind is int or kind is bool or value is None:
        return value
    if kind is float:
        if math.isfinite(value):
            return value
        raise fail(where, value, "a finite number")
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise fail(f"{where} key", key, "a string")
        return {key: plain(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item, f"{where}[{i}]") for i, item in enumerate(value)]
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        return plain(value.item(), where)
    if isinstance(value, (str, int, float)):  # subclasses: numpy.float64, enum strings
        return plain(_builtin(value), where)
    raise fail(where, value, "a JSON value: object, array, string, number, true, false or null")


def _builtin(value: str | int | float) -> str | int | float:
    if isinstance(value, str):
        return str.__str__(value)
    return int(value) if isinstance(value, int) else float(value)


def is_number(value: Any) -> bool:
    """Whether a value is an int or a float; a bool is neither."""
    kind = type(value)
    return kind is float or kind is int


def is_figure(value: Any) -> bool:
    """Whether a value is a number that boards can compute with."""
    kind = type(value)
    if kind is int:
        return value in INTEGERS
    return kind is float and -LARGEST <= value <= LARGEST


def text(where: str, value: Any) -> None:
    """A string with something in it."""
    if not isinstance(value, str) or not value.strip():
        raise fail(where, value, "a non-empty string")


def line(where: str, value: Any) -> None:
    """A text that is one line, with nothing in it that is not seen or that a terminal obeys."""
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise fail(where, value, "a text of one line of signs that are seen")


def unit(where: str, value: Any) -> None:
    """A string, empty for a pure number."""
    if not isinstance(value, str):
        raise fail(where, value, "a string, empty for a pure number")


def number(where: str, value: Any) -> None:
    """A finite number."""
    if not is_figure(value):
        raise fail(where, value, _FINITE)


def level(where: str, value: Any) -> None:
    """A finite number, or ``"inf"`` or ``"-inf"`` where an axis has no end."""
    if value not in ("inf", "-inf"):
        number(where, value)


def number_or_gap(where: str, value: Any) -> None:
    """A finite number, or null where the record says what is missing."""
    if value is not None and not is_figure(value):
        raise fail(where, value, f"{_FINITE}, or null where the record names a gap")


def not_negative(where: str, value: Any) -> None:
    """A finite number, at least 0."""
    if not is_figure(value) or value < 0:
        raise fail(where, value, f"a number >= 0; {_FINITE}")


def positive(where: str, value: Any) -> None:
    """A finite number above 0."""
    if not is_figure(value) or value <= 0:
        raise fail(where, value, f"a number > 0; {_FINITE}")


def count(where: str, value: Any) -> None:
    """An integer, at least 0."""
    if type(value) is not int or not 0 <= value < INTEGERS.stop:
        raise fail(where, value, "an integer >= 0, of 64 bits")


def positive_count(where: str, value: Any) -> None:
    """An integer, at least 1."""
    if type(value) is not int or not 1 <= value < INTEGERS.stop:
        raise fail(where, value, "an integer >= 1, of 64 bits")


def seed_or_none(where: str, value: Any) -> None:
    """The seed of a device, or null for the ideal one."""
    if value is not None and (type(value) is not int or not 0 <= value < INTEGERS.stop):
        raise fail(where, value, "an integer >= 0, of 64 bits, or null for the ideal device")


def boolean(where: str, value: Any) -> None:
    """True or false."""
    if type(value) is not bool:
        raise fail(where, value, "true or false")


def mapping(where: str, value: Any) -> None:
    """An object."""
    if not isinstance(value, dict):
        raise fail(where, value, "an object")


def one_of(*names: str) -> Check:
    """Makes the check for one of some words."""

    def check(where: str, value: Any) -> None:
        if value not in names:
            raise fail(where, value, ", ".join(names))

    return check


def pattern(pattern: re.Pattern[str], words: str) -> Check:
    """Makes the check for a string of a form, which ``words`` name."""

    def check(where: str, value: Any) -> None:
        if not isinstance(value, str) or not pattern.match(value):
            raise fail(where, value, words)

    return check


def shape(required: dict[str, Check], optional: dict[str, Check] | None = None) -> Check:
    """Makes the check for an object with some keys, each with its own check, and no others."""
    everything = {**required, **(optional or {})}
    names = frozenset(required)

    def check(where: str, value: Any) -> None:
        if not isinstance(value, dict):
            raise fail(where, value, "an object")
        missing = names - value.keys()
        if missing:
            raise UserError(f"record: {where} lacks {', '.join(sorted(missing))}")
        for key, item in value.items():
            inner = everything.get(key)
            if inner is None:
                raise UserError(
                    f"record: {where} has the unknown key {key!r}",
                    allowed=", ".join(everything),
                )
            inner(f"{where}.{key}", item)

    return check


def open_shape(known: dict[str, Check], others: Check | None = None) -> Check:
    """Makes the check for an object of which some keys are known, none of them required.

    Args:
        known: Key to its check.
        others: The check of what stands under any other key; None for anything.
    """

    def check(where: str, value: Any) -> None:
        mapping(where, value)
        for key, item in value.items():
            inner = known.get(key, others)
            if inner is not None:
                inner(f"{where}.{key}", item)

    return check


def list_of(inner: Check, *, empty: bool = True) -> Check:
    """Makes the check for a list of one kind of entries, ``empty`` or not."""

    def check(where: str, value: Any) -> None:
        if not isinstance(value, list) or not (value or empty):
            raise fail(where, value, "a list" if empty else "a list with at least one entry")
        try:
            for item in value:
                inner(where, item)
        except UserError:
            for i, item in enumerate(value):
                inner(f"{where}[{i}]", item)
            raise

    return check
