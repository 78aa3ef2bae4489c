"""Where methods put the environment: its parameters, their turns, their draws and their ends.

A position counts in units of a parameter's range, 1 being the end of the range on the positive
side. No law has an atom: what would lie beyond an end is folded back inside, never cut to it, so
that no share of the training stands on one point that a grid may test.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import torch

from pnnbench.errors import UserError, check_range, fold, unknown_name
from pnnbench.platforms.base import Environment
from pnnbench.workloads.base import Workload

#: When the parameters take their turns: all at each batch, or one after another.
TURNS = ("together", "batch", "epoch")
ALL = "all"
#: Smallest probe as a share of the largest: a slope over less is rounding.
LEAST_SHARE = 1e-3
#: One number for all parameters, or one for each by its name.
PerParameter = float | Mapping[str, float]


def chosen_parameters(workload: Workload, parameters: str) -> list[str]:
    """Names of the environment's parameters that a method trains against.

    Args:
        workload: The workload.
        parameters: Names separated by commas, or ``"all"``; each in any case, with ``-`` or ``_``,
            with or without its unit: ``temperature`` is ``temperature_degc``.

    Returns:
        The names of the environment's fields, in the order given.

    Raises:
        UserError: If the workload has no such parameter, or one is named twice.
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
        if meant[0] in names:
            raise UserError(
                f"parameters is {parameters!r}, which names {meant[0]} twice",
                allowed=f"{ALL}, or each once of {', '.join(known)}",
            )
        names += meant
    return names


def check_per_parameter(
    what: str, value: PerParameter, *, high: float, low_open: bool = False
) -> PerParameter:
    """Checks a number, or a mapping from names of parameters to numbers.

    Args:
        what: Name of the hyper-parameter.
        value: From 0 to ``high``, each.
        high: Largest value.
        low_open: Whether 0 itself is refused.

    Returns:
        The same with plain floats.

    Raises:
        UserError: If a number is out of range, or the mapping is empty.
    """
    if not isinstance(value, Mapping):
        return check_range(what, value, low=0.0, high=high, low_open=low_open)
    if not value:
        raise UserError(f"{what} is an empty mapping", allowed="a number for each parameter")
    return {
        str(name): check_range(f"{what}.{name}", number, low=0.0, high=high, low_open=low_open)
        for name, number in value.items()
    }


def require_names(what: str, value: PerParameter, names: Sequence[str]) -> None:
    """Refuses a mapping that does not have exactly the parameters of a method.

    Args:
        what: Name of the hyper-parameter.
        value: A number, which serves all of them, or a mapping.
        names: Names of the parameters.

    Raises:
        UserError: If a name is missing or is none of them.
    """
    if isinstance(value, Mapping) and set(value) != set(names):
        raise UserError(
            f"{what} has numbers for {', '.join(value)}",
            allowed=f"one number for all, or one each for {', '.join(names)}",
        )


def of_parameter(value: PerParameter, name: str) -> float:
    """The number that belongs to one parameter."""
    return float(value[name]) if isinstance(value, Mapping) else value


def folded(position: float) -> float:
    """A position inside the range: what lies beyond its end is folded back, on its own side.

    Args:
        position: Any number, in units of the range.

    Returns:
        A number of the same sign, -1 to 1: the position itself if it is inside; 1.25 becomes 0.75.
        A law without atoms stays one.
    """
    beyond = abs(position) % 2.0
    inside = 2.0 - beyond if beyond > 1.0 else beyond
    return -inside if position < 0.0 else inside


def environment_at(
    workload: Workload, position: Mapping[str, float], ranges: Mapping[str, float] | None = None
) -> Environment:
    """The environment at a position, folded into the ranges.

    Args:
        workload: The workload.
        position: Name -> displacement from nominal, in units of the range.
        ranges: Half-widths in physical units; by default those of the workload.

    Returns:
        The environment; what is not named is nominal.
    """
    widths = workload.environment_ranges if ranges is None else ranges
    nominal = workload.nominal_environment()
    moved = {
        name: getattr(nominal, name) + widths[name] * folded(u) for name, u in position.items()
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
    """Draws a displacement for each name: uniform up to ``size``, of either sign or positive.

    Args:
        names: Names of the parameters.
        size: Largest displacement in units of the range.
        two_sided: Whether displacements have either sign.
        generator: Gives the draws.

    Returns:
        Displacements of at least ``LEAST_SHARE`` of ``size``, in units of the range.
    """
    draws = torch.rand(len(names), generator=generator, dtype=torch.float64)
    signs = torch.randint(0, 2, (len(names),), generator=generator) * 2 - 1
    values = size * (LEAST_SHARE + (1.0 - LEAST_SHARE) * draws) * (signs if two_sided else 1)
    return dict(zip(names, values.tolist(), strict=True))
