"""The checks of what every physical layer is at its least: outputs, constants, errors it draws."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from pnnbench.errors import UserError
from pnnbench.platforms.base import Condition, Device, PhysicalLayer, physical_layers
from pnnbench.submitting.checks import FaultError
from pnnbench.submitting.subject import (
    PLATFORM_CHECKS,
    ROUNDING,
    SEEN,
    SMALL,
    Subject,
    differ,
    generator,
    scramble,
)

check = PLATFORM_CHECKS.check


Draw = Callable[[float, torch.Generator], Mapping[str, Tensor]]


def _draws(layer: PhysicalLayer) -> dict[str, Draw]:
    return {"draw_errors": layer.draw_errors, "random_offsets": layer.random_offsets}


@check("forward")
def check_forward(subject: Subject) -> None:
    """The layer gives finite outputs, the same on the ideal device as without one."""
    network = subject.network()
    if not physical_layers(network):
        raise FaultError("The network holds no PhysicalLayer; derive its layers from that class.")
    with torch.no_grad():
        plain = network(subject.inputs)
    if not bool(torch.isfinite(torch.view_as_real(plain) if plain.is_complex() else plain).all()):
        raise FaultError("The outputs of the ideal device are not finite; mend forward().")
    if differ(subject.outputs(network, [Condition(Device.ideal())])[0], plain, ROUNDING):
        raise FaultError(
            "On Device.ideal() the outputs are others than without a device; an error that is not "
            "there is zero, and a nominal environment changes nothing."
        )


@check("describe", "forward")
def check_describe(subject: Subject) -> None:
    """The constants of the layer are told as plain values."""
    for _, words, layer in subject.layers():
        try:
            json.dumps(layer.describe(), allow_nan=False)
        except (TypeError, ValueError) as error:
            raise FaultError(
                f"describe() of {words} is no JSON ({error}); give numbers that are finite, texts, "
                "lists and dicts."
            ) from error


@check("errors-declared", "forward")
def check_errors_declared(subject: Subject) -> None:
    """What is drawn is what static_errors() declares."""
    for name, words, layer in subject.layers():
        for method, draw in _draws(layer).items():
            try:
                layer.check_errors(name, draw(SEEN, generator()))
            except UserError as error:
                raise FaultError(
                    f"{method}() of {words} draws what it does not declare ({error.what}); declare "
                    "name, shape and range of each error in static_errors()."
                ) from error


@check("errors-own-generator", "errors-declared")
def check_errors_owngenerator(subject: Subject) -> None:
    """Errors are drawn from the generator that is given, and from no other."""
    for _, words, layer in subject.layers():
        for method, draw in _draws(layer).items():
            found = []
            for seed in (1, 2):
                scramble(seed)
                found.append(draw(SEEN, generator()))
            for error, value in found[0].items():
                if not torch.equal(value, found[1][error]):
                    raise FaultError(
                        f"{method}() of {words} draws {error!r} from a global generator; draw from "
                        "the one it is given: torch.randn(shape, generator=generator)."
                    )


@check("errors-seeded", "errors-own-generator")
def check_errors_seeded(subject: Subject) -> None:
    """Two seeds draw two devices."""
    for _, words, layer in subject.layers():
        for method, draw in _draws(layer).items():
            one, other = draw(SEEN, generator(1)), draw(SEEN, generator(2))
            if one and all(torch.equal(value, other[error]) for error, value in one.items()):
                raise FaultError(
                    f"{method}() of {words} draws the same {next(iter(one))!r} for two seeds; draw "
                    "from the generator it is given, as it comes: torch.randn(shape, "
                    "generator=generator)."
                )


@check("errors-zero", "errors-own-generator")
def check_errors_zero(subject: Subject) -> None:
    """At severity 0 there are no errors."""
    for _, words, layer in subject.layers():
        for method, draw in _draws(layer).items():
            for error, value in draw(0.0, generator()).items():
                if bool(value.count_nonzero()):
                    raise FaultError(
                        f"{method}() of {words} draws {error!r} up to {float(value.abs().max()):g} "
                        "at severity 0; multiply the whole error by the severity."
                    )


@check("errors-scale", "errors-zero")
def check_errors_scale(subject: Subject) -> None:
    """The same seed at another severity is the same draw, scaled."""
    for _, words, layer in subject.layers():
        for method, draw in _draws(layer).items():
            once = draw(SMALL, generator())
            for times in (2.0, 4.0):
                for error, value in draw(times * SMALL, generator()).items():
                    if error not in once or differ(value, times * once[error], ROUNDING):
                        raise FaultError(
                            f"{method}() of {words} draws another {error!r} at {times:g} times the "
                            "severity; make a unit draw that does not depend on the severity, and "
                            "multiply it."
                        )
