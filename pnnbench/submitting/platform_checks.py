"""The checks that every platform and every workload must pass: `pnnbench check`, and our own tests.

What is looked at is a network of physical layers with a few inputs: the small layer that a
platform's class gives as its `example`, or the network of a workload with some of its images. Each
check is one function. The first line of its docstring is what it found when it passes; a fault is
one sentence with what to do.
"""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pnnbench.errors import UserError
from pnnbench.platforms.base import (
    Condition,
    Device,
    PhysicalLayer,
    operate,
    physical_layers,
)
from pnnbench.registry import resolve
from pnnbench.submitting.checks import CheckResult, Checks, FaultError
from pnnbench.submitting.subject import (
    CHANGE,
    FAR,
    ROUNDING,
    SEEN,
    SMALL,
    Alone,
    Subject,
    changes,
    differ,
    fields_of,
    generator,
    possible,
)

#: The checks of platforms, which the network of a workload must pass too.
PLATFORM_CHECKS: Checks[Subject] = Checks()
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
                torch.manual_seed(seed)
                np.random.seed(seed)  # noqa: NPY002 - what third parties draw from
                random.seed(seed)
                found.append(draw(SEEN, generator()))
            for error, value in found[0].items():
                if not torch.equal(value, found[1][error]):
                    raise FaultError(
                        f"{method}() of {words} draws {error!r} from a global generator; draw from "
                        "the one it is given: torch.randn(shape, generator=generator)."
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


@check("device", "errors-declared")
def check_device(subject: Subject) -> None:
    """Every error of a device changes what the layer does."""
    for name, words, layer in subject.layers():
        drawn = layer.draw_errors(SEEN, generator())
        for error, law in layer.possible_errors().items():
            value = drawn.get(error)
            if value is None or not bool(value.count_nonzero()):
                value = possible(law)
            if not changes(subject, Condition(Device({name: {error: value}}))):
                raise FaultError(
                    f"{words} ignores the error {error!r} of a device; take operation.errors"
                    f"[{error!r}] in transfer()."
                )


@check("environment", "forward")
def check_environment(subject: Subject) -> None:
    """Every condition of the environment changes what the layer does."""
    for _, words, layer in subject.layers():
        for name, moved in fields_of(layer):
            if not changes(subject, Condition(Device.ideal(), moved)):
                remedy = (
                    "take the controls from self.control(name)"
                    if name == "control_bits"
                    else f"take operation.environment[{name!r}] in transfer(), or say in answers() "
                    "that this layer does not answer to it"
                )
                raise FaultError(f"{words} ignores {name} of the environment; {remedy}.")


@check("conditions", "errors-declared")
def check_conditions(subject: Subject) -> None:
    """Each of many conditions in one pass gets what it gets alone."""
    network = subject.network()
    fields = [e for _, _, layer in subject.layers() for _, e in fields_of(layer)]
    moved = fields[0] if fields else None
    conditions = [
        Condition(Device.draw(network, SEEN, 1), moved),
        Condition(Device.ideal()),
        Condition(Device.draw(network, SEEN, 2)),
    ]
    with torch.no_grad(), operate(network, conditions):
        together = {n: x.transfer() for n, x in physical_layers(network).items()}
    outputs = subject.outputs(network, conditions)
    for c, condition in enumerate(conditions):
        with torch.no_grad(), operate(network, [condition]):
            alone = {n: x.transfer() for n, x in physical_layers(network).items()}
        wrong = [n for n in alone if differ(together[n][c], alone[n], ROUNDING)]
        if not wrong and not differ(outputs[c], subject.outputs(network, [condition])[0], ROUNDING):
            continue
        what = f"the transfer of layer {wrong[0]!r}" if wrong else "the outputs"
        raise FaultError(
            f"In one pass with others, condition {c} of {len(conditions)} has {what} that it has "
            "not alone; give block c of the batch (self.blocks(x, count)) the errors and the "
            "environment at place c."
        )


@check("read-out-noise", "forward")
def check_read_out_noise(subject: Subject) -> None:
    """Detectors add noise, of their own in every condition."""
    network = subject.network()
    detected = {n for n, layer in physical_layers(network).items() if layer.detected}
    conditions = [Condition(Device.ideal())] * 2
    asked: set[str] = set()

    def shot(layer: str, shape: tuple[int, ...]) -> Tensor:
        asked.add(layer)
        if shape[:1] != (2,):
            raise FaultError(
                f"Layer {layer!r} asks for noise of shape {shape} under 2 conditions; pass "
                "read_out() the outputs of all of them, (conditions x batch, ...)."
            )
        return torch.ones(shape)

    quiet, noisy = subject.outputs(network, conditions), None
    noisy = subject.outputs(network, conditions, shot)
    silent = sorted(detected - asked)
    if silent or (detected and not differ(quiet, noisy, CHANGE)):
        name = (silent or sorted(detected))[0]
        raise FaultError(
            f"Layer {name!r} is read out without noise; pass its outputs through "
            "self.read_out(y, noise), or set detected = False where no detector stands."
        )


@check("projection", "forward")
def check_projection(subject: Subject) -> None:
    """Controls that leave the range of the hardware are put back."""
    for _, words, layer in subject.layers():
        for sign in (1.0, -1.0):
            with torch.no_grad():
                for name in layer.control_names:
                    getattr(layer, name).fill_(sign * FAR)
                layer.project()
                outside = [
                    name
                    for name, driver in layer.drivers().items()
                    if not (driver.periodic or driver.holds(getattr(layer, name)))
                ]
                weight = layer.ideal_weight()
                unreachable = differ(layer.project_weight(weight), weight, ROUNDING)
            if outside or unreachable:
                what = outside[0] if outside else layer.control_names[0]
                raise FaultError(
                    f"project() of {words} leaves {what} at {sign * FAR:g} {layer.control_unit}, "
                    "where the hardware cannot go; clamp the controls in place, as "
                    "self.control.clamp_(low, high)."
                )


@check("program", "projection")
def check_program(subject: Subject) -> None:
    """Programming a weight that can be reached gives the network that has it."""
    network, other = subject.network(), subject.network()
    with torch.no_grad():
        for layer in physical_layers(other).values():
            for name in layer.control_names:
                control = getattr(layer, name)
                control.add_(0.3 * torch.randn(control.shape, generator=generator()))
            layer.project()
        for name, layer in physical_layers(network).items():
            target = layer.project_weight(layer.ideal_weight())
            try:
                physical_layers(other)[name].program(target)
            except NotImplementedError as error:
                raise FaultError(
                    f"{type(layer).__name__} has no program(); set the controls that give a weight."
                ) from error
        same = not differ(network(subject.inputs), other(subject.inputs), 1e-2)
    if not same:
        raise FaultError(
            "program(ideal_weight()) gives another network than the one whose weight it is; make "
            "program() the inverse of ideal_weight()."
        )


@check("gradient", "errors-declared")
def check_gradient(subject: Subject) -> None:
    """A gradient reaches every control, on the ideal device and on another one."""
    network = subject.network()
    places: dict[str, Device] = {
        "the ideal device": Device.ideal(),
        "a device with errors": Device.draw(network, SMALL, 1),
    }
    for where, device in places.items():
        with operate(network, [Condition(device)]):
            found = network(subject.inputs)
        real = torch.view_as_real(found) if found.is_complex() else found
        loss = (real * torch.randn(real.shape, generator=generator())).sum()
        for name, layer in physical_layers(network).items():
            for control in layer.control_names:
                parameter = getattr(layer, control)
                grad = None
                if loss.requires_grad:
                    (grad,) = torch.autograd.grad(
                        loss, parameter, retain_graph=True, allow_unused=True
                    )
                if grad is None or not bool(grad.count_nonzero()):
                    raise FaultError(
                        f"On {where} no gradient reaches {control!r} of layer {name!r}; compute "
                        "transfer() from the control without detach() and without no_grad()."
                    )
                if not bool(torch.isfinite(grad).all()):
                    raise FaultError(
                        f"On {where} the gradient of {control!r} of layer {name!r} is not finite; "
                        "keep roots and quotients in transfer() away from 0."
                    )


@check("leaves-alone", "gradient", "conditions")
def check_leaves_alone(subject: Subject) -> None:
    """Being measured changes no tensor of the network."""
    network = subject.network()
    before = copy.deepcopy(network.state_dict())
    subject.outputs(network, [Condition(Device.draw(network, SEEN, 1))])
    changed = [n for n, value in network.state_dict().items() if not torch.equal(value, before[n])]
    if changed:
        raise FaultError(
            f"A measurement on a device changes {changed[0]!r} of the network; keep errors out of "
            "parameters and buffers."
        )


def check_platform(
    platform: type[Any] | str, *, progress: Callable[[CheckResult], None] | None = None
) -> list[CheckResult]:
    """Runs every check on the example of a platform's layer.

    Args:
        platform: The class, its registered name or its path ``package.module.Class``.
        progress: Called after each check.

    Returns:
        One result per check, in order, without those that make no sense because another failed.

    Raises:
        UserError: If there is no such class, it is no physical layer, or it has no example.
    """
    cls = resolve("platforms", platform) if isinstance(platform, str) else platform
    if not issubclass(cls, PhysicalLayer):
        raise UserError(
            f"{cls.__name__} is no platform",
            allowed="a subclass of pnnbench.platforms.base.PhysicalLayer",
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        _, inputs = cls.example()
    subject = Subject(lambda: Alone(cls.example()[0]), inputs)
    return PLATFORM_CHECKS.run(subject, "platform", progress)
