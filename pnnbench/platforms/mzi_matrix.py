"""Any real matrix on Mach-Zehnder interferometers: W = g Re(U S V), two meshes and attenuators.

Light of one laser carries the inputs as signed amplitudes through the mesh V, one attenuator for
each singular value, and the mesh U; a balanced homodyne detector reads the real part of the field
at each output, and electronics multiply it by the digital gain g. An attenuator is an
interferometer of which one input and one output are used, in the bar direction:

    s = -i m11 at phi = 0,  with ideal couplers  s = sin(theta / 2),

so that all controls are phases in rad, and devices have the same errors in meshes and attenuators.
Amplitudes are -1 to 1: there is no optical gain, and g carries the scale of the weights. The
largest singular value stands at 1 / headroom, since an attenuator that is open answers to nothing.

A matrix with more rows or columns than a mesh has ports is cut into equal tiles, each with meshes
of its own; outputs of the tiles of one row are added up digitally. Rectangular tiles take meshes of
two sizes, of which as many ports are joined as the smaller one has. The mesh of a single row or
column has two ports, of which one stays dark.

What the model leaves out is what `pnnbench.platforms.mzi` leaves out.
Sources: Miller, Photonics Research 1, 1 (2013); Shen et al., Nature Photonics 11, 441 (2017), whose
attenuators are interferometers as well; meshes as in `pnnbench.platforms.mzi`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pnnbench.errors import check_count, check_range
from pnnbench.platforms.base import (
    Environment,
    StaticError,
    check_severity,
    check_target,
)
from pnnbench.platforms.drivers import Driver
from pnnbench.platforms.heaters import phase_drivers, warmed
from pnnbench.platforms.insertion_loss import amplitude, draw_losses, loss_law, losses
from pnnbench.platforms.interferometer import couplings, entries, imbalance_law
from pnnbench.platforms.mesh import (
    column_product,
    coupler_places,
    decompose,
    edge_columns,
    n_couplers,
)
from pnnbench.platforms.mzi import (
    COUPLERS,
    LOSSES,
    PHASES,
    MZIEnvironment,
    MZIMesh,
)
from pnnbench.platforms.phase_range import inner, mesh_phases, outer
from pnnbench.platforms.products import ProductLayer

#: Parts of the light path in the order in which light meets them.
_PARTS = ("v", "s", "u")
#: Ports of the largest mesh: that of the published experiments.
PORTS = 64
#: What the largest singular value is below 1: at half of the power an attenuator is steep.
HEADROOM = math.sqrt(2.0)


@functools.cache
@torch.inference_mode(False)  # what is shared outlives the mode that asks first
def _edges(n: int) -> tuple[Tensor, float]:
    """Factor of each interferometer, and input phase, for waveguides that columns leave alone."""
    edges = edge_columns(n)
    factor = np.where(edges[coupler_places(n)[0]], 1j, 1.0)
    return torch.from_numpy(factor), -math.pi / 2 * int(edges.sum())


def mesh_matrix(
    theta: Tensor,
    phi: Tensor,
    gamma: Tensor,
    coupling: tuple[Tensor, Tensor, Tensor, Tensor] | None = None,
    loss_db: Tensor | None = None,
) -> Tensor:
    """Matrices of meshes, as `MZIMesh` has them, many at once.

    Args:
        theta: Inner phases (N, M) in rad, errors included.
        phi: Outer phases (N, M) in rad, errors included.
        gamma: Input phases (N, n) in rad.
        coupling: What `pnnbench.platforms.mzi.couplings` makes of the imbalances, each (N, M);
            None for ideal couplers.
        loss_db: Losses of the interferometers (N, M) in dB; None for none. A waveguide that a
            column leaves alone loses the mean of its mesh.

    Returns:
        Complex (N, n, n), differentiable.
    """
    n = gamma.shape[-1]
    factor, phase = _edges(n)
    blocks = entries(theta, phi, coupling)
    blocks = blocks * factor.to(blocks.device, blocks.dtype)
    inputs = torch.polar(torch.ones_like(gamma), gamma + phase)
    if loss_db is None:
        return column_product(blocks, n) * inputs[:, None]
    uneven, through = losses(loss_db, n)
    return column_product(blocks * uneven, n) * inputs[:, None] * through


class MZIMatrix(ProductLayer):
    """A real matrix on tiles of two meshes and a row of attenuators, read out coherently.

    `pnnbench.platforms.mzi_layers` gives the product. Errors of a device: see
    `static_errors`; each tile has its own. The input phases have none.

    Attributes:
        u_theta, u_phi, u_gamma: Phases of the meshes behind the attenuators in rad, (tiles, M) and
            (tiles, n); see `pnnbench.platforms.mzi.MZIMesh`.
        s_theta: Inner phases of the attenuators (tiles, k) in rad, any real value; period 4 pi.
        v_theta, v_phi, v_gamma: As ``u_``, of the meshes that light meets first.
        gain: Digital gain g (a scalar), a digital parameter, not a control.
        bias: Digital bias (outputs,), or None.
    """

    programmed_too: ClassVar[tuple[str, ...]] = ("gain",)
    control_names: ClassVar[tuple[str, ...]] = (
        *("u_theta", "u_phi", "u_gamma", "s_theta"),
        *("v_theta", "v_phi", "v_gamma"),
    )
    control_unit: ClassVar[str] = "rad"
    offset_unit: ClassVar[str] = "rad"
    environment_class: ClassVar[type[Environment]] = MZIEnvironment
    #: That of a mesh with detectors; not measured for networks of several layers.
    ball_radius: ClassVar[float] = MZIMesh.ball_radius
    #: As for a mesh: an offset of the drivers moves all phases together.
    common_controls: ClassVar[tuple[str, ...]] = ("u_theta", "u_phi", "s_theta", "v_theta", "v_phi")

    def __init__(
        self,
        shape: tuple[int, ...],
        groups: int = 1,
        bias: bool = True,
        ports: int = PORTS,
        headroom: float = HEADROOM,
        imbalance_per_rad: float = 1.0,
        readout_noise: float = 0.01,
        weight: Tensor | None = None,
    ) -> None:
        super().__init__()
        for size in shape:
            check_count("size of a matrix", size)
        check_count("ports", ports, low=2, high=4096)
        check_range("headroom", headroom, low=1.0, high=1e3)
        check_range("imbalance_per_rad", imbalance_per_rad, low=0.0, high=100.0)
        check_range("readout_noise", readout_noise, low=0.0, high=10.0)
        self.shape, self.groups = tuple(shape), groups
        self.headroom = float(headroom)
        self.imbalance_per_rad = float(imbalance_per_rad)
        self.readout_noise = float(readout_noise)
        self.rows, self.columns = shape[0] // groups, math.prod(shape[1:])
        self._down, self._across = -(-self.rows // ports), -(-self.columns // ports)
        self.outputs = max(2, -(-self.rows // self._down))
        self.inputs = max(2, -(-self.columns // self._across))
        self.tiles = groups * self._down * self._across
        self.joined = min(self.inputs, self.outputs)
        for part, n in (("u", self.outputs), ("v", self.inputs)):
            for name, count in (("theta", n_couplers(n)), ("phi", n_couplers(n)), ("gamma", n)):
                self.register_parameter(
                    f"{part}_{name}", nn.Parameter(torch.zeros(self.tiles, count))
                )
        self.s_theta = nn.Parameter(torch.zeros(self.tiles, self.joined))
        self.gain = nn.Parameter(torch.ones(()))
        self.bias = nn.Parameter(torch.empty(shape[0])) if bias else None
        self.reset_parameters(weight)

    @torch.no_grad()
    def reset_parameters(self, weight: Tensor | None = None) -> None:
        """Programs a weight; by default the usual uniform one (|w| <= 1/sqrt(fan-in)).

        Args:
            weight: What the layer is programmed to, of the shape of the layer's weight.
        """
        bound = 1.0 / math.sqrt(self.columns)
        self.program(torch.empty(self.shape).uniform_(-bound, bound) if weight is None else weight)
        if self.bias is not None:
            nn.init.uniform_(self.bias, -bound, bound)

    @property
    def light_path(self) -> int:
        """Columns of interferometers between the laser and a detector."""
        return self.inputs + self.outputs + 1

    def _tiled(self, weight: Tensor) -> Tensor:
        """Tiles (tiles, outputs, inputs) of a weight, zero where it has no entry."""
        matrix = weight.reshape(self.groups, self.rows, self.columns)
        spare = self._across * self.inputs - self.columns, self._down * self.outputs - self.rows
        blocks = F.pad(matrix, (0, spare[0], 0, spare[1]))
        blocks = blocks.unflatten(1, (self._down, -1)).unflatten(3, (self._across, -1))
        return blocks.transpose(2, 3).flatten(0, 2)

    def _whole(self, tiles: Tensor) -> Tensor:
        """Weights (C, *shape) of tiles (C, tiles, outputs, inputs)."""
        blocks = tiles.unflatten(1, (self.groups, self._down, self._across)).transpose(3, 4)
        matrix = blocks.flatten(4, 5).flatten(2, 3)[:, :, : self.rows, : self.columns]
        return matrix.reshape(len(tiles), *self.shape)

    def _phase(self, name: str) -> Tensor:
        """A control under the present operation (tiles, ...), or (C, tiles, ...)."""
        phase, op = self.control(name), self.operation
        part, kind = name.split("_")
        if op is None or kind == "gamma" or not any(op.numbers.get("thermal_crosstalk", ())):
            return phase
        shares = op.environment["thermal_crosstalk"]
        # Attenuators stand side by side in one column, as the interferometers of a mesh do.
        k = self.joined
        places = (np.zeros(k, np.int64), 2 * np.arange(k))
        if part != "s":
            places = coupler_places(self.outputs if part == "u" else self.inputs)
        phase = phase if phase.dim() == 3 else phase[None]
        return warmed(phase, self.drivers()[name], places, shares)

    def _matrix(self, errors: dict[str, Tensor], phase_of: Callable[[str], Tensor]) -> Tensor:
        """Weights (C, *shape) with errors (C, tiles, ...), of one condition without any.

        Args:
            errors: Errors by name.
            phase_of: Gives the phases of a control, for all conditions (tiles, ...) or for each.
        """
        given = {name: phase_of(name) for name in self.control_names}
        count = max(
            *(len(value) for value in errors.values()),
            *(len(phase) if phase.dim() == 3 else 1 for phase in given.values()),
        )

        def phases(name: str) -> Tensor:
            phase = given[name].expand(count, *given[name].shape[-2:])
            return (phase + errors[name] if name in errors else phase).flatten(0, 1)

        def coupling(part: str) -> tuple[Tensor, Tensor, Tensor, Tensor] | None:
            names = (f"{part}_e_l", f"{part}_e_r")
            if not any(name in errors for name in names):
                return None
            ideal = torch.zeros_like(getattr(self, f"{part}_theta")).expand(count, -1, -1)
            e_l, e_r = (errors.get(name, ideal).flatten(0, 1) for name in names)
            return couplings(e_l, e_r)

        def loss(part: str) -> Tensor | None:
            loss_db = errors.get(f"{part}_loss_db")
            return None if loss_db is None else loss_db.flatten(0, 1)

        def mesh(part: str) -> Tensor:
            theta, phi, gamma = (phases(f"{part}_{name}") for name in ("theta", "phi", "gamma"))
            return mesh_matrix(theta, phi, gamma, coupling(part), loss(part))

        theta = phases("s_theta")
        passed = entries(theta, torch.zeros_like(theta), coupling("s"))[:, 0] * -1j
        lost = loss("s")
        if lost is not None:
            passed = passed * amplitude(lost)
        u, v = mesh("u")[..., : self.joined], mesh("v")[..., : self.joined, :]
        field = (u * passed[:, None]) @ v
        return self.gain * self._whole(field.real.unflatten(0, (count, self.tiles)))

    def ideal_weight(self) -> Tensor:
        """Real weights of the ideal device, of the shape of the layer's weight, differentiable."""
        return self._matrix({}, partial(getattr, self))[0]

    @torch.no_grad()
    def project_weight(self, weight: Tensor) -> Tensor:
        """The weight itself: every real one can be programmed."""
        check_target(weight, self.shape, finite=False)
        return weight.detach().clone()

    @torch.no_grad()
    def program(self, weight: Tensor) -> None:
        """Sets phases and gain so that the ideal device has a weight.

        Args:
            weight: Any finite real weight of the layer's shape.

        Raises:
            UserError: If the shape differs or a value is not finite.
        """
        check_target(weight, self.shape)
        left, values, right = torch.linalg.svd(self._tiled(weight.detach().cpu().double()))
        largest = float(values.max())
        gain = self.headroom * largest if largest > 0.0 else 1.0
        for part, matrices in (("u", left), ("v", right)):
            found = decompose(matrices.numpy())
            for name, phases in zip(("theta", "phi", "gamma"), found, strict=True):
                getattr(self, f"{part}_{name}").copy_(torch.from_numpy(phases))
        self.s_theta.copy_(2.0 * torch.asin((values / gain).clamp(max=1.0)))
        self.gain.fill_(gain)

    def describe(self) -> dict[str, Any]:
        """Shape, meshes, read-out and error model."""
        return {
            "type": type(self).__name__,
            "shape": list(self.shape),
            "tiles": self.tiles,
            "mesh_ports": [self.outputs, self.inputs],
            "headroom": self.headroom,
            "imbalance_per_rad": self.imbalance_per_rad,
            "readout_noise": self.readout_noise,
            "errors": self.describe_errors(),
        }

    def project(self) -> None:
        """Phases have no limits: nothing to do."""

    def controls_within(self, low: float, high: float) -> dict[str, Tensor]:
        """Phases of the same transfer in a range in rad; see `pnnbench.platforms.phase_range`."""
        found: dict[str, Tensor] = {}
        for part in ("u", "v"):
            names = [f"{part}_{name}" for name in ("theta", "phi", "gamma")]
            theta, phi, gamma = (getattr(self, name) for name in names)
            found.update(zip(names, mesh_phases(theta, phi, gamma, low, high), strict=True))
        # sin(-theta / 2) = -sin(theta / 2): a sign goes to the input of the mesh behind.
        found["s_theta"], negative, sign = inner(self.s_theta, low, high)
        flipped = (sign < 0) != negative
        gamma = found["u_gamma"]
        gamma[:, : self.joined] += math.pi * flipped.double()
        found["u_gamma"] = outer(gamma, low, high)
        return {name: found[name].to(self.s_theta) for name in self.control_names}

    def static_errors(self) -> dict[str, StaticError]:
        """Errors of the phases and of the couplers of each interferometer of each tile."""
        laws = {}
        for part in _PARTS:
            each = tuple(getattr(self, f"{part}_theta").shape)
            laws[f"{part}_theta"] = StaticError("added to the inner phase", "rad", each)
            if part != "s":
                laws[f"{part}_phi"] = StaticError("added to the outer phase", "rad", each)
            for name, which in (("e_l", "first"), ("e_r", "second")):
                laws[f"{part}_{name}"] = imbalance_law(which, each)
        return laws

    def further_errors(self) -> dict[str, StaticError]:
        """Losses of the interferometers of each tile, meshes and attenuators.

        A waveguide that a column of a mesh leaves alone loses the mean of that mesh.
        """
        each = {part: tuple(getattr(self, f"{part}_theta").shape) for part in _PARTS}
        return {f"{part}_loss_db": loss_law(shape) for part, shape in each.items()}

    def _drawn(self, phases: float, imbalance: float, g: torch.Generator) -> dict[str, Tensor]:
        """Errors of all kinds; the same draw whatever the spreads in rad and of the imbalance."""
        drawn = {}
        for name, law in self.static_errors().items():
            z = torch.randn(law.shape, generator=g, dtype=torch.float32)
            spread = imbalance if name.endswith(("e_l", "e_r")) else phases
            drawn[name] = law.within(spread * z)
        return drawn

    def drivers(self) -> dict[str, Driver]:
        """Heaters set one period of each phase, as those of a mesh."""
        return phase_drivers(self.control_names)

    def draw_errors(self, severity: float, generator: torch.Generator) -> dict[str, Tensor]:
        """Draws fabrication errors; ``severity`` is their standard deviation in rad.

        Imbalances are cut to `pnnbench.platforms.interferometer.MAX_IMBALANCE`.
        """
        check_severity("severity", severity)
        return self._drawn(severity, severity * self.imbalance_per_rad, generator)

    def draw_alone(
        self, law: str, severity: float, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Draws errors of one kind; see `pnnbench.platforms.mzi.MZIMesh.draw_alone`."""
        check_severity("severity", severity)
        if law == LOSSES:
            return draw_losses(self.further_errors(), severity, generator)
        if law not in (COUPLERS, PHASES):
            return super().draw_alone(law, severity, generator)
        drawn = self._drawn(severity, severity, generator)
        ends = ("e_l", "e_r") if law == COUPLERS else ("theta", "phi")
        return {name: error for name, error in drawn.items() if name.endswith(ends)}

    def random_offsets(self, sigma: float, generator: torch.Generator) -> dict[str, Tensor]:
        """Draws Gaussian errors of the phases of interferometers, of ``sigma`` rad."""
        check_severity("sigma", sigma)
        shapes = {name: getattr(self, name).shape for name in self.common_controls}
        return {
            name: sigma * torch.randn(shape, generator=generator, dtype=torch.float32)
            for name, shape in shapes.items()
        }

    def sensitivity(self) -> Tensor:
        """Slope of the cross power of each ideal interferometer, per rad, meshes and attenuators.

        As of `MZIMesh`: sin(theta) / 2, least in the bar and the cross state.
        """
        return torch.sin(torch.cat([getattr(self, f"{p}_theta").flatten() for p in _PARTS])) / 2

    def transfer(self) -> Tensor:
        """Real weights under the present operation, the gain included.

        Returns:
            Shape of the weight; with C > 1 conditions (C, *shape).
        """
        op = self.operation
        if op is None:
            return self.ideal_weight()
        one = op.count == 1
        errors = {k: v[None] if one else v for k, v in op.errors.items()}
        weight = self._matrix(errors, self._phase)
        return weight[0] if one else weight.expand(op.count, *self.shape)

    def _amplitude(self, x: Tensor) -> Tensor:
        """Root of the power that each output could see, as `_product` has its outputs."""
        raise NotImplementedError

    def _detected(self, y: Tensor, x: Tensor) -> Tensor:
        """Read-out of what homodyne detectors see.

        Their noise is a fraction of the largest amplitude that one of them could see, the Euclidean
        norm of the inputs of its output, times the gain. Noise of several tiles adds up in
        quadrature, which makes the norm that of all their inputs.
        """
        op = self.operation
        noisy = op is not None and op.shot is not None and self.readout_noise != 0.0
        scale = self.gain.detach().abs() * self._amplitude(x.detach()) if noisy else None
        return self.read_out(y, self.readout_noise, scale)
