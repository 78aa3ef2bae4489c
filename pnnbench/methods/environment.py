"""Training against the environment: misalignment that no trainable parameter stands for.

The parameters are those of `Workload.environment_ranges`; everything here is in units of their
ranges, see `pnnbench.methods.positions`. A method draws one environment for a whole batch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import nullcontext
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from pnnbench.errors import UserError, check_range
from pnnbench.methods.base import Knowledge, TrainingMethod
from pnnbench.methods.draws import Draws
from pnnbench.methods.laws import Law, LawOf
from pnnbench.methods.positions import (
    ALL,
    PerParameter,
    check_per_parameter,
    check_turns,
    chosen_parameters,
    draw_probe,
    environment_at,
    of_parameter,
    require_names,
    whose_turn,
)
from pnnbench.methods.sat import SAT
from pnnbench.platforms.base import Device, Environment
from pnnbench.workloads.amounts import Amount
from pnnbench.workloads.base import Batch, Workload

#: Longest step, in units of the range.
_LONGEST_STEP = 1e6
#: Widest range in the unit of a parameter.
_WIDEST = 1e4


class AgainstEnvironment(TrainingMethod):
    """What methods against the environment share: its parameters, their turns, random probes."""

    knows: ClassVar[tuple[Knowledge, ...]] = ("tested law",)
    parameters: str
    probe: float
    two_sided: bool
    turns: str
    ranges: Mapping[str, float] | None

    def set_probes(
        self,
        parameters: str,
        probe: float,
        two_sided: bool,
        turns: str,
        ranges: Mapping[str, float] | None,
    ) -> None:
        """Checks and keeps the hyper-parameters of the probes; see the subclasses."""
        self.parameters = str(parameters)
        self.probe = check_range("probe", probe, low=0.0, high=1.0, low_open=True)
        self.two_sided = bool(two_sided)
        self.turns = check_turns(turns)
        if ranges is not None and not isinstance(ranges, Mapping):
            raise UserError(f"ranges is {ranges!r}", allowed="a half-width for each parameter")
        self.ranges = ranges and {
            str(name): check_range(f"ranges.{name}", width, low=0.0, high=_WIDEST, low_open=True)
            for name, width in ranges.items()
        }

    @classmethod
    def supports(cls, workload: Workload) -> bool:
        """Whether the workload says what varies in its environment."""
        return bool(workload.environment_ranges)

    def check(self, workload: Workload) -> None:
        """Checks the names of the parameters too."""
        super().check(workload)
        names = chosen_parameters(workload, self.parameters)
        if self.ranges is not None:
            require_names("ranges", self.ranges, names)

    def draw(self, workload: Workload) -> dict[str, float]:
        """Draws the probe of this step, in units of the ranges."""
        names = chosen_parameters(workload, self.parameters)
        names = whose_turn(names, self.turns, self.calls, workload.current_epoch)
        return draw_probe(names, self.probe, self.two_sided, self.generator())

    def environment(self, workload: Workload, position: Mapping[str, float]) -> Environment:
        """The environment at a position in units of the ranges; see `environment_at`."""
        return environment_at(workload, position, self.ranges)


class RandomEnvironment(AgainstEnvironment):
    """Random environments: L(Θ) in an environment drawn anew for each batch.

    The augmentation that finite-difference sharpness-aware training contains. With ``outward`` it
    draws from the law of `SATOutward` without a step on the controls, at one gradient per step.

    Args:
        parameters: Names of `Workload.environment_ranges`, separated by commas, or ``"all"``.
        probe: Largest displacement in units of the range, in (0, 1].
        two_sided: Whether displacements have either sign; False as published.
        turns: ``"together"`` moves all parameters at each batch, ``"batch"`` and ``"epoch"`` one
            after another.
        outward: Length by which every displacement is made longer, in units of the range, >= 0, or
            one for each parameter; see `SATOutward`.
        lr: Peak learning rate of the control parameters; see TrainingMethod.
        lr_digital: Peak learning rate of the digital parameters.
        optimizer: ``"adam"`` or ``"sgd"``.
        ranges: Half-width of each parameter's range in its physical unit; None for those of
            `Workload.environment_ranges`.
    """

    laws: ClassVar[Mapping[str, LawOf]] = MappingProxyType({"probe": Law(0.1, 1.0, most=1.0)})
    source = "baseline of this project: domain randomisation of the environment"
    per_parameter: ClassVar[tuple[str, ...]] = ("outward",)

    def __init__(
        self,
        parameters: str = ALL,
        probe: float = 1.0,
        two_sided: bool = True,
        turns: str = "together",
        outward: PerParameter = 0.0,
        lr: Amount = 0.1,
        lr_digital: float = 1e-3,
        optimizer: str = "adam",
        ranges: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(lr, lr_digital, optimizer)
        self.set_probes(parameters, probe, two_sided, turns, ranges)
        self.outward = check_per_parameter("outward", outward, high=_LONGEST_STEP)

    def check(self, workload: Workload) -> None:
        """Checks that ``outward`` has a number for each parameter too."""
        super().check(workload)
        require_names("outward", self.outward, chosen_parameters(workload, self.parameters))

    def loss(self, workload: Workload, batch: Batch) -> Tensor:
        """Task loss on the ideal device in a random environment."""
        position = moved_along(self.draw(workload), self.outward, 1.0)
        with workload.operating(Device.ideal(), self.environment(workload, position)):
            return workload.loss(workload(batch[0]), batch)


def moved_along(
    probe: Mapping[str, float], step: PerParameter, factor: float, *, keep_probe: bool = True
) -> dict[str, float]:
    """Where a step along the direction of a probe ends.

    Args:
        probe: Displacement u of each parameter, in units of its range; not all 0.
        step: Length of the step in units of the range, one or one for each parameter.
        factor: Multiplies the step; below 0 it goes back.
        keep_probe: Whether the step starts at the probe; else at nominal.

    Returns:
        u + factor * step * u / |u| for each parameter, before it is folded into the range.
    """
    length = math.sqrt(sum(u * u for u in probe.values()))
    return {
        name: (u if keep_probe else 0.0) + of_parameter(step, name) * factor * u / length
        for name, u in probe.items()
    }


class SATEnvironment(AgainstEnvironment, SAT):
    """Sharpness-aware training against the environment, by finite differences.

    Per batch: the loss L0 at nominal, L1 at a random displacement u, the slope (L1 - L0) / u, and a
    step of the environment up that slope; then the gradient there, at controls that are themselves
    moved to the worst point of a small ball if ``rho`` > 0. With several parameters at once the
    slope is taken along their joint displacement.

    Args:
        parameters: Names of `Workload.environment_ranges`, separated by commas, or ``"all"``.
        probe: Largest displacement of the probe in units of the range, in (0, 1].
        two_sided: Whether probes have either sign; False as published.
        keep_probe: Whether the step starts at the probe, as in the published code, or at nominal,
            as in the published formula.
        step: Length of the step in units of the range, >= 0, or one for each parameter.
        normalise: Whether the step has that length whatever the slope, or is ``step`` times the
            slope per range, as published: a step of a in the parameter's own unit, for a range r,
            is a / r² here.
        turns: ``"together"``, ``"batch"`` or ``"epoch"``: when the parameters take their turns.
        rho: Radius of the ball around the controls; 0 for none. See SAT.
        adaptive: Whether the ball scales with the controls.
        perturb: ``"controls"`` or ``"all"``; see SAT.
        lr: Peak learning rate of the control parameters; see TrainingMethod.
        lr_digital: Peak learning rate of the digital parameters.
        optimizer: ``"adam"`` or ``"sgd"``.
        ranges: As in RandomEnvironment.
    """

    laws: ClassVar[Mapping[str, LawOf]] = MappingProxyType(
        {"probe": Law(0.1, 1.0, most=1.0), "step": Law(0.0, 1.0, "linear", least=0.0)}
    )
    source = "free-space experiments of the sharpness-aware-training paper"
    per_parameter: ClassVar[tuple[str, ...]] = ("step",)
    #: Whether the slope is measured.
    measures: ClassVar[bool] = True

    def __init__(
        self,
        parameters: str = ALL,
        probe: float = 0.75,
        two_sided: bool = True,
        keep_probe: bool = True,
        step: PerParameter = 0.25,
        normalise: bool = True,
        turns: str = "together",
        rho: Amount = 0.015,
        adaptive: bool = False,
        perturb: str = "controls",
        lr: Amount = 0.1,
        lr_digital: float = 1e-3,
        optimizer: str = "adam",
        ranges: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(rho, adaptive, perturb, lr, lr_digital, optimizer)
        self.set_probes(parameters, probe, two_sided, turns, ranges)
        self.keep_probe = bool(keep_probe)
        self.step = check_per_parameter("step", step, high=_LONGEST_STEP)
        self.normalise = bool(normalise)
        self.slopes, self.rising = 0, 0

    def check(self, workload: Workload) -> None:
        """Checks that ``step`` has a number for each parameter too."""
        super().check(workload)
        require_names("step", self.step, chosen_parameters(workload, self.parameters))

    def attach(self, workload: Workload) -> None:
        """Starts to count slopes anew too."""
        super().attach(workload)
        self.slopes, self.rising = 0, 0

    def figures(self) -> dict[str, float]:
        """The share of the measured slopes that were positive: 1 where measuring tells nothing."""
        if not self.slopes:
            return super().figures()
        share = self.rising / self.slopes
        return {**super().figures(), "share_of_positive_slopes": share}

    def state_dict(self) -> dict[str, Any]:
        """Adds the counts of slopes."""
        return {**super().state_dict(), "slopes": self.slopes, "rising": self.rising}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restores `state_dict`."""
        super().load_state_dict(state_dict)
        self.slopes, self.rising = int(state_dict["slopes"]), int(state_dict["rising"])

    def adversarial(self, probe: dict[str, float], rise: float) -> dict[str, float]:
        """Where the environment goes.

        Args:
            probe: Displacement u of each parameter, in units of its range.
            rise: L1 - L0, the loss there minus that at nominal.

        Returns:
            Displacement of each parameter, in units of its range, before it is folded
            into the range.
        """
        slope = rise / math.sqrt(sum(u * u for u in probe.values()))
        along = math.copysign(1.0, slope) if self.normalise and slope else slope
        return moved_along(probe, self.step, along, keep_probe=self.keep_probe)

    def perturbed(self, workload: Workload) -> dict[str, nn.Parameter]:
        """What is moved besides the environment: nothing without a radius."""
        return super().perturbed(workload) if self.amount("rho", workload) else {}

    def loss(self, workload: Workload, batch: Batch) -> Tensor:
        """Task loss at moved controls in a moved environment; both carry no gradient."""
        probe = self.draw(workload)
        # What lies before the controls is the same in all passes, unless it is moved too.
        group = self.perturbed(workload)
        moves_prefix = bool(group) and self.perturb == "all"
        with workload.extra_pass() if moves_prefix else nullcontext():
            h = workload.prefix(batch[0])
        shifted, nominal = {}, 0.0
        draws = Draws(workload)  # the losses that are compared are of one function
        if group or self.measures:
            with torch.set_grad_enabled(bool(group)), workload.extra_pass(), draws.again():
                first = workload.loss(workload.physical(h if moves_prefix else h.detach()), batch)
            shifted, nominal = self.step_to_worst(workload, first, group), float(first.detach())
        with draws.again():
            rise = self.rise(workload, h, batch, probe, nominal)
        if moves_prefix:
            h = workload.prefix(batch[0], shifted)
        worst = self.environment(workload, self.adversarial(probe, rise))
        with workload.operating(Device.ideal(), worst):
            return workload.loss(workload.physical(h, shifted), batch)

    def rise(
        self,
        workload: Workload,
        h: Tensor,
        batch: Batch,
        probe: dict[str, float],
        nominal: float,
    ) -> float:
        """Loss at the probe minus that at nominal, measured and counted.

        Args:
            workload: The workload.
            h: What `Workload.prefix` gives (B, ...).
            batch: Inputs (B, ...) and targets (B, ...).
            probe: Displacement of each parameter, in units of its range.
            nominal: Loss at nominal.

        Returns:
            The difference, in units of the loss.
        """
        with (
            torch.no_grad(),
            workload.extra_pass(),
            workload.operating(Device.ideal(), self.environment(workload, probe)),
        ):
            rise = float(workload.loss(workload.physical(h), batch)) - nominal
        self.slopes += 1
        self.rising += rise > 0.0
        return rise


class SATOutward(SATEnvironment):
    """Sharpness-aware training against the environment without its finite differences.

    Every step goes outwards, as if the loss always rose away from nominal. What
    `SATEnvironment` gains over this is due to what it measures; what this gains over
    `RandomEnvironment` with the same ``outward`` is due to the step of the controls and to its
    second gradient. Without a radius the two are the same.

    Args:
        parameters: Names of `Workload.environment_ranges`, separated by commas, or ``"all"``.
        probe: Largest displacement of the probe in units of the range, in (0, 1].
        two_sided: Whether probes have either sign.
        keep_probe: Whether the step starts at the probe or at nominal.
        step: Length of the step in units of the range, >= 0, or one for each parameter.
        normalise: As in SATEnvironment; the slope is 1 / |u| where it is not normalised.
        turns: ``"together"``, ``"batch"`` or ``"epoch"``: when the parameters take their turns.
        rho: Radius of the ball around the controls; 0 for none. See SAT.
        adaptive: Whether the ball scales with the controls.
        perturb: ``"controls"`` or ``"all"``; see SAT.
        lr: Peak learning rate of the control parameters; see TrainingMethod.
        lr_digital: Peak learning rate of the digital parameters.
        optimizer: ``"adam"`` or ``"sgd"``.
        ranges: As in RandomEnvironment.
    """

    source = "control of this project"
    measures: ClassVar[bool] = False

    def rise(
        self,
        workload: Workload,
        h: Tensor,
        batch: Batch,
        probe: dict[str, float],
        nominal: float,
    ) -> float:
        """1, without a measurement."""
        return 1.0
