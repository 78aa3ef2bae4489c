"""Methods that are wrong by what they declare: docstring, ranges, laws, units, access."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from pnnbench.errors import check_range
from pnnbench.methods.base import TrainingMethod
from pnnbench.methods.bp import BP
from pnnbench.methods.laws import Law
from pnnbench.workloads.amounts import Amount, check_amount
from pnnbench.workloads.base import Workload

from .training import Plain


class NoMethod:
    """Not a method at all."""


class Undocumented(BP):
    pass


class Greedy(BP):
    """Wants everything.

    Args:
        lr: Learning rate.
        lr_digital: Learning rate.
        optimizer: Optimiser.
    """

    access = "everything"  # type: ignore[assignment]


class NeedsLr(BP):
    """Has a hyper-parameter without default.

    Args:
        lr: Learning rate.
    """

    def __init__(self, lr: float) -> None:
        super().__init__(lr)


class Undescribed(BP):
    """Forgets one of its hyper-parameters here.

    Args:
        lr: Learning rate.
    """

    def __init__(self, lr: float = 0.02, gain: int = 1) -> None:
        super().__init__(lr)


class AcceptsNan(BP):
    """Takes any strength.

    Args:
        strength: A strength.
    """

    def __init__(self, strength: float = 0.1) -> None:
        super().__init__()


class AcceptsNegativeLr(BP):
    """Takes a negative learning rate.

    Args:
        lr: Learning rate.
    """

    def __init__(self, lr: float = 0.02) -> None:
        super().__init__(0.02 if lr <= 0 else lr)


class RaisesValueError(BP):
    """Raises the wrong error.

    Args:
        lr: Learning rate.
    """

    def __init__(self, lr: float = 0.02) -> None:
        if not 0.0 < lr < 1.0:
            raise ValueError("lr")
        super().__init__(lr)


class LawOfNothing(BP):
    __doc__ = BP.__doc__  # a law for a hyper-parameter that it does not have

    laws = MappingProxyType({"gain": Law(0.1, 1.0)})


class LawElsewhere(BP):
    __doc__ = BP.__doc__  # a default outside of its law

    laws = MappingProxyType({"lr": Law(1.0, 2.0)})


class LawReversed(BP):
    __doc__ = BP.__doc__  # a law whose ends are the wrong way round

    laws = MappingProxyType({"lr": lambda params: Law(1.0, 0.01)})


class LawOfZero(BP):
    __doc__ = BP.__doc__  # a logarithmic law that includes zero

    laws = MappingProxyType({"lr": lambda params: Law(0.0, 1.0)})


class LawTooWide(BP):
    __doc__ = BP.__doc__  # a law with values that the constructor refuses

    laws = MappingProxyType({"lr_digital": Law(1e-4, 1e4)})


class LawOfNobody(BP):
    __doc__ = BP.__doc__  # a rule of the choice that there is not

    chosen_by = "luck"  # type: ignore[assignment]


class Unitless(Plain):
    """Names an amount that takes numbers only.

    Args:
        strength: A strength.
    """

    amounts = ("lr", "strength")

    def __init__(self, strength: float = 0.1) -> None:
        super().__init__()
        self.strength = check_range("strength", strength, low=0.0)


class AnyUnit(Plain):
    """Does not look at the unit.

    Args:
        strength: A strength.
    """

    amounts = ("lr", "strength")

    def __init__(self, strength: Amount = 0.1) -> None:
        super().__init__()
        self.strength = check_amount("strength", strength)

    def check(self, workload: Workload) -> None:
        pass


class Idle(TrainingMethod):
    """Has neither loss nor step."""

    def __init__(self) -> None:
        super().__init__(0.1)


FAULTS: list[tuple[type[Any], str, str]] = [
    (NoMethod, "class", "TrainingMethod"),
    (Undocumented, "class", "docstring"),
    (Greedy, "access", "in_silico, in_situ, in_situ_internal"),
    (NeedsLr, "defaults", "lr"),
    (Undescribed, "documented", "gain"),
    (AcceptsNan, "ranges", "strength = nan is accepted"),
    (AcceptsNegativeLr, "ranges", "lr = -1.0 is accepted"),
    (RaisesValueError, "ranges", "lr = nan raises ValueError"),
    (LawOfNothing, "laws", "'gain', which is no hyper-parameter"),
    (LawElsewhere, "laws", "lr = 0.1 is outside of its law, 1 to 2 (log)"),
    (LawReversed, "laws", "1 to 0.01"),
    (LawOfZero, "laws", "numbers above 0"),
    (LawTooWide, "laws", "lr_digital = 10000"),
    (LawOfNobody, "laws", "chosen_by is 'luck'"),
    (Unitless, "units", "strength as a text raises UserError"),
    (AnyUnit, "units", "'1 furlong' is accepted"),
    (Idle, "class", "neither loss(workload, batch)"),
]
