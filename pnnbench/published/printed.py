"""Recorded numbers that know how many digits were printed, and the files that hold them."""

from __future__ import annotations

import json
from decimal import Decimal
from importlib import resources
from typing import Any


class Printed(float):
    """A number as it was printed: ``0.10`` and ``0.1`` have one value and different roundings.

    Args:
        text: Decimal digits, such as ``"97.90"`` or ``"1.2e-3"``.

    Attributes:
        text: The digits as they were printed.
        rounding: Half a unit of the last printed digit: how far the value before printing may be
            from this one. A whole number counts as rounded to its last digit.
    """

    text: str
    rounding: float

    def __new__(cls, text: str) -> Printed:
        """Reads the digits; raises ValueError if they are no finite decimal number."""
        number = super().__new__(cls, text)
        exponent = Decimal(text).as_tuple().exponent
        if not isinstance(exponent, int):
            raise ValueError(f"{text!r} is not a finite number")
        number.text = text
        number.rounding = 0.5 * 10.0**exponent
        return number

    def __getnewargs__(self) -> tuple[str]:  # type: ignore[override]
        """What copies and pickles are made from."""
        return (self.text,)


def recorded(platform: str) -> dict[str, Any]:
    """Reads the recorded values of a platform from package data.

    The digits of the file are the printed ones, trailing zeros included.

    Args:
        platform: Name in the file's name.

    Returns:
        Source, units and ``checkpoints``: name -> quantity -> what is recorded, as `Printed`;
        further lists of numbers that the protocol needs.
    """
    file = resources.files("pnnbench.published").joinpath(f"recorded_{platform}.json")
    text = file.read_text("utf-8")
    result: dict[str, Any] = json.loads(text, parse_float=Printed, parse_int=Printed)
    return result
