"""Control settings for a laboratory's drivers: in their range, in their steps, with their units."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from pnnbench.errors import UserError, check_count, check_range, writing
from pnnbench.platforms.base import PhysicalLayer
from pnnbench.platforms.drivers import MAX_BITS, Driver
from pnnbench.workloads.base import Workload

#: Forms of the file, by the end of its name.
FORMS = (".safetensors", ".csv")
#: Share of a range by which a value may lie outside of it without being counted as cut.
_ROUNDING = 1e-6


@dataclasses.dataclass(frozen=True)
class ExportedControls:
    """Settings of every control of a workload.

    Attributes:
        controls: Name, as of `Workload.controls`, -> settings of the control's shape.
        units: Name -> unit.
        ranges: Name -> least and largest setting of its driver.
        clipped: Name -> how many settings were outside of the range and lie at its end now: there
            the transfer is another one.
        bits: Resolution of the drivers, None for settings between the steps.
    """

    controls: Mapping[str, Tensor]
    units: Mapping[str, str]
    ranges: Mapping[str, tuple[float, float]]
    clipped: Mapping[str, int]
    bits: int | None = None

    @property
    def report(self) -> tuple[str, ...]:
        """One line for each control that had to be cut; empty where the transfer is kept.

        Rounding to the steps of the drivers is none of them.
        """
        return tuple(
            f"{name}: {count} of {self.controls[name].numel()} settings cut to "
            f"{self.ranges[name][0]:g} to {self.ranges[name][1]:g} {self.units[name]}"
            for name, count in self.clipped.items()
            if count
        )

    def save(self, path: str | Path) -> Path:
        """Writes the settings, in one step.

        A safetensors file has one tensor for each control, and ``units``, ``ranges``, ``clipped``
        and ``bits`` as JSON in its metadata. A CSV file has a row for each setting: ``control``,
        ``index`` (such as ``3;0;1``), ``value``, ``unit``, ``low``, ``high``.

        Args:
            path: A name that ends in ``.safetensors`` or ``.csv``.

        Returns:
            The path.

        Raises:
            UserError: If the name ends otherwise, or there is no room.
        """
        path = Path(path)
        if path.suffix not in FORMS:
            raise UserError(f"{path} is no file of settings", allowed=" or ".join(FORMS))
        data = self._safetensors() if path.suffix == FORMS[0] else self._csv().encode()
        temporary = path.with_suffix(path.suffix + ".tmp")
        try:
            with writing(path):
                temporary.write_bytes(data)
                temporary.replace(path)
        except OSError as error:
            raise UserError(f"{path} cannot be written: {error.strerror}") from error
        return path

    def _safetensors(self) -> bytes:
        tensors = {name: value.cpu().contiguous() for name, value in self.controls.items()}
        notes = {
            "units": dict(self.units),
            "ranges": {name: list(ends) for name, ends in self.ranges.items()},
            "clipped": dict(self.clipped),
            "bits": self.bits,
        }
        return save(tensors, {name: json.dumps(value) for name, value in notes.items()})

    def _csv(self) -> str:
        text = io.StringIO(newline="")
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(["control", "index", "value", "unit", "low", "high"])
        for name, settings in self.controls.items():
            for index in torch.cartesian_prod(*(torch.arange(n) for n in settings.shape)).view(
                settings.numel(), -1
            ):
                place = tuple(int(i) for i in index)
                value = repr(float(settings[place]))
                ends = [repr(end) for end in self.ranges[name]]
                rows.writerow([name, ";".join(map(str, place)), value, self.units[name], *ends])
        return text.getvalue()


@torch.no_grad()
def export_controls(
    workload: Workload,
    low: float | None = None,
    high: float | None = None,
    bits: int | None = None,
) -> ExportedControls:
    """Gives the settings of all controls inside the range of their drivers.

    Without a range the drivers are those of the platform, `PhysicalLayer.drivers`: settings are in
    one period of each phase, and at the levels of the axis ``control-bits``, so that the transfer
    is the one which that axis measures at as many bits.

    With a range phases are brought into it where that leaves the transfer as it is, which a range
    of 2 pi always allows: see `pnnbench.platforms.phase_range`. Currents and modulations have the
    limits of their own platform in any case. What still lies outside is cut to the nearest end and
    told in `ExportedControls.clipped`.

    Args:
        workload: The workload, trained; it stays as it is.
        low: Least phase of the driver in rad; 0 if only ``high`` is given.
        high: Largest phase of the driver in rad, above ``low``; 2 pi above it if only ``low`` is
            given.
        bits: Resolution of the drivers, 1 to 24; None for none. Levels are those of
            `pnnbench.platforms.drivers.Driver`: of a range both ends are among them.

    Returns:
        The settings, by the names of `Workload.controls`.

    Raises:
        UserError: If the range is none, or there are bits and a control has no limits.
    """
    ends = None
    if low is not None or high is not None:
        low = check_range("low", 0.0 if low is None else low, low=-1e6, high=1e6, unit="rad")
        high = low + 2.0 * math.pi if high is None else high
        check_range("high", high, low=low, high=1e6, low_open=True, unit="rad")
        ends = low, high
    if bits is not None:
        check_count("bits", bits, high=MAX_BITS)
    controls: dict[str, Tensor] = {}
    units: dict[str, str] = {}
    ranges: dict[str, tuple[float, float]] = {}
    clipped: dict[str, int] = {}
    for layer_name, layer in workload.layers().items():
        for control, setting in _settings(layer_name, layer, ends, bits).items():
            name = f"network.{layer_name}.{control}"
            units[name] = layer.control_unit
            controls[name], ranges[name], clipped[name] = setting
    return ExportedControls(controls, units, ranges, clipped, bits)


#: Settings of a control, its range, and how many were outside of it.
_Setting = tuple[Tensor, tuple[float, float], int]


def _settings(
    layer_name: str, layer: PhysicalLayer, ends: tuple[float, float] | None, bits: int | None
) -> dict[str, _Setting]:
    """Settings of all controls of a layer; ``ends`` are those of phases, None for its drivers."""
    limits = layer.control_limits()
    drivers: Mapping[str, Driver] = {}
    if limits is None and ends is not None:
        limits, values = ends, layer.controls_within(*ends)
    else:
        values = {name: getattr(layer, name).detach() for name in layer.control_names}
        if limits is None or bits is not None:
            drivers = layer.drivers()
    found = {}
    for name, value in values.items():
        driver = drivers.get(name)
        if driver is None and bits is not None:
            if limits is None:
                raise UserError(
                    f"layer {layer_name!r} has no driver of {name!r}, and cannot be set in bits",
                    next_step="leave bits away, give a range, or declare the driver in drivers()",
                )
            driver = Driver(*limits)
        found[name] = _limited(value, driver, limits, bits)
    return found


def _limited(
    value: Tensor,
    driver: Driver | None,
    limits: tuple[float, float] | None,
    bits: int | None,
) -> _Setting:
    """Settings cut to the limits, else to the range of the driver, and at its levels."""
    exact = value.double()
    if driver is not None:
        exact = driver.reduced(exact)
        limits = limits or (driver.low, driver.high)
    low, high = limits or (-math.inf, math.inf)
    allowance = _ROUNDING * (high - low) if math.isfinite(high - low) else 0.0
    outside = int(((exact < low - allowance) | (exact > high + allowance)).sum())
    exact = exact.clamp(low, high)
    if driver is not None and bits is not None:
        exact = driver.setting(exact, bits).clamp(low, high)
    return exact.to(value), (low, high), outside
