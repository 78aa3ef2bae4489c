"""Environments: operating conditions in physical units, the same for all devices."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from pnnbench.errors import check_range
from pnnbench.platforms.drivers import MAX_BITS


def on_request(nominal: float) -> Any:
    """A field of an environment that axes on request vary; at nominal it is left unsaid.

    Args:
        nominal: Its nominal value.

    Returns:
        The field, to be given by name.
    """
    return dataclasses.field(default=nominal, kw_only=True, metadata={"on_request": True})


@dataclasses.dataclass(frozen=True)
class Environment:
    """Operating conditions in physical units; platforms add their fields with nominal defaults.

    Attributes:
        control_bits: Resolution of the drivers that set the controls, in bits, 1 to 24; infinite is
            none, the nominal one. A property of the electronics, the same for all devices. See
            `PhysicalLayer.drivers`.
    """

    control_bits: float = on_request(math.inf)

    def __post_init__(self) -> None:
        if self.control_bits != math.inf:
            check_range("control_bits", self.control_bits, low=1, high=MAX_BITS, unit="bit")

    def as_dict(self) -> dict[str, float]:
        """The conditions as plain finite numbers; fields on request only off their nominal."""
        return {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if not (field.metadata.get("on_request") and getattr(self, field.name) == field.default)
        }
