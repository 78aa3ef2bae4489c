"""Axes on request: errors that a grid does not vary unless it is asked to. They carry no weight.

A suite names them under ``axes``, Python sets `Workload.axes`. In records their cells stand on the
axes ``resolution``, ``crosstalk_thermal`` and ``loss``.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from pnnbench.errors import UserError, unknown_name
from pnnbench.platforms.base import Environment, PhysicalLayer
from pnnbench.platforms.mzi import LOSSES
from pnnbench.platforms.sources import DeviceSource
from pnnbench.workloads.grid import Cell, environment_axis, law_axis

#: Bits of the drivers. Their nominal point is infinite.
BITS = (3.0, 4.0, 5.0, 6.0, 8.0, 10.0)
#: Shares of the phase of a heater that its neighbour takes on. A choice: what trenches leave, and
#: what is left without them.
CROSSTALK = (0.005, 0.01, 0.02, 0.05, 0.1)
#: Mean loss of an interferometer in dB. A choice: from the best couplers and bends to poor ones.
LOSS_DB = (0.05, 0.1, 0.2, 0.5, 1.0)


def _control_bits(nominal: Environment, devices: Sequence[int]) -> list[Cell]:
    points = [(bits, dataclasses.replace(nominal, control_bits=bits)) for bits in BITS]
    return environment_axis(
        "resolution", "bit", points, 0.0, [None], counts=False, nominal=math.inf
    )


def _thermal_crosstalk(nominal: Environment, devices: Sequence[int]) -> list[Cell]:
    fields = [{"thermal_crosstalk": share} for share in CROSSTALK]
    points = [
        (share, dataclasses.replace(nominal, **field))
        for share, field in zip(CROSSTALK, fields, strict=True)
    ]
    return environment_axis("crosstalk_thermal", "", points, 0.0, [None], counts=False)


def _insertion_loss(nominal: Environment, devices: Sequence[int]) -> list[Cell]:
    return law_axis("loss", LOSSES, LOSS_DB, devices, nominal, "dB", counts=False)


def _has_drivers(layer: PhysicalLayer) -> bool:
    return set(layer.control_names) <= set(layer.drivers())


def _has_heaters(layer: PhysicalLayer) -> bool:
    fields = dataclasses.fields(layer.environment_class)
    return "thermal_crosstalk" in {field.name for field in fields}


def _has_losses(layer: PhysicalLayer) -> bool:
    return any(name.endswith("loss_db") for name in layer.further_errors())


@dataclasses.dataclass(frozen=True)
class Axis:
    """An axis on request.

    Attributes:
        meaning: What it varies.
        cells: From the nominal environment and the seeds of the test devices to its cells.
        layer_has: Whether a layer can be asked.
        needs: What a layer needs to have for it.
        drawn: Whether it draws errors of devices, which measured ones have not.
    """

    meaning: str
    cells: Callable[[Environment, Sequence[int]], list[Cell]]
    layer_has: Callable[[PhysicalLayer], bool]
    needs: str
    drawn: bool = False


AXES: Mapping[str, Axis] = MappingProxyType(
    {
        "control-bits": Axis(
            "resolution of the drivers that set the controls, on the ideal device",
            _control_bits,
            _has_drivers,
            "layers that declare drivers() of all their controls",
        ),
        "thermal-crosstalk": Axis(
            "heat of the heaters of a mesh at their neighbours, on the ideal device",
            _thermal_crosstalk,
            _has_heaters,
            "layers of meshes; the grid of rings has the axis crosstalk already",
        ),
        "insertion-loss": Axis(
            "loss of each interferometer of a mesh, with a spread between them",
            _insertion_loss,
            _has_losses,
            "layers of meshes",
            drawn=True,
        ),
    }
)


def check_axes(
    names: Sequence[str], layers: Mapping[str, PhysicalLayer], source: DeviceSource
) -> None:
    """Checks axes against a network and the source of its devices.

    Args:
        names: Names of the axes.
        layers: The physical layers.
        source: Where devices come from.

    Raises:
        UserError: If a name is unknown or comes twice, a layer cannot be asked, or the axis draws
            devices and they are measured.
    """
    for i, name in enumerate(names):
        if name not in AXES:
            raise unknown_name("axis", str(name), AXES)
        if name in names[:i]:
            raise UserError(f"the axis {name!r} is named twice", allowed="different axes")
        lacking = [n for n, layer in layers.items() if not AXES[name].layer_has(layer)]
        if lacking:
            kinds = ", ".join(sorted({type(layers[n]).__name__ for n in lacking}))
            raise UserError(
                f"the axis {name!r} is not one of {kinds} (layer {lacking[0]!r})",
                allowed=AXES[name].needs,
            )
        if AXES[name].drawn and source.label:
            raise UserError(
                f"the axis {name!r} draws errors of devices, and these are {source.label}",
                next_step="leave the axis out; a file of measured devices may have loss_db itself",
            )


def further_cells(names: Sequence[str], nominal: Environment, devices: Sequence[int]) -> list[Cell]:
    """The cells of axes on request.

    Args:
        names: Names of the axes.
        nominal: The nominal environment.
        devices: Seeds of the test devices.

    Returns:
        Axis by axis; none of them counts.
    """
    return [cell for name in names for cell in AXES[name].cells(nominal, devices)]
