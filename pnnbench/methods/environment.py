"""Training against the environment: misalignment that no trainable parameter stands for.

The parameters are those of `Workload.environment_ranges`; everything here is in units of their
ranges, 1 being the end of the range on the positive side. A method draws one environment for a
whole batch.
"""

from __future__ import annotations

import dataclasses
import math
from contextlib import nullcontext

import torch
from torch import Tensor, nn

from pnnbench.errors import UserError, check_range, fold, unknown_name
from pnnbench.methods.base import TrainingMethod
from pnnbench.methods.sat import SAT
from pnnbench.platforms.base import Device, Environment
from pnnbench.workloads.amounts import Amount
from pnnbench.workloads.base import Batch, Workload

#: When the parameters take their turns: all at each batch, or one after another.
TURNS = ("together", "batch", "epoch")
ALL = "all"


def chosen_parameters(workload: Workload, parameters: str) -> list[str]:
    """Names of the environment's parameters that a method trains against.

    Args:
        workload: The workload.
        parameters: Names separated by commas, or ``"all"``; each in any case, with ``-`` or ``_``,
            with or without its unit: ``temperature`` is ``temperature_degc``.

    Returns:
        The names of the environment's fields, in the order given.

    Raises:
        UserError: If the workload has no such parameter.
    """
    known = list(workload.environment_ranges)
    if parameters == ALL:
        return known
    names = []
    for given in parameters.split(","):
        word = fold(given.strip())
        meant = [name for name in known if word in (fold(name), fold(name).rpartition("-")[0])]
        if not word or len(meant) != 1:
            raise unknown_name("environment parameter", given.strip(), known, where=workload.name)
        names += meant
    return names


def environment_at(workload: Workload, position: dict[str, float]) -> Environment:
    """The environment at a position, in units of the ranges, cut to the ranges."""
    nominal = workload.nominal_environment()
    moved = {
        name: getattr(nominal, name) + workload.environment_ranges[name] * max(-1.0, min(1.0, u))
        for name, u in position.items()
    }
    return dataclasses.replace(nominal, **moved)


def check_turns(turns: str) -> str:
    """Returns when the parameters take their turns; raises UserError if there is no such way."""
    if turns not in TURNS:
        raise UserError(f"turns is {turns!r}", allowed=", ".join(TURNS))
    return turns


def whose_turn(names: list[str], turns: str, call: int, epoch: int) -> list[str]:
    """Parameters that move at a step.

    Args:
        names: All of them.
        turns: ``"together"``, ``"batch"`` or ``"epoch"``.
        call: Number of the step, from 1.
        epoch: Number of the epoch, from 0.

    Returns:
        All names, or one.
    """
    if turns == "together":
        return names
    return [names[((call - 1) if turns == "batch" else epoch) % len(names)]]


def draw_probe(
    names: list[str], size: float, two_sided: bool, generator: torch.Generator
) -> dict[str, float]:
    """Draws a displacement for each name: uniform up to ``size``, of either sign or positive."""
    draws = torch.rand(len(names), generator=generator).clamp(min=1e-3)
    signs = torch.randint(0, 2, (len(names),), generator=generator) * 2 - 1
    values = size * draws * (signs if two_sided else 1)
    return dict(zip(names, values.tolist(), strict=True))


class AgainstEnvironment(TrainingMethod):
    """What methods against the environment share: its parameters, their turns, random probes."""

    parameters: str
    probe: float
    two_sided: bool
    turns: str

    def set_probes(self, parameters: str, probe: float, two_sided: bool, turns: str) -> None:
        """Checks and keeps the hyper-parameters of the probes; see the subclasses."""
        self.parameters = str(parameters)
        self.probe = check_range("probe", probe, low=0.0, high=1.0, low_open=True)
        self.two_sided = bool(two_sided)
        self.turns = check_turns(turns)

    @classmethod
    def supports(cls, workload: Workload) -> bool:
        """Whether the workload says what varies in its environment."""
        return bool(workload.environment_ranges)

    def check(self, workload: Workload) -> None:
        """Checks the names of the parameters too."""
        super().check(workload)
        chosen_parameters(workload, self.parameters)

    def draw(self, workload: Workload) -> dict[str, float]:
        """Draws the probe of this step, in units of the ranges."""
        names = chosen_parameters(workload, self.parameters)
        names = whose_turn(names, self.turns, self.calls, workload.current_epoch)
        return draw_probe(names, self.probe, self.two_sided, self.generator())


class RandomEnvironment(AgainstEnvironment):
    """Random environments: L(Θ) in an environment drawn anew for each batch.

    The augmentation that finite-difference sharpness-aware training contains; see also SATOutward.

    Args:
        parameters: Names of `Workload.environment_ranges`, separated by commas, or ``"all"``.
        probe: Largest displacement in units of the range, in (0, 1].
        two_sided: Whether displacements have either sign; False as published.
        turns: ``"together"`` moves all parameters at each batch, ``"batch"`` and ``"epoch"`` one
            after another.
        lr: Peak learning rate of the control parameters; see TrainingMethod.
        lr_digital: Peak learning rate of the digital parameters.
        optimizer: ``"adam"`` or ``"sgd"``.
    """

    source = "baseline of this project: domain randomisation of the environment"

    def __init__(
        self,
        parameters: str = ALL,
        probe: float = 1.0,
        two_sided: bool = True,
        turns: str = "together",
        lr: Amount = 0.1,
        lr_digital: float = 1e-3,
        optimizer: str = "adam",
    ) -> None:
        super().__init__(lr, lr_digital, optimizer)
        self.set_probes(parameters, probe, two_sided, turns)

    def loss(self, workload: Workload, batch: Batch) -> Tensor:
        """Task loss on the ideal device in a random environment."""
        environment = environment_at(workload, self.draw(workload))
        with workload.operating(Device.ideal(), environment):
            return workload.loss(workload(batch[0]), batch)


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
        step: Length of the step in units of the range, >= 0.
        normalise: Whether the step has that length whatever the slope, or is ``step`` times the
            slope per range, as published.
        turns: ``"together"``, ``"batch"`` or ``"epoch"``: when the parameters take their turns.
        rho: Radius of the ball around the controls; 0 for none. See SAT.
        adaptive: Whether the ball scales with the controls.
        perturb: ``"controls"`` or ``"all"``; see SAT.
        lr: Peak learning rate of the control parameters; see TrainingMethod.
        lr_digital: Peak learning rate of the digital parameters.
        optimizer: ``"adam"`` or ``"sgd"``.
    """

    source = "free-space experiments of the sharpness-aware-training paper"

    def __init__(
        self,
        parameters: str = ALL,
        probe: float = 0.75,
        two_sided: bool = True,
        keep_probe: bool = True,
        step: float = 0.25,
        normalise: bool = True,
        turns: str = "together",
        rho: Amount = 0.015,
        adaptive: bool = False,
        perturb: str = "controls",
        lr: Amount = 0.1,
        lr_digital: float = 1e-3,
        optimizer: str = "adam",
    ) -> None:
        super().__init__(rho, adaptive, perturb, lr, lr_digital, optimizer)
        self.set_probes(parameters, probe, two_sided, turns)
        self.keep_probe = bool(keep_probe)
        self.step = check_range("step", step, low=0.0, high=1e6)
        self.normalise = bool(normalise)

    def adversarial(self, probe: dict[str, float], rise: float) -> dict[str, float]:
        """Where the environment goes.

        Args:
            probe: Displacement u of each parameter, in units of its range.
            rise: L1 - L0, the loss there minus that at nominal.

        Returns:
            Displacement of each parameter, in units of its range, before it is cut to the range.
        """
        length = math.sqrt(sum(u * u for u in probe.values()))
        slope = rise / length
        along = math.copysign(1.0, slope) if self.normalise and slope else slope
        return {
            name: (u if self.keep_probe else 0.0) + self.step * along * u / length
            for name, u in probe.items()
        }

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
        with torch.set_grad_enabled(bool(group)), workload.extra_pass():
            first = workload.loss(workload.physical(h if moves_prefix else h.detach()), batch)
        shifted, nominal = self.step_to_worst(workload, first, group), float(first.detach())
        rise = self.rise(workload, h, batch, probe, nominal)
        if moves_prefix:
            h = workload.prefix(batch[0], shifted)
        worst = environment_at(workload, self.adversarial(probe, rise))
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
        """Loss at the probe minus that at nominal, measured.

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
            workload.operating(Device.ideal(), environment_at(workload, probe)),
        ):
            return float(workload.loss(workload.physical(h), batch)) - nominal


class SATOutward(SATEnvironment):
    """Sharpness-aware training against the environment without its finite differences.

    Every step goes outwards, as if the loss always rose away from nominal. What
    `SATEnvironment` gains over this is due to what it measures; what this gains over
    `RandomEnvironment` is due to larger displacements and to the step of the controls.

    Args:
        parameters: Names of `Workload.environment_ranges`, separated by commas, or ``"all"``.
        probe: Largest displacement of the probe in units of the range, in (0, 1].
        two_sided: Whether probes have either sign.
        keep_probe: Whether the step starts at the probe or at nominal.
        step: Length of the step in units of the range, >= 0.
        normalise: As in SATEnvironment; the slope is 1 / |u| where it is not normalised.
        turns: ``"together"``, ``"batch"`` or ``"epoch"``: when the parameters take their turns.
        rho: Radius of the ball around the controls; 0 for none. See SAT.
        adaptive: Whether the ball scales with the controls.
        perturb: ``"controls"`` or ``"all"``; see SAT.
        lr: Peak learning rate of the control parameters; see TrainingMethod.
        lr_digital: Peak learning rate of the digital parameters.
        optimizer: ``"adam"`` or ``"sgd"``.
    """

    source = "control of this project"

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
