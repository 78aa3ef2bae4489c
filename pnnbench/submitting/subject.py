"""What the checks of platforms and workloads look at: a network with a few inputs."""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from pnnbench.errors import UserError
from pnnbench.platforms.base import (
    Condition,
    Device,
    Environment,
    PhysicalLayer,
    ShotNoise,
    StaticError,
    operate,
    physical_layers,
)
from pnnbench.submitting.checks import Checks

#: Severities whose draws are compared, so small that nothing is cut, and one that is seen.
SMALL, SEEN = 0.01, 0.5
#: Share of the largest value by which one result may differ when it is computed in another way.
ROUNDING = 2e-4
#: Share of the largest value from which on something has changed.
CHANGE = 1e-7
#: Far out of the range of any driver, in the unit of the controls.
FAR = 1e3
#: Share of a change of the controls by their own size that is a tiny one.
TINY = 1e-6


class Subject:
    """A network under check.

    Args:
        network: Makes it, with fresh parameters from torch's global generator.
        inputs: Inputs (B, ...).
    """

    def __init__(self, network: Callable[[], nn.Module], inputs: Tensor) -> None:
        self._make = network
        self.inputs = inputs

    def network(self, seed: int = 0) -> nn.Module:
        """A fresh network in evaluation mode, the same for the same seed."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self._make().eval()

    def layers(self) -> Iterator[tuple[str, str, PhysicalLayer]]:
        """Name, words for a message, and layer, of a fresh network."""
        for name, layer in physical_layers(self.network()).items():
            kind = type(layer).__name__
            yield name, f"{kind} ({name})" if name != Alone.NAME else kind, layer

    def repeated(self, count: int) -> Tensor:
        """The inputs once for each condition, (count * B, ...)."""
        return self.inputs.repeat(count, *[1] * (self.inputs.dim() - 1))

    def outputs(
        self,
        network: nn.Module,
        conditions: Sequence[Condition],
        shot: ShotNoise | None = None,
    ) -> Tensor:
        """Outputs (C, B, ...) under conditions, without gradient."""
        with torch.no_grad(), operate(network, conditions, shot):
            found: Tensor = network(self.repeated(len(conditions)))
        return found.unflatten(0, (len(conditions), -1))


#: The checks of platforms, which the network of a workload must pass too.
PLATFORM_CHECKS: Checks[Subject] = Checks()


class Alone(nn.Module):
    """A network of one layer."""

    NAME = "layer"

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """What the layer makes of inputs (B, ...)."""
        found: Tensor = self.layer(x)
        return found


def differ(a: Tensor, b: Tensor, share: float) -> bool:
    """Whether two results differ by more than a share of their largest value."""
    if a.shape != b.shape:
        return True
    a, b = a.detach(), b.detach()
    return not torch.allclose(a, b, rtol=0.0, atol=share * _largest(a, b))


def _largest(*values: Tensor) -> float:
    return max(
        (float(value.detach().abs().max()) for value in values if value.numel()), default=0.0
    )


def generator(seed: int = 7) -> torch.Generator:
    """A fresh generator, the same each time."""
    return torch.Generator().manual_seed(seed)


def scramble(seed: int) -> None:
    """Seeds all global generators, so that what draws from one is seen."""
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - what third parties draw from
    random.seed(seed)


def possible(law: StaticError) -> Tensor:
    """An error of some size that a layer may have."""
    size = 0.1 if math.isinf(law.high) else 0.1 * min(law.high, 1.0)
    return torch.rand(law.shape, generator=generator()) * size + 0.1 * size


def changes(subject: Subject, condition: Condition) -> bool:
    """Whether a condition changes a transfer or the outputs."""
    network = subject.network()
    found = []
    for one in (Condition(Device.ideal()), condition):
        with torch.no_grad(), operate(network, [one]):
            found.append([layer.transfer() for layer in physical_layers(network).values()])
        found[-1].append(subject.outputs(network, [one]))
    return any(differ(a, b, CHANGE) for a, b in zip(*found, strict=True))


def _moved(environment: type[Environment], name: str) -> Environment | None:
    """The nominal environment with one field off; None where nothing tried is allowed."""
    nominal = environment()
    at = float(getattr(nominal, name))
    tried = (3.0,) if math.isinf(at) else (at + 0.1, at + 1.0, at - 0.1, 1.1 * at)
    for value in tried:
        try:
            return dataclasses.replace(nominal, **{name: value})
        except UserError:
            continue
    return None


def fields_of(layer: PhysicalLayer) -> Iterator[tuple[str, Environment]]:
    """Fields that a layer should answer to, each with an environment in which it is off."""
    for field in dataclasses.fields(layer.environment_class):
        moved = _moved(layer.environment_class, field.name)
        settable = field.name != "control_bits" or set(layer.control_names) <= set(layer.drivers())
        if moved is not None and settable and layer.answers(moved):
            yield field.name, moved


def largest_jump(layer: PhysicalLayer, condition: Condition) -> float:
    """Looks for a jump of the transfer between two settings of the controls, by halving the way.

    Of complex transfers the first piece of the way is looked at only: where a field vanishes on the
    way, its phase may turn at once.

    Args:
        layer: The layer; its controls are as they were afterwards.
        condition: Where it operates; errors are those of a layer called `Alone.NAME`.

    Returns:
        Largest change of the transfer, as a share of its largest value, over the last piece of the
        way, about `TINY` of it.
    """
    before = {name: getattr(layer, name).detach().clone() for name in layer.control_names}
    start: dict[str, Tensor] = {}
    drivers = layer.drivers()
    with torch.no_grad():
        for name in layer.control_names:
            control, driver = getattr(layer, name), drivers.get(name)
            step = torch.rand(control.shape, generator=generator()).to(control) - 0.5
            if driver is not None and driver.periodic:
                # Inside one period: at its ends a driver goes from one to the other.
                period = driver.high - driver.low
                inside = driver.low + period / 4 + (driver.reduced(control) - driver.low) / 2
                start[name] = inside
                control.copy_(inside + 0.4 * period * step)
            else:
                start[name] = control.clone()
                control.add_(_largest(control) * step)
        layer.project()
    way = {name: getattr(layer, name).detach() - value for name, value in start.items()}

    def at(share: float) -> Tensor:
        with torch.no_grad(), operate(Alone(layer), [condition]):
            for name, value in start.items():
                getattr(layer, name).copy_(value + share * way[name])
            return layer.transfer()

    low, high = 0.0, TINY if layer.ideal_weight().is_complex() else 1.0
    first, last = at(low), at(high)
    size = _largest(first, last)
    while high - low > TINY:
        middle = (low + high) / 2
        between = at(middle)
        if _largest(between - first) > _largest(last - between):
            high, last = middle, between
        else:
            low, first = middle, between
    with torch.no_grad():
        for name, value in before.items():
            getattr(layer, name).copy_(value)
    return _largest(last - first) / size if size else 0.0
