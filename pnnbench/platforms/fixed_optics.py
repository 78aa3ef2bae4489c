"""Planes, detectors and the fixed optics around a diffractive stack, as matrices.

Everything here may be sampled several times a pixel: a plane has ``n`` samples along a side, and
`Plane.finer` and `Detectors.finer` are the same areas with more of them.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pnnbench.accelerator import without_autocast
from pnnbench.errors import UserError, check_count, check_pair, check_range
from pnnbench.platforms.propagation import (
    FixedOptics,
    FreeSpace,
    Lens,
    critical_distance_m,
    transposed_matrix,
)


@dataclasses.dataclass(frozen=True)
class Plane:
    """Sampling of all planes of a stack.

    Attributes:
        n: Samples along a side.
        pixel_um: Sample distance in um.
        wavelength_nm: Wavelength in nm.
        padding: Width of a padded plane in multiples of the window, at least: 1 for periodic
            planes; else long gaps that are not limited get as much more as keeps open space open.
    """

    n: int = 64
    pixel_um: float = 4.0
    wavelength_nm: float = 532.0
    padding: int = 2

    def __post_init__(self) -> None:
        check_count("samples along a side", self.n, high=16384)
        check_range("pixel_um", self.pixel_um, low=0.0, high=1e6, low_open=True)
        check_range("wavelength_nm", self.wavelength_nm, low=0.0, high=1e9, low_open=True)
        check_count("padding", self.padding, high=64)

    def finer(self, samples: int) -> Plane:
        """The same area with ``samples`` times as many samples along a side."""
        check_count("samples of a pixel", samples, high=64)
        return dataclasses.replace(self, n=samples * self.n, pixel_um=self.pixel_um / samples)

    def gap(
        self,
        distance_mm: float,
        dtype: torch.dtype = torch.complex64,
        areas: int = 0,
        limited: bool = False,
    ) -> FreeSpace:
        """A gap in these planes; see `FreeSpace`."""
        padding = self.padding
        if padding > 1 and not limited:
            window = critical_distance_m(self.n, self.pixel_um * 1e-6, self.wavelength_nm * 1e-9, 1)
            padding = max(padding, math.ceil(distance_mm * 1e-3 / window - 1e-9))
        geometry = (self.n, self.pixel_um, self.wavelength_nm, distance_mm, padding)
        return FreeSpace(*geometry, dtype, areas, limited)

    def lens(
        self,
        focal_mm: float,
        dtype: torch.dtype = torch.complex64,
        centre: float | None = None,
    ) -> Lens:
        """A lens in these planes."""
        return Lens(self.n, self.pixel_um, self.wavelength_nm, focal_mm, centre, dtype)


@dataclasses.dataclass(frozen=True)
class Detectors:
    """Square photodetectors on a plane.

    Attributes:
        corners: Row and column of the first pixel of each.
        side: Pixels along a side.
    """

    corners: tuple[tuple[int, int], ...]
    side: int

    def __post_init__(self) -> None:
        check_count("side of a detector", self.side)
        if not self.corners:
            raise UserError("no detector", allowed="at least one corner")
        for corner in self.corners:
            check_pair("corner of a detector", corner, low=-(2**31))

    def finer(self, samples: int) -> Detectors:
        """The same areas on a plane with ``samples`` times as many samples along a side."""
        check_count("samples of a pixel", samples, high=64)
        corners = tuple((samples * row, samples * column) for row, column in self.corners)
        return Detectors(corners, samples * self.side)

    def pixels(self, n: int) -> Tensor:
        """Row-major indices of the pixels of all detectors, one detector after another.

        Raises:
            UserError: If one sticks out of the plane.
        """
        steps = torch.arange(self.side)
        found = []
        for row, column in self.corners:
            if not (0 <= row <= n - self.side and 0 <= column <= n - self.side):
                raise UserError(
                    f"a detector at {(row, column)} with side {self.side} is out of the plane",
                    allowed=f"0 to {n - self.side}",
                )
            found.append(((row + steps)[:, None] * n + column + steps[None, :]).flatten())
        return torch.cat(found)


def _precision(elements: Sequence[nn.Module]) -> torch.dtype:
    """Complex precision in which light leaves some elements: that of their constants."""
    kept = [b.dtype.to_complex() for e in elements for b in e.buffers() if b.is_complex()]
    return kept[0] if kept else torch.complex128


def _in(elements: Sequence[nn.Module], dtype: torch.dtype) -> tuple[nn.Module, ...]:
    """The elements in a complex precision."""
    return tuple(e.at(dtype) if isinstance(e, FixedOptics) else e for e in elements)


class _Combined(FixedOptics):
    """Elements that have become one matrix."""

    #: A tuple, which registers no submodules: the matrix holds what they do.
    elements: tuple[nn.Module, ...]

    def enter(self, dtype: torch.dtype) -> None:
        """The elements, of which pictures show the planes, go along."""
        self.elements = _in(self.elements, dtype)


class Imaging(_Combined):
    """Fixed optics before the first mask: fields (B, m, m) of a smaller square become fields there.

    Args:
        elements: Gaps and lenses in the order in which light meets them.
        n: Samples along a side of the planes.
        m: Pixels along a side of the square in the middle that carries the image.
        samples: Samples along a side of each such pixel, which shows one field on its whole area
            and carries the power that it does with one sample.
    """

    matrix: Tensor

    def __init__(self, elements: Sequence[nn.Module], n: int, m: int, samples: int = 1) -> None:
        super().__init__()
        check_count("samples of a pixel", samples, high=64)
        check_count("samples of the image", samples * m, high=n)
        self.n, self.m, self.samples = n, m, samples
        self.elements = tuple(elements)
        self.register(_precision(self.elements))

    def constants(self, dtype: torch.dtype) -> dict[str, Tensor]:
        """The ``matrix``, made by propagation."""
        n, m, samples = self.n, self.m, self.samples
        elements = _in(self.elements, dtype)
        start = (n - samples * m) // 2
        square = Detectors(((start, start),), samples * m).pixels(n)
        blocks = square.view(m, samples, m, samples).transpose(1, 2).reshape(m * m, samples**2)
        # Symmetric optics: the columns of their matrix are the rows of the reversed system.
        columns = transposed_matrix(elements[::-1], n, blocks) / samples
        columns = columns.to(dtype).view(m, m, n, n)
        bound = 1e-5 * float(columns.abs().max())
        folded = m % 2 == n % 2 == 0 and all(
            float((columns - columns.flip(dims)).abs().max()) <= bound for dims in ((0, 2), (1, 3))
        )
        if folded:
            # Even and odd parts never mix: a quarter of the matrix for each parity of both sides.
            parts = [part for half in _even_odd(columns, 0) for part in _even_odd(half, 1)]
            columns = torch.stack([part[..., : n // 2, : n // 2] / 4 for part in parts])
        else:
            columns = columns[None]
        return {"matrix": torch.view_as_real(columns.contiguous()).flatten(1, 2).flatten(2)}

    @property
    def folded(self) -> bool:
        """Whether the matrix is kept by parity, a quarter for each."""
        return self.matrix.shape[0] > 1

    def forward(self, amplitude: Tensor) -> Tensor:
        """Complex fields (B, n, n) from real amplitudes (B, m, m), in the matrix's precision."""
        parts = [amplitude.to(self.matrix.dtype)]
        with without_autocast(amplitude.device):
            if self.folded:
                parts = [part for half in _even_odd(parts[0], 1) for part in _even_odd(half, 2)]
            out = torch.bmm(torch.stack(parts).flatten(2), self.matrix)
        side = self.n // 2 if self.folded else self.n
        fields = torch.view_as_complex(out.view(len(parts), -1, side, side, 2))
        if not self.folded:
            return fields[0]
        return _unfold(_unfold(fields[0], fields[1], 2), _unfold(fields[2], fields[3], 2), 1)


def _even_odd(t: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Sum and difference of the first half and the mirrored second half."""
    first, second = t.chunk(2, dim)
    mirrored = second.flip(dim)
    return first + mirrored, first - mirrored


def _unfold(even: Tensor, odd: Tensor, dim: int) -> Tensor:
    """Both halves from their even and odd parts."""
    return torch.cat((even + odd, (even - odd).flip(dim)), dim)


class DetectorPlane(_Combined):
    """Fixed optics behind the last mask, and detectors: power on each detector.

    The optics are linear and only the pixels of the detectors matter, so they are one matrix, made
    by propagation from the detectors back to the mask, in the precision of the elements.

    Args:
        elements: Gaps and lenses in the order in which light meets them.
        n: Samples along a side of the planes.
        detectors: The detectors.
        dropped: Share of the power of the light before the optics that a detector may miss. Above
            0 the pixels of each are replaced by the few combinations of them (left singular
            vectors) that carry the rest: light that comes from afar is smooth.
    """

    matrix: Tensor

    def __init__(
        self,
        elements: Sequence[nn.Module],
        n: int,
        detectors: Detectors,
        dropped: float = 0.0,
    ) -> None:
        super().__init__()
        self.count = len(detectors.corners)
        self.elements = tuple(elements)
        self.detectors = detectors
        check_range("dropped", dropped, low=0.0, high=1.0)
        self._geometry = (n, dropped)
        self.register(_precision(self.elements))

    def constants(self, dtype: torch.dtype) -> dict[str, Tensor]:
        """The ``matrix``, made by propagation."""
        n, dropped = self._geometry
        rows = transposed_matrix(_in(self.elements, dtype), n, self.detectors.pixels(n))
        if dropped > 0.0:
            rows = _principal(rows.unflatten(0, (self.count, -1)), dropped)
        return {"matrix": rows.to(dtype).T.contiguous()}

    def forward(self, field: Tensor) -> Tensor:
        """Powers (B, detectors) from fields (B, n, n) behind the last mask."""
        at = field.flatten(1).to(self.matrix.dtype) @ self.matrix
        power = at.real.square() + at.imag.square()
        return power.unflatten(1, (self.count, -1)).sum(-1)


def _principal(rows: Tensor, dropped: float) -> Tensor:
    """The combinations of each detector's rows (detectors, P, S) that carry its power.

    Args:
        rows: Of each detector.
        dropped: Most of the power of a field of norm 1 that may be lost on a detector.

    Returns:
        (detectors * Q, S) with one Q for all: ``|rows x|^2`` is kept to ``dropped |x|^2``.
    """
    # In double precision: the square of the rows has the squares of their singular values.
    exact = rows.to(torch.complex128)
    values, vectors = torch.linalg.eigh(exact @ exact.mH)  # ascending
    carried = int((values > dropped).sum(-1).max())
    return (vectors[..., -max(1, carried) :].mH @ exact).to(rows.dtype).flatten(0, 1)
