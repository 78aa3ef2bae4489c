"""Free-space products: an emissive display in front of a modulator whose pixels are the weights.

The display shows the input once for every output; the light of each copy passes a tile of the
modulator that holds one row of the weight matrix, and a lens adds it up on one detector. Rotation,
shift and magnification of the modulator against the display make the light of one input meet the
weights of another, or a gap between tiles.

Layout of the published experiments: cells of 32 x 30 pixels, 3 x 4 of them on a modulator image,
every column twice (96 x 240 pixels); the tile of a row stands in the middle of its cell, the cells
of an image are filled row by row, and images are shown one after another. Weights are signed, -1 to
1 of full modulation: the difference of two exposures, as in the published simulation.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pnnbench.errors import UserError, check_count, check_pair, check_range
from pnnbench.platforms.base import (
    Environment,
    PhysicalLayer,
    StaticError,
    check_severity,
    check_target,
)
from pnnbench.platforms.drivers import Driver
from pnnbench.platforms.misalignment import (
    BILINEAR,
    FIELDS,
    Misalignment,
    MisalignmentEnvironment,
    check_sampling,
    lookup,
    misalignment_errors,
    sample,
    taps,
)
from pnnbench.platforms.products import LinearProduct, ProductLayer

#: Standard deviation of a layer's own misalignment at severity 1: degrees, pixels, log of the
#: scale. This project's choice, half of the range that the published experiments sweep in rotation
#: and shift and a quarter in scale.
TOLERANCE = {"rotation_deg": 1.0, "shift_x_px": 1.0, "shift_y_px": 1.0, "log_scale": 0.025}


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where the rows of a weight matrix stand on the modulator.

    Attributes:
        tile: Rows and columns of the weights of one output.
        cell: Rows and columns that a tile has to itself, the gap around it included.
        cells: Rows and columns of cells on one modulator image.
        column_pixels: Modulator columns per weight column.
    """

    tile: tuple[int, int]
    cell: tuple[int, int] = (32, 30)
    cells: tuple[int, int] = (3, 4)
    column_pixels: int = 2

    def __post_init__(self) -> None:
        for name in ("tile", "cell", "cells"):
            check_pair(f"layout {name}", getattr(self, name), high=4096)
        check_count("layout column_pixels", self.column_pixels, high=64)
        if any(t > c for t, c in zip(self.tile, self.cell, strict=True)):
            raise UserError(f"a tile of {self.tile} is larger than its cell {self.cell}")

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the modulator in pixels."""
        return (
            self.cells[0] * self.cell[0],
            self.cells[1] * self.cell[1] * self.column_pixels,
        )

    @property
    def per_image(self) -> int:
        """Outputs on one modulator image."""
        return self.cells[0] * self.cells[1]

    def lattice(self, columns: int) -> tuple[Tensor, Tensor]:
        """Rows and columns of the modulator at which weights stand.

        Args:
            columns: How many columns of each weight, from the left, 1 to `column_pixels`.

        Returns:
            Rows (cells x tile, 1) and columns (1, cells x tile x columns): their crossings, row by
            row, are the weights in the order of `by_cell`.
        """
        first, across = [
            (torch.arange(n)[:, None] * c + (c - t) // 2 + torch.arange(t)).flatten()
            for n, c, t in zip(self.cells, self.cell, self.tile, strict=True)
        ]
        steps = across[:, None] * self.column_pixels + torch.arange(columns)
        return first[:, None], steps.flatten()[None]

    def by_cell(self, crossings: Tensor) -> Tensor:
        """Sorts the weights of the lattice (..., weights) by cell (..., cells, tile)."""
        (a, b), (i, j) = self.cells, self.tile
        return crossings.unflatten(-1, (a, i, b, j)).transpose(-3, -2).flatten(-4, -3).flatten(-2)

    def table(self) -> Tensor:
        """Which weight of an image each modulator pixel shows, for `taps`.

        Returns:
            See `lookup`: numbers of the weights cell by cell; in a gap, how many there are.
        """
        rows, columns = self.lattice(self.column_pixels)
        weights = self.per_image * math.prod(self.tile)
        order = torch.empty(weights, dtype=torch.long)
        order[self.by_cell(torch.arange(weights)).flatten()] = torch.arange(weights)
        shown = torch.full(self.shape, weights)
        shown[rows, columns] = order.repeat_interleave(self.column_pixels).view(len(rows), -1)
        return lookup(shown, weights)

    def describe(self) -> dict[str, Any]:
        """The layout as plain values."""
        return {
            "tile": list(self.tile),
            "cell": list(self.cell),
            "cells": list(self.cells),
            "column_pixels": self.column_pixels,
        }


class FreeSpaceLayer(LinearProduct, ProductLayer):
    """A matrix-vector product between a display and a modulator.

    Errors of a device: the layer's own misalignment, drawn once when the set-up is assembled, and
    offsets of the weights; see `static_errors`.

    Args:
        in_features: Inputs, the pixels of a tile.
        out_features: Outputs.
        layout: Where weights stand; by default square tiles in the published cells.
        bias: Whether to add a digital bias.
        sampling: ``"bilinear"``, the light of an input meeting all modulator columns of its
            weight, or ``"nearest"`` as published, meeting the first one.
        answers_to: Fields of the environment that misalign this layer; all by default. In the
            published simulation the second layer answers to the scale only.
        readout_noise: Standard deviation of the detectors' noise as a fraction of full scale.

    Attributes:
        weight: Control parameters (out_features, in_features), -1 to 1 of full modulation.
        bias: Digital bias (out_features,), or None.

    Raises:
        UserError: If the tile does not hold the inputs, or an argument is out of range.
    """

    control_names: ClassVar[tuple[str, ...]] = ("weight",)
    control_unit: ClassVar[str] = "full modulation"
    offset_unit: ClassVar[str] = "full modulation"
    environment_class: ClassVar[type[Environment]] = MisalignmentEnvironment
    #: `benchmarks/sharpness_rows.py`, seed 0; 0.5 λ r / |g|, and loss + worst increase in nats, of
    #: digits (2,664 weights) and of MNIST after the standard tier (114,336):
    #:
    #: | r | digits BP | digits NAT | MNIST BP | MNIST NAT |
    #: | 0.35 | 3.3, 0.26 | 0.5, 0.80 | 4.1, 0.06 | 0.5, 0.15 |
    #: | 0.7 | 6.5, 0.44 | 1.0, 0.88 | 8.2, 0.17 | 1.1, 0.16 |
    #: | 1.4 | 13, 1.4 | 2.0, 1.2 | 16, 1.2 | 2.1, 0.22 |
    #:
    #: No controls shift in common: a weight is the difference of two exposures, in which what both
    #: share cancels, and the same offset on all weights of the last layer shifts all logits alike.
    ball_radius: ClassVar[float] = 0.7

    _table: Tensor
    _rows: Tensor
    _columns: Tensor

    def __init__(
        self,
        in_features: int,
        out_features: int,
        layout: Layout | None = None,
        bias: bool = True,
        sampling: str = BILINEAR,
        answers_to: tuple[str, ...] = FIELDS,
        readout_noise: float = 0.01,
    ) -> None:
        super().__init__()
        check_count("in_features", in_features, high=1_000_000)
        check_count("out_features", out_features, high=1_000_000)
        check_range("readout_noise", readout_noise, low=0.0, high=10.0)
        side = math.isqrt(in_features)
        self.layout = layout or Layout((side, side))
        if self.layout.tile[0] * self.layout.tile[1] != in_features:
            raise UserError(
                f"a tile of {self.layout.tile} does not hold {in_features} inputs",
                next_step="give a Layout whose tile has as many pixels as there are inputs",
            )
        unknown = [name for name in answers_to if name not in FIELDS]
        if isinstance(answers_to, str) or unknown:
            raise UserError(
                f"answers_to is {answers_to!r}", allowed=f"a tuple of {', '.join(FIELDS)}"
            )
        self.sampling = check_sampling(sampling)
        self.answers_to = tuple(answers_to)
        self.readout_noise = float(readout_noise)
        self._met = self.layout.column_pixels if self.sampling == BILINEAR else 1
        rows, columns = self.layout.lattice(self._met)
        self.register_buffer("_rows", rows, persistent=False)
        self.register_buffer("_columns", columns, persistent=False)
        self.register_buffer("_table", self.layout.table(), persistent=False)
        self.weight = nn.Parameter(torch.empty(out_features, in_features))
        self.bias = nn.Parameter(torch.empty(out_features)) if bias else None
        self.reset_parameters()

    @classmethod
    def example(cls) -> tuple[PhysicalLayer, Tensor]:
        """Sixteen inputs and five outputs on one modulator image."""
        return cls(16, 5, Layout((4, 4), (6, 6), (2, 3))), torch.rand(4, 16)

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draws weights and biases uniformly up to 1 / sqrt(in_features), as torch's Linear."""
        bound = min(1.0, 1 / math.sqrt(self.weight.shape[1]))
        self.weight.uniform_(-bound, bound)
        if self.bias is not None:
            self.bias.uniform_(-bound, bound)

    def ideal_weight(self) -> Tensor:
        """The weights themselves (out_features, in_features)."""
        return self.weight

    @torch.no_grad()
    def project_weight(self, weight: Tensor) -> Tensor:
        """Weights (out_features, in_features) cut to -1 to 1."""
        check_target(weight, self.weight.shape, finite=False)
        return weight.clamp(-1.0, 1.0)

    @torch.no_grad()
    def program(self, weight: Tensor) -> None:
        """Shows weights (out_features, in_features) on the modulator, cut to -1 to 1.

        Raises:
            UserError: If the shape differs or a target is not finite.
        """
        check_target(weight, self.weight.shape)
        self.weight.copy_(self.project_weight(weight))

    @torch.no_grad()
    def project(self) -> None:
        """Cuts the weights to -1 to 1, in place."""
        self.weight.clamp_(-1.0, 1.0)

    def control_limits(self) -> tuple[float, float]:
        """-1 and 1 of full modulation."""
        return -1.0, 1.0

    def describe(self) -> dict[str, Any]:
        """Shape, layout, sampling and noise."""
        return {
            "type": type(self).__name__,
            "shape": list(self.weight.shape),
            "layout": self.layout.describe(),
            "sampling": self.sampling,
            "answers_to": list(self.answers_to),
            "readout_noise": self.readout_noise,
            "tolerance": TOLERANCE,
            "errors": self.describe_errors(),
        }

    def static_errors(self) -> dict[str, StaticError]:
        """The layer's own misalignment, and offsets of the weights."""
        weight = StaticError("added to the weights", self.control_unit, tuple(self.weight.shape))
        return {**misalignment_errors(), "weight": weight}

    def draw_errors(self, severity: float, generator: torch.Generator) -> dict[str, Tensor]:
        """Draws the layer's own misalignment, normal with `TOLERANCE` x severity.

        Cut to the ranges of `static_errors`.
        """
        check_severity("severity", severity)
        laws = misalignment_errors()
        z = torch.randn(len(TOLERANCE), generator=generator, dtype=torch.float32)
        return {
            name: laws[name].within(severity * tolerance * value)
            for value, (name, tolerance) in zip(z, TOLERANCE.items(), strict=True)
        }

    def random_offsets(self, sigma: float, generator: torch.Generator) -> dict[str, Tensor]:
        """Draws Gaussian offsets of the weights, of standard deviation ``sigma``."""
        check_severity("sigma", sigma)
        return {
            "weight": sigma
            * torch.randn(self.weight.shape, generator=generator, dtype=torch.float32)
        }

    def answers(self, environment: Environment) -> bool:
        """Whether a field that this layer answers to is off nominal."""
        nominal, fields = self.environment_class(), (*self.answers_to, "control_bits")
        return any(getattr(environment, name) != getattr(nominal, name) for name in fields)

    def drivers(self) -> dict[str, Driver]:
        """Each of the two exposures of a signed weight sets 0 to full modulation."""
        return {"weight": Driver(-1.0, 1.0, exposures=2)}

    def sensitivity(self) -> Tensor:
        """1 for every weight: a modulator pixel answers linearly; without gradient."""
        return torch.ones_like(self.weight, requires_grad=False)

    def transfer(self) -> Tensor:
        """Weights that the light of each input meets under the present operation.

        Returns:
            (out_features, in_features); with C > 1 conditions (C, out_features, in_features).
        """
        op = self.operation
        if op is None:
            return self.weight
        weight = self.control("weight")
        if "weight" in op.errors:
            weight = weight + op.errors["weight"]
        misalignment = Misalignment.of(op.environment, op.errors, self.answers_to)
        if not misalignment.aligned:
            weight = self._misaligned(weight, misalignment)
            if op.count == 1:
                weight = weight[0]
        return weight.expand(op.count, *self.weight.shape) if op.count > 1 else weight

    def _misaligned(self, weight: Tensor, misalignment: Misalignment) -> Tensor:
        outputs, inputs = self.weight.shape
        per_image = self.layout.per_image
        images = -(-outputs // per_image)
        dtype = torch.promote_types(weight.dtype, torch.float32)
        index, share = taps(
            misalignment, self._table, self._rows, self._columns, self.sampling, dtype
        )
        taps_each = index.shape[-1] * self._met
        index, share = (t.view(len(t), -1, taps_each) for t in (index, share))
        # One row for each weight of an image, one column for each image: all share the gather.
        spare = images * per_image - outputs
        values = F.pad(weight, (0, 0, 0, spare)).unflatten(-2, (images, -1)).flatten(-2)
        shown = sample(values.transpose(-1, -2) / self._met, index, share)
        rows = self.layout.by_cell(shown.transpose(1, 2))
        return rows.reshape(len(shown), images * per_image, inputs)[:, :outputs]

    def _detected(self, y: Tensor, x: Tensor) -> Tensor:
        return self.read_out(y, self.readout_noise)
