"""Reads JSON that a stranger wrote: bounded in size, depth and numbers, each key once, plain text.

`json.loads` takes the last of two equal keys, NaN, integers of any length and any nesting that the
stack holds. Nothing of that is meant by anybody who hands in results.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pnnbench.errors import UserError

#: Nesting of a submission's files, at most; a record has 7.
MOST_DEPTH = 32
#: Characters of a text and of a key, at most; those of a record have 400.
MOST_TEXT, MOST_KEY = 20_000, 200
#: Characters of a refusal, at most.
_SENTENCE = 300
#: Integers lie between the negative of it and itself.
MOST_INTEGER = 2**63 - 1
_DIGITS = len(str(MOST_INTEGER))
#: A text, whole or cut off, or a bracket outside of texts; nothing is looked at twice.
_TOKEN = re.compile(r'"(?:[^"\\]++|\\.|\\\Z)*+(?:"|\Z)|[\[\]{}]', re.DOTALL)
#: Unicode categories that a terminal or a page does not show as they are read: control, format
#: (direction among it), surrogate and private characters, separators of lines and paragraphs.
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})
_BREAKS = frozenset("\n\t")


def hidden_character(text: str, *, breaks: bool = False) -> str | None:
    """Finds a character that is not shown as it is read.

    Args:
        text: The text.
        breaks: Whether line breaks and tabs are allowed.

    Returns:
        Its code point, such as ``"U+202E"``; None if there is none.
    """
    if text.isascii() and text.isprintable():
        return None
    for character in text:
        if breaks and character in _BREAKS:
            continue
        if unicodedata.category(character) in _HIDDEN:
            return f"U+{ord(character):04X}"
    return None


def parse_json(content: bytes, where: str, most: int) -> Any:
    """Reads JSON strictly.

    Args:
        content: What stands in the file.
        where: Its name, for messages.
        most: Largest number of bytes.

    Returns:
        Plain values: every number is finite, every integer fits into 64 bits, every text is shown
        as it reads.

    Raises:
        UserError: On the first thing wrong with it.
    """
    if len(content) > most:
        raise UserError(f"{where} has {len(content)} bytes", allowed=f"{most} at most")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{where} is not UTF-8 text: {error.reason}") from None
    _check_depth(text, where)

    def whole(said: str) -> int:
        if len(said.lstrip("-")) > _DIGITS or not -MOST_INTEGER <= int(said) <= MOST_INTEGER:
            raise UserError(f"{where} has the integer {_short(said)}", allowed="64 bits at most")
        return int(said)

    def real(said: str) -> float:
        value = float(said)
        if not math.isfinite(value):
            raise UserError(f"{where} has the number {_short(said)}", allowed="finite numbers")
        return value

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            counts = Counter(key for key, _ in pairs)
            twice = next(key for key, count in counts.items() if count > 1)
            raise UserError(f"{where} has the key {_short(twice)} twice in one object")
        return found

    try:
        value = json.loads(
            text, parse_int=whole, parse_float=real, parse_constant=real, object_pairs_hook=once
        )
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"{where} is not JSON: {error}") from None
    _check_texts(value, where)
    return value


@contextmanager
def in_a_sentence() -> Iterator[None]:
    """Context whose refusals are short, whatever was received is quoted in them."""
    try:
        yield
    except UserError as error:
        parts = (error.what, error.allowed, error.next_step)
        if max(map(len, parts)) <= _SENTENCE:
            raise
        what, allowed, step = (p if len(p) <= _SENTENCE else p[:_SENTENCE] + "..." for p in parts)
        raise UserError(what, allowed=allowed, next_step=step) from None


def _short(said: str) -> str:
    shown = ascii(said)
    return shown if len(shown) <= 40 else shown[:37] + "..."


def _check_depth(text: str, where: str) -> None:
    depth = 0
    for found in _TOKEN.finditer(text):
        first = text[found.start()]
        if first == '"':
            continue
        depth += 1 if first in "[{" else -1
        if depth > MOST_DEPTH:
            raise UserError(f"{where} is nested deeper than {MOST_DEPTH} levels")


def _check_texts(value: Any, where: str) -> None:
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            if len(one) > MOST_TEXT:
                raise UserError(
                    f"{where} has a text of {len(one)} characters, {_short(one)}",
                    allowed=f"{MOST_TEXT} at most",
                )
            found = hidden_character(one, breaks=True)
            if found is not None:
                raise UserError(
                    f"{where} has the character {found} in the text {_short(one)}",
                    allowed="characters that are shown as they read",
                )
        elif isinstance(one, list):
            waiting.extend(one)
        elif isinstance(one, dict):
            longest = max(one, key=len, default="")
            if len(longest) > MOST_KEY:
                raise UserError(
                    f"{where} has a key of {len(longest)} characters, {_short(longest)}",
                    allowed=f"{MOST_KEY} at most",
                )
            waiting.extend(one)
            waiting.extend(one.values())
