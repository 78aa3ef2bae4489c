"""Drivers: the ranges over which controls are set, and the levels of a resolution in bits."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import torch
from torch import Tensor

from pnnbench.errors import UserError

#: Finest resolution that single precision can tell apart.
MAX_BITS = 24
#: Share of a step by which a level may miss the end of a range by rounding.
_ROUNDING = 1e-6


@dataclasses.dataclass(frozen=True)
class Driver:
    """What sets one kind of control.

    With b bits a driver that sets a span from end to end has levels ``span / (2^b - 1)`` apart,
    both ends among them. A control that has a period is set anywhere in it: levels are
    ``period / 2^b`` apart, 0 among them.

    Attributes:
        low: Least value in the unit of the control, finite.
        high: Largest value, above that.
        periodic: Whether both ends are the same setting; then controls may have any value.
        exposures: How many settings the range is made of, one after another: 2 where a signed
            control is the difference of two that are not. The span is the range over it.
    """

    low: float
    high: float
    periodic: bool = False
    exposures: int = 1

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise UserError(
                f"a driver from {self.low:g} to {self.high:g} has no levels",
                allowed="a finite range",
                next_step="limit the control, for rings min_current and max_current",
            )

    def holds(self, value: Tensor) -> bool:
        """Whether all values are in the range."""
        return self.low <= float(value.min()) and float(value.max()) <= self.high

    def step(self, bits: Tensor) -> Tensor:
        """Distance of neighbouring levels, of the shape of ``bits``; 0 for infinitely many."""
        span = (self.high - self.low) / self.exposures
        return span / (torch.exp2(bits) - (0.0 if self.periodic else 1.0))

    def nearest(self, value: Tensor, bits: Tensor) -> Tensor:
        """The nearest levels, with the gradient of the value itself.

        Args:
            value: Controls, any shape.
            bits: Resolution, scalar or (C,); infinite leaves the values as they are.

        Returns:
            Of the shape of ``value``, with (C,) bits (C, *shape).
        """
        with torch.no_grad():
            exact = value.double()
            bits = bits.double().reshape(*bits.shape, *[1] * value.dim())
            step = self.step(bits)
            origin = 0.0 if self.periodic else self.low
            levels = origin + step * torch.round((exact - origin) / step)
            if not self.periodic:
                levels = levels.clamp(self.low, self.high)
            levels = torch.where(torch.isfinite(bits), levels, exact).to(value.dtype)
        return _SeenThrough.apply(value, levels)

    def setting(self, value: Tensor, bits: float) -> Tensor:
        """The nearest levels inside the range, for what a driver is told.

        Args:
            value: Controls, any shape.
            bits: Resolution, finite.

        Returns:
            Of the same shape: `nearest`, brought into the period, of which there are 2^bits levels.
        """
        resolution = torch.tensor(float(bits), dtype=torch.float64, device=value.device)
        levels = self.nearest(value, resolution)
        if not self.periodic:
            return levels
        step = float(self.step(resolution))
        first = math.ceil(self.low / step - _ROUNDING)  # both ends are the same level
        index = torch.remainder(torch.round(levels / step) - first, 2.0**bits)
        return ((first + index) * step).clamp(self.low, self.high)

    def reduced(self, value: Tensor) -> Tensor:
        """The value in the period from ``low`` on; as it is without a period.

        Differentiable except at ``low`` itself, where it jumps.
        """
        if not self.periodic:
            return value
        return self.low + torch.remainder(value - self.low, self.high - self.low)


class _SeenThrough(torch.autograd.Function):
    """Other values with the gradient of the first, any number of times."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, levels: Tensor) -> Tensor:
        ctx.extra = levels.dim() - value.dim()
        return levels.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (grad,) = grads
        return grad.sum(tuple(range(ctx.extra))) if ctx.extra else grad, None
