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
    workload: Workload, low: float = 0.0, high: float = 2.0 * math.pi, bits: int | None = None
) -> ExportedControls:
    """Gives the settings of all controls inside the range of their drivers.

    Phases are brought into the range where that leaves the transfer as it is, which a range of
    2 pi always allows: see `pnnbench.platforms.phase_range`. Currents and modulations have the
    limits of their own platform. What still lies outside is cut to the nearest end and told in
    `ExportedControls.clipped`.

    Args:
        workload: The workload, trained; it stays as it is.
        low: Least phase of the driver in rad.
        high: Largest phase of the driver in rad, above ``low``.
        bits: Resolution of the drivers, 1 to 32: 2^bits steps from the least to the largest
            setting, the ends included; None for none.

    Returns:
        The settings, by the names of `Workload.controls`.

    Raises:
        UserError: If the range is none, or there are bits and a control has no limits.
    """
    check_range("low", low, low=-1e6, high=1e6, unit="rad")
    check_range("high", high, low=low, high=1e6, low_open=True, unit="rad")
    if bits is not None:
        check_count("bits", bits, high=32)
    controls: dict[str, Tensor] = {}
    units: dict[str, str] = {}
    ranges: dict[str, tuple[float, float]] = {}
    clipped: dict[str, int] = {}
    for layer_name, layer in workload.layers().items():
        ends = layer.control_limits() or (low, high)
        if bits is not None and not all(math.isfinite(end) for end in ends):
            raise UserError(
                f"the controls of layer {layer_name!r} go from {ends[0]:g} to {ends[1]:g} "
                f"{layer.control_unit}: no steps share that out",
                next_step="leave bits away, or give the layer limits",
            )
        for control, value in layer.controls_within(*ends).items():
            name = f"network.{layer_name}.{control}"
            controls[name], clipped[name] = _limited(value, ends, bits)
            units[name], ranges[name] = layer.control_unit, ends
    return ExportedControls(controls, units, ranges, clipped, bits)


def _limited(value: Tensor, ends: tuple[float, float], bits: int | None) -> tuple[Tensor, int]:
    """Settings cut to a range and rounded to its steps, and how many were outside."""
    low, high = ends
    span = high - low
    allowance = _ROUNDING * span if math.isfinite(span) else 0.0
    outside = int(((value < low - allowance) | (value > high + allowance)).sum())
    value = value.clamp(low, high)
    if bits is not None:
        step = span / (2**bits - 1)
        exact = low + step * torch.round((value.double() - low) / step)
        value = exact.clamp(low, high).to(value)
    return value, outside
