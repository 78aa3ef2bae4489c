"""Amounts: steps and strengths in multiples of a workload's own scale, or absolute with a unit.

A plain number means the same on every platform: 0.1 is a tenth of what the workload states as its
scale, whether its controls are currents, phases or modulations. A text with a unit, such as
``"0.043 mA"``, is absolute, and refused where the workload has another unit.
"""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Any

from pnnbench.errors import UserError, check_range

#: A number of multiples of a scale, or a text "NUMBER UNIT".
Amount = float | str

_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
#: A number and a unit, which begins with a letter and not with the rest of the number.
_TEXT = re.compile(rf"\s*({_NUMBER})\s*(?![eE][+-]?\d)([^\W\d_].*?)\s*")


@dataclasses.dataclass(frozen=True)
class Scale:
    """What the number 1 of an amount stands for.

    Attributes:
        value: Its size in `unit`, finite, >= 0.
        unit: Unit of absolute values; empty where there is none, so that they are refused.
    """

    value: float
    unit: str

    def times(self, factor: float, unit: str | None = None) -> Scale:
        """This scale times a factor, in the same unit or in another."""
        return Scale(self.value * factor, self.unit if unit is None else unit)


def parse(text: str) -> tuple[float, str] | None:
    """Takes a text apart.

    Args:
        text: Such as ``"0.043 mA"`` or ``"3 rad^2"``.

    Returns:
        Number and unit (single blanks, ``^2`` for the square), or None if it is not of that form.
    """
    found = _TEXT.fullmatch(text)
    if found is None:
        return None
    return float(found[1]), " ".join(found[2].replace("²", "^2").split())


def canonical(value: Any) -> Any:
    """One spelling of each amount: ``"3 rad"`` and ``"3.0 rad"`` are one setting.

    Args:
        value: Anything.

    Returns:
        The amount in its one spelling; what is no amount as it is.
    """
    found = parse(value) if isinstance(value, str) else None
    return value if found is None else f"{found[0]!r} {found[1]}"


def check_amount(
    name: str,
    value: Amount,
    *,
    low: float = 0.0,
    high: float = 1e6,
    low_open: bool = False,
) -> Amount:
    """Checks an amount when a method is made; its unit is checked when it meets a workload.

    Args:
        name: Name of the hyper-parameter, for the message.
        value: A number of multiples, or a text with a unit.
        low: Smallest allowed number, of multiples and of units.
        high: Largest allowed number of multiples.
        low_open: Whether ``low`` itself is excluded.

    Returns:
        The amount: a float, or a text in its one spelling.

    Raises:
        UserError: If it is neither, not finite, or out of range.
    """
    if not isinstance(value, str):
        return check_range(name, value, low=low, high=high, low_open=low_open)
    found = parse(value)
    if found is None:
        raise UserError(
            f"{name} is {value!r}, which is neither a number nor a number with a unit",
            allowed="multiples of the workload's scale, or a text such as '0.3 rad'",
        )
    number, unit = found
    if not math.isfinite(number) or number < low or (low_open and number <= low):
        bracket = "(" if low_open else "["
        raise UserError(
            f"{name} is {value!r}, out of range",
            allowed=f"a number in {bracket}{low:g}, inf) {unit}",
        )
    return f"{number!r} {unit}"


def absolute(name: str, value: Amount, scale: Scale, where: str = "") -> float:
    """What an amount is in the unit of a scale.

    Args:
        name: Name of the hyper-parameter, for the message.
        value: An amount that `check_amount` has passed.
        scale: What 1 stands for.
        where: Name of the workload, for the message.

    Returns:
        The number, in the unit of the scale.

    Raises:
        UserError: If the amount has another unit.
    """
    if not isinstance(value, str):
        return float(value) * scale.value
    number, unit = parse(value) or (math.nan, "")
    if unit != scale.unit or not unit:
        on = f" on {where}" if where else ""
        own = f"a text in {scale.unit!r}, or " if scale.unit else ""
        raise UserError(
            f"{name} is {value!r}{on}, which has another unit",
            allowed=f"{own}a plain number: multiples of {scale.value:.4g} {scale.unit}".rstrip(),
        )
    return number
