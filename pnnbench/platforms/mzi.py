"""Meshes of Mach-Zehnder interferometers: phases, fabrication errors, fields and detectors.

One interferometer on the fields of its upper and lower waveguide, with coupler imbalances e_l (met
first) and e_r and u = exp(i theta / 2):

    M = diag(e^{i phi}, 1) B(e_r) diag(u, u*) B(e_l)
    B(e) = (1 / sqrt 2) [[sqrt(1 + e), i sqrt(1 - e)], [i sqrt(1 - e), sqrt(1 + e)]]

An ideal one is i [[e^{i phi} sin(theta / 2), e^{i phi} cos(theta / 2)], [cos(theta / 2),
-sin(theta / 2)]]: theta = pi is the bar, theta = 0 the cross state. The mesh is rectangular; light
meets input phases gamma, then column 0, 1, ... A waveguide that a column leaves alone has the
length of an interferometer in the bar state with phi = pi, a factor -i.

What the model leaves out:
- thermal cross-talk between heaters;
- the resolution of the drivers, in bits;
- errors of the input phases gamma;
- the common phase of a heater on one arm only: theta is set in push and pull;
- differences in loss between paths, and reflections: insertion loss is the same for all;
- dispersion, polarisation and drift: one wavelength, nothing changes after fabrication.
Sources: Clements et al., Optica 3, 1460 (2016); Pai et al., Phys. Rev. Applied 11, 064044 (2019).
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from pnnbench.errors import UserError, check_count, check_range
from pnnbench.platforms.base import (
    Environment,
    PhysicalLayer,
    StaticError,
    check_severity,
    check_target,
)
from pnnbench.platforms.mesh import (
    column_product,
    coupler_places,
    decompose,
    edge_columns,
    n_couplers,
)
from pnnbench.platforms.phase_range import mesh_phases

#: Largest magnitude of a drawn coupler imbalance: from 1 on there is no such coupler.
MAX_IMBALANCE = 0.999


@dataclasses.dataclass(frozen=True)
class MZIEnvironment(Environment):
    """A mesh has no environment in the protocol; its errors are those of the device."""


def couplings(e_l: Tensor, e_r: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What the imbalances of the two couplers make of an interferometer.

    Args:
        e_l: Power imbalance of the first coupler in [-1, 1]: (1 + e) / 2 stays in the waveguide.
        e_r: Of the second coupler, of the same shape.

    Returns:
        p, q, r and t of `entries`, each of that shape; 1, 0, 1 and 0 for ideal couplers.
    """
    bar_l, bar_r = torch.sqrt(1 + e_l), torch.sqrt(1 + e_r)
    cross_l, cross_r = torch.sqrt(1 - e_l), torch.sqrt(1 - e_r)
    both, none = bar_l * bar_r, cross_l * cross_r
    right, left = cross_l * bar_r, bar_l * cross_r
    return (both + none) / 2, (both - none) / 2, (right + left) / 2, (right - left) / 2


def entries(
    theta: Tensor,
    phi: Tensor,
    coupling: tuple[Tensor, Tensor, Tensor, Tensor] | None = None,
) -> Tensor:
    """Entries of interferometers.

    Args:
        theta: Inner phases (C, M) in rad.
        phi: Outer phases (C, M) in rad.
        coupling: What `couplings` returns, each (C, M) or broadcastable; None for ideal couplers.

    Returns:
        m11, m12, m21, m22: complex (C, 4, M), differentiable.
    """
    c, s = torch.cos(theta / 2), torch.sin(theta / 2)
    if coupling is None:
        zero = torch.zeros_like(c)
        m11, m12 = torch.complex(zero, s), torch.complex(zero, c)
        m21, m22 = m12, torch.complex(zero, -s)
    else:
        p, q, r, t = coupling
        m11, m12 = torch.complex(q * c, p * s), torch.complex(-t * s, r * c)
        m21, m22 = torch.complex(t * s, r * c), torch.complex(q * c, -p * s)
    outer = torch.polar(torch.ones_like(phi), phi)
    return torch.stack((outer * m11, outer * m12, m21, m22), -2)


def haar_phases(n: int, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Draws phases that make the ideal mesh a Haar-random unitary matrix.

    theta = pi - 2 arcsin(u^(1 / (2 alpha))) with uniform u and the sensitivity index alpha =
    n - max(|2 a + 2 - n|, |2 l + 1 - n|) of an interferometer with upper waveguide a in column l
    (Pai et al., Phys. Rev. Applied 11, 064044 (2019)); phi and gamma are uniform.

    Args:
        n: Number of waveguides, at least 2.
        generator: Source of randomness; torch's global one if None.

    Returns:
        theta (M,), phi (M,) and gamma (n,) in rad, float32.
    """
    columns, tops = (torch.from_numpy(a) for a in coupler_places(n))
    alpha = n - torch.maximum((2 * tops + 2 - n).abs(), (2 * columns + 1 - n).abs())
    count = n_couplers(n)
    u = torch.rand(count, dtype=torch.float64, generator=generator)
    theta = math.pi - 2 * torch.asin(u ** (1 / (2 * alpha)))
    phi = 2 * math.pi * torch.rand(count, dtype=torch.float64, generator=generator)
    gamma = 2 * math.pi * torch.rand(n, dtype=torch.float64, generator=generator)
    return theta.float(), phi.float(), gamma.float()


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

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draws phases of a Haar-random unitary matrix."""
        self._set(*haar_phases(self.n, generator))

    @torch.no_grad()
    def _set(self, theta: Tensor, phi: Tensor, gamma: Tensor) -> None:
        self.theta.copy_(theta)
        self.phi.copy_(phi[self.live_phi.cpu()])
        self.gamma.copy_(gamma)

    def all_phi(self) -> Tensor:
        """Outer phases of every interferometer (M,), 0 where no detector sees them."""
        if len(self.phi) == len(self.theta):
            return self.phi
        return torch.zeros_like(self.theta).index_copy(0, self.live_phi, self.phi)

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

    def _unitary(
        self,
        theta: Tensor,
        phi: Tensor,
        coupling: tuple[Tensor, Tensor, Tensor, Tensor] | None = None,
    ) -> Tensor:
        theta, phi = torch.broadcast_tensors(theta, phi)
        return self._assembled(self.couplers(theta, phi, coupling))

    def _assembled(self, couplers: Tensor) -> Tensor:
        blocks = couplers * torch.view_as_complex(self.edge_factor).to(couplers.dtype)
        gamma = self.gamma + self._edge_phase
        return column_product(blocks, self.n) * torch.polar(torch.ones_like(gamma), gamma)

    def ideal_weight(self) -> Tensor:
        """Unitary matrix of the ideal mesh (n, n), complex, differentiable."""
        return self._unitary(self.theta[None], self.all_phi()[None])[0]

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

        def imbalance(which: str) -> StaticError:
            return StaticError(f"power imbalance of the {which} coupler", "1", each, -1, 1, True)

        return {
            "theta": StaticError("added to the inner phase", "rad", each),
            "phi": StaticError("added to the outer phase", "rad", each),
            "e_l": imbalance("first"),
            "e_r": imbalance("second"),
        }

    def draw_errors(self, severity: float, generator: torch.Generator) -> dict[str, Tensor]:
        """Draws fabrication errors; ``severity`` is their standard deviation in rad.

        Imbalances are cut to `MAX_IMBALANCE`.
        """
        check_severity("severity", severity)
        z = torch.randn(4, len(self.theta), generator=generator, dtype=torch.float32)
        e = (severity * self.imbalance_per_rad * z[2:]).clamp(-MAX_IMBALANCE, MAX_IMBALANCE)
        return {"theta": severity * z[0], "phi": severity * z[1], "e_l": e[0], "e_r": e[1]}

    def draw_alone(
        self, law: str, severity: float, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Draws errors of one kind: of the phases, in rad, or of the couplers' imbalance."""
        if law == "couplers":
            check_severity("severity", severity)
            z = torch.randn(4, len(self.theta), generator=generator, dtype=torch.float32)
            e = (severity * z[2:]).clamp(-MAX_IMBALANCE, MAX_IMBALANCE)
            return {"e_l": e[0], "e_r": e[1]}
        if law == "phases":
            errors = self.draw_errors(severity, generator)
            return {name: errors[name] for name in ("theta", "phi")}
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
        theta, phi = self.theta[None], self.all_phi()[None]
        if "theta" in errors:
            theta = theta + errors["theta"]
        if "phi" in errors:
            phi = phi + errors["phi"]
        coupling = None
        if "e_l" in errors or "e_r" in errors:
            zero = torch.zeros_like(theta)
            coupling = couplings(errors.get("e_l", zero), errors.get("e_r", zero))
        product = self._unitary(theta, phi, coupling)
        return product[0] if op.count == 1 else product.expand(op.count, -1, -1)

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
        with torch.autocast(x.device.type, enabled=False):
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
