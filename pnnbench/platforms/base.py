"""What all platforms share: layers with control parameters, devices, environments, operation.

A physical layer owns control parameters and knows how fabrication errors (a `Device`) and operating
conditions (an `Environment`) turn them into a transfer. `operate` puts every physical layer of a
network on one or many devices at once; outside of it a layer is the ideal device at its nominal
operating point.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from pnnbench.errors import UserError, unknown_name
from pnnbench.platforms.device import FABRICATION, OFFSETS, Device, derive_seed
from pnnbench.platforms.environment import Environment, on_request
from pnnbench.platforms.layer import (
    LayerErrors,
    PhysicalLayer,
    check_target,
    physical_layers,
)
from pnnbench.platforms.read_out import Operation, ShotNoise, Tap
from pnnbench.platforms.static_errors import Quantity, StaticError, check_severity

__all__ = [
    "FABRICATION",
    "OFFSETS",
    "Condition",
    "Device",
    "Environment",
    "LayerErrors",
    "Operation",
    "PhysicalLayer",
    "Quantity",
    "ShotNoise",
    "StaticError",
    "Tap",
    "as_hardware",
    "calibrating_full_scale",
    "check_severity",
    "check_target",
    "derive_seed",
    "hold_transfer",
    "on_request",
    "operate",
    "physical_layers",
    "tapped",
]


@dataclasses.dataclass(frozen=True)
class Condition:
    """A device in an environment; None stands for the platform's nominal environment."""

    device: Device
    environment: Environment | None = None


def _stack(per_condition: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Errors of all conditions, zero where a device has none of a name."""
    if len(per_condition) == 1:
        return per_condition[0]
    given = {name: value for errors in per_condition for name, value in errors.items()}
    zeros = {name: torch.zeros_like(value) for name, value in given.items()}
    return {
        name: torch.stack([errors.get(name, zero) for errors in per_condition])
        for name, zero in zeros.items()
    }


def _environments(
    layers: Mapping[str, PhysicalLayer], conditions: Sequence[Condition]
) -> dict[str, list[Environment]]:
    """What each layer sees of the conditions; of another platform's environment, nothing."""
    known = {layer.environment_class for layer in layers.values()}
    for condition in conditions:
        place = condition.environment
        if place is not None and not isinstance(place, tuple(known)):
            raise UserError(
                f"no layer of the network answers to {type(place).__name__}",
                allowed=", ".join(sorted(cls.__name__ for cls in known)),
            )
    return {
        name: [
            c.environment
            if isinstance(c.environment, layer.environment_class)
            else layer.environment_class()
            for c in conditions
        ]
        for name, layer in layers.items()
    }


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
        UserError: If there is no condition, a device has errors that are unknown, misshapen or
            physically impossible, or an environment is that of another platform.
    """
    layers = physical_layers(network)
    if not conditions:
        raise UserError("no condition to operate on", allowed="at least one Condition")
    errors = [c.device.errors_in(layers) for c in conditions]
    environments = _environments(layers, conditions)
    previous = {name: layer.operation for name, layer in layers.items()}
    try:
        for name, layer in layers.items():
            fields = [dataclasses.asdict(place) for place in environments[name]]
            dtype = torch.promote_types(layer.like.dtype, torch.float32)
            values = {key: torch.tensor([f[key] for f in fields], dtype=dtype) for key in fields[0]}
            layer.layer_name = name
            layer.operation = Operation(
                count=len(conditions),
                errors=_stack([e[name] for e in errors]),
                environment={
                    key: (v[0] if len(fields) == 1 else v).to(layer.like.device)
                    for key, v in values.items()
                },
                numbers={key: tuple(f[key] for f in fields) for key in fields[0]},
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
def as_hardware(network: nn.Module) -> Iterator[None]:
    """Makes every physical layer the deployed one, in training mode too.

    Args:
        network: Module that holds the physical layers.

    Yields:
        None; the layers are as they were afterwards. See `PhysicalLayer.deployed`.
    """
    layers = physical_layers(network).values()
    previous = [(layer, layer._measured) for layer in layers]
    try:
        for layer, _ in previous:
            layer._measured = True
        yield
    finally:
        for layer, measured in previous:
            layer._measured = measured


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

    Raises:
        UserError: If the network has no layer of a name.
    """
    layers = physical_layers(network)
    for name in (*(fields or {}), *(read_outs or {})):
        if name not in layers:
            raise unknown_name("layer", name, layers)
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
