"""Where devices come from: drawn from seeds, or measured ones from a file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from torch import nn

from pnnbench.platforms.device import Device


@runtime_checkable
class DeviceSource(Protocol):
    """Gives the devices of a workload: those of the tests, of training and of validation alike.

    Devices have the seeds of `pnnbench.seeds`; which of them trains, chooses and tests follows from
    the seed.

    Attributes:
        label: What cells on its devices are marked with in records; empty for drawn ones.
    """

    @property
    def label(self) -> str:
        """What cells on its devices are marked with in records; empty for drawn ones."""
        ...

    def device(self, network: nn.Module, severity: float, seed: int, law: str) -> Device:
        """The device of a seed for a network; as `Device.draw`."""
        ...

    def having(self, seeds: Sequence[int]) -> list[int]:
        """Those of some seeds that it has a device for, in their order."""
        ...

    def as_it_is(self, severity: float, unit: str) -> tuple[float, str]:
        """Severity and unit of devices that are trained on and looked at.

        Args:
            severity: What the workload says of drawn devices.
            unit: Its unit.
        """
        ...

    def check(self, network: nn.Module) -> None:
        """Raises UserError if the devices are not those of a network."""
        ...

    def describe(self) -> dict[str, Any]:
        """What decides the devices, as plain values; part of a job's configuration."""
        ...


class DrawnDevices:
    """Devices drawn from seeds by the laws of the platform."""

    label = ""

    def device(self, network: nn.Module, severity: float, seed: int, law: str) -> Device:
        """Draws the device of a seed; see `Device.draw`."""
        return Device.draw(network, severity, seed, law)

    def having(self, seeds: Sequence[int]) -> list[int]:
        """All of them."""
        return list(seeds)

    def as_it_is(self, severity: float, unit: str) -> tuple[float, str]:
        """Severity and unit as the workload says."""
        return severity, unit

    def check(self, network: nn.Module) -> None:
        """Nothing to check: the platform draws what it declares."""

    def describe(self) -> dict[str, Any]:
        """Nothing: the layers describe the laws."""
        return {}


#: The source that workloads have unless they are given another one.
DRAWN = DrawnDevices()
