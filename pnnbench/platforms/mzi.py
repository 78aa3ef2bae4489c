"""Meshes of Mach-Zehnder interferometers: phases, fabrication errors, fields and detectors.

One interferometer on the fields of its upper and lower waveguide, with coupler imbalances e_l (met
first) and e_r and u = exp(i theta / 2):

    M = diag(e^{i phi}, 1) B(e_r) diag(u, u*) B(e_l)
    B(e) = (1 / sqrt 2) [[sqrt(1 + e), i sqrt(1 - e)], [i sqrt(1 - e), sqrt(1 + e)]]

An ideal one is i [[e^{i phi} sin(theta / 2), e^{i phi} cos(theta / 2)], [cos(theta / 2),
-sin(theta / 2)]]: theta = pi is the bar, theta = 0 the cross state. The mesh is rectangular; light
meets input phases gamma, then column 0, 1, ... A waveguide that a column leaves alone has the
length of an interferometer in the bar state with phi = pi, a factor -i.

Off unless they are asked for: the resolution of the drivers in bits, thermal cross-talk between
heaters (both `MZIEnvironment`) and losses that differ between interferometers (`loss_db` of a
device).

What the model leaves out:
- errors of the input phases gamma;
- the common phase of a heater on one arm only: theta is set in push and pull;
- heat from one column to the next, and between the inner and the outer shifters;
- reflections; dispersion, polarisation and drift: one wavelength, nothing changes after
  fabrication.
Sources: Clements et al., Optica 3, 1460 (2016); Pai et al., Phys. Rev. Applied 11, 064044 (2019).
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from pnnbench.accelerator import without_autocast
from pnnbench.errors import UserError, check_count, check_range
from pnnbench.platforms.base import (
    Environment,
    PhysicalLayer,
    StaticError,
    check_severity,
    check_target,
    on_request,
)
from pnnbench.platforms.drivers import Driver
from pnnbench.platforms.heaters import phase_drivers, warmed
from pnnbench.platforms.insertion_loss import LOSS_SPREAD, draw_losses, loss_law, losses
from pnnbench.platforms.interferometer import couplings, entries, haar_phases, imbalance_law
from pnnbench.platforms.mesh import (
    column_product,
    coupler_places,
    decompose,
    edge_columns,
)
from pnnbench.platforms.phase_range import mesh_phases

__all__ = [
    "COUPLERS",
    "LOSSES",
    "LOSS_SPREAD",
    "PHASES",
    "MZIEnvironment",
    "MZIMesh",
    "couplings",
    "entries",
    "haar_phases",
]

#: Laws of `MZIMesh.draw_alone`.
PHASES, COUPLERS, LOSSES = "phases", "couplers", "losses"


@dataclasses.dataclass(frozen=True)
class MZIEnvironment(Environment):
    """A mesh has no environment in the protocol; its errors are those of the device.

    Attributes:
        thermal_crosstalk: Share c of the phase of a heater that its neighbour in the same column
            takes on, in [0, 0.5]; one that stands k interferometers away takes c^k. The phase of a
            heater counts from the set-up of the chip, see `pnnbench.platforms.heaters`. Law and
            values are a choice of this project: how steeply heat falls is a matter of the layout.
    """

    thermal_crosstalk: float = on_request(0.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("thermal_crosstalk", self.thermal_crosstalk, low=0.0, high=0.5)


class MZIMesh(PhysicalLayer):
    """A rectangular mesh of Mach-Zehnder interferometers with or without detectors at its end.

    Errors of a device: see `static_errors`, each (M,) with M = n (n - 1) / 2. The input phases have
    no error. Phases that no detector can see (phi behind the last interferometer of a
    waveguide) are no control parameters; they stand at 0.

    Args:
        n: Number of waveguides, at least 2, even or odd.
        detected: Whether detectors measure the power at every output; else the layer gives fields.
        imbalance_per_rad: Spread of the coupler imbalance as a multiple of that of the phase
            errors: 1 is the published error model, one number for both.
        readout_noise: Standard deviation of the detectors' noise as a fraction of the power of each
            input, which is what one detector could see: the same for whatever the mesh does, and
            light that is lost costs signal. This project's choice; the published experiments have
            none.
        loss_db: Insertion loss of an interferometer in dB, >= 0, the same for all. Every path
            passes n of them.

    Attributes:
        theta: Inner phases (M,) in rad, any real value; period 4 pi.
        phi: Outer phases in rad: (M,), or those that detectors see; period 2 pi.
        gamma: Input phases (n,) in rad; period 2 pi.
    """

    control_names: ClassVar[tuple[str, ...]] = ("theta", "phi", "gamma")
    control_unit: ClassVar[str] = "rad"
    offset_unit: ClassVar[str] = "rad"
    environment_class: ClassVar[type[Environment]] = MZIEnvironment
    #: `benchmarks/sharpness_rows.py`, seed 0; 0.5 λ r / |g|, and loss + worst increase in nats, of
    #: digits (248 phases):
    #:
    #: | r | BP | NAT |
    #: | 0.2 | 15, 1.5 | 6.2, 1.5 |
    #: | 0.4 | 30, 1.5 | 12, 1.5 |
    #: | 0.8 | 59, 1.6 | 25, 1.6 |
    ball_radius: ClassVar[float] = 0.4
    #: An offset of the drivers or of the chip's heat moves all phases of the cells together. The
    #: input phases are left out: in common they are a global phase, which no detector sees.
    common_controls: ClassVar[tuple[str, ...]] = ("theta", "phi")

    live_phi: Tensor
    edge_factor: Tensor

    def __init__(
        self,
        n: int,
        detected: bool = True,
        imbalance_per_rad: float = 1.0,
        readout_noise: float = 0.01,
        loss_db: float = 0.0,
    ) -> None:
        super().__init__()
        check_count("number of waveguides", n, low=2, high=4096)
        check_range("imbalance_per_rad", imbalance_per_rad, low=0.0, high=100.0)
        check_range("readout_noise", readout_noise, low=0.0, high=10.0)
        check_range("loss_db", loss_db, low=0.0, high=100.0, unit="dB")
        self.n = self.n_fields = n
        self.detected = detected
        self.imbalance_per_rad = float(imbalance_per_rad)
        self.readout_noise = float(readout_noise)
        self.loss_db = float(loss_db)
        columns, tops = coupler_places(n)
        last = (n - 1) % 2  # upper waveguide of the first interferometer of the last column
        unseen = (columns == n - 1) | ((columns == n - 2) & (tops < last))
        live = np.flatnonzero(~unseen) if detected else np.arange(len(tops))
        edges = edge_columns(n)
        factor = np.where(edges[columns], 1j, 1.0)
        self._edge_phase = -math.pi / 2 * int(edges.sum())
        self.register_buffer("live_phi", torch.from_numpy(live), persistent=False)
        self.register_buffer(
            "edge_factor",  # real, so that it keeps its imaginary parts in any conversion
            torch.view_as_real(torch.from_numpy(factor)).float(),
            persistent=False,
        )
        self.theta = nn.Parameter(torch.empty(len(tops)))
        self.phi = nn.Parameter(torch.empty(len(live)))
        self.gamma = nn.Parameter(torch.empty(n))
        self.reset_parameters()

    @classmethod
    def example(cls) -> tuple[PhysicalLayer, Tensor]:
        """A mesh of six waveguides with detectors."""
        return cls(6), torch.rand(4, 6)

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draws phases of a Haar-random unitary matrix."""
        self._set(*haar_phases(self.n, generator))

    @torch.no_grad()
    def _set(self, theta: Tensor, phi: Tensor, gamma: Tensor) -> None:
        self.theta.copy_(theta)
        self.phi.copy_(phi[self.live_phi.cpu()])
        self.gamma.copy_(gamma)

    def all_phi(self, phi: Tensor | None = None) -> Tensor:
        """Outer phases of every interferometer (..., M), 0 where no detector sees them.

        Args:
            phi: Those that are controls (..., P); None for the controls as they are.
        """
        phi = self.phi if phi is None else phi
        if phi.shape[-1] == len(self.theta):
            return phi
        whole = phi.new_zeros(*phi.shape[:-1], len(self.theta))
        return whole.index_copy(-1, self.live_phi, phi)

    def couplers(
        self,
        theta: Tensor,
        phi: Tensor,
        coupling: tuple[Tensor, Tensor, Tensor, Tensor] | None = None,
    ) -> Tensor:
        """The law of the interferometers, for subclasses with another one.

        Args:
            theta: Inner phases (C, M) in rad, errors included.
            phi: Outer phases (C, M) in rad, errors included.
            coupling: What `couplings` makes of the imbalances; None for ideal couplers.

        Returns:
            Entries (C, 4, M) as of `entries`; they need not be unitary.
        """
        return entries(theta, phi, coupling)

    def _assembled(self, couplers: Tensor, gamma: Tensor | None = None) -> Tensor:
        blocks = couplers * torch.view_as_complex(self.edge_factor).to(couplers.dtype)
        gamma = (self.gamma if gamma is None else gamma) + self._edge_phase
        if gamma.dim() == 2:
            gamma = gamma[:, None]
        return column_product(blocks, self.n) * torch.polar(torch.ones_like(gamma), gamma)

    def ideal_weight(self) -> Tensor:
        """Unitary matrix of the ideal mesh (n, n), complex, differentiable."""
        return self._assembled(self.couplers(self.theta[None], self.all_phi()[None]))[0]

    @torch.no_grad()
    def project_weight(self, weight: Tensor) -> Tensor:
        """Nearest unitary matrix, the polar factor.

        Args:
            weight: Complex (n, n).

        Returns:
            Unitary (n, n); not a number throughout if the weight holds what is not finite.

        Raises:
            UserError: If the shape differs.
        """
        check_target(weight, (self.n, self.n), is_complex=True, finite=False)
        if not torch.isfinite(weight).all():
            return torch.full_like(weight, math.nan)
        left, _, right = torch.linalg.svd(weight)
        return left @ right

    @torch.no_grad()
    def program(self, weight: Tensor) -> None:
        """Sets the phases so that the ideal mesh is a unitary matrix.

        With detectors, up to the phases of its rows, which they do not see.

        Args:
            weight: Complex (n, n), unitary to 1e-3.

        Raises:
            UserError: If the shape differs, the matrix is not unitary, or the interferometers of a
                subclass follow another law than `entries`, which `decompose` assumes; the phases
                then stay as they are.
        """
        check_target(weight, (self.n, self.n), is_complex=True)
        found = [torch.from_numpy(a) for a in decompose(weight.detach().cpu().numpy())]
        kept = [p.detach().clone() for p in (self.theta, self.all_phi(), self.gamma)]
        self._set(*found)
        # What the ideal law makes of the phases as they are kept.
        theta, phi = (p.detach()[None] for p in (self.theta, self.all_phi()))
        lawful = MZIMesh._assembled(self, entries(theta, phi))[0]
        off = float((self.ideal_weight() - lawful).abs().max())
        if not off <= 10 * self.n * torch.finfo(self.theta.dtype).eps:
            self._set(*kept)
            raise UserError(
                f"{type(self).__name__} does not follow the law of ideal interferometers: with the "
                f"phases found for one it is off by {off:.3g}",
                allowed="the law of pnnbench.platforms.mzi.entries",
                next_step="override program with the inverse of its own law, or train the phases",
            )

    def describe(self) -> dict[str, Any]:
        """Size, detectors and error model."""
        return {
            "type": type(self).__name__,
            "n": self.n,
            "detected": self.detected,
            "imbalance_per_rad": self.imbalance_per_rad,
            "readout_noise": self.readout_noise,
            "loss_db": self.loss_db,
            "errors": self.describe_errors(),
        }

    def project(self) -> None:
        """Phases have no limits: nothing to do."""

    def controls_within(self, low: float, high: float) -> dict[str, Tensor]:
        """Phases of the same transfer in a range in rad; see `pnnbench.platforms.phase_range`."""
        phases = (self.theta[None], self.all_phi()[None], self.gamma[None])
        theta, phi, gamma = (p[0].to(self.theta) for p in mesh_phases(*phases, low, high))
        # What no detector sees is no control, and no detector sees a sign on it.
        return {"theta": theta, "phi": phi[self.live_phi], "gamma": gamma}

    def static_errors(self) -> dict[str, StaticError]:
        """Errors of the phases and of the couplers of each interferometer."""
        each = tuple(self.theta.shape)
        return {
            "theta": StaticError("added to the inner phase", "rad", each),
            "phi": StaticError("added to the outer phase", "rad", each),
            "e_l": imbalance_law("first", each),
            "e_r": imbalance_law("second", each),
        }

    def further_errors(self) -> dict[str, StaticError]:
        """Losses of the interferometers, beside the `loss_db` that all have in common.

        A waveguide that a column leaves alone loses the mean of all.
        """
        each = tuple(self.theta.shape)
        return {"loss_db": loss_law(each)}

    def drivers(self) -> dict[str, Driver]:
        """Heaters set one period of each phase, see `pnnbench.platforms.heaters`."""
        return phase_drivers(self.control_names)

    def draw_errors(self, severity: float, generator: torch.Generator) -> dict[str, Tensor]:
        """Draws fabrication errors; ``severity`` is their standard deviation in rad.

        Imbalances are cut to `pnnbench.platforms.interferometer.MAX_IMBALANCE`.
        """
        check_severity("severity", severity)
        z = torch.randn(4, len(self.theta), generator=generator, dtype=torch.float32)
        e = self._imbalances(severity * self.imbalance_per_rad * z[2:])
        return {"theta": severity * z[0], "phi": severity * z[1], **e}

    def _imbalances(self, drawn: Tensor) -> dict[str, Tensor]:
        laws = MZIMesh.static_errors(self)
        names = ("e_l", "e_r")
        return {name: laws[name].within(e) for name, e in zip(names, drawn, strict=True)}

    def draw_alone(
        self, law: str, severity: float, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Draws errors of one kind.

        Args:
            law: ``"phases"``, ``"couplers"`` or ``"losses"``.
            severity: Standard deviation of the phases in rad, or of the imbalances; mean of the
                losses in dB, which scatter by `LOSS_SPREAD` of it and are not below 0.
            generator: As for `draw_errors`.

        Returns:
            Errors in the form of `draw_errors`.

        Raises:
            UserError: If there is no such kind, or the severity is out of range.
        """
        check_severity("severity", severity)
        if law == COUPLERS:
            z = torch.randn(4, len(self.theta), generator=generator, dtype=torch.float32)
            return self._imbalances(severity * z[2:])
        if law == PHASES:
            errors = self.draw_errors(severity, generator)
            return {name: errors[name] for name in ("theta", "phi")}
        if law == LOSSES:
            return draw_losses(self.further_errors(), severity, generator)
        return super().draw_alone(law, severity, generator)

    def random_offsets(self, sigma: float, generator: torch.Generator) -> dict[str, Tensor]:
        """Draws Gaussian errors of the phases that are controls, of ``sigma`` rad.

        Couplers are no controls: who trains with these offsets does not know their errors.
        """
        check_severity("sigma", sigma)
        theta = sigma * torch.randn(len(self.theta), generator=generator, dtype=torch.float32)
        phi = sigma * torch.randn(len(self.phi), generator=generator, dtype=torch.float32)
        whole = torch.zeros_like(theta).index_copy(0, self.live_phi.cpu(), phi)
        return {"theta": theta, "phi": whole}

    def sensitivity(self) -> Tensor:
        """Slope of the cross power cos^2(theta / 2) of each ideal interferometer (M,), per rad.

        Least in the bar and the cross state. The derivative of the whole matrix has the same norm
        for all phases, 1 / sqrt 2 for theta and 1 for phi, and tells nothing.
        """
        return torch.sin(self.theta) / 2

    def transfer(self) -> Tensor:
        """Matrix under the present operation, unitary if its couplers are.

        Returns:
            Complex (n, n); with C > 1 conditions (C, n, n).
        """
        op = self.operation
        if op is None:
            return self.ideal_weight()
        errors = {k: v if v.dim() == 2 else v[None] for k, v in op.errors.items()}
        theta, phi, gamma = (self.control(name) for name in self.control_names)
        theta, phi = (p if p.dim() == 2 else p[None] for p in (theta, self.all_phi(phi)))
        theta, phi = self._warmed(theta, "theta"), self._warmed(phi, "phi")
        if "theta" in errors:
            theta = theta + errors["theta"]
        if "phi" in errors:
            phi = phi + errors["phi"]
        coupling = None
        if "e_l" in errors or "e_r" in errors:
            zero = torch.zeros_like(theta)
            coupling = couplings(errors.get("e_l", zero), errors.get("e_r", zero))
        theta, phi = torch.broadcast_tensors(theta, phi)
        couplers = self.couplers(theta, phi, coupling)
        if "loss_db" not in errors:
            product = self._assembled(couplers, gamma)
        else:
            uneven, through = losses(errors["loss_db"], self.n)
            product = self._assembled(couplers * uneven, gamma) * through
        return product[0] if op.count == 1 else product.expand(op.count, -1, -1)

    def _warmed(self, phase: Tensor, name: str) -> Tensor:
        """Phases (C, M) with the heat of their neighbours; see `pnnbench.platforms.heaters`."""
        op = self.operation
        if op is None or not any(op.numbers.get("thermal_crosstalk", ())):
            return phase
        shares = op.environment["thermal_crosstalk"]
        return warmed(phase, self.drivers()[name], coupler_places(self.n), shares)

    def forward(self, x: Tensor) -> Tensor:
        """Light through the mesh.

        Args:
            x: Input fields (B, n), real or complex; under C conditions C * B of them,
                condition-major.

        Returns:
            Powers at the outputs (B, n) if detected, else complex fields (B, n). The scale is that
            of the input: its squared norm is the power, of which all outputs together have what the
            interferometers let through.
        """
        unitary = self.transfer() if self.weight_override is None else self.weight_override
        with without_autocast(x.device):
            field = self._propagate(x, unitary)
            if self.loss_db:
                field = field * 10.0 ** (-self.loss_db * self.n / 20.0)
            field = self.tap_field(field)
            if not self.detected:
                return field
            power = field.real.square() + field.imag.square()
            given = x.detach().abs().square().sum(-1, keepdim=True).to(power.dtype)
            return self.read_out(power, self.readout_noise, given)

    def _propagate(self, x: Tensor, unitary: Tensor) -> Tensor:
        if x.is_complex():
            if unitary.dim() == 2:
                return x.to(unitary.dtype) @ unitary.mT
            blocks = self.blocks(x.to(unitary.dtype), len(unitary))
            return torch.bmm(blocks, unitary.mT).flatten(0, 1)
        # A real input: one real product, outputs interleaved as (real, imaginary).
        parts = torch.view_as_real(unitary.resolve_conj()).movedim(-1, -2).flatten(-3, -2)
        x = x.to(parts.dtype)
        if unitary.dim() == 2:
            return torch.view_as_complex((x @ parts.mT).unflatten(-1, (self.n, 2)))
        y = torch.bmm(self.blocks(x, len(unitary)), parts.mT).flatten(0, 1)
        return torch.view_as_complex(y.unflatten(-1, (self.n, 2)))
