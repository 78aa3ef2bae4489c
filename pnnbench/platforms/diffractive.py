"""Nonlinear diffractive stacks: phase masks with saturable absorbers, gaps between, detectors.

Light meets a mask, the absorber behind it, a gap, the next mask, ...; behind the last absorber
stand fixed optics and a plane of photodetectors, which measure the power on squares of the plane.
Misalignment rotates, shifts and magnifies the masks against the light. What is interpolated is a
mask's complex transmission exp(i phase), never its phase, which wraps.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from pnnbench.errors import UserError, check_count, check_pair, check_range
from pnnbench.platforms.absorbers import Absorber, SaturableAbsorber
from pnnbench.platforms.base import (
    Environment,
    PhysicalLayer,
    StaticError,
    check_severity,
    check_target,
)
from pnnbench.platforms.misalignment import (
    BILINEAR,
    Misalignment,
    MisalignmentEnvironment,
    check_sampling,
    lookup,
    misalignment_errors,
    sample,
    taps,
)
from pnnbench.platforms.propagation import (
    FreeSpace,
    Lens,
    critical_distance_m,
    transposed_matrix,
)

#: What stands around a mask that has moved: nothing gets through, or bare glass as published.
SURROUNDINGS = {"opaque": 0.0, "clear": 1.0}


@dataclasses.dataclass(frozen=True)
class Plane:
    """Sampling of all planes of a stack.

    Attributes:
        n: Samples along a side.
        pixel_um: Sample distance in um.
        wavelength_nm: Wavelength in nm.
        padding: Width of a padded plane in multiples of the window, at least: 1 for periodic
            planes; else long gaps get as much more as keeps open space open.
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

    def gap(self, distance_mm: float, dtype: torch.dtype = torch.complex64) -> FreeSpace:
        """A gap in these planes."""
        padding = self.padding
        if padding > 1:
            window = critical_distance_m(self.n, self.pixel_um * 1e-6, self.wavelength_nm * 1e-9, 1)
            padding = max(padding, math.ceil(distance_mm * 1e-3 / window - 1e-9))
        return FreeSpace(self.n, self.pixel_um, self.wavelength_nm, distance_mm, padding, dtype)

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


class Imaging(nn.Module):
    """Fixed optics before the first mask: fields (B, m, m) of a smaller square become fields there.

    Args:
        elements: Gaps and lenses in the order in which light meets them.
        n: Samples along a side of the planes.
        m: Samples along a side of the square in the middle that carries the image.
    """

    matrix: Tensor

    def __init__(self, elements: Sequence[nn.Module], n: int, m: int) -> None:
        super().__init__()
        check_count("samples of the image", m, high=n)
        self.n, self.m = n, m
        start = (n - m) // 2
        square = Detectors(((start, start),), m).pixels(n)
        # Symmetric optics: the columns of their matrix are the rows of the reversed system.
        columns = transposed_matrix(list(reversed(list(elements))), n, square)
        columns = columns.view(m, m, n, n)
        bound = 1e-5 * float(columns.abs().max())
        self.folded = m % 2 == n % 2 == 0 and all(
            float((columns - columns.flip(dims)).abs().max()) <= bound for dims in ((0, 2), (1, 3))
        )
        if self.folded:
            # Even and odd parts never mix: a quarter of the matrix for each parity of both sides.
            parts = [part for half in _even_odd(columns, 0) for part in _even_odd(half, 1)]
            columns = torch.stack([part[..., : n // 2, : n // 2] / 4 for part in parts])
        else:
            columns = columns[None]
        blocks = torch.view_as_real(columns.contiguous()).flatten(1, 2).flatten(2)
        self.register_buffer("matrix", blocks, persistent=False)

    def forward(self, amplitude: Tensor) -> Tensor:
        """Complex fields (B, n, n) from real amplitudes (B, m, m)."""
        parts = [amplitude.to(self.matrix.dtype)]
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


class DetectorPlane(nn.Module):
    """Fixed optics behind the last mask, and detectors: power on each detector.

    The optics are linear and only the pixels of the detectors matter, so they are one matrix, made
    by propagation from the detectors back to the mask, in the precision of the elements.

    Args:
        elements: Gaps and lenses in the order in which light meets them.
        n: Samples along a side of the planes.
        detectors: The detectors.
    """

    matrix: Tensor

    def __init__(self, elements: Sequence[nn.Module], n: int, detectors: Detectors) -> None:
        super().__init__()
        self.count = len(detectors.corners)
        # A tuple, which registers no submodules: only pictures of the whole plane use them.
        self.elements = tuple(elements)
        self.detectors = detectors
        rows = transposed_matrix(elements, n, detectors.pixels(n))
        self.register_buffer("matrix", rows.T.contiguous(), persistent=False)

    def forward(self, field: Tensor) -> Tensor:
        """Powers (B, detectors) from fields (B, n, n) behind the last mask."""
        at = field.flatten(1).to(self.matrix.dtype) @ self.matrix
        power = at.real.square() + at.imag.square()
        return power.unflatten(1, (self.count, -1)).sum(-1)


class DiffractiveStack(PhysicalLayer):
    """Phase masks with absorbers and gaps between, then optics and detectors.

    Errors of a device: ``phase``, rad, added to every pixel of every mask, and the misalignment of
    the whole stack; see `static_errors`. Only phases are drawn.

    Args:
        plane: Sampling of the planes.
        gaps_mm: Distance from each mask to the next, in mm; one mask more than gaps.
        detector_plane: What stands behind the last absorber, from fields (B, n, n) to powers
            (B, detectors).
        absorber: Behind each mask; a `SaturableAbsorber` by default.
        sampling: How a moved mask is sampled: ``"bilinear"``, or ``"nearest"`` as published.
        surroundings: ``"opaque"`` or ``"clear"``, what stands around a moved mask.
        readout_noise: Standard deviation of the detectors' noise as a fraction of full scale, the
            brightest detector of each image.
        dtype: complex64 or complex128. Conversions of the module leave it: what has been computed
            in single precision does not become double by a cast, so they are refused.

    Attributes:
        phase: Control parameters (masks, n, n) in rad, any real value; period 2 pi.

    Raises:
        UserError: If an argument is out of range, or the module is converted to another precision.
    """

    control_names: ClassVar[tuple[str, ...]] = ("phase",)
    control_unit: ClassVar[str] = "rad"
    offset_unit: ClassVar[str] = "rad"
    environment_class: ClassVar[type[Environment]] = MisalignmentEnvironment
    #: One step of an 8-bit phase modulator over 2 pi.
    ball_radius_rms: ClassVar[float] = 2 * math.pi / 256

    _rows: Tensor
    absorber: Absorber
    _columns: Tensor
    _table: Tensor

    def __init__(
        self,
        plane: Plane,
        gaps_mm: Sequence[float],
        detector_plane: nn.Module,
        absorber: Absorber | None = None,
        sampling: str = BILINEAR,
        surroundings: str = "opaque",
        readout_noise: float = 0.01,
        dtype: torch.dtype = torch.complex64,
    ) -> None:
        super().__init__()
        check_range("readout_noise", readout_noise, low=0.0, high=10.0)
        if dtype not in (torch.complex64, torch.complex128):
            raise UserError(f"dtype is {dtype}", allowed="torch.complex64 or torch.complex128")
        if surroundings not in SURROUNDINGS:
            raise UserError(f"surroundings is {surroundings!r}", allowed=", ".join(SURROUNDINGS))
        self.plane = plane
        self.gaps = nn.ModuleList(plane.gap(distance, dtype) for distance in gaps_mm)
        self.absorber = SaturableAbsorber() if absorber is None else absorber
        self.detector_plane = detector_plane
        self.sampling = check_sampling(sampling)
        self.surroundings = surroundings
        self.readout_noise = float(readout_noise)
        self.dtype = dtype
        self.register_buffer("_rows", torch.arange(plane.n)[:, None], persistent=False)
        self.register_buffer("_columns", torch.arange(plane.n)[None], persistent=False)
        pixels = torch.arange(plane.n**2).view(plane.n, plane.n)
        self.register_buffer("_table", lookup(pixels, plane.n**2), persistent=False)
        shape = (len(self.gaps) + 1, plane.n, plane.n)
        self.phase = nn.Parameter(torch.empty(shape, dtype=dtype.to_real()))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draws phases uniformly in 0 to 2 pi, as published; the same in either precision."""
        self.phase.copy_(torch.empty(self.phase.shape).uniform_(0.0, 2 * math.pi))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> DiffractiveStack:
        wanted = fn(torch.empty(0, dtype=self.phase.dtype, device=self.phase.device)).dtype
        if wanted != self.dtype.to_real():
            raise UserError(
                f"diffractive optics in {self.dtype} cannot be converted to {wanted}",
                allowed=str(self.dtype.to_real()),
                next_step="build plane, optics and stack anew with dtype=torch.complex128, say",
            )
        super()._apply(fn, recurse)
        return self

    def _transmission(self, phase: Tensor) -> Tensor:
        return torch.polar(torch.ones_like(phase), phase)

    def ideal_weight(self) -> Tensor:
        """Transmissions of the aligned masks (masks, n, n), complex, differentiable."""
        return self._transmission(self.phase)

    @torch.no_grad()
    def project_weight(self, weight: Tensor) -> Tensor:
        """Nearest transmissions of modulus 1, of (masks, n, n)."""
        check_target(weight, self.phase.shape, is_complex=True, finite=False)
        return torch.polar(torch.ones_like(weight.real), weight.angle())

    @torch.no_grad()
    def program(self, weight: Tensor) -> None:
        """Sets the phases to those of transmissions (masks, n, n)."""
        check_target(weight, self.phase.shape, is_complex=True)
        self.phase.copy_(weight.angle())

    def project(self) -> None:
        """Phases have no limits: nothing to do."""

    def describe(self) -> dict[str, Any]:
        """Geometry, absorber, sampling and noise."""
        gaps = [gap for gap in self.gaps if isinstance(gap, FreeSpace)]
        return {
            "type": type(self).__name__,
            "shape": list(self.phase.shape),
            "plane": dataclasses.asdict(self.plane),
            "gaps_mm": [gap.distance_mm for gap in gaps],
            "absorber": {"type": type(self.absorber).__name__, **self.absorber.describe()},
            "sampling": self.sampling,
            "surroundings": self.surroundings,
            "readout_noise": self.readout_noise,
            "errors": self.describe_errors(),
        }

    def static_errors(self) -> dict[str, StaticError]:
        """Phase errors of the pixels, and the misalignment of the whole stack."""
        phase = StaticError("added to the phase of each pixel", "rad", tuple(self.phase.shape))
        return {**misalignment_errors(), "phase": phase}

    def draw_errors(self, severity: float, generator: torch.Generator) -> dict[str, Tensor]:
        """Draws phase errors of every pixel; ``severity`` is their standard deviation in rad."""
        check_severity("severity", severity)
        return {"phase": severity * torch.randn(self.phase.shape, generator=generator)}

    def random_offsets(self, sigma: float, generator: torch.Generator) -> dict[str, Tensor]:
        """Draws phase offsets of standard deviation ``sigma`` rad."""
        return self.draw_errors(sigma, generator)

    def sensitivity(self) -> Tensor:
        """1 for every pixel, |d exp(i phase) / d phase|; without gradient."""
        return torch.ones_like(self.phase, requires_grad=False)

    def transfer(self) -> Tensor:
        """Transmissions that the light meets under the present operation.

        Returns:
            Complex (masks, n, n); with C > 1 conditions (C, masks, n, n).
        """
        op = self.operation
        if op is None:
            return self.ideal_weight()
        phase: Tensor = self.phase
        if "phase" in op.errors:
            phase = phase + op.errors["phase"]
        masks = self._transmission(phase)
        misalignment = Misalignment.of(op.environment, op.errors)
        if not misalignment.aligned:
            masks = self._misaligned(masks, misalignment)
            if op.count == 1:
                masks = masks[0]
        return masks.expand(op.count, *self.phase.shape) if op.count > 1 else masks

    def _misaligned(self, masks: Tensor, misalignment: Misalignment) -> Tensor:
        n, outside = self.plane.n, SURROUNDINGS[self.surroundings]
        dtype = self.dtype.to_real()
        index, share = taps(
            misalignment, self._table, self._rows, self._columns, self.sampling, dtype
        )
        parts = torch.view_as_real(masks - outside)  # (..., masks, n, n, 2)
        table = parts.flatten(-3, -2).movedim(-3, -2).flatten(-2)  # (..., n n, masks 2)
        index, share = index.flatten(1, 2), share.flatten(1, 2)
        shown = sample(table, index, share).unflatten(-1, (-1, 2)).movedim(-2, -3)
        return torch.view_as_complex(shown.contiguous()).unflatten(-1, (n, n)) + outside

    def forward(self, x: Tensor) -> Tensor:
        """Detected powers.

        Args:
            x: Complex fields before the first mask (B, n, n); under C conditions C * B of them,
                condition-major. Their squared norm is the power.

        Returns:
            Power on each detector (B, detectors).

        Raises:
            UserError: If the fields have another size.
        """
        if x.shape[1:] != self.phase.shape[1:]:
            raise UserError(
                f"fields of shape {tuple(x.shape)} do not fit the masks",
                allowed=f"(B, {self.plane.n}, {self.plane.n})",
            )
        masks = self.transfer() if self.weight_override is None else self.weight_override
        with torch.autocast(x.device.type, enabled=False):
            field = x.to(self.dtype)
            for i in range(masks.shape[-3]):
                if i:
                    field = self.gaps[i - 1](field)
                if masks.dim() == 4:
                    blocks = self.blocks(field, len(masks))
                    field = (blocks * masks[:, None, i]).flatten(0, 1)
                else:
                    field = field * masks[i]
                field = self.absorber(field)
            power = self.detector_plane(field)
            brightest = power.detach().amax(-1, keepdim=True)
            return self.read_out(power, self.readout_noise, brightest)
