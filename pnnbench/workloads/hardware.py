"""Hardware as a training method sees it: a black box that measures and counts."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Protocol

import torch
from torch import Tensor, nn

from pnnbench.accelerator import without_autocast
from pnnbench.errors import UserError
from pnnbench.platforms.base import (
    Condition,
    Device,
    PhysicalLayer,
    as_hardware,
    derive_seed,
    operate,
    tapped,
)


class Measurable(Protocol):
    """What the black box needs of a workload: network, layers, a pass that leaves no trace."""

    hardware_queries: int
    forward_evaluations: int

    @property
    def network(self) -> nn.Module:
        """The network of physical and digital layers."""
        ...

    def layers(self) -> dict[str, PhysicalLayer]:
        """Physical layers by name."""
        ...

    def extra_pass(self) -> AbstractContextManager[None]:
        """Context in which a forward pass leaves buffers as they are."""
        ...

    def in_precision(self, x: Tensor) -> Tensor:
        """Inputs in the precision of the network."""
        ...

    def physical(self, h: Tensor, parameters: Mapping[str, Tensor] | None = None) -> Tensor:
        """Outputs from the inputs of the first physical layer."""
        ...


@dataclasses.dataclass(frozen=True)
class LayerFields:
    """Complex fields at one physical layer, for methods with internal access.

    Attributes:
        input: What went into the layer (B, ...).
        output: What came out of it, before any detector (B, ...).
    """

    input: Tensor
    output: Tensor


class Measurement:
    """What one pass through the hardware gave; tensors without gradient.

    Args:
        outputs: Outputs of the network (B, ...).
        read_outs: Layer name -> what its detectors measured (B, ...) each time that the pass used
            the layer, in layer order.
        fields: Layer name -> fields, or None if they are not to be seen.

    Attributes:
        outputs: Outputs of the network.
        read_outs: Detector readings of every layer that has detectors, of its last use.
        uses: Detector readings of every use of a layer in the pass, one after another.
    """

    def __init__(
        self,
        outputs: Tensor,
        read_outs: Mapping[str, Sequence[Tensor]],
        fields: Mapping[str, LayerFields] | None,
    ) -> None:
        self.outputs = outputs
        self.uses = {name: tuple(readings) for name, readings in read_outs.items()}
        self.read_outs = {name: readings[-1] for name, readings in self.uses.items()}
        self._fields = fields

    @property
    def fields(self) -> Mapping[str, LayerFields]:
        """Fields at every physical layer.

        Raises:
            UserError: If the method has not declared that it needs them.
        """
        if self._fields is None:
            raise UserError(
                "intermediate fields are not read out for this method",
                allowed="outputs and read_outs",
                next_step="declare access = 'in_situ_internal' on the method's class",
            )
        return self._fields


class Hardware:
    """A workload on one device in one environment, as a black box.

    It gives no gradients and no errors. Detectors are noisy and range themselves to each batch.
    Digital layers run in the workload's present mode, without touching their statistics.

    Args:
        workload: Gives the network and the present controls.
        condition: Device and environment; not readable from outside.
        internal: Whether intermediate fields are read out as well.
        seed: Seed of the detectors' noise.

    Attributes:
        queries: Images measured so far.
        internal: Whether intermediate fields are read out.
    """

    def __init__(
        self, workload: Measurable, condition: Condition, *, internal: bool = False, seed: int = 0
    ) -> None:
        self.queries = 0
        self.internal = internal
        self._seed = seed
        self._step = 0
        self._passes = 0
        # In a closure, so that neither the device nor its errors are attributes of the box.
        self._run = _runner(workload, condition, internal)

    def start_step(self, step: int) -> None:
        """Starts the noise of a training step: a function of seed, step and pass in the step."""
        self._step = step
        self._passes = 0

    @torch.no_grad()
    def measure(self, h: Tensor, controls: Mapping[str, Tensor] | None = None) -> Measurement:
        """Measures a batch.

        Args:
            h: Inputs of the first physical layer (B, ...), as `Workload.prefix` gives them.
            controls: Settings of the controls for this pass under the names of
                `Workload.controls`, cut to what the layer's drivers can set
                (`PhysicalLayer.control_limits`), and values of digital parameters; those left out,
                and None, are at their present values.

        Returns:
            Outputs and detector readings.
        """
        self._passes += 1
        self.queries += len(h)
        noise = _Noise(derive_seed("hardware noise", self._seed, self._step, self._passes))
        return self._run(h.detach(), controls or {}, noise)


@contextmanager
def measured_on(network: nn.Module, device: Device) -> Iterator[None]:
    """Context in which a network is measured on one device, as `Hardware` measures.

    Args:
        network: Module that holds the physical layers.
        device: The device, in its nominal environment.

    Yields:
        None; the layers are as they were afterwards.
    """
    noise = _Noise(derive_seed("calibration noise", device.seed))
    with as_hardware(network), operate(network, [Condition(device)], noise, auto_range=True):
        yield


class _Noise:
    """Standard-normal shot noise from one seed, layer by layer."""

    def __init__(self, seed: int) -> None:
        self._generator = torch.Generator().manual_seed(seed)

    def __call__(self, layer: str, shape: tuple[int, ...]) -> Tensor:
        return torch.randn(shape, generator=self._generator, dtype=torch.float32)


def _settable(
    controls: Mapping[str, Tensor], layers: Mapping[str, PhysicalLayer]
) -> dict[str, Tensor]:
    """Settings by name, cut to the limits of the layers that have any."""
    limits = {
        f"network.{name}.{control}": found
        for name, layer in layers.items()
        if (found := layer.control_limits()) is not None
        for control in layer.control_names
    }
    return {n: v.clamp(*limits[n]) if n in limits else v for n, v in controls.items()}


def _runner(
    workload: Measurable, condition: Condition, internal: bool
) -> Callable[[Tensor, Mapping[str, Tensor], _Noise], Measurement]:
    def run(h: Tensor, controls: Mapping[str, Tensor], noise: _Noise) -> Measurement:
        network, layers = workload.network, workload.layers()
        inputs: dict[str, Tensor] = {}
        outputs: dict[str, Tensor] = {}
        read_outs: dict[str, list[Tensor]] = {}

        # Copies: digital steps may work in place on what a layer without a bias gives.
        def keep(where: dict[str, Tensor], name: str) -> Callable[[Tensor], Tensor]:
            def tap(value: Tensor) -> Tensor:
                where[name] = value.clone()
                return value

            return tap

        def note(name: str, value: Tensor) -> Tensor:
            read_outs.setdefault(name, []).append(value.clone())
            return value

        hooks = []
        if internal:
            for name, layer in layers.items():
                tap = keep(inputs, name)
                hooks.append(layer.register_forward_pre_hook(lambda _, x, tap=tap: (tap(x[0]),)))
        fields = {name: keep(outputs, name) for name in layers} if internal else {}
        detectors = {name: partial(note, name) for name, x in layers.items() if x.detected}
        workload.hardware_queries += len(h)
        simulated = workload.forward_evaluations
        try:
            with (
                workload.extra_pass(),
                as_hardware(network),
                operate(network, [condition], noise, auto_range=True),
                tapped(network, fields=fields, read_outs=detectors),
                without_autocast(h.device),  # a device has no shorter numbers than it has
            ):
                result = workload.physical(workload.in_precision(h), _settable(controls, layers))
        finally:
            workload.forward_evaluations = simulated
            for hook in hooks:
                hook.remove()
        found = {n: LayerFields(inputs[n], outputs[n]) for n in outputs} if internal else None
        return Measurement(result, read_outs, found)

    return run
