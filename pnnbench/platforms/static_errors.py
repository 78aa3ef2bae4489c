"""What the static errors of a layer may be: names, shapes, units and physical ranges.

A platform declares its errors once, in `PhysicalLayer.static_errors`. Whatever is put on a device,
drawn or measured, is held against that declaration before it changes a transfer.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from pnnbench.errors import UserError, check_range, unknown_name

#: Largest severity and standard deviation that can be drawn.
MAX_SEVERITY = 1e3

#: Largest size that any error may have, in its unit, where its declaration has no end: nothing that
#: was made or measured is beyond it, and single precision still tells a phase from its neighbour.
LARGEST = 1e6


def check_severity(name: str, value: float) -> float:
    """Checks the spread of a draw: 0 to `MAX_SEVERITY`; raises UserError if it is not that."""
    return check_range(name, value, low=0.0, high=MAX_SEVERITY)


@dataclasses.dataclass(frozen=True)
class StaticError:
    """One kind of fabrication error. Zero is always ideal.

    Attributes:
        meaning: What it is, in a few words.
        unit: Its unit, ``"1"`` for a ratio.
        shape: Shape of its tensor for one device; empty for a scalar.
        low: Least value that is physically possible.
        high: Largest value that is physically possible.
        open_ends: Whether the ends themselves are impossible.
        cut: Least and largest value of what is drawn or scaled, inside of the range; None for the
            ends of the range.
    """

    meaning: str
    unit: str
    shape: tuple[int, ...]
    low: float = -math.inf
    high: float = math.inf
    open_ends: bool = False
    cut: tuple[float, float] | None = None

    def within(self, value: Tensor) -> Tensor:
        """Cuts what is drawn or scaled to what is physical: to `cut`, else to the range."""
        low, high = (self.low, self.high) if self.cut is None else self.cut
        return value.clamp(low, high)

    @property
    def allowed(self) -> str:
        """The range in words."""
        if math.isinf(self.low) and math.isinf(self.high):
            return "any finite number"
        if math.isinf(self.high):
            return f"{'above' if self.open_ends else 'at least'} {self.low:g}"
        ends = "between" if self.open_ends else "from"
        middle = "and" if self.open_ends else "to"
        return f"{ends} {self.low:g} {middle} {self.high:g}"

    def describe(self) -> dict[str, Any]:
        """The declaration as plain values."""
        return {
            "meaning": self.meaning,
            "unit": self.unit,
            "shape": list(self.shape),
            "range": self.allowed,
        }

    def checked(self, where: str, value: Tensor, like: Tensor) -> Tensor:
        """Holds a value against the declaration.

        Args:
            where: Layer and name of the error, for the message.
            value: The errors of one device, real.
            like: A tensor of the precision and on the device of the layer.

        Returns:
            The value in the precision of the layer, single at least, and on its device.

        Raises:
            UserError: If shape or kind differ, or a value is not finite or out of range.
        """
        if value.dtype is torch.bool or value.is_complex():
            raise UserError(f"{where} holds {value.dtype}", allowed=f"real numbers in {self.unit}")
        if value.shape != self.shape:
            shape = str(self.shape) if self.shape else "a scalar, ()"
            raise UserError(f"{where} has shape {tuple(value.shape)}", allowed=shape)
        value = value.to(like.device, torch.promote_types(like.dtype, torch.float32))
        low, high = (float(end) for end in value.aminmax())
        if not (math.isfinite(low) and math.isfinite(high)):
            raise UserError(f"{where} holds values that are not finite", allowed=self._what())
        inside = self.low < low and high < self.high
        if not inside and (self.open_ends or low < self.low or high > self.high):
            worst = high if high >= self.high else low
            raise UserError(
                f"{where} holds {worst:.6g}, which is physically impossible",
                allowed=self._what(),
            )
        worst = high if high >= -low else low
        if abs(worst) > LARGEST:
            raise UserError(
                f"{where} holds {worst:.6g}, which is physically impossible",
                allowed=f"at most {LARGEST:.0e} in size; {self._what()}",
                next_step=f"check the unit: values are in {self.unit}",
            )
        return value

    def _what(self) -> str:
        return f"{self.allowed}, unit {self.unit}: {self.meaning}"


@dataclasses.dataclass(frozen=True)
class Quantity:
    """A quantity that is measured in place of an error.

    Attributes:
        error: Name of the error that it gives.
        unit: Its unit.
        convert: From values in that unit to the error in its own; same shape.
    """

    error: str
    unit: str
    convert: Callable[[Tensor], Tensor]


def check_errors(
    layer: str, laws: Mapping[str, StaticError], errors: Mapping[str, Tensor], like: Tensor
) -> dict[str, Tensor]:
    """Holds all errors of one layer of one device against what the layer declares.

    Args:
        layer: Name of the layer, for the message.
        laws: What the layer declares.
        errors: Name -> value. A name that is missing is an error of zero.
        like: A tensor of the precision and on the device of the layer.

    Returns:
        The errors that are there, in the precision and on the device of the layer.

    Raises:
        UserError: If a name is unknown, or as `StaticError.checked`.
    """
    checked = {}
    for name, value in errors.items():
        if name not in laws:
            if not laws:
                raise UserError(
                    f"layer {layer!r} has no device errors, but is given {name!r}",
                    next_step="declare them in static_errors of the layer's class",
                )
            raise unknown_name("device error", name, laws, where=f"layer {layer!r}")
        checked[name] = laws[name].checked(f"layer {layer!r}: error {name!r}", value, like)
    return checked
