"""Scalar diffraction between planes: angular spectrum propagation and thin lenses.

The field on a plane is a complex array (..., n, n) of samples ``pixel_m`` apart. Over a distance z
its spectrum is multiplied by exp(i k_z z), k_z = 2 pi sqrt(1 / lambda^2 - f_x^2 - f_y^2); waves
with imaginary k_z decay. With padding 2 the field is surrounded by dark as wide as itself, so that
light leaves the window instead of coming back on the other side; with padding 1 the plane is
periodic, as in the published simulation. Source: Goodman, Introduction to Fourier Optics,
chapter 3.10.

A sample is a point of the field, or an area, a square of side ``pixel_m``: it sends out light on
all of it, and receives the mean field there. Each of the two multiplies the spectrum by
sinc(f_x pixel_m) sinc(f_y pixel_m). With points a plane sends too much light to large angles.

Finely sampled planes have waves so steep that they cross the padded plane and come back on the
other side. A limited gap leaves out those that cannot fall from window to window. Source:
Matsushima and Shimobaba, Optics Express 17, 19662 (2009).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Self, cast

import torch
from torch import Tensor, nn

from pnnbench.errors import UserError, check_count, check_range


def critical_distance_m(n: int, pixel_m: float, wavelength_m: float, padding: int) -> float:
    """Distance up to which open space is open, L pixel / lambda with the padded width L, in m.

    The steepest sampled waves go aside by z lambda / (2 pixel). Beyond this distance that is more
    than half of the padded width, and they come back into the window from the other side.
    """
    return n * padding * pixel_m**2 / wavelength_m


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # what is shared outlives the mode that asks first
def transfer_function(
    n: int,
    pixel_m: float,
    wavelength_m: float,
    distance_m: float,
    padding: int,
    areas: int = 0,
    limited: bool = False,
) -> Tensor:
    """Transfer function of free space, computed in double precision once for each geometry.

    Args:
        n: Samples along a side, >= 1.
        pixel_m: Sample distance in m.
        wavelength_m: Wavelength in m.
        distance_m: Distance in m.
        padding: Width of the padded plane in multiples of the window.
        areas: On how many of the two planes samples are areas.
        limited: Whether to leave out waves that go aside by more than half of the padded plane.

    Returns:
        complex128 (padding n, padding n), frequencies in the order of the discrete transform.
        Shared: not to be written to.
    """
    f = torch.fft.fftfreq(padding * n, pixel_m, dtype=torch.float64)
    square = 1 / wavelength_m**2 - f[:, None].square() - f[None, :].square()
    k_z = 2 * math.pi * torch.sqrt(square.to(torch.complex128))
    h = torch.exp(1j * k_z * distance_m)
    share = torch.sinc(f * pixel_m) ** areas
    if limited:
        slope = 2 * distance_m / (padding * n * pixel_m)
        share = share * (f.abs() * wavelength_m * math.sqrt(1 + slope**2) <= 1)
    return h * (share[:, None] * share[None, :])


@lru_cache(maxsize=16)
@torch.inference_mode(False)  # what is shared outlives the mode that asks first
def axial_difference(n: int, pixel_m: float, wavelength_m: float, padding: int) -> Tensor:
    """By how much the wave vector along the axis is less than that of light on the axis.

    Args:
        n: Samples along a side of the window.
        pixel_m: Sample distance in m.
        wavelength_m: Wavelength in m.
        padding: Width of the padded plane in multiples of the window.

    Returns:
        Re(k_z) - 2 pi / lambda in rad per m, float64 (padding n, padding n), at most 0. Shared: not
        to be written to.
    """
    f = torch.fft.fftfreq(padding * n, pixel_m, dtype=torch.float64)
    square = 1 / wavelength_m**2 - f[:, None].square() - f[None, :].square()
    return 2 * math.pi * (square.clamp(min=0.0).sqrt() - 1 / wavelength_m)


#: Samples of padded planes that a CPU transforms at once: larger arrays do not stay in the cache,
#: and the system clears their memory anew each time.
_AT_ONCE = 2**19


def _through(field: Tensor, h: Tensor) -> Tensor:
    n, padded = field.shape[-1], h.shape[-1]
    spectrum = torch.fft.fft(field, padded, dim=-1)
    spectrum = torch.fft.fft(spectrum, padded, dim=-2).mul_(h)
    rows = torch.fft.ifft(spectrum, dim=-2)[..., :n, :]
    return torch.fft.ifft(rows, dim=-1)[..., :n]


class _Propagate(torch.autograd.Function):
    """Pads, transforms, multiplies, transforms back and crops; its adjoint has H conjugated.

    Rows and columns that are dark or thrown away are left out of the transforms.
    """

    @staticmethod
    def forward(ctx: Any, field: Tensor, h: Tensor) -> Tensor:
        ctx.save_for_backward(h)
        planes = field.reshape(-1, *field.shape[-2:])
        each = max(1, _AT_ONCE // h.numel())
        if field.device.type != "cpu" or len(planes) <= each:
            return _through(field, h).contiguous()
        out = torch.empty(planes.shape, dtype=field.dtype)
        for into, some in zip(out.split(each), planes.split(each), strict=True):
            into.copy_(_through(some, h))
        return out.view(field.shape)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (h,) = ctx.saved_tensors
        return _Propagate.apply(gradients[0], h.conj().resolve_conj()), None


class _Computed(dict[torch.dtype, dict[str, Tensor]]):
    """Constants by precision, the same for all copies of a module; nobody writes to them."""

    def __deepcopy__(self, memo: dict[int, Any]) -> _Computed:
        return self

    def __reduce__(self) -> tuple[type[_Computed], tuple[()]]:
        return _Computed, ()  # they are computed again in another process


class FixedOptics(nn.Module):
    """Module of constants alone, which are computed in each precision by themselves, once.

    What has been computed in single precision does not become double by a cast, and a complex
    buffer that is cast to a real type loses its imaginary part: neither happens here.

    Raises:
        UserError: If it is converted to another precision than single or double.
    """

    @property
    def mirrored(self) -> bool:
        """Whether a field that is mirrored up-down or left-right before is so behind."""
        return False

    def constants(self, dtype: torch.dtype) -> dict[str, Tensor]:
        """Computes the buffers by name, in a complex precision or its real one, on the CPU."""
        raise NotImplementedError

    def enter(self, dtype: torch.dtype) -> None:
        """Changes whatever else goes with the precision, once the buffers are in it."""

    def _known(self, dtype: torch.dtype) -> dict[str, Tensor]:
        if dtype not in self._computed:
            self._computed[dtype] = self.constants(dtype)
        return self._computed[dtype]

    def register(self, dtype: torch.dtype) -> None:
        """Registers the constants, which are no part of the state.

        Args:
            dtype: complex64 or complex128.
        """
        self._computed = _Computed()
        for name, value in self._known(dtype).items():
            self.register_buffer(name, value, persistent=False)

    def at(self, dtype: torch.dtype) -> Self:
        """The same optics in a complex precision; itself if it is in it."""
        if all(cast(Tensor, b).dtype.to_complex() == dtype for b in self._buffers.values()):
            return self
        new = copy.copy(self)
        new._buffers = dict(self._known(dtype))
        new.enter(dtype)
        return new

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        buffer = cast(Tensor, next(iter(self._buffers.values())))
        real = buffer.dtype.to_real()
        wanted = fn(torch.empty(0, dtype=real, device=buffer.device))
        check_precision(wanted.dtype)
        made: Any = self._buffers
        if wanted.dtype != real:
            made = self._known(wanted.dtype.to_complex())
            self.enter(wanted.dtype.to_complex())
        for name, value in made.items():
            self._buffers[name] = value.to(wanted.device)
        return self


def check_precision(dtype: torch.dtype) -> torch.dtype:
    """Returns a real type; raises UserError if optics are not computed in it."""
    if dtype not in (torch.float32, torch.float64):
        raise UserError(
            f"diffractive optics cannot be converted to {dtype}",
            allowed="torch.float32 or torch.float64",
        )
    return dtype


class FreeSpace(FixedOptics):
    """A gap between two planes.

    Args:
        n: Samples along a side of the window, >= 1.
        pixel_um: Sample distance in um, > 0.
        wavelength_nm: Wavelength in nm, > 0.
        distance_mm: Distance in mm, >= 0.
        padding: 2 for open space, 1 for a periodic plane.
        dtype: complex64 or complex128; the transfer function is computed in double precision.
        areas: On how many of the two planes samples are areas: 0 to 2.
        limited: Whether to leave out waves that cannot fall from window to window at padding 2.
    """

    h: Tensor

    def __init__(
        self,
        n: int,
        pixel_um: float,
        wavelength_nm: float,
        distance_mm: float,
        padding: int = 2,
        dtype: torch.dtype = torch.complex64,
        areas: int = 0,
        limited: bool = False,
    ) -> None:
        super().__init__()
        check_count("samples along a side", n, high=16384)
        check_range("pixel_um", pixel_um, low=0.0, high=1e6, low_open=True)
        check_range("wavelength_nm", wavelength_nm, low=0.0, high=1e9, low_open=True)
        check_range("distance_mm", distance_mm, low=0.0, high=1e6)
        check_count("padding", padding, high=64)
        check_count("planes of areas", areas, low=0, high=2)
        self.distance_mm = float(distance_mm)
        self.padding = padding
        self._geometry = (n, pixel_um * 1e-6, wavelength_nm * 1e-9, padding)
        self._areas = (areas, limited)
        self.register(dtype)

    @property
    def mirrored(self) -> bool:
        """It is: the transfer function is even in both frequencies."""
        return True

    def constants(self, dtype: torch.dtype) -> dict[str, Tensor]:
        """The transfer function ``h``."""
        n, pixel_m, wavelength_m, padding = self._geometry
        distance_m = self.distance_mm * 1e-3
        h = transfer_function(n, pixel_m, wavelength_m, distance_m, padding, *self._areas)
        return {"h": h.to(dtype)}

    def forward(self, field: Tensor, longer_mm: Tensor | None = None) -> Tensor:
        """Field (..., n, n) behind the gap from the field before it, complex.

        Args:
            field: The field before the gap; with several values of ``longer_mm`` (C, ...).
            longer_mm: How much longer the gap is than it should be, (C,) or (); None for not at
                all. The phase that the whole field gains by it is left out.

        Returns:
            Field like ``field``.
        """
        field = field.to(self.h.dtype)
        if longer_mm is None:
            out: Tensor = _Propagate.apply(field, self.h)
            return out
        if longer_mm.dim() == 0:
            return _Propagate.apply(field, self._longer(longer_mm))
        each = zip(field, longer_mm, strict=True)
        return torch.stack([_Propagate.apply(part, self._longer(mm)) for part, mm in each])

    def _longer(self, longer_mm: Tensor) -> Tensor:
        angle = axial_difference(*self._geometry).to(self.h.device) * (1e-3 * longer_mm.double())
        return self.h * torch.polar(torch.ones_like(angle), angle).to(self.h.dtype)


class Lens(FixedOptics):
    """A thin lens without aperture: exp(-i pi r^2 / (lambda f)).

    Args:
        n: Samples along a side, >= 1.
        pixel_um: Sample distance in um, > 0.
        wavelength_nm: Wavelength in nm, > 0.
        focal_mm: Focal length in mm, not 0.
        centre: Where r is 0, in samples from the first one; the middle of the window by default.
        dtype: complex64 or complex128.
    """

    phase: Tensor

    def __init__(
        self,
        n: int,
        pixel_um: float,
        wavelength_nm: float,
        focal_mm: float,
        centre: float | None = None,
        dtype: torch.dtype = torch.complex64,
    ) -> None:
        super().__init__()
        check_count("samples along a side", n, high=16384)
        check_range("pixel_um", pixel_um, low=0.0, high=1e6, low_open=True)
        check_range("wavelength_nm", wavelength_nm, low=0.0, high=1e9, low_open=True)
        check_range("focal_mm", abs(focal_mm), low=0.0, high=1e6, low_open=True)
        middle = (
            (n - 1) / 2 if centre is None else check_range("centre", centre, low=-1e6, high=1e6)
        )
        self._geometry = (n, pixel_um, wavelength_nm, focal_mm, middle)
        self.register(dtype)

    @property
    def mirrored(self) -> bool:
        """Whether the lens stands in the middle."""
        n, *_, middle = self._geometry
        return middle == (n - 1) / 2

    def constants(self, dtype: torch.dtype) -> dict[str, Tensor]:
        """What the lens does to the ``phase``, as a factor."""
        n, pixel_um, wavelength_nm, focal_mm, middle = self._geometry
        x = (torch.arange(n, dtype=torch.float64) - middle) * pixel_um * 1e-6
        square = x[:, None].square() + x[None, :].square()
        angle = -math.pi * square / (wavelength_nm * 1e-9 * focal_mm * 1e-3)
        return {"phase": torch.polar(torch.ones_like(angle), angle).to(dtype)}

    def forward(self, field: Tensor) -> Tensor:
        """Field (..., n, n) behind the lens."""
        return field * self.phase


#: Dimensions along which a plane is mirrored: not at all, up-down, left-right, both.
_MIRRORS = ((), (-2,), (-1,), (-2, -1))


def transposed_matrix(elements: Sequence[nn.Module], n: int, pixels: Tensor) -> Tensor:
    """Rows of the matrix that fixed optics are, for some areas of the plane behind them.

    Gaps and lenses are symmetric (reciprocity: light from a pixel takes the same way back), so the
    rows are what light from those areas becomes on its way through the elements in reverse. If all
    are `FixedOptics.mirrored`, mirror images of an area have mirror images of its row.

    Args:
        elements: Gaps and lenses in the order in which light meets them.
        n: Samples along a side.
        pixels: Row-major indices of the samples of each area (P, Q), or of one for each (P,).

    Returns:
        Complex (P, n^2): the sums of the fields on those areas are this times the field before the
        elements, in the precision of the elements.
    """
    areas = pixels.view(len(pixels), -1)
    if not all(isinstance(e, FixedOptics) and e.mirrored for e in elements):
        return _back(elements, n, areas).flatten(1)
    index = torch.arange(n * n).view(n, n)
    images = torch.stack([index.flip(dims).flatten()[areas].sort(-1).values for dims in _MIRRORS])
    different, which = torch.unique(images.flatten(0, 1), dim=0, return_inverse=True)
    of_area, mirror = which.view(len(_MIRRORS), -1).min(0)
    used, place = of_area.unique(return_inverse=True)
    rows = _back(elements, n, different[used])
    found = rows.new_empty(len(areas), n, n)
    for number, dims in enumerate(_MIRRORS):
        found[mirror == number] = rows[place[mirror == number]].flip(dims)
    return found.flatten(1)


def _back(elements: Sequence[nn.Module], n: int, areas: Tensor) -> Tensor:
    """Light from areas (P, Q), each alone, on its way back through the elements: (P, n, n)."""
    rows = []
    for some in areas.split(64):
        field = torch.zeros(len(some), n * n, dtype=torch.complex128)
        field[torch.arange(len(some))[:, None], some] = 1.0
        field = field.view(-1, n, n)
        for element in reversed(list(elements)):
            field = element(field)
        rows.append(field)
    return torch.cat(rows)
