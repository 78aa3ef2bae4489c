"""What a measurement could not give: typed gaps beside the figures that stand."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

from pnnbench.errors import DiskFullError, UserError, own_place, storable

#: ``not-finite``: the figure is no finite number. ``left-out``: it has no meaning for the workload.
#: ``error``: measuring it failed.
GapType = Literal["not-finite", "error", "left-out"]
#: Longest message of a gap, in characters.
_LONGEST = 500


class NotFiniteError(UserError):
    """A figure that is no finite number."""


class LeftOutError(UserError):
    """A figure that has no meaning for the workload at hand."""


@dataclasses.dataclass(frozen=True)
class Gap:
    """One part of a measurement that is missing.

    Attributes:
        part: Such as ``"cells[17]"``, ``"clean"`` or ``"sharpness.ball_increase"``.
        type: Why it is missing.
        message: The same in words, one line.
    """

    part: str
    type: GapType
    message: str

    @staticmethod
    def of(part: str, error: Exception) -> Gap:
        """The gap that an exception leaves."""
        words = error.what if isinstance(error, UserError) else str(error)
        line = storable(" ".join(words.split()))[:_LONGEST]
        if isinstance(error, NotFiniteError):
            return Gap(part, "not-finite", line)
        if isinstance(error, LeftOutError):
            return Gap(part, "left-out", line)
        place = "" if isinstance(error, UserError) else storable(own_place(error))
        told = f"{type(error).__name__}: {line}"
        if not place:
            return Gap(part, "error", told[:_LONGEST])
        end = f" ({place})"[:_LONGEST]
        return Gap(part, "error", told[: _LONGEST - len(end)] + end)

    def as_dict(self) -> dict[str, str]:
        """The gap as a record holds it."""
        return dataclasses.asdict(self)


class Gaps:
    """Collects the gaps of a measurement, so that one part fails without the others.

    Args:
        strict: Errors come through; only what has no meaning is collected.

    Attributes:
        found: The gaps, in the order in which they came.
    """

    def __init__(self, *, strict: bool = False) -> None:
        self.strict = strict
        self.found: list[Gap] = []

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Context in which an exception leaves a gap of this name.

        Interrupts come through, and a full disk, after which the same work can be done again.
        """
        try:
            yield
        except DiskFullError:
            raise
        except LeftOutError as error:
            self.found.append(Gap.of(name, error))
        except Exception as error:
            if self.strict:
                raise
            self.found.append(Gap.of(name, error))


def check_finite(figures: Mapping[str, Any]) -> None:
    """Refuses figures that are not finite.

    Args:
        figures: Name to number or list of numbers.

    Raises:
        NotFiniteError: Naming the first that is not finite.
    """
    for name, value in figures.items():
        values = value if isinstance(value, list) else [value]
        if not all(math.isfinite(v) for v in values):
            raise NotFiniteError(
                f"{name} is {value}: it is not defined for this model",
                next_step="check that training did not diverge",
            )
