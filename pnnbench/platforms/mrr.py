"""Microring-resonator weight banks: heater currents in mA to through-port weights.

A ring's heater turns current into power, power shifts the resonance, the detuning from the laser in
units of the half linewidth sets the weight:

    lambda_res = lambda_rest + a I^n + kappa (T - T0) + offset,
    u = (lambda_laser - lambda_res) / HWHM,  w = b - d / (1 + u^2).

Defaults are calibration B of the reference measurements: it reproduces the stated quality factor of
about 1e4 and the drift of 0.06 nm/degC. The weight is digital-free: only currents are trained.

A matrix is computed with a bank of a few rings, tile by tile, so that the errors of a ring come
back in every tile and add up. One ring for each weight stays possible as a hypothetical chip.

A photodiode reads out one row of the bank at a time. Its noise is a share of the most light that it
can see, that of all the row's inputs through open rings: it depends on the inputs and the bank, not
on what a network makes of them, and is the same law for all of them.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pnnbench.errors import UserError, check_count, check_range
from pnnbench.platforms.base import (
    Environment,
    PhysicalLayer,
    Quantity,
    StaticError,
    check_severity,
    check_target,
)
from pnnbench.platforms.drivers import Driver
from pnnbench.platforms.products import (
    ConvProduct,
    Geometry,
    LinearProduct,
    ProductLayer,
    Size,
    kernel_shape,
)
from pnnbench.platforms.rings import (
    EXPERIMENT_GAP_HWHM,
    PUBLISHED_CALIBRATION,
    RingCalibration,
)

__all__ = [
    "EXPERIMENT_GAP_HWHM",
    "PUBLISHED_CALIBRATION",
    "MRRConv1d",
    "MRRConv2d",
    "MRREnvironment",
    "MRRLinear",
    "MRRWeightBank",
    "RingCalibration",
]

#: Shares of the nominal value that drawn linewidths and depths keep at least.
MIN_LINEWIDTH, MIN_DEPTH = 0.3, 0.05


@dataclasses.dataclass(frozen=True)
class MRREnvironment(Environment):
    """Operating conditions of a weight bank.

    Attributes:
        temperature_degc: Ambient temperature in degC. The rings are locked at 22 degC.
        crosstalk: Share of a neighbour's resonance shift that leaks into a ring, in [0, 0.5]. Not
            measured on the reference chip.
    """

    temperature_degc: float = 22.0
    crosstalk: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("temperature_degc", self.temperature_degc, low=-40.0, high=120.0, unit="degC")
        check_range("crosstalk", self.crosstalk, low=0.0, high=0.5)


class MRRWeightBank(ProductLayer):
    """A matrix on a bank of microrings: one current per weight, one row per output.

    Subclasses `MRRLinear`, `MRRConv1d` and `MRRConv2d` give the product. Errors of a device: see
    `static_errors`. Rings lie on the matrix tile by tile; neighbours are the rings before and after
    in the same row of the bank.

    Attributes:
        current: Heater currents in mA, shape of the weight; the only control parameter.
        bias: Digital bias (outputs,), or None.
    """

    control_names: ClassVar[tuple[str, ...]] = ("current",)
    control_unit: ClassVar[str] = "mA"
    offset_unit: ClassVar[str] = "HWHM"
    environment_class: ClassVar[type[Environment]] = MRREnvironment
    #: `benchmarks/sharpness_rows.py`, seed 0; 0.5 λ r / |g|, and loss + worst increase in nats, of
    #: digits (4,488 rings) and of MNIST after the quick tier:
    #:
    #: | r | digits BP | digits NAT | MNIST BP | MNIST NAT |
    #: | 0.25 | 2.5, 0.009 | 0.9, 0.04 | 5.0, 0.16 | 0.8, 0.23 |
    #: | 0.5 | 5.0, 0.08 | 1.7, 0.07 | 9.9, 0.97 | 1.7, 0.32 |
    #: | 1 | 10, 0.96 | 3.5, 0.25 | 20, 5.2 | 3.3, 0.84 |
    ball_radius: ClassVar[float] = 0.5
    #: All current sources share one reference, whose drift adds the same current everywhere; the
    #: weights change with it, each by its own slope, so that it is no gauge. Temperature shifts
    #: resonances equally, not currents, and is an axis of the grid.
    common_controls: ClassVar[tuple[str, ...]] = ("current",)

    def __init__(
        self, shape: tuple[int, ...], bias: bool, calibration: RingCalibration | None
    ) -> None:
        super().__init__()
        for size in shape:
            check_count("size of a bank", size)
        self.calibration = calibration or RingCalibration()
        self.current = nn.Parameter(torch.empty(shape))
        self.bias = nn.Parameter(torch.empty(shape[0])) if bias else None
        self.reset_parameters()

    @classmethod
    def example(cls) -> tuple[PhysicalLayer, Tensor]:
        """A product of nine inputs and six outputs."""
        return MRRLinear.example()

    def reset_parameters(self) -> None:
        """Draws the usual uniform initial weights (|w| <= 1/sqrt(fan-in)) and programs them."""
        bound = 1.0 / math.sqrt(self.current[0].numel())
        weight = torch.empty_like(self.current).uniform_(-bound, bound)
        self.program(weight)
        if self.bias is not None:
            nn.init.uniform_(self.bias, -bound, bound)

    def control_origins(self) -> dict[str, float]:
        """The current in mA at which the ideal ring is on resonance (u = 0), the dip."""
        return {"current": self.calibration.resonance_current()}

    def ideal_weight(self) -> Tensor:
        """Ideal weights, shape of `current`, differentiable."""
        return self.calibration.weight(self.current)

    @torch.no_grad()
    def project_weight(self, weight: Tensor) -> Tensor:
        """Clamps weights to the programmable range."""
        check_target(weight, self.current.shape, finite=False)
        return weight.clamp(*self.calibration.weight_range())

    @torch.no_grad()
    def program(self, weight: Tensor) -> None:
        """Sets the currents to give target weights, by the inverse tuning curve.

        Args:
            weight: Targets of the shape of `current`; unreachable ones get the nearest weight.

        Raises:
            UserError: If the shape differs or a target is not finite.
        """
        check_target(weight, self.current.shape)
        self.current.copy_(self.calibration.current(weight))

    def describe(self) -> dict[str, Any]:
        """Shape and calibration; limits that are infinite read ``"inf"``."""
        constants = dataclasses.asdict(self.calibration)
        return {
            "type": type(self).__name__,
            "shape": list(self.current.shape),
            "calibration": {
                k: v if isinstance(v, str) or math.isfinite(v) else str(v)
                for k, v in constants.items()
            },
            "errors": self.describe_errors(),
        }

    @torch.no_grad()
    def project(self) -> None:
        """Clamps the currents to the limits of the driver, in place."""
        self.current.clamp_(self.calibration.min_current, self.calibration.max_current)

    def control_limits(self) -> tuple[float, float]:
        """Least and largest current of the driver, in mA."""
        return self.calibration.min_current, self.calibration.max_current

    @torch.no_grad()
    def power_mw(self) -> Tensor:
        """Total heater power in mW: sum of I^2 R with I in mA."""
        return self.current.square().sum() * self.calibration.resistance_ohm * 1e-3

    def static_errors(self) -> dict[str, StaticError]:
        """Errors at each weight, and the cross-talk of a device beside that of its environment."""
        ring = tuple(self.current.shape)
        return {
            "detuning": StaticError("shift of the resonance, subtracted from u", "HWHM", ring),
            "linewidth": StaticError(
                "relative change of the linewidth",
                "1",
                ring,
                low=-1.0,
                open_ends=True,
                cut=(MIN_LINEWIDTH - 1.0, math.inf),
            ),
            "bias": StaticError("change of the weight far from resonance", "1", ring),
            "depth": StaticError(
                "change of the depth of the dip",
                "1",
                ring,
                low=-self.calibration.depth,
                open_ends=True,
                cut=((MIN_DEPTH - 1.0) * self.calibration.depth, math.inf),
            ),
            "crosstalk": StaticError(
                "share of a neighbour's resonance shift that leaks into a ring", "1", (), 0.0, 1.0
            ),
        }

    def draw_errors(self, severity: float, generator: torch.Generator) -> dict[str, Tensor]:
        """Draws ring-to-ring errors of a bank and lays them over the matrix; see the base class.

        Linewidths and depths keep `MIN_LINEWIDTH` and `MIN_DEPTH` of nominal.
        """
        check_severity("severity", severity)
        c, laws = self.calibration, MRRWeightBank.static_errors(self)

        def normal() -> Tensor:
            return self._tiled(
                torch.randn(self._bank_shape, generator=generator, dtype=torch.float32)
            )

        depth = laws["depth"].within(severity * c.depth_spread * normal())
        return {
            "detuning": severity * c.offset_spread_hwhm * normal(),
            "linewidth": laws["linewidth"].within(severity * c.hwhm_spread * normal()),
            "bias": severity * c.floor_spread * normal() + depth,
            "depth": depth,
        }

    def measured_quantities(self) -> dict[str, Quantity]:
        """The resonance against the design's, to the red, and the half width, both in nm."""
        hwhm = self.calibration.hwhm_nm
        return {
            "resonance_nm": Quantity("detuning", "nm", lambda shift: shift / hwhm),
            "hwhm_nm": Quantity("linewidth", "nm", lambda width: width / hwhm - 1.0),
        }

    def lay(self, law: StaticError, values: Tensor) -> Tensor:
        """Lays the rings of a measured bank over the matrix, tile by tile.

        Args:
            law: The error.
            values: Of a bank (rows, columns), one value for each weight, or a flat list with as
                many as the bank of the calibration has rings.

        Returns:
            Shape of the error.

        Raises:
            UserError: If a flat list fits neither bank nor matrix.
        """
        rows, columns = len(self.current), self.current[0].numel()
        whole = tuple(values.shape) in (law.shape, (rows, columns), (rows * columns,))
        if whole or not law.shape:
            return super().lay(law, values)
        down, across = self._bank_shape
        if values.dim() == 1 and values.numel() == down * across:
            values = values.view(down, across)
        if values.dim() != 2:
            raise UserError(
                f"{values.numel()} elements were measured",
                allowed=f"{down * across}, a bank of {down} x {across} rings, or "
                f"{rows * columns}, one for each weight; of another bank, row and column of each",
            )
        return self._tiled(values)

    def drivers(self) -> dict[str, Driver]:
        """Current sources between the limits of the calibration."""
        return {"current": Driver(self.calibration.min_current, self.calibration.max_current)}

    @property
    def _bank_shape(self) -> tuple[int, int]:
        """Rows and columns of rings that serve the whole matrix."""
        rows, columns = len(self.current), self.current[0].numel()
        c = self.calibration
        return (c.bank_rows, c.bank_columns) if c.bank_rows else (rows, columns)

    def _tiled(self, bank: Tensor) -> Tensor:
        """What each ring has (rows, columns), at the weights that it serves (as `current`)."""
        rows, columns = len(self.current), self.current[0].numel()
        down, across = -(-rows // len(bank)), -(-columns // bank.shape[1])
        return bank.repeat(down, across)[:rows, :columns].reshape(self.current.shape).clone()

    def _neighbours(self, drive: Tensor) -> Tensor:
        """Sum of the drives of the rings before and after in the same row of the bank."""
        flat = drive.reshape(-1, self.current[0].numel())
        columns = self.calibration.bank_columns or flat.shape[1]
        place = torch.arange(flat.shape[1], device=flat.device) % columns
        padded = F.pad(flat, (1, 1))
        before = torch.where(place > 0, padded[:, :-2], 0.0)
        after = torch.where(place < columns - 1, padded[:, 2:], 0.0)
        return (before + after).view_as(drive)

    def random_offsets(self, sigma: float, generator: torch.Generator) -> dict[str, Tensor]:
        """Draws Gaussian resonance offsets of standard deviation ``sigma`` HWHM."""
        check_severity("sigma", sigma)
        return {
            "detuning": sigma
            * torch.randn(self.current.shape, generator=generator, dtype=torch.float32)
        }

    def sensitivity(self) -> Tensor:
        """dw/du of the ideal ring per HWHM, shape of the weight; an offset enters u negatively."""
        u = self.calibration.detuning(self.current)
        return 2.0 * self.calibration.depth * u / (1.0 + u.square()).square()

    def sensitivity_of_weight(self, weight: Tensor) -> Tensor:
        """|dw/du| per HWHM of rings on the branch that `program` takes; shape of the weight."""
        return self.calibration.slope(weight)

    def transfer(self) -> Tensor:
        """Weights under the present operation.

        Returns:
            Shape of `current`; with C > 1 conditions (C, *shape).
        """
        c, op = self.calibration, self.operation
        if op is None:
            return c.weight(self.current)
        errors = op.errors
        rows = (-1,) + (1,) * self.current.dim() if op.count > 1 else ()
        drive = c.drive(self.control("current"))
        leaks = any(op.numbers["crosstalk"])
        if leaks or "crosstalk" in errors:
            leak = op.environment["crosstalk"]
            if "crosstalk" in errors:
                leak = leak + errors["crosstalk"]
            drive = drive + leak.reshape(rows) * self._neighbours(drive)
        drift = c.drift_nm_per_degc * (
            op.environment["temperature_degc"] - c.nominal_temperature_degc
        )
        u = (c.rest_detuning_nm - c.tuning * drive - drift.reshape(rows)) / c.hwhm_nm
        if "detuning" in errors:
            u = u - errors["detuning"]
        if "linewidth" in errors:
            u = u / (1.0 + errors["linewidth"])
        # As a tensor, with errors or without: a plain number over a tensor is rounded twice.
        dip = torch.full_like(self.current, c.depth)
        if "depth" in errors:
            dip = dip + errors["depth"]
        top: Tensor | float = c.bias + errors["bias"] if "bias" in errors else c.bias
        weight = top - dip / (1.0 + u.square())
        return weight.expand(op.count, *self.current.shape) if op.count > 1 else weight

    def _detected(self, y: Tensor, x: Tensor) -> Tensor:
        noise = self.calibration.noise_of_sum(self.current[0].numel())
        return self.read_out(y, noise, seen=lambda: self._light(x))

    def _light(self, x: Tensor) -> Tensor:
        """Light that each row of the bank is given, batch first: sum of |x| over its inputs."""
        raise NotImplementedError

    @property
    def _tiles(self) -> Tensor:
        """Which inputs of a row of the matrix meet the bank together, (tiles, inputs), 0 or 1."""
        inputs = self.current[0].numel()
        columns = self.calibration.bank_columns or inputs
        tile = torch.arange(inputs, device=self.current.device) // columns
        return F.one_hot(tile).T.to(self.current.dtype)


class MRRLinear(LinearProduct, MRRWeightBank):
    """Matrix-vector product on a weight bank, over the last dimension of inputs (B, ..., inputs).

    Args:
        in_features: Inputs per row.
        out_features: Rows.
        bias: Whether to add a digital bias.
        calibration: Ring constants; calibration B if None.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        calibration: RingCalibration | None = None,
    ) -> None:
        super().__init__((out_features, in_features), bias, calibration)

    @classmethod
    def example(cls) -> tuple[PhysicalLayer, Tensor]:
        """A product of nine inputs and six outputs."""
        return cls(9, 6), torch.rand(4, 9)

    def _light(self, x: Tensor) -> Tensor:
        return F.linear(x.detach().abs(), self._tiles)


class _MRRConv(ConvProduct, MRRWeightBank):
    """A convolution whose kernels are rows of a weight bank; see `MRRConv2d`."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size | str = 0,
        bias: bool = True,
        calibration: RingCalibration | None = None,
        *,
        dilation: Size = 1,
        groups: int = 1,
        padding_mode: str = "zeros",
    ) -> None:
        geometry = Geometry(self.dims, stride, padding, dilation, groups, padding_mode)
        shape = kernel_shape(in_channels, out_channels, kernel_size, geometry)
        super().__init__(shape, bias, calibration)
        self.geometry = geometry

    def describe(self) -> dict[str, Any]:
        """Adds what is not as torch's convolutions have it by default."""
        return {**super().describe(), **self.geometry.describe()}

    def _light(self, x: Tensor) -> Tensor:
        windows = self._tiles.unflatten(1, self.current.shape[1:])
        windows = windows.repeat(self.geometry.groups, *[1] * (windows.dim() - 1))
        return self._product(x.detach().abs(), windows)


class MRRConv1d(_MRRConv):
    """One-dimensional convolution whose kernels are rows of a weight bank; see `MRRConv2d`."""

    dims = 1


class MRRConv2d(_MRRConv):
    """Two-dimensional convolution whose kernels are rows of a weight bank.

    Args:
        in_channels: Input channels.
        out_channels: Output channels, one row of rings each.
        kernel_size: Side of the kernel in pixels, or both sides.
        stride: Stride in pixels.
        padding: Padding in pixels, ``"same"`` or ``"valid"``.
        bias: Whether to add a digital bias.
        calibration: Ring constants; calibration B if None.
        dilation: Distance of the kernel's elements in pixels.
        groups: Groups of channels that do not meet.
        padding_mode: What stands beyond the edge: ``"zeros"``, ``"reflect"``, ``"replicate"`` or
            ``"circular"``.

    Raises:
        UserError: If an argument is out of range, or the groups do not share the channels out.
    """

    dims = 2
