"""What a suite file says of its search, where that is not the protocol's: ``search``."""

from __future__ import annotations

import dataclasses
from typing import Any

from pnnbench.errors import UserError
from pnnbench.running.entries import known_keys, typed


@dataclasses.dataclass(frozen=True)
class SearchPlan:
    """How a suite's settings are searched.

    Attributes:
        tier: Tier of the trials; None for the suite's own, as the protocol asks.
        devices: Validation devices; None for the protocol's number.
    """

    tier: str | None = None
    devices: int | None = None


#: A search at the suite's own length, on the protocol's validation devices.
AS_THE_PROTOCOL = SearchPlan()


def search_plan(where: str, given: Any) -> SearchPlan:
    """Reads the key ``search`` of a suite file.

    Args:
        where: The place, for messages.
        given: What stands there, None for nothing.

    Returns:
        The plan.

    Raises:
        UserError: If it is anything but a tier and a number of devices.
    """
    if given is None:
        return AS_THE_PROTOCOL
    typed(where, given, dict, "{tier: NAME, devices: NUMBER}")
    known_keys(where, given, {"tier", "devices"})
    tier, devices = given.get("tier"), given.get("devices")
    if tier is not None:
        typed(f"{where}: tier", tier, str, "a name, see pnnbench list workloads")
    if devices is not None:
        typed(f"{where}: devices", devices, int, "an integer >= 1")
        if isinstance(devices, bool) or devices < 1:
            raise UserError(f"{where}: devices is {devices!r}", allowed="an integer >= 1")
    return SearchPlan(tier, devices)
