"""Weakly nonlinear diffractive stacks: phase masks with saturable absorbers, gaps and detectors.

Light meets a mask, the absorber behind it, a gap, the next mask, ...; behind the last absorber
stand fixed optics and a plane of photodetectors, which measure the power on squares of the plane.
Misalignment rotates, shifts and magnifies the masks against the light. What is interpolated is a
mask's complex transmission exp(i phase), never its phase, which wraps.

The stack is weakly nonlinear: an absorber stands directly behind a phase mask, which leaves
intensities alone, so that the first one acts on the light that comes in, whatever the phases are,
and little light saturates the others. `Transparent` in their place gives the linear stack.

A pixel of a mask is a square. The digital model that is trained has one sample for it, a mask of
points; the deployed stack, which is measured, has ``samples`` along its side, each an area that
light leaves and reaches as such; see `pnnbench.platforms.propagation`. That difference is a gap
between model and hardware that every method has to live with.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from pnnbench.accelerator import without_autocast
from pnnbench.errors import UserError, check_count, check_range
from pnnbench.platforms.absorbers import Absorber, SaturableAbsorber, Transparent
from pnnbench.platforms.base import (
    Environment,
    PhysicalLayer,
    StaticError,
    check_severity,
    check_target,
)
from pnnbench.platforms.drivers import Driver
from pnnbench.platforms.fixed_optics import DetectorPlane, Detectors, Imaging, Plane
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
from pnnbench.platforms.phase_range import outer
from pnnbench.platforms.propagation import FreeSpace, check_precision

__all__ = ["DetectorPlane", "Detectors", "DiffractiveStack", "Imaging", "Plane"]

#: What stands around a mask that has moved: nothing gets through, or bare glass as published.
SURROUNDINGS = {"opaque": 0.0, "clear": 1.0}
#: Standard deviations of the errors of a device at severity 1: a careful assembly on the bench.
#: A choice, not a measurement. Phase errors in rad, a tenth of a wave; per mask rotation in
#: degrees, shifts along x and y in um, logarithm of the magnification; per gap in mm.
PHASE_RAD, ROTATION_DEG, SHIFT_UM, LOG_SCALE, GAP_MM = 0.6, 0.5, 2.0, 0.005, 0.05
#: Errors of a device that move a mask by itself.
_OWN = tuple(misalignment_errors())


class DiffractiveStack(PhysicalLayer):
    """Phase masks with absorbers and gaps between, then optics and detectors.

    Errors of a device: ``phase``, rad, added to every pixel of every mask; each mask's own
    misalignment, beside that of the environment, which moves all masks together; and ``gap_mm``,
    what each gap is too long. See `static_errors`; all are drawn.

    Args:
        plane: Sampling of the planes.
        gaps_mm: Distance from each mask to the next, in mm; one mask more than gaps.
        detector_plane: What stands behind the last absorber, from fields (B, n, n) to powers
            (B, detectors).
        absorber: Behind each mask; a `SaturableAbsorber` by default.
        sampling: How a moved mask is sampled: ``"bilinear"``, or ``"nearest"`` as published.
        surroundings: ``"opaque"`` or ``"clear"``, what stands around a moved mask.
        readout_noise: Standard deviation of the detectors' noise as a fraction of the calibrated
            full scale.
        dtype: complex64 or complex128. A conversion of the module computes its optics anew.
        samples: Samples along the side of a pixel of the deployed stack, 1 to 8. Above 1 they are
            areas, and one of a moved mask has the phase of the mean transmission on its area, and
            passes the power that falls on the area: a phase mask absorbs nothing.
        fine_detector_plane: ``detector_plane`` at so many samples; needed above 1.

    Attributes:
        phase: Control parameters (masks, n, n) in rad, any real value; period 2 pi.

    Raises:
        UserError: If an argument is out of range, or the module is converted to half precision.
    """

    control_names: ClassVar[tuple[str, ...]] = ("phase",)
    control_unit: ClassVar[str] = "rad"
    offset_unit: ClassVar[str] = "rad"
    environment_class: ClassVar[type[Environment]] = MisalignmentEnvironment
    #: No phases shift in common: the same on all pixels of a mask is a global phase of the light,
    #: which no detector sees.
    #:
    #: `benchmarks/sharpness_rows.py`, seed 0; 0.5 λ r / |g|, and loss + worst increase in nats, of
    #: digits (2,048 phases, the digital model):
    #:
    #: | r | BP | NAT |
    #: | 0.3 | 3.3, 0.26 | 0.9, 0.39 |
    #: | 0.6 | 6.6, 0.48 | 1.9, 0.46 |
    #: | 1.2 | 13, 1.6 | 3.8, 0.73 |
    ball_radius: ClassVar[float] = 0.6

    absorber: Absorber
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
        samples: int = 1,
        fine_detector_plane: nn.Module | None = None,
    ) -> None:
        super().__init__()
        check_count("samples of a pixel", samples, high=8)
        if (samples > 1) != (fine_detector_plane is not None):
            raise UserError(
                f"{samples} samples along a side of a pixel, and "
                f"{'no' if fine_detector_plane is None else 'a'} fine detector plane",
                allowed="a fine detector plane exactly if there is more than one sample",
            )
        check_range("readout_noise", readout_noise, low=0.0, high=10.0)
        if dtype not in (torch.complex64, torch.complex128):
            raise UserError(f"dtype is {dtype}", allowed="torch.complex64 or torch.complex128")
        if surroundings not in SURROUNDINGS:
            raise UserError(f"surroundings is {surroundings!r}", allowed=", ".join(SURROUNDINGS))
        self.plane = plane
        self.gaps = nn.ModuleList(plane.gap(distance, dtype) for distance in gaps_mm)
        self.absorber = SaturableAbsorber() if absorber is None else absorber
        self.detector_plane = detector_plane
        self.samples = samples
        fine = plane.finer(samples)
        distances = gaps_mm if samples > 1 else ()
        self.fine_gaps = nn.ModuleList(
            fine.gap(distance, dtype, areas=2, limited=True) for distance in distances
        )
        self.fine_detector_plane = fine_detector_plane
        self.sampling = check_sampling(sampling)
        self.surroundings = surroundings
        self.readout_noise = float(readout_noise)
        self.dtype = dtype
        pixels = torch.arange(plane.n**2).view(plane.n, plane.n)
        self.register_buffer("_table", lookup(pixels, plane.n**2), persistent=False)
        shape = (len(self.gaps) + 1, plane.n, plane.n)
        self.phase = nn.Parameter(torch.empty(shape, dtype=dtype.to_real()))
        self.reset_parameters()

    @classmethod
    def example(cls) -> tuple[PhysicalLayer, Tensor]:
        """Two masks of sixteen by sixteen pixels and two detectors."""
        plane = Plane(16, 8.0)
        detectors = Detectors(((2, 2), (10, 9)), 4)
        stack = cls(plane, [5.0], DetectorPlane([plane.gap(5.0)], plane.n, detectors))
        return stack, torch.randn(4, plane.n, plane.n, dtype=torch.complex64)

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draws phases uniformly in 0 to 2 pi, as published; the same in either precision."""
        self.phase.copy_(torch.empty(self.phase.shape).uniform_(0.0, 2 * math.pi))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> DiffractiveStack:
        wanted = fn(torch.empty(0, dtype=self.phase.dtype, device=self.phase.device)).dtype
        self.dtype = check_precision(wanted).to_complex()
        super()._apply(fn, recurse)
        return self

    @contextmanager
    def linear(self) -> Iterator[None]:
        """Context in which the absorbers let all light through: linear in the field."""
        absorber, self.absorber = self.absorber, Transparent()
        try:
            yield
        finally:
            self.absorber = absorber

    def _transmission(self, phase: Tensor) -> Tensor:
        return torch.polar(torch.ones_like(phase), phase)

    @property
    def present_samples(self) -> int:
        """Samples along the side of a pixel: 1 for the model in training, else ``samples``."""
        return self.samples if self.deployed else 1

    @property
    def deployed_plane(self) -> Plane:
        """Sampling of the planes of the deployed stack."""
        return self.plane.finer(self.samples)

    @property
    def deployed_detector_plane(self) -> nn.Module:
        """What stands behind the last absorber of the deployed stack."""
        fine = self.fine_detector_plane
        return self.detector_plane if fine is None else fine

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

    def drivers(self) -> dict[str, Driver]:
        """A pixel sets one period of the phase."""
        return {"phase": Driver(0.0, 2 * math.pi, periodic=True)}

    def project(self) -> None:
        """Phases have no limits: nothing to do."""

    def controls_within(self, low: float, high: float) -> dict[str, Tensor]:
        """Phases of the same transmission in a range in rad, or as near to it as they come."""
        return {"phase": outer(self.phase, low, high).to(self.phase)}

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
            "samples": {"training": 1, "deployed": self.samples},
            "tolerances": {
                "phase_rad": PHASE_RAD,
                "rotation_deg": ROTATION_DEG,
                "shift_um": SHIFT_UM,
                "log_scale": LOG_SCALE,
                "gap_mm": GAP_MM,
            },
            "readout_noise": self.readout_noise,
            "errors": self.describe_errors(),
        }

    def static_errors(self) -> dict[str, StaticError]:
        """Phase errors of the pixels, misalignment of each mask, and errors of the gaps."""
        phase = StaticError("added to the phase of each pixel", "rad", tuple(self.phase.shape))
        laws = {**misalignment_errors((len(self.phase),)), "phase": phase}
        distances = [gap.distance_mm for gap in self.gaps if isinstance(gap, FreeSpace)]
        if distances:
            shape, least = (len(distances),), -min(distances)
            laws["gap_mm"] = StaticError("how much too long each gap is", "mm", shape, least, 1e3)
        return laws

    def draw_errors(self, severity: float, generator: torch.Generator) -> dict[str, Tensor]:
        """Draws phase errors, and the misalignment of every mask and gap, each by itself.

        Args:
            severity: Multiple of the tolerances that `describe` lists.
            generator: Source of randomness; the unit draw does not depend on the severity.

        Returns:
            Name of the error -> value; cut to what is physical.
        """
        check_severity("severity", severity)
        spreads = {
            "phase": PHASE_RAD,
            "rotation_deg": ROTATION_DEG,
            "shift_x_px": SHIFT_UM / self.plane.pixel_um,
            "shift_y_px": SHIFT_UM / self.plane.pixel_um,
            "log_scale": LOG_SCALE,
            "gap_mm": GAP_MM,
        }
        laws = self.static_errors()
        return {
            name: laws[name].within(
                severity
                * spread
                * torch.randn(laws[name].shape, generator=generator, dtype=torch.float32)
            )
            for name, spread in spreads.items()
            if name in laws
        }

    def random_offsets(self, sigma: float, generator: torch.Generator) -> dict[str, Tensor]:
        """Draws phase offsets of standard deviation ``sigma`` rad."""
        check_severity("sigma", sigma)
        return {
            "phase": sigma * torch.randn(self.phase.shape, generator=generator, dtype=torch.float32)
        }

    def sensitivity(self) -> Tensor:
        """1 for every pixel, |d exp(i phase) / d phase|; without gradient."""
        return torch.ones_like(self.phase, requires_grad=False)

    def transfer(self) -> Tensor:
        """Transmissions that the light meets under the present operation.

        Returns:
            Complex (masks, m, m) with m = n * `present_samples`; with C > 1 conditions
            (C, masks, m, m).
        """
        op = self.operation
        if op is None:
            return self._on_samples(self.ideal_weight())
        phase = self.control("phase")
        if "phase" in op.errors:
            phase = phase + op.errors["phase"]
        masks = self._transmission(phase)
        own = any(bool(op.errors[name].any()) for name in _OWN if name in op.errors)
        modulators = len(self.phase) if own else 1
        errors = op.errors if own else {}
        misalignment = Misalignment.of(op.environment, errors, modulators=modulators)
        if misalignment.aligned:
            masks = self._on_samples(masks)
        else:
            masks = self._misaligned(masks, misalignment, modulators)
            if op.count == 1:
                masks = masks[0]
        return masks.expand(op.count, *masks.shape[-3:]) if op.count > 1 else masks

    def _on_samples(self, masks: Tensor) -> Tensor:
        """Aligned masks (..., n, n) on the present samples."""
        samples = self.present_samples
        if samples == 1:
            return masks
        return masks.repeat_interleave(samples, -2).repeat_interleave(samples, -1)

    def _misaligned(self, masks: Tensor, misalignment: Misalignment, modulators: int) -> Tensor:
        """Masks ((C,) masks, n, n) where they have moved, all together or each by itself."""
        outside, samples = SURROUNDINGS[self.surroundings], self.present_samples
        dtype, side = self.dtype.to_real(), samples * self.plane.n
        middles = torch.arange(side, dtype=torch.float64, device=masks.device)
        middles = (middles + 0.5) / samples - 0.5
        index, share = taps(
            misalignment,
            self._table,
            middles[:, None],
            middles[None],
            self.sampling,
            dtype,
            samples if samples > 1 else None,
        )
        index, share = index.flatten(1, 2), share.flatten(1, 2)
        parts = torch.view_as_real(masks - outside).flatten(-3, -2)  # (..., masks, n n, 2)
        if modulators == 1:
            table = parts.movedim(-3, -2).flatten(-2)  # (..., n n, masks 2)
            shown = sample(table, index, share).unflatten(-1, (-1, 2)).movedim(-2, -3)
        else:
            count = len(index) // modulators
            table = parts.expand(count, *parts.shape[-3:]).flatten(0, 1)  # (C masks, n n, 2)
            shown = sample(table, index, share).unflatten(0, (count, modulators))
        moved = torch.view_as_complex(shown.contiguous()) + outside  # (C, masks, m m)
        if samples > 1:
            inside = (share * (index != self.plane.n**2)).sum(-1).clamp(max=1.0)
            power = (inside + (1.0 - inside) * outside**2).unflatten(0, (-1, modulators))
            moved = moved * (power.sqrt() / moved.abs().clamp(min=torch.finfo(dtype).tiny))
        return moved.unflatten(-1, (side, side))

    def forward(self, x: Tensor) -> Tensor:
        """Detected powers.

        Args:
            x: Complex fields before the first mask (B, m, m) with m = n * `present_samples`; under
                C conditions C * B of them, condition-major. Their squared norm is the power.

        Returns:
            Power on each detector (B, detectors).

        Raises:
            UserError: If the fields have another size.
        """
        side = self.plane.n * self.present_samples
        if x.shape[1:] != (side, side):
            raise UserError(
                f"fields of shape {tuple(x.shape)} do not fit the masks",
                allowed=f"(B, {side}, {side})",
            )
        masks = self.transfer() if self.weight_override is None else self.weight_override
        if masks.shape[-1] != side:
            masks = self._on_samples(masks)
        fine = self.present_samples > 1
        with without_autocast(x.device):
            field = x.to(self.dtype)
            for i in range(masks.shape[-3]):
                if i:
                    gap = self.fine_gaps[i - 1] if fine else self.gaps[i - 1]
                    field = self._through(gap, field, i - 1)
                if masks.dim() == 4:
                    blocks = self.blocks(field, len(masks))
                    field = (blocks * masks[:, None, i]).flatten(0, 1)
                else:
                    field = field * masks[i]
                field = self.absorber(field)
            plane = self.deployed_detector_plane if fine else self.detector_plane
            power = plane(field)
            return self.read_out(power, self.readout_noise)

    def _through(self, gap: nn.Module, field: Tensor, index: int) -> Tensor:
        """Fields (B, m, m) behind a gap, which may be too long."""
        op = self.operation
        if op is None or "gap_mm" not in op.errors or not op.errors["gap_mm"].any():
            return gap(field)
        longer = op.errors["gap_mm"][..., index]
        if op.count == 1:
            return gap(field, longer)
        return gap(self.blocks(field, op.count), longer).flatten(0, 1)
