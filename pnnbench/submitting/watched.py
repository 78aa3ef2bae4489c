"""What a method under check does behind the back of its workload: passes, devices, test data."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from pnnbench.data import DataModule
from pnnbench.data.arrays import Arrays
from pnnbench.platforms.base import FABRICATION, Device, Environment, physical_layers
from pnnbench.seeds import FIRST_TRAINING_DEVICE
from pnnbench.workloads.base import Workload
from pnnbench.workloads.hardware import Hardware


@dataclasses.dataclass
class Passes:
    """Passes through the physical part of a network, whoever makes them and however.

    Attributes:
        recorded: Those recorded for differentiation.
        simulated: Those not recorded, and made neither on hardware nor by the workload itself:
            `Workload.calibrate`, which every training ends with, `Workload.prepared`, and
            `Workload.check_reached`, with which it begins.
    """

    recorded: int = 0
    simulated: int = 0


@contextmanager
def counted_passes(workload: Workload) -> Iterator[Passes]:
    """Context that counts passes through a network.

    Args:
        workload: Gives the class of the network.

    Yields:
        The counts, kept up to date.
    """
    cls: Any = type(workload.network)
    own, physical, passes = "physical" in vars(cls), cls.physical, Passes()

    def counting(network: Any, h: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            passes.recorded += 1
        elif not any(layer._measured for layer in physical_layers(network).values()):
            passes.simulated += 1
        return physical(network, h)

    def uncounted(name: str) -> None:
        function = getattr(workload, name)

        def calling(*args: Any, **kwargs: Any) -> Any:
            before = passes.simulated
            found = function(*args, **kwargs)
            passes.simulated = before
            return found

        setattr(workload, name, calling)

    of_workload = ("calibrate", "prepared", "check_reached")
    for name in of_workload:
        uncounted(name)
    cls.physical = counting
    try:
        yield passes
    finally:
        for name in of_workload:
            delattr(workload, name)
        if own:
            cls.physical = physical
        else:
            del cls.physical


class _WatchedDevice(Device):
    """A device that notes when its errors are looked at.

    Args:
        device: What it is.
        looked: Where its seed is noted.
    """

    def __init__(self, device: Device, looked: list[int]) -> None:
        self.__dict__.update(vars(device), device=device, looked=looked)

    def __getattribute__(self, name: str) -> Any:
        if name == "errors":
            known = vars(self)
            known["looked"].append(known["seed"])
        return super().__getattribute__(name)


@contextmanager
def watched_devices(workload: Workload) -> Iterator[list[int]]:
    """Context in which drawn devices that stand for hardware are looked at through `hardware` only.

    Args:
        workload: Its `Workload.hardware` measures them.

    Yields:
        Seeds of those whose errors are read otherwise, once for each time.
    """
    drawn, measured, looked = vars(Device)["draw"], workload.hardware, list[int]()

    def draw(
        cls: type[Device], network: nn.Module, severity: float, seed: int, law: str = FABRICATION
    ) -> Device:
        device: Device = drawn.__func__(cls, network, severity, seed, law)
        return _WatchedDevice(device, looked) if seed >= FIRST_TRAINING_DEVICE else device

    def hardware(
        device: Device, environment: Environment | None = None, *, seed: int = 0
    ) -> Hardware:
        inside = vars(device)["device"] if isinstance(device, _WatchedDevice) else device
        return measured(inside, environment, seed=seed)

    watched: Any = workload
    Device.draw = classmethod(draw)  # type: ignore[assignment, method-assign]
    watched.hardware = hardware
    try:
        yield looked
    finally:
        Device.draw = drawn  # type: ignore[method-assign]
        del watched.hardware


@contextmanager
def watched_test_data() -> Iterator[list[str]]:
    """Context that notes who reads test data, from a data module or from a data set.

    Yields:
        What is read, once for each time.
    """
    part, read = DataModule._part, list[str]()

    def noting(data: DataModule, name: str) -> Any:
        if name == "test":
            read.append(name)
        return part(data, name)

    def get(arrays: Arrays, name: str) -> Any:
        # Loading, checking and cutting a data set touches all of it, inside its room.
        if name in ("test_inputs", "test_targets"):
            caller = sys._getframe(1).f_globals.get("__name__", "")
            if not caller.startswith("pnnbench.data"):
                read.append(name)
        return object.__getattribute__(arrays, name)

    module: Any = DataModule
    kept: Any = Arrays
    module._part, kept.__getattribute__ = noting, get
    try:
        yield read
    finally:
        module._part = part
        del kept.__getattribute__
