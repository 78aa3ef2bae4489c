"""Shipped platforms and workloads pass; each broken device is told its fault in one sentence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pnnbench.errors import UserError
from pnnbench.platforms.base import PhysicalLayer
from pnnbench.platforms.mrr import MRRConv2d, MRRLinear
from pnnbench.registry import registered
from pnnbench.submitting.platform_checks import PLATFORM_CHECKS, check_platform
from pnnbench.workloads.mrr import MRRDigits


@pytest.mark.parametrize("platform", [*registered("platforms"), MRRConv2d])
def test_shipped_platforms_pass_every_check(platform: Any) -> None:
    results = check_platform(platform)
    assert [r.message for r in results if not r.passed] == []
    assert [r.name for r in results] == list(PLATFORM_CHECKS)
    assert all(r.message.endswith(".") for r in results)


class IgnoresDevice(MRRLinear):
    """Its errors change nothing."""

    def transfer(self) -> Tensor:
        op = self.operation
        if op is not None:
            op.errors.clear()
        return super().transfer()


class IgnoresEnvironment(MRRLinear):
    """The temperature changes nothing."""

    def transfer(self) -> Tensor:
        op = self.operation
        if op is not None:
            nominal = torch.full_like(op.environment["temperature_degc"], 22.0)
            op.environment["temperature_degc"] = nominal
        return super().transfer()


class IgnoresBits(MRRLinear):
    """Sets its currents as exactly as one likes."""

    def control(self, name: str) -> Tensor:
        found: Tensor = getattr(self, name)
        return found


class MixesConditions(MRRLinear):
    """Gives each condition the errors of another."""

    def transfer(self) -> Tensor:
        weight = super().transfer()
        return weight.flip(0) if weight.dim() == 3 else weight


class NoNoise(MRRLinear):
    """Reads out without detectors."""

    def read_out(self, y: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return y


class ProjectsNothing(MRRLinear):
    """Drives its heaters with any current."""

    def project(self) -> None:
        pass


class Unlimited(ProjectsNothing):
    """The same, and says nothing of its drivers."""

    def drivers(self) -> dict[str, Any]:
        return {}


class DrawsGlobally(MRRLinear):
    """Draws from torch's global generator."""

    def draw_errors(self, severity: float, generator: torch.Generator) -> dict[str, Tensor]:
        return {"detuning": severity * torch.randn(self.current.shape)}


class NeverIdeal(MRRLinear):
    """Has errors at severity 0."""

    def draw_errors(self, severity: float, generator: torch.Generator) -> dict[str, Tensor]:
        return {name: e + 0.01 for name, e in super().draw_errors(severity, generator).items()}


class DrawsAnew(MRRLinear):
    """Has another draw at another severity."""

    def draw_errors(self, severity: float, generator: torch.Generator) -> dict[str, Tensor]:
        generator.manual_seed(generator.initial_seed() + round(1000 * severity))
        return super().draw_errors(severity, generator)


class GrowsTooFast(MRRLinear):
    """Its errors grow with the square of the severity."""

    def draw_errors(self, severity: float, generator: torch.Generator) -> dict[str, Tensor]:
        return super().draw_errors(severity**2, generator)


class NotDifferentiable(MRRLinear):
    """Stops the gradient."""

    def transfer(self) -> Tensor:
        return super().transfer().detach()


class ProgramsAnother(MRRLinear):
    """Programs half of what it is asked."""

    def program(self, weight: Tensor) -> None:
        super().program(weight / 2)


class DescribesTensors(MRRLinear):
    """Tells its constants as tensors."""

    def describe(self) -> dict[str, Any]:
        return {"current": self.current}


class Undeclared(MRRLinear):
    """Draws what it does not declare."""

    def draw_errors(self, severity: float, generator: torch.Generator) -> dict[str, Tensor]:
        return {"drift": severity * torch.randn((), generator=generator)}


class Remembers(MRRLinear):
    """Is another one after a measurement."""

    def transfer(self) -> Tensor:
        if self.operation is not None and self.operation.errors:
            self.full_scale += 1.0
        return super().transfer()


class MixesBatch(MRRLinear):
    """Scales its outputs by the largest input of the batch."""

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = super().forward(x) / x.abs().amax(-1).view(self.count, -1).amax()
        return outputs

    @property
    def count(self) -> int:
        """Number of conditions."""
        return 1 if self.operation is None else self.operation.count


class SeedsItself(MRRLinear):
    """Draws the same device again and again."""

    def draw_errors(self, severity: float, generator: torch.Generator) -> dict[str, Tensor]:
        return super().draw_errors(severity, torch.Generator().manual_seed(0))


class NoisyByItself(MRRLinear):
    """Adds noise from torch's global generator to that of the shot source."""

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = super().forward(x)
        noisy = self.operation is not None and self.operation.shot is not None
        return outputs + 0.01 * torch.randn_like(outputs) if noisy else outputs


class RollsDice(MRRLinear):
    """Moves torch's global generator, and does nothing with what it gives."""

    def forward(self, x: Tensor) -> Tensor:
        torch.rand(())
        outputs: Tensor = super().forward(x)
        return outputs


class HumsEvenly(MRRLinear):
    """Has the same noise whatever the shot source draws."""

    def read_out(self, y: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        op = self.operation
        if op is not None and op.shot is not None:
            drawn = op.shot
            op.shot = lambda layer, shape: torch.ones_like(drawn(layer, shape))
        return super().read_out(y, *args, **kwargs)


class CutsWeights(MRRLinear):
    """Programs small weights only."""

    def program(self, weight: Tensor) -> None:
        super().program(weight.clamp(-0.5, 0.5))


class StopsInCompany(MRRLinear):
    """Stops the gradient where there are several conditions."""

    def transfer(self) -> Tensor:
        found = super().transfer()
        return found.detach() if found.dim() == 3 else found


class StopsTheSecond(MRRLinear):
    """Stops the gradient of every condition but the first."""

    def transfer(self) -> Tensor:
        found = super().transfer()
        return torch.cat([found[:1], found[1:].detach()]) if found.dim() == 3 else found


class Jumps(MRRLinear):
    """Goes in steps off the nominal temperature."""

    def transfer(self) -> Tensor:
        found = super().transfer()
        if self.operation is None:
            return found
        off = (self.operation.environment["temperature_degc"] - 22.0).abs().view(-1, 1, 1)
        steps = (8 * found.detach()).round() / 8 - found.detach()
        moved = found + (off > 0.0) * steps
        return moved if found.dim() == 3 else moved[0]


BROKEN: list[tuple[type[PhysicalLayer], str, str]] = [
    (IgnoresDevice, "device", "ignores the error 'detuning' of a device; take operation.errors"),
    (IgnoresEnvironment, "environment", "ignores temperature_degc of the environment; take oper"),
    (IgnoresBits, "environment", "ignores control_bits of the environment; take the controls"),
    (MixesConditions, "conditions", "condition 0 of 3 has the transfer of layer 'layer' that it"),
    (NoNoise, "read-out-noise", "is read out without noise; pass its outputs through"),
    (ProjectsNothing, "projection", "leaves current at 1000 mA, where the hardware cannot go"),
    (Unlimited, "projection", "leaves current at 1000 mA, where the hardware cannot go"),
    (DrawsGlobally, "errors-own-generator", "draws 'detuning' from a global generator; draw fr"),
    (NeverIdeal, "errors-zero", "draws 'detuning' up to 0.01 at severity 0; multiply the whole"),
    (DrawsAnew, "errors-scale", "draws another 'detuning' at 2 times the severity; make a unit"),
    (GrowsTooFast, "errors-scale", "draws another 'detuning' at 2 times the severity; make a u"),
    (NotDifferentiable, "gradient", "On the ideal device no gradient reaches 'current'"),
    (ProgramsAnother, "program", "program(ideal_weight()) gives another network than the one"),
    (DescribesTensors, "describe", "describe() of DescribesTensors is no JSON"),
    (Undeclared, "errors-declared", "draws what it does not declare (layer 'layer': unknown"),
    (Remembers, "leaves-alone", "changes 'layer.full_scale' of the network; keep errors out"),
    (MixesBatch, "batch", "On the ideal device the outputs of an input depend on the others of"),
    (SeedsItself, "errors-seeded", "draws the same 'detuning' for two seeds; draw from the gen"),
    (NoisyByItself, "noise-given", "read-out noise draw from a global generator; take all noise"),
    (RollsDice, "noise-given", "read-out noise draw from a global generator; take all noise"),
    (HumsEvenly, "noise-given", "Two draws of read-out noise give the same outputs; let self.re"),
    (CutsWeights, "program-drawn", "program() leaves ideal_weight() of CutsWeights off by up to"),
    (StopsInCompany, "gradient", "On the first of two devices in one pass no gradient reaches"),
    (StopsTheSecond, "gradient", "On the second of two devices in one pass no gradient reaches"),
    (Jumps, "continuous", "Under another temperature_degc the transfer of Jumps jumps by"),
]


def test_each_check_has_a_device_that_fails_it() -> None:
    assert {name for _, name, _ in BROKEN} == set(PLATFORM_CHECKS) - {"forward"}


def faults(cls: Any) -> dict[str, str]:
    return {r.name: r.message for r in check_platform(cls) if not r.passed}


@pytest.mark.parametrize(("cls", "name", "words"), BROKEN, ids=[b[0].__name__ for b in BROKEN])
def test_a_broken_device_is_told_its_fault_in_one_sentence(
    cls: type[PhysicalLayer], name: str, words: str
) -> None:
    found = faults(cls)
    assert list(found) == [name]
    assert words in found[name]
    assert found[name].endswith(".")
    assert ". " not in found[name], "one sentence"


def test_a_layer_without_an_example_is_asked_for_one() -> None:
    class Shapeless(MRRLinear):
        @classmethod
        def example(cls) -> tuple[PhysicalLayer, Tensor]:
            return PhysicalLayer.example.__func__(cls)  # type: ignore[attr-defined]

    with pytest.raises(UserError, match="classmethod example"):
        check_platform(Shapeless)
    with pytest.raises(UserError, match="no platform"):
        check_platform(MRRDigits)


class Tolerant(MRRLinear):
    """Another product, its own law, a correct platform of somebody's own."""

    def _product(self, x: Tensor, weight: Tensor) -> Tensor:
        return 0.5 * F.linear(x, weight)

    def _products(self, blocks: Tensor, weight: Tensor) -> Tensor:
        return 0.5 * torch.bmm(blocks, weight.transpose(1, 2))

    def draw_errors(self, severity: float, generator: torch.Generator) -> dict[str, Tensor]:
        errors: Mapping[str, Tensor] = super().draw_errors(severity, generator)
        return {"detuning": errors["detuning"]}


def test_a_platform_of_ones_own_passes() -> None:
    assert faults(Tolerant) == {}
