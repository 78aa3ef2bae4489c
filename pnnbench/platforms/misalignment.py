"""Misaligned modulators: where on a pixel array each ray falls, and what it meets there.

A modulator that is rotated, shifted and magnified about its centre shows at position p the value
that stands at R(-rotation)(p - shift) / scale. Positions are pixel centres, x to the right, y down,
origin at the centre of the array; rotation is clockwise in degrees, shifts are in pixels, and what
lies outside of the array reads a fill value. These are the conventions of torchvision's ``affine``.

Sampling is a gather of the up to four pixels around a position, weighted bilinearly, for all
environments at once. `NEAREST` takes the nearest pixel, half to even, as published simulations do:
it makes the loss piecewise constant in every parameter of the misalignment.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy.sparse
import torch
import torch.nn.functional as F
from torch import Tensor

from pnnbench.errors import UserError, check_range
from pnnbench.platforms.base import Environment, StaticError

BILINEAR, NEAREST = "bilinear", "nearest"
SAMPLINGS = (BILINEAR, NEAREST)


def check_sampling(sampling: str) -> str:
    """Returns the sampling; raises UserError if there is no such one."""
    if sampling not in SAMPLINGS:
        raise UserError(f"sampling is {sampling!r}", allowed=", ".join(SAMPLINGS))
    return sampling


@dataclasses.dataclass(frozen=True)
class MisalignmentEnvironment(Environment):
    """How modulators stand against the light that meets them.

    Attributes:
        rotation_deg: Clockwise rotation about the centre in degrees, -180 to 180.
        shift_x_px: Shift to the right in pixels of the modulator, -1e4 to 1e4.
        shift_y_px: Shift down in pixels of the modulator, -1e4 to 1e4.
        scale: Magnification, 0.1 to 10; above 1 enlarges.
    """

    rotation_deg: float = 0.0
    shift_x_px: float = 0.0
    shift_y_px: float = 0.0
    scale: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("rotation_deg", self.rotation_deg, low=-180.0, high=180.0)
        check_range("shift_x_px", self.shift_x_px, low=-1e4, high=1e4)
        check_range("shift_y_px", self.shift_y_px, low=-1e4, high=1e4)
        check_range("scale", self.scale, low=0.1, high=10.0)


def misalignment_errors(shape: tuple[int, ...] = ()) -> dict[str, StaticError]:
    """Declares the misalignment that a layer may have of its own; it adds to the environment's.

    Args:
        shape: ``()`` for one modulator, ``(M,)`` for M that move each by itself.

    Returns:
        Name of the error -> what it may be.
    """
    return {
        "rotation_deg": StaticError("clockwise rotation of the modulator", "deg", shape, -180, 180),
        "shift_x_px": StaticError("shift to the right", "px", shape, -1e4, 1e4),
        "shift_y_px": StaticError("shift down", "px", shape, -1e4, 1e4),
        "log_scale": StaticError("natural logarithm of the magnification", "1", shape, -2.3, 2.3),
    }


#: Fields of the environment that misalign.
FIELDS = tuple(MisalignmentEnvironment().as_dict())


@dataclasses.dataclass(frozen=True)
class Misalignment:
    """Misalignments under C conditions, each field float64 (C,).

    Where the modulators of a layer move each by itself, every modulator in every condition is one:
    modulator by modulator, condition by condition.
    """

    rotation_deg: Tensor
    shift_x_px: Tensor
    shift_y_px: Tensor
    scale: Tensor

    @classmethod
    def of(
        cls,
        environment: Mapping[str, Tensor],
        errors: Mapping[str, Tensor],
        sees: tuple[str, ...] = FIELDS,
        modulators: int = 1,
    ) -> Misalignment:
        """Adds a layer's own misalignment to that of the environment; scales multiply.

        Args:
            environment: Field -> value (C,) or ().
            errors: Field -> value (C,) or (), ``log_scale`` in the place of ``scale``; with
                several modulators (C, M) or (M,).
            sees: Fields of the environment that the layer answers to.
            modulators: Number M of modulators that move each by itself.

        Returns:
            The sums.
        """
        nominal = MisalignmentEnvironment().as_dict()
        total = {}
        for name, value in nominal.items():
            found = environment[name] if name in sees else torch.full_like(environment[name], value)
            found = found.double().reshape(-1, 1)
            if name == "scale" and "log_scale" in errors:
                found = found * errors["log_scale"].double().reshape(-1, modulators).exp()
            elif name in errors:
                found = found + errors[name].double().reshape(-1, modulators)
            total[name] = found
        widest = max(len(v) for v in total.values())
        return cls(**{k: v.expand(widest, modulators).flatten() for k, v in total.items()})

    @property
    def aligned(self) -> bool:
        """Whether nothing is misaligned."""
        offsets = (self.rotation_deg, self.shift_x_px, self.shift_y_px, self.scale - 1.0)
        return not any(bool(offset.any()) for offset in offsets)

    def sources(
        self, shape: tuple[int, int], rows: Tensor, columns: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Where on the modulator the light at some positions falls.

        Args:
            shape: Rows and columns of the modulator.
            rows: Row of each position in pixels from the first row, of any shape.
            columns: Column of each position, broadcastable to it: on a lattice of rows (R, 1) and
                columns (1, Q) only sums are of full size.

        Returns:
            Row and column on the modulator, float64 (C, ...).
        """
        centre_y, centre_x = (shape[0] - 1) / 2, (shape[1] - 1) / 2
        one_each = (-1,) + (1,) * max(rows.dim(), columns.dim())
        angle = torch.deg2rad(self.rotation_deg)
        c = (torch.cos(angle) / self.scale).view(one_each)
        s = (torch.sin(angle) / self.scale).view(one_each)
        x = columns.double() - centre_x - self.shift_x_px.view(one_each)
        y = rows.double() - centre_y - self.shift_y_px.view(one_each)
        return (c * y + centre_y) - s * x, s * y + (c * x + centre_x)


#: Dark pixels around a lookup table: both pixels of a pair can then lie outside.
_BORDER = 2


def lookup(shown: Tensor, nothing: int) -> Tensor:
    """A table of what the pixels of a modulator show, with a dark border for what lies outside.

    Args:
        shown: Index of the value that each pixel shows (rows, columns).
        nothing: Index that stands for no value.

    Returns:
        int32 (rows + 4, columns + 4), for `taps`.
    """
    return F.pad(shown.int(), (_BORDER,) * 4, value=nothing)


def taps(
    misalignment: Misalignment,
    table: Tensor,
    rows: Tensor,
    columns: Tensor,
    sampling: str = BILINEAR,
    dtype: torch.dtype = torch.float32,
    samples: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Finds the values that the light at some positions meets, and their shares.

    With ``samples`` the light at a position fills a square of 1 / samples of a pixel, and shares
    are those of the areas that it has in common with the pixels: exactly so for shifts and
    magnifications; the square is taken to lie along the rows of a modulator that is rotated, which
    is right to first order in the angle. Squares as large as a pixel make that bilinear sampling.

    Args:
        misalignment: Under C conditions.
        table: What the pixels show, from `lookup`.
        rows: Row of each position; see `Misalignment.sources`.
        columns: Column of each position, broadcastable to it.
        sampling: ``"bilinear"``, the four pixels around, or ``"nearest"``, one.
        dtype: Precision of the weights.
        samples: Positions along a side of a pixel, at least 1; None for bilinear weights, at any
            magnification.

    Returns:
        Indices of values, int32 (C, ..., T), and weights of the same shape; the weights
        of a position sum to 1.
    """
    height, width = (size - 2 * _BORDER for size in table.shape)
    y, x = misalignment.sources((height, width), rows, columns)
    if sampling == NEAREST:
        # Positions half-way between two pixels fall as single precision has it; the published
        # code adds up in another order, so that such ties can differ.
        y, x = y.float().round(), x.float().round()
    # Counted from the border, so that cutting off decimals rounds down.
    y = y.add_(_BORDER).clamp_(0, height + _BORDER)
    x = x.add_(_BORDER).clamp_(0, width + _BORDER)
    i, j = y.int(), x.int()
    at = i * table.shape[1] + j
    if sampling == NEAREST:
        found = table.flatten().index_select(0, at.flatten()).view(*at.shape, 1)
        return found, torch.ones_like(found, dtype=dtype)
    y.sub_(i)
    x.sub_(j)
    if samples is not None:
        # The share beyond the edge that is half-way between the centres of two pixels.
        side = (samples * misalignment.scale).clamp(min=1.0).view(-1, *[1] * (y.dim() - 1))
        y = y.sub_(0.5).mul_(side).add_(0.5).clamp_(0.0, 1.0)
        x = x.sub_(0.5).mul_(side).add_(0.5).clamp_(0.0, 1.0)
    down, right = y.to(dtype), x.to(dtype)
    up, left_share = 1 - down, 1 - right
    found = torch.empty(*at.shape, 4, dtype=table.dtype, device=at.device)
    weight = torch.empty(found.shape, dtype=dtype, device=at.device)
    # Tap by tap: one gather with an index (C, P, 4) takes five times as long.
    around = ((up, left_share), (up, right), (down, left_share), (down, right))
    for tap, (vertical, horizontal) in enumerate(around):
        step = tap // 2 * table.shape[1] + tap % 2
        pixels = table.flatten()[step:].index_select(0, at.flatten())
        found[..., tap] = pixels.view(at.shape)
        torch.mul(vertical, horizontal, out=weight[..., tap])
    return found, weight


class _Gather(torch.autograd.Function):
    """Weighted sums of rows of a table."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, index: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(index, weight)
        ctx.size = len(table)
        return F.embedding_bag(index, table, mode="sum", per_sample_weights=weight)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        index, weight = ctx.saved_tensors
        return _Scatter.apply(gradients[0], index, weight, ctx.size), None, None


class _Scatter(torch.autograd.Function):
    """The transpose of `_Gather`, so that both can be differentiated any number of times."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, index: Tensor, weight: Tensor, size: int) -> Tensor:
        ctx.save_for_backward(index, weight)
        if values.device.type == "cpu":
            # Five times as fast as torch's sparse product.
            starts = np.arange(0, index.numel() + 1, index.shape[1], dtype=np.int32)
            entries = (weight.flatten().numpy(), index.flatten().numpy(), starts)
            matrix = scipy.sparse.csc_array(entries, shape=(size, len(index)))
            return torch.from_numpy(matrix @ values.contiguous().numpy())
        shares = (weight[..., None] * values[:, None]).flatten(0, 1)
        sums = values.new_zeros(size, values.shape[1])
        return sums.index_add(0, index.flatten(), shares)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        return _Gather.apply(gradients[0], *ctx.saved_tensors), None, None, None


def sample(values: Tensor, index: Tensor, weight: Tensor) -> Tensor:
    """Weighted sums of rows of a table, for all conditions in one gather.

    Args:
        values: (S, K), or (C, S, K) where conditions differ in them too; real.
        index: Rows of the table (C, P, T); S stands for a row of zeros.
        weight: Their weights (C, P, T).

    Returns:
        (C, P, K), differentiable any number of times with respect to ``values``.
    """
    count, size, width = len(index), values.shape[-2], values.shape[-1]
    table = F.pad(values, (0, 0, 0, 1))
    if table.dim() == 3:
        starts = (size + 1) * torch.arange(count, dtype=index.dtype, device=index.device)
        index, table = index + starts[:, None, None], table.flatten(0, 1)
    sums: Tensor = _Gather.apply(
        table.contiguous(), index.flatten(0, 1), weight.to(values.dtype).flatten(0, 1)
    )
    return sums.view(count, -1, width)
