"""What all platforms share: layers with control parameters, devices, environments, operation.

A physical layer owns control parameters and knows how fabrication errors (a `Device`) and operating
conditions (an `Environment`) turn them into a transfer. `operate` puts every physical layer of a
network on one or many devices at once; outside of it a layer is the ideal device at its nominal
operating point.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from pnnbench.errors import UserError, check_range

#: Static errors of one layer: name of the error -> tensor. Zero always means ideal.
LayerErrors = Mapping[str, Tensor]
#: Draws standard-normal shot noise: (layer name, shape with the condition dimension first) -> a
#: tensor of that shape, or one that broadcasts to it.
ShotNoise = Callable[[str, tuple[int, ...]], Tensor]
#: Sees a layer's output and gives what stands in its place.
Tap = Callable[[Tensor], Tensor]


def derive_seed(*parts: object) -> int:
    """Derives an independent 63-bit seed from named parts.

    Args:
        *parts: Anything with a stable text form, such as an axis name and a number.

    Returns:
        The seed; equal parts give equal seeds on every machine.
    """
    text = ":".join(map(str, parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


@dataclasses.dataclass(frozen=True)
class Environment:
    """Operating conditions in physical units; platforms add their fields with nominal defaults."""

    def as_dict(self) -> dict[str, float]:
        """Returns the conditions as plain numbers, field by field."""
        return dataclasses.asdict(self)


class PhysicalLayer(nn.Module):
    """A layer whose trainable tensors are control parameters, besides an optional digital bias.

    Subclasses name their control parameters in `control_names` and compute their transfer from
    `conditions`, the errors and environment that `operate` installs.
    """

    #: Names of the parameters that the hardware lets one set.
    control_names: ClassVar[tuple[str, ...]]
    #: Unit of those parameters.
    control_unit: ClassVar[str]
    #: Unit of the offsets that `random_offsets` draws.
    offset_unit: ClassVar[str]
    #: Environment class with this platform's nominal conditions as defaults.
    environment_class: ClassVar[type[Environment]]
    #: Root-mean-square change of the controls, in `control_unit`, that bounds the ball in which
    #: the worst loss is looked for: a small step of the hardware's driver.
    ball_radius_rms: ClassVar[float]
    #: Whether detectors measure the layer's output in ordinary operation.
    detected: bool = True
    #: Number of complex fields that `tap_field` sees; None where the layer has no such fields.
    n_fields: int | None = None

    full_scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("full_scale", torch.ones(()))
        self.layer_name = ""
        self.operation: Operation | None = None
        # In a tuple, since assigning a parameter to a module would register it there.
        self._weight_override: tuple[Tensor | None] = (None,)
        self._recorded_peak: Tensor | None = None
        self.field_tap: Tap | None = None
        self.read_out_tap: Tap | None = None

    @property
    def weight_override(self) -> Tensor | None:
        """Used instead of the transfer: by methods that train weights, and by `hold_transfer`."""
        return self._weight_override[0]

    def override_weight(self, weight: Tensor | None) -> None:
        """Sets `weight_override`; None goes back to the transfer."""
        self._weight_override = (weight,)

    def draw_errors(self, severity: float, generator: torch.Generator) -> dict[str, Tensor]:
        """Draws the static errors of one fabricated instance of this layer.

        Args:
            severity: Multiple of the platform's measured spread, at least 0.
            generator: Source of randomness; the unit draw does not depend on the severity.

        Returns:
            Name of the error -> tensor, all zero at severity 0.
        """
        raise NotImplementedError

    def random_offsets(self, sigma: float, generator: torch.Generator) -> dict[str, Tensor]:
        """Draws Gaussian offsets of the quantity that the controls tune, in `offset_unit`.

        Args:
            sigma: Standard deviation in `offset_unit`.
            generator: Source of randomness.

        Returns:
            Errors in the form of `draw_errors`.
        """
        raise NotImplementedError

    def ideal_weight(self) -> Tensor:
        """Weight of the ideal device at the nominal operating point, differentiable."""
        raise NotImplementedError

    def project_weight(self, weight: Tensor) -> Tensor:
        """Nearest weight that `program` can reach exactly, without gradient."""
        raise NotImplementedError

    def program(self, weight: Tensor) -> None:
        """Sets the controls so that the ideal device has a weight, or the nearest it can."""
        raise NotImplementedError

    def transfer(self) -> Tensor:
        """What the present operation makes of the controls; conditions first if there are many."""
        raise NotImplementedError

    def answers(self, environment: Environment) -> bool:
        """Whether an environment off nominal should change the transfer, as the harness checks."""
        return True

    def sensitivity(self) -> Tensor:
        """Slope of the ideal elements' transmission with respect to an offset, up to its sign.

        Returns:
            Per `offset_unit`, one number for each element (ring, interferometer).
        """
        raise NotImplementedError

    def describe(self) -> dict[str, Any]:
        """Constants of the layer that decide its transfer, as plain values."""
        raise NotImplementedError

    def project(self) -> None:
        """Puts the control parameters back into their allowed range, in place."""
        raise NotImplementedError

    def power_mw(self) -> Tensor | None:
        """Electrical power that holds the controls, in mW (a scalar); None without a model."""
        return None

    def tap_field(self, field: Tensor) -> Tensor:
        """Passes the output field, before any detector, through `field_tap` if there is one."""
        return field if self.field_tap is None else self.field_tap(field)

    def read_out(self, y: Tensor, noise: float, full_scale: Tensor | None = None) -> Tensor:
        """Adds shot noise to a measured output, or records its peak while calibrating.

        Args:
            y: Output of the physical product, batch first (conditions x batch when operated).
            noise: Standard deviation as a fraction of the read-out's full scale.
            full_scale: Full scale of each value, broadcastable to ``y``, for detectors whose range
                follows the signal; None takes the calibrated one.

        Returns:
            Tensor like ``y``.
        """
        if self._recorded_peak is not None:
            self._recorded_peak = torch.maximum(self._recorded_peak, y.detach().abs().max())
        op = self.operation
        if op is not None and op.shot is not None and noise != 0.0:
            blocks = y.unflatten(0, (op.count, -1))
            z = op.shot(self.layer_name, tuple(blocks.shape)).to(y.device)
            if full_scale is not None:
                y = y + noise * full_scale * z.expand_as(blocks).flatten(0, 1)
            else:
                scale = y.detach().abs().max() if op.auto_range else self.full_scale
                y = torch.add(blocks, z, alpha=noise * float(scale)).flatten(0, 1)
        return y if self.read_out_tap is None else self.read_out_tap(y)


def physical_layers(network: nn.Module) -> dict[str, PhysicalLayer]:
    """Returns the physical layers of a network by their module names, in module order."""
    return {n: m for n, m in network.named_modules() if isinstance(m, PhysicalLayer)}


@dataclasses.dataclass(frozen=True)
class Device:
    """One fabricated instance of a network's physical layers: static errors, drawn once.

    Attributes:
        errors: Layer name -> error name -> tensor. Empty for the ideal device.
        seed: Seed of the draw; None for the ideal or a hand-made device.
        severity: Multiple of the measured spread.
    """

    errors: Mapping[str, LayerErrors]
    seed: int | None = None
    severity: float = 0.0

    def __post_init__(self) -> None:
        frozen = {
            layer: MappingProxyType({k: v.detach().clone() for k, v in errors.items()})
            for layer, errors in self.errors.items()
        }
        object.__setattr__(self, "errors", MappingProxyType(frozen))

    @classmethod
    def ideal(cls) -> Device:
        """Returns the device without errors."""
        return cls({})

    @classmethod
    def draw(cls, network: nn.Module, severity: float, seed: int) -> Device:
        """Draws a device for all physical layers of a network.

        Args:
            network: Module that holds the physical layers.
            severity: Multiple of the platform's measured spread, at least 0.
            seed: Names the device. Each layer has its own stream, so that the draw of one layer
                does not depend on which others exist.

        Returns:
            The device. The same seed at another severity is the same draw, scaled.

        Raises:
            UserError: If the severity is negative or not finite.
        """
        check_range("device severity", severity, low=0.0, high=1e3)
        errors = {}
        for name, layer in physical_layers(network).items():
            generator = torch.Generator().manual_seed(derive_seed("device", seed, name))
            errors[name] = layer.draw_errors(severity, generator)
        return cls(errors, seed=seed, severity=severity)

    def save(self, path: Path) -> None:
        """Writes the device as safetensors; seed and severity go into the metadata."""
        tensors = {
            f"{layer}/{name}": value.contiguous()
            for layer, errors in self.errors.items()
            for name, value in errors.items()
        }
        temporary = path.with_suffix(path.suffix + ".tmp")
        save_file(tensors, temporary, {"seed": str(self.seed), "severity": repr(self.severity)})
        temporary.replace(path)

    @classmethod
    def load(cls, path: Path) -> Device:
        """Reads a device that `save` wrote."""
        errors: dict[str, dict[str, Tensor]] = {}
        with safe_open(path, "pt") as file:
            meta: dict[str, str] = file.metadata() or {}
            for key in file.keys():  # noqa: SIM118 - not a mapping
                layer, _, name = key.rpartition("/")
                errors.setdefault(layer, {})[name] = file.get_tensor(key)
        seed = meta.get("seed", "None")
        return cls(errors, None if seed == "None" else int(seed), float(meta.get("severity", 0.0)))


@dataclasses.dataclass(frozen=True)
class Condition:
    """A device in an environment; None stands for the platform's nominal environment."""

    device: Device
    environment: Environment | None = None


@dataclasses.dataclass
class Operation:
    """What one physical layer sees while operated: stacked errors and environments.

    Attributes:
        count: Number of conditions, the leading dimension of everything stacked.
        errors: Error name -> tensor (count, ...), or (...) when there is one condition.
        environment: Field name -> tensor (count,), or a scalar when there is one condition.
        shot: Source of shot noise, None for noiseless read-out.
        auto_range: Whether the read-out's full scale is the largest value of the batch instead of
            the calibrated one.
    """

    count: int
    errors: dict[str, Tensor]
    environment: dict[str, Tensor]
    shot: ShotNoise | None
    auto_range: bool = False


def _stack(layer: str, conditions: Sequence[Condition], device: torch.device) -> dict[str, Tensor]:
    per_condition = [c.device.errors.get(layer, {}) for c in conditions]
    shapes = {name: value for errors in per_condition for name, value in errors.items()}
    stacked = {}
    for name, example in shapes.items():
        zero = torch.zeros_like(example)
        values = [errors.get(name, zero) for errors in per_condition]
        value = values[0] if len(values) == 1 else torch.stack(values)
        stacked[name] = value.to(device)
    return stacked


@contextmanager
def operate(
    network: nn.Module,
    conditions: Sequence[Condition],
    shot: ShotNoise | None = None,
    *,
    auto_range: bool = False,
) -> Iterator[None]:
    """Puts all physical layers of a network on devices in environments.

    With ``C`` conditions the network takes a batch of ``C * B`` inputs, condition-major, and its
    physical layers give block ``c`` the transfer of condition ``c``; digital layers need not know.

    Args:
        network: Module that holds the physical layers.
        conditions: At least one condition.
        shot: Source of shot noise; None reads out without noise.
        auto_range: Whether the noise scales with the largest value of each batch read out, as
            with an auto-ranging instrument, instead of the calibrated full scale.

    Yields:
        None; the layers are back on the ideal device afterwards.

    Raises:
        UserError: If there is no condition, or a device has errors for an unknown layer.
    """
    layers = physical_layers(network)
    if not conditions:
        raise UserError("no condition to operate on", allowed="at least one Condition")
    for condition in conditions:
        for name in condition.device.errors:
            if name not in layers:
                raise UserError(
                    f"the device has errors for layer {name!r}, which the network lacks",
                    allowed=", ".join(layers),
                    next_step="draw it with Device.draw(network, severity, seed)",
                )
    previous = {name: layer.operation for name, layer in layers.items()}
    try:
        for name, layer in layers.items():
            nominal = layer.environment_class()
            place = layer.full_scale.device
            fields = [(c.environment or nominal).as_dict() for c in conditions]
            values = {key: torch.tensor([f[key] for f in fields]) for key in nominal.as_dict()}
            layer.layer_name = name
            layer.operation = Operation(
                count=len(conditions),
                errors=_stack(name, conditions, place),
                environment={
                    key: (v[0] if len(fields) == 1 else v).to(place) for key, v in values.items()
                },
                shot=shot,
                auto_range=auto_range,
            )
        yield
    finally:
        for name, layer in layers.items():
            layer.operation = previous[name]


@contextmanager
def hold_transfer(network: nn.Module) -> Iterator[dict[str, Tensor]]:
    """Computes every layer's transfer once and uses it for all forward passes inside the context.

    Controls, device and environment must not change inside.

    Args:
        network: Module that holds the physical layers, usually inside `operate`.

    Yields:
        Layer name -> held transfer, without gradient.
    """
    layers = physical_layers(network)
    previous = {name: layer.weight_override for name, layer in layers.items()}
    try:
        with torch.no_grad():
            held = {name: layer.transfer() for name, layer in layers.items()}
        for name, layer in layers.items():
            layer.override_weight(held[name])
        yield held
    finally:
        for name, layer in layers.items():
            layer.override_weight(previous[name])


@contextmanager
def tapped(
    network: nn.Module,
    *,
    fields: Mapping[str, Tap] | None = None,
    read_outs: Mapping[str, Tap] | None = None,
) -> Iterator[None]:
    """Passes outputs of physical layers through functions of one's own.

    Args:
        network: Module that holds the physical layers.
        fields: Layer name -> what to do with the field before any detector.
        read_outs: Layer name -> what to do with the measured output.

    Yields:
        None; the layers are as they were afterwards.
    """
    layers = physical_layers(network)
    previous = {name: (x.field_tap, x.read_out_tap) for name, x in layers.items()}
    try:
        for name, tap in (fields or {}).items():
            layers[name].field_tap = tap
        for name, tap in (read_outs or {}).items():
            layers[name].read_out_tap = tap
        yield
    finally:
        for name, (field, read_out) in previous.items():
            layers[name].field_tap, layers[name].read_out_tap = field, read_out


@contextmanager
def calibrating_full_scale(network: nn.Module) -> Iterator[None]:
    """Sets each layer's read-out full scale to the largest |output| seen inside the context."""
    layers = physical_layers(network).values()
    for layer in layers:
        layer._recorded_peak = torch.zeros((), device=layer.full_scale.device)
    try:
        yield
        for layer in layers:
            if layer._recorded_peak is not None and layer._recorded_peak > 0:
                layer.full_scale.copy_(layer._recorded_peak)
    finally:
        for layer in layers:
            layer._recorded_peak = None
