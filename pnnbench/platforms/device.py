"""Devices: static errors of one fabricated instance of a network, drawn, measured or read."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from pnnbench.errors import UserError
from pnnbench.platforms.layer import LayerErrors, PhysicalLayer, physical_layers
from pnnbench.platforms.static_errors import check_severity

#: Laws by which every platform draws devices.
FABRICATION, OFFSETS = "fabrication", "offsets"


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
class Device:
    """One fabricated instance of a network's physical layers: static errors, drawn once.

    Attributes:
        errors: Layer name -> error name -> tensor. Empty for the ideal device.
        seed: Seed of the draw; None for the ideal or a hand-made device.
        severity: Multiple of the measured spread, 0 to 1000.

    Raises:
        UserError: If an error is no tensor, or the severity is out of range.
    """

    errors: Mapping[str, LayerErrors]
    seed: int | None = None
    severity: float = 0.0

    def __post_init__(self) -> None:
        check_severity("device severity", self.severity)
        for layer, errors in self.errors.items():
            for name, value in errors.items():
                if not isinstance(value, Tensor):
                    raise UserError(
                        f"layer {layer!r}: error {name!r} is {value!r}", allowed="a tensor"
                    )
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
    def draw(cls, network: nn.Module, severity: float, seed: int, law: str = FABRICATION) -> Device:
        """Draws a device for all physical layers of a network.

        Args:
            network: Module that holds the physical layers.
            severity: Multiple of the platform's measured spread, at least 0; under another law, in
                the unit of that.
            seed: Names the device. Each layer has its own stream, so that the draw of one layer
                does not depend on which others exist.
            law: `FABRICATION` draws all errors as the platform says, `OFFSETS` Gaussian ones of
                what the controls tune, from a stream of their own; any other name is a kind of
                error that the platform draws alone, the same draw as in all of them.

        Returns:
            The device. The same seed at another severity is the same draw, scaled.

        Raises:
            UserError: If the severity is negative or not finite, or a layer draws what it does
                not declare.
        """
        check_severity("device severity", severity)
        errors = {}
        for name, layer in physical_layers(network).items():
            stream = OFFSETS if law == OFFSETS else "device"
            generator = torch.Generator().manual_seed(derive_seed(stream, seed, name))
            if law == FABRICATION:
                errors[name] = layer.draw_errors(severity, generator)
            elif law == OFFSETS:
                errors[name] = layer.random_offsets(severity, generator)
            else:
                errors[name] = layer.draw_alone(law, severity, generator)
        device = cls(errors, seed=seed, severity=severity)
        device.check(network)
        return device

    def check(self, network: nn.Module) -> None:
        """Checks that the errors are possible ones of a network's layers.

        Args:
            network: Module that holds the physical layers.

        Raises:
            UserError: If a layer or an error is unknown, or a shape or a value is not what the
                layer declares in `PhysicalLayer.static_errors`.
        """
        self.errors_in(physical_layers(network))

    def errors_in(self, layers: Mapping[str, PhysicalLayer]) -> dict[str, dict[str, Tensor]]:
        """Errors of every layer in its precision and on its device; raises UserError as `check`."""
        for name in self.errors:
            if name not in layers:
                raise UserError(
                    f"the device has errors for layer {name!r}, which the network lacks",
                    allowed=", ".join(layers),
                    next_step="draw it with Device.draw(network, severity, seed)",
                )
        return {
            name: layer.check_errors(name, self.errors.get(name, {}))
            for name, layer in layers.items()
        }

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
    def load(cls, path: Path, network: nn.Module | None = None) -> Device:
        """Reads a device that `save` wrote, or that holds measured errors in the same form.

        Args:
            path: A safetensors file with tensors named ``layer/error``.
            network: Checked against its layers if given; else that is left to `operate`.

        Returns:
            The device.

        Raises:
            UserError: If the file is not such a file, or as `check`.
        """
        errors: dict[str, dict[str, Tensor]] = {}
        try:
            with safe_open(path, "pt") as file:
                meta: dict[str, str] = file.metadata() or {}
                for key in file.keys():  # noqa: SIM118 - not a mapping
                    layer, slash, name = key.rpartition("/")
                    if not slash:
                        raise UserError(
                            f"{path}: {key!r} names no layer", allowed="names such as 'fc1/theta'"
                        )
                    errors.setdefault(layer, {})[name] = file.get_tensor(key)
            seed, severity = meta.get("seed", "None"), float(meta.get("severity", 0.0))
            device = cls(errors, None if seed == "None" else int(seed), severity)
        except (OSError, SafetensorError, ValueError) as error:
            raise UserError(
                f"{path} is not a readable device file: {error}",
                next_step="write one with Device.save",
            ) from error
        if network is not None:
            device.check(network)
        return device
