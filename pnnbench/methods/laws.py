"""Laws of hyper-parameters: the ranges in which a search looks for their values.

A law is data on a method's class. Its numbers are plain ones: of an amount, multiples of what the
workload states as its scale, so that one law serves currents, phases and weights.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any, Literal

from pnnbench.errors import UserError, did_you_mean

#: The score by which settings of a method are chosen: the robust score on validation devices, or
#: the metric on the device that the method trains on.
Rule = Literal["robust score", "own device"]


@dataclasses.dataclass(frozen=True)
class Law:
    """The range of one hyper-parameter, and the scale on which points are spread over it.

    Attributes:
        low: Lower end.
        high: Upper end, > `low`.
        scale: ``"log"`` or ``"linear"``: on what the points are even.
        least: What no value may be below, whatever the range; a range that ends there is not
            widened on this side. With ``"log"`` everything below 0 is shut out anyway.
        most: The same above.
        on_request: Whether it is searched only where a suite names it, since one value for all
            rows is the fairer choice.

    Raises:
        UserError: If the range is empty, reversed or not finite, goes beyond its limits, or is
            logarithmic and not above 0.
    """

    low: float
    high: float
    scale: Literal["log", "linear"] = "log"
    least: float = -math.inf
    most: float = math.inf
    on_request: bool = False

    def __post_init__(self) -> None:
        if self.scale not in ("log", "linear"):
            raise UserError(f"the scale of a law is {self.scale!r}", allowed="log, linear")
        if not (math.isfinite(self.low) and math.isfinite(self.high)) or self.low >= self.high:
            raise UserError(
                f"the range of a law is {self.low:g} to {self.high:g}",
                allowed="finite numbers, the lower end first",
            )
        if self.scale == "log" and self.low <= 0.0:
            raise UserError(
                f"the range of a logarithmic law is {self.low:g} to {self.high:g}",
                allowed="numbers above 0; scale='linear' takes 0 too",
            )
        if self.low < self.least or self.high > self.most:
            raise UserError(
                f"the range of a law, {self.low:g} to {self.high:g}, goes beyond its limits "
                f"{self.least:g} to {self.most:g}"
            )

    def at(self, place: float) -> float:
        """The value at a place in [0, 1], to three significant digits and inside of the range."""
        if self.scale == "log":
            value = self.low * (self.high / self.low) ** place
        else:
            value = self.low + (self.high - self.low) * place
        return min(self.high, max(self.low, float(f"{value:.3g}")))

    def place(self, value: float) -> float:
        """Where a value stands, 0 at the lower end and 1 at the upper; outside of [0, 1] if not in.

        Args:
            value: Above 0 where the law is logarithmic.
        """
        if self.scale == "log":
            if value <= 0.0:
                return -math.inf
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def beyond(self, end: Literal["low", "high"]) -> Law | None:
        """What is added where the range is doubled at one end, on the law's own scale.

        A linear range of length d gets d more, a logarithmic one from a to b goes on to b²/a, or
        from a²/b on; both end at the limits.

        Returns:
            The law of the new part alone; None where the range ends at its limit already.
        """
        edge = self.high if end == "high" else self.low
        if self.scale == "log":
            ratio = self.high / self.low
            far = edge * ratio if end == "high" else edge / ratio
        else:
            length = self.high - self.low
            far = edge + length if end == "high" else edge - length
        low, high = (edge, min(far, self.most)) if end == "high" else (max(far, self.least), edge)
        return dataclasses.replace(self, low=low, high=high) if low < high else None

    def as_dict(self) -> dict[str, Any]:
        """The range as search records have it."""
        limits = {"least": self.least, "most": self.most}
        return {
            "low": float(self.low),
            "high": float(self.high),
            "scale": self.scale,
            **{name: float(value) for name, value in limits.items() if math.isfinite(value)},
        }

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g} ({self.scale})"


#: A law, or one that depends on the other hyper-parameters of a row.
LawOf = Law | Callable[[Mapping[str, Any]], Law]


def laws_of(cls: type[Any], params: Mapping[str, Any]) -> dict[str, Law]:
    """The laws of a method: its own, and those of the classes it derives from.

    Args:
        cls: The class of the method.
        params: All hyper-parameters of the row, on which a law may depend.

    Returns:
        By name, in the order of the constructor. Inherited ones that the constructor does not take
        are left out.

    Raises:
        UserError: If the class itself has a law for what is no hyper-parameter of it, or one that
            is no law.
    """
    known = list(inspect.signature(cls).parameters)
    own = cls.__dict__.get("laws", {})
    for name in own:
        if name not in known:
            raise UserError(
                f"{cls.__name__} has a law for {name!r}, which is no hyper-parameter of it"
                f"{did_you_mean(name, known)}",
                allowed=", ".join(known),
            )
    declared: dict[str, LawOf] = {}
    for base in reversed(cls.__mro__):
        declared.update(base.__dict__.get("laws", {}))
    found = {}
    for name in known:
        if name not in declared:
            continue
        law = declared[name]
        law = law(params) if callable(law) else law
        if not isinstance(law, Law):
            raise UserError(
                f"the law of {name} of {cls.__name__} is {law!r}",
                allowed="a pnnbench.methods.laws.Law, or a function of the hyper-parameters",
            )
        found[name] = law
    return found


def step_law(params: Mapping[str, Any]) -> Law:
    """Law of the learning rate of what takes the place of the controls, for every method.

    Adam's step is the rate, in multiples of the scale: what was best in earlier searches lies
    between 0.014 (free space) and 0.7 (weights of rings), often at the edge of what was tried.
    SGD's step follows the gradient, whose size differs between platforms: the published rates are
    0.1 to 0.6 multiples of the scale's square, the best of earlier searches were the largest tried,
    6 (rings) and 20 (meshes).

    Args:
        params: Hyper-parameters, of which ``optimizer`` counts.
    """
    return Law(0.03, 300.0) if params.get("optimizer") == "sgd" else Law(0.003, 3.0)


def digital_step_law(params: Mapping[str, Any]) -> Law:
    """Law of the learning rate of the digital parameters: 1e-3 is usual, 0.03 was best on meshes.

    Args:
        params: Hyper-parameters, of which ``optimizer`` counts.
    """
    high = 10.0 if params.get("optimizer") == "sgd" else 0.3
    return Law(1e-4, high, most=100.0, on_request=True)
