"""Measured devices: a table of the errors of every ring, interferometer or pixel of real chips.

A file names devices, layers and elements and gives one column for each static error of the
platform, its unit in the name (``detuning_hwhm``) or in a line of units. ``docs/devices.md`` shows
both forms, CSV and npz. A severity of 1 is a device as it was measured; others scale its errors.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pnnbench.errors import UserError, unknown_name
from pnnbench.platforms.device import FABRICATION, Device
from pnnbench.platforms.layer import PhysicalLayer, physical_layers
from pnnbench.platforms.measured_files import ALL_LAYERS, ROLES, MeasuredDevice, Role, read_file
from pnnbench.platforms.static_errors import StaticError, check_severity
from pnnbench.seeds import (
    FIRST_TEST_DEVICE,
    FIRST_TRAINING_DEVICE,
    FIRST_VALIDATION_DEVICE,
)

#: Unit of severities of measured devices.
UNIT = "x as measured"
#: Label of cells that were measured on measured devices.
LABEL = "measured"
#: What needs a device of a role.
_FOR: Mapping[Role, str] = {
    "train": "which methods in situ train on",
    "validation": "which settings are chosen on",
    "test": "which networks are measured on",
}


def split(count: int) -> list[Role]:
    """Roles of devices that name none, in their order.

    A quarter trains and a quarter chooses settings, at least one each, and the others test. Of two
    the first trains; one alone tests.

    Args:
        count: How many, at least 1.
    """
    part = max(1, count // 4)
    train, validation = (0 if count < 2 else part), (0 if count < 3 else part)
    roles: tuple[tuple[Role, int], ...] = (
        ("train", train),
        ("validation", validation),
        ("test", count - train - validation),
    )
    return [role for role, many in roles for _ in range(many)]


class MeasuredDevices:
    """Measured devices as the source of all devices of a workload.

    Args:
        devices: The devices, in order; names are different.
        units: Column -> unit, of columns whose names do not end in it.
        name: Where they come from, for messages and records.

    Attributes:
        fingerprint: Digest of names, roles, units and values; how a file writes them is not in it.

    Raises:
        UserError: If there is no test device, a name comes twice, or two devices of different roles
            have the same values.
    """

    label = LABEL

    def __init__(
        self,
        devices: Sequence[MeasuredDevice],
        units: Mapping[str, str] | None = None,
        *,
        name: str = "measured devices",
    ) -> None:
        self.devices = tuple(devices)
        self.units = dict(units or {})
        self.name = name
        self.path: Path | None = None
        names = Counter(device.name for device in self.devices)
        for device in self.devices:
            if names[device.name] > 1:
                raise UserError(
                    f"{name}: device {device.name!r} comes twice", allowed="different names"
                )
            if device.role not in ROLES:
                raise unknown_name("role", device.role, ROLES, where=f"{name}: {device.name}")
        if not self.of("test"):
            raise UserError(
                f"{name}: no device is for tests",
                allowed="at least one of role 'test'",
                next_step="a training device is never a test device: measure one more",
            )
        self._refuse_one_device_in_two_roles()
        self.fingerprint = f"sha256:{self._digest()}"

    @classmethod
    def read(cls, path: Path | str) -> MeasuredDevices:
        """Reads a CSV or npz file.

        Args:
            path: The file. Its form is told by its ending, ``.csv`` or ``.npz``.

        Returns:
            The devices.

        Raises:
            UserError: If it cannot be read, or something in it is not what it should be. Whether
                its columns are errors of a network is checked when a workload is given them.
        """
        path = Path(path)
        try:
            content = path.read_bytes()
        except OSError as error:
            raise UserError(
                f"{path}: cannot be read: {error.strerror or error}",
                allowed="a CSV or npz file of measured devices, see docs/devices.md",
            ) from None
        source = cls.of_content(path.name, content)
        source.path = path.resolve()
        return source

    @classmethod
    def of_content(cls, name: str, content: bytes) -> MeasuredDevices:
        """Takes what stands in a CSV or npz file.

        Args:
            name: Name of the file. Its form is told by its ending.
            content: What stands in it.

        Raises:
            UserError: As `read`.
        """
        devices, units = read_file(Path(name), content)
        if not any(device.role for device in devices):
            devices = [
                dataclasses.replace(device, role=role)
                for device, role in zip(devices, split(len(devices)), strict=True)
            ]
        return cls(devices, units, name=name)

    def of(self, role: Role) -> list[MeasuredDevice]:
        """The devices of a role, in order."""
        return [device for device in self.devices if device.role == role]

    def _refuse_one_device_in_two_roles(self) -> None:
        first: dict[bytes, MeasuredDevice] = {}
        for device in self.devices:
            same = first.setdefault(_digest_of(device), device)
            if same.role != device.role:
                raise UserError(
                    f"{self.name}: devices {same.name!r} ({same.role}) and {device.name!r} "
                    f"({device.role}) have the same values in every column",
                    allowed="one role for each device",
                    next_step="leave one of them out, or give both one role",
                )

    def _digest(self) -> str:
        digest = hashlib.sha256(repr(sorted(self.units.items())).encode())
        for device in self.devices:
            digest.update(repr((device.name, device.role)).encode())
            digest.update(_digest_of(device))
        return digest.hexdigest()

    def describe(self) -> dict[str, Any]:
        """Fingerprint, and the names of the devices by role."""
        names: dict[str, Any] = {role: [d.name for d in self.of(role)] for role in ROLES}
        return {"kind": self.label, "fingerprint": self.fingerprint, **names}

    def as_it_is(self, severity: float, unit: str) -> tuple[float, str]:
        """1, as measured: a real device is trained on as it is."""
        return 1.0, UNIT

    def having(self, seeds: Sequence[int]) -> list[int]:
        """Those of some seeds that stand for a device; see `device`."""
        return [seed for seed in seeds if self._of_seed(seed) is not None]

    def _of_seed(self, seed: int) -> MeasuredDevice | None:
        role, first = _meaning_of(seed)
        mine, number = self.of(role), seed - first
        if role == "train" and mine:
            number %= len(mine)
        return mine[number] if number < len(mine) else None

    def device(self, network: nn.Module, severity: float, seed: int, law: str) -> Device:
        """The device that a seed stands for.

        Args:
            network: Module that holds the physical layers.
            severity: Multiple of what was measured, at least 0. What is scaled up is cut to what is
                physical.
            seed: The first test seed is the first test device, and so on; likewise for validation.
                Seeds of training devices go round those that train.
            law: ``"fabrication"``: a measured device has all of its errors at once.

        Returns:
            The device.

        Raises:
            UserError: If there is no such device, or as `check`.
        """
        check_severity("device severity", severity)
        if law != FABRICATION:
            raise UserError(
                f"{self.name}: measured devices have no errors of the kind {law!r} to draw",
                next_step="measure on drawn devices: leave 'devices' out",
            )
        found = self._of_seed(seed)
        if found is None:
            role, first = _meaning_of(seed)
            numbers = {each: len(self.of(each)) for each in ROLES}
            what = (
                f"there is no device for the seed {seed}, number {seed - first} of role {role!r}"
                if numbers[role]
                else f"no device has the role {role!r}, {_FOR[role]}"
            )
            raise UserError(
                f"{self.name}: {what}",
                allowed=", ".join(f"{count} for {each}" for each, count in numbers.items()),
                next_step=f"measure more devices, or give one the role {role!r}",
            )
        layers = physical_layers(network)
        errors = {
            name: {
                error: _scaled(severity, value, layers[name].possible_errors()[error])
                for error, value in mine.items()
            }
            for name, mine in self._errors(found, layers).items()
        }
        device = Device(errors, seed=seed, severity=severity)
        device.check(network)
        return device

    def check(self, network: nn.Module) -> None:
        """Holds every device against the layers of a network.

        Args:
            network: Module that holds the physical layers.

        Raises:
            UserError: If a layer or a column is unknown, a unit is another than the platform's, or
                the number of elements or a value is not one that the layer can have.
        """
        layers = physical_layers(network)
        for device in self.devices:
            Device(self._errors(device, layers), severity=1.0).check(network)

    def _errors(
        self, device: MeasuredDevice, layers: Mapping[str, PhysicalLayer]
    ) -> dict[str, dict[str, Tensor]]:
        """Layer -> error -> what was measured of it, in the unit and shape of the layer."""
        errors: dict[str, dict[str, Tensor]] = {name: {} for name in layers}
        for given, columns in device.columns.items():
            where = f"{self.name}: device {device.name!r}"
            if given != ALL_LAYERS and given not in layers:
                raise unknown_name("layer", given, [*layers, ALL_LAYERS], where=where)
            for column, values in columns.items():
                found = False
                for name in layers if given == ALL_LAYERS else (given,):
                    known = self._meaning(f"{where}, layer {name!r}", column, layers[name])
                    if known is None:
                        continue
                    found = True
                    error, converted = known[0], known[1](values)
                    here = f"{where}, layer {name!r}, column {column!r}"
                    if error in errors[name]:
                        raise UserError(f"{here}: {error!r} is there already, in another column")
                    law = layers[name].possible_errors()[error]
                    try:
                        laid = layers[name].lay(law, converted.float())
                        law.checked(here, laid, layers[name].like)
                    except UserError as problem:
                        if problem.what.startswith(here):
                            raise
                        raise UserError(
                            f"{here}: {problem.what}",
                            allowed=problem.allowed,
                            next_step=problem.next_step,
                        ) from None
                    errors[name][error] = laid
                if not found:
                    wanted = given if given != ALL_LAYERS else next(iter(layers))
                    raise unknown_name("column", column, names_of(layers[wanted]), where=where)
        return errors

    def _meaning(self, where: str, column: str, layer: PhysicalLayer) -> Any:
        """Error that a column gives and how its values become it; None where the layer has none."""
        quantities = layer.measured_quantities()
        if column in quantities:
            self._unit(f"{where}, column {column!r}", column, quantities[column].unit)
            return quantities[column].error, quantities[column].convert
        for error, law in layer.possible_errors().items():
            if column in (error, named(error, law)):
                if column != named(error, law) and column not in self.units:
                    raise UserError(
                        f"{where}, column {column!r} says no unit",
                        allowed=f"{law.unit}: {law.meaning}",
                        next_step=f"name it {named(error, law)!r}, or give a line of units",
                    )
                self._unit(f"{where}, column {column!r}", column, law.unit)
                return error, torch.Tensor.clone
        return None

    def _unit(self, where: str, column: str, unit: str) -> None:
        said = self.units.get(column)
        if said is not None and slug(said) != slug(unit):
            raise UserError(f"{where} is in {said!r}", allowed=unit, next_step="convert the values")


def _meaning_of(seed: int) -> tuple[Role, int]:
    """The role of the devices that a seed is one of, and their first seed."""
    if seed >= FIRST_TEST_DEVICE:
        return "test", FIRST_TEST_DEVICE
    if seed >= FIRST_VALIDATION_DEVICE:
        return "validation", FIRST_VALIDATION_DEVICE
    return "train", FIRST_TRAINING_DEVICE


def _digest_of(device: MeasuredDevice) -> bytes:
    """Digest of what was measured of a device, without its name and role."""
    digest = hashlib.sha256()
    for layer, columns in sorted(device.columns.items()):
        for column, values in sorted(columns.items()):
            digest.update(repr((layer, column, tuple(values.shape))).encode())
            digest.update(values.double().contiguous().numpy().tobytes())
    return digest.digest()


def _scaled(severity: float, measured: Tensor, law: StaticError) -> Tensor:
    """What was measured, scaled; where that is more of it, cut to what is physical."""
    scaled = severity * measured
    return law.within(scaled) if severity > 1.0 else scaled


def slug(unit: str) -> str:
    """A unit as it stands in the name of a column; a ratio has none."""
    text = unit.strip().casefold().replace(" ", "_")
    return "" if text == "1" else text


def named(error: str, law: StaticError) -> str:
    """Name of the column of an error, its unit in it, such as ``detuning_hwhm``."""
    unit = slug(law.unit)
    return error if not unit or error.casefold().endswith(f"_{unit}") else f"{error}_{unit}"


def names_of(layer: PhysicalLayer) -> list[str]:
    """Columns that a layer knows."""
    errors = [named(error, law) for error, law in layer.possible_errors().items()]
    return [*errors, *layer.measured_quantities()]
