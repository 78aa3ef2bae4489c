"""What each platform makes of torch's layers: which kinds it has, and how one is built."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from pnnbench.errors import UserError, unknown_name
from pnnbench.platforms.freespace import FreeSpaceLayer, Layout
from pnnbench.platforms.layer import PhysicalLayer
from pnnbench.platforms.mrr import MRRConv1d, MRRConv2d, MRRLinear
from pnnbench.platforms.mzi_layers import MZIConv1d, MZIConv2d, MZILinear
from pnnbench.workloads.mzi import IMBALANCE_PER_RAD

#: Gap around the largest tile of a modulator, rows and columns: that of the published cells.
_GAP = (4, 2)
#: (layer, whether it keeps its digital bias, options of the platform) -> physical layer with
#: whatever weight.
Maker = Callable[[Any, bool, Mapping[str, Any]], PhysicalLayer]


def _linear(made: type[Any]) -> Maker:
    def make(module: nn.Linear, bias: bool, options: Mapping[str, Any]) -> PhysicalLayer:
        return made(module.in_features, module.out_features, bias=bias, **options)

    return make


def _conv(made: type[Any]) -> Maker:
    def make(module: Any, bias: bool, options: Mapping[str, Any]) -> PhysicalLayer:
        return made(
            module.in_channels,
            module.out_channels,
            module.kernel_size,
            stride=module.stride,
            padding=module.padding,
            dilation=module.dilation,
            groups=module.groups,
            padding_mode=module.padding_mode,
            bias=bias,
            **options,
        )

    return make


def _meshes(make: Maker) -> Maker:
    """Meshes are programmed when they are built, with couplers as the platform's workloads have."""

    def programmed(module: Any, bias: bool, options: Mapping[str, Any]) -> PhysicalLayer:
        own = {"imbalance_per_rad": IMBALANCE_PER_RAD, "weight": module.weight.detach()}
        return make(module, bias, {**own, **options})

    return programmed


def tile(inputs: int) -> tuple[int, int]:
    """Rows and columns of the tile that holds so many inputs exactly, as square as can be."""
    rows = max(n for n in range(1, math.isqrt(inputs) + 1) if inputs % n == 0)
    return rows, inputs // rows


def common_layout(layers: Mapping[str, nn.Module]) -> Layout:
    """The modulator that holds the tile of any of some linear layers.

    Args:
        layers: Layers by name, at least one of them linear.
    """
    tiles = [tile(layer.in_features) for layer in layers.values() if isinstance(layer, nn.Linear)]
    rows, columns = (max(t[i] for t in tiles) for i in (0, 1))
    return Layout((rows, columns), cell=(rows + _GAP[0], columns + _GAP[1]))


def _shown(module: nn.Linear, bias: bool, options: Mapping[str, Any]) -> PhysicalLayer:
    size = tile(module.in_features)
    layout = options.get("layout") or Layout(size, cell=(size[0] + _GAP[0], size[1] + _GAP[1]))
    layout = dataclasses.replace(layout, tile=size)
    rest = {name: value for name, value in options.items() if name != "layout"}
    return FreeSpaceLayer(module.in_features, module.out_features, layout, bias=bias, **rest)


@dataclasses.dataclass(frozen=True)
class Kinds:
    """What a platform makes of torch's layers.

    Attributes:
        makers: Class of a layer -> what makes it physical.
        options: Names of the options of the platform's layers.
        has_gain: Whether layers carry a digital gain of their own, so that no weight is too large.
    """

    makers: Mapping[type[nn.Module], Maker]
    options: tuple[str, ...]
    has_gain: bool = False


#: Platform -> what it makes of torch's layers.
PLATFORMS: Mapping[str, Kinds] = {
    "mrr": Kinds(
        {nn.Linear: _linear(MRRLinear), nn.Conv1d: _conv(MRRConv1d), nn.Conv2d: _conv(MRRConv2d)},
        ("calibration",),
    ),
    "mzi": Kinds(
        {
            nn.Linear: _meshes(_linear(MZILinear)),
            nn.Conv1d: _meshes(_conv(MZIConv1d)),
            nn.Conv2d: _meshes(_conv(MZIConv2d)),
        },
        ("ports", "headroom", "imbalance_per_rad", "readout_noise"),
        has_gain=True,
    ),
    "freespace": Kinds({nn.Linear: _shown}, ("layout", "sampling", "answers_to", "readout_noise")),
}


def kinds_of(platform: str, options: Mapping[str, Any]) -> Kinds:
    """What a platform makes of torch's layers.

    Args:
        platform: Its name.
        options: Options of its layers, checked for their names.

    Raises:
        UserError: If there is no such platform, or it has no such layers or options.
    """
    if platform == "diffractive":
        raise UserError(
            "a diffractive stack is no layer conversion: its masks hold no weight matrix that a "
            "trained layer could be programmed into",
            allowed=", ".join(PLATFORMS),
            next_step="write a DiffractiveWorkload with a build_network of its own",
        )
    if platform not in PLATFORMS:
        raise unknown_name("platform", str(platform), PLATFORMS)
    kinds = PLATFORMS[platform]
    for name in options:
        if name not in kinds.options:
            raise unknown_name("option", name, kinds.options, where=f"layers of {platform}")
    return kinds
