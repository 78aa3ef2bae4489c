"""The checks that every platform and every workload must pass: `pnnbench check`, and our own tests.

What is looked at is a network of physical layers with a few inputs: the small layer that a
platform's class gives as its `example`, or the network of a workload with some of its images. Each
check is one function. The first line of its docstring is what it found when it passes; a fault is
one sentence with what to do.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from pnnbench.errors import UserError
from pnnbench.platforms.base import (
    Condition,
    Device,
    PhysicalLayer,
    operate,
    physical_layers,
)
from pnnbench.registry import resolve
from pnnbench.submitting import error_checks  # noqa: F401 - registers its checks
from pnnbench.submitting.checks import CheckResult, FaultError
from pnnbench.submitting.subject import (
    CHANGE,
    FAR,
    PLATFORM_CHECKS,
    ROUNDING,
    SEEN,
    SMALL,
    TINY,
    Alone,
    Subject,
    changes,
    differ,
    fields_of,
    generator,
    largest_jump,
    possible,
    scramble,
)

check = PLATFORM_CHECKS.check

#: Share of the largest value by which what is programmed may be off.
PROGRAMMED = 1e-2
#: Sizes of the weights that are drawn to be programmed.
WEIGHTS = (0.1, 1.0)
#: Share by which a transfer may change with controls that change by `TINY`.
JUMP = 1e-2


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


@check("batch", "errors-declared")
def check_batch(subject: Subject) -> None:
    """Each input gives the same outputs alone as in a batch."""
    network, inputs = subject.network(), subject.inputs
    # One more, weaker input, so that no batch is of one input.
    inputs = torch.cat([inputs, 0.5 * inputs[:1]])
    places = {
        "the ideal device": Device.ideal(),
        "a device with errors": Device.draw(network, SEEN, 1),
    }
    for where, device in places.items():
        with torch.no_grad(), operate(network, [Condition(device)]):
            whole = network(inputs)
            alone = torch.cat([network(one) for one in inputs.split(1)])
        if differ(whole, alone, ROUNDING):
            raise FaultError(
                f"On {where} the outputs of an input depend on the others of its batch; compute "
                "each row of forward() from that row alone, and leave the range of detectors to "
                "self.read_out(y, noise)."
            )


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


def _detected(network: nn.Module) -> set[str]:
    return {name for name, layer in physical_layers(network).items() if layer.detected}


@check("read-out-noise", "forward")
def check_read_out_noise(subject: Subject) -> None:
    """Detectors add noise, of their own in every condition."""
    network = subject.network()
    detected = _detected(network)
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


@check("noise-given", "read-out-noise")
def check_noise_given(subject: Subject) -> None:
    """All noise is that of the shot source."""
    network, place = subject.network(), [Condition(Device.ideal())]

    def seen(shot_seed: int, other_seed: int) -> Tensor:
        scramble(other_seed)
        source = generator(shot_seed)
        return subject.outputs(
            network, place, lambda _, shape: torch.randn(shape, generator=source)
        )

    first, again, third = seen(1, 1), seen(1, 2), seen(2, 1)
    moved = not torch.equal(torch.get_rng_state(), torch.Generator().manual_seed(1).get_state())
    if moved or not torch.equal(first, again):
        raise FaultError(
            "The outputs under read-out noise draw from a global generator; take all noise from "
            "self.read_out(y, noise), which asks the shot source."
        )
    if _detected(network) and not differ(first, third, CHANGE):
        raise FaultError(
            "Two draws of read-out noise give the same outputs; let self.read_out(y, noise) add "
            "what the shot source draws."
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
        same = not differ(network(subject.inputs), other(subject.inputs), PROGRAMMED)
    if not same:
        raise FaultError(
            "program(ideal_weight()) gives another network than the one whose weight it is; make "
            "program() the inverse of ideal_weight()."
        )


@check("program-drawn", "program")
def check_program_drawn(subject: Subject) -> None:
    """Every weight that project_weight() gives can be programmed."""
    for _, words, layer in subject.layers():
        with torch.no_grad():
            like = layer.ideal_weight()
            draw = torch.randn(like.shape, generator=generator(), dtype=like.dtype)
            for size in WEIGHTS:
                target = layer.project_weight(size * draw)
                layer.program(target)
                found = layer.ideal_weight()
                if layer.detected and found.is_complex():
                    # Detectors do not see the phase of a whole row.
                    found = found * torch.sgn((found.conj() * target).sum(-1, keepdim=True))
                if differ(found, target, PROGRAMMED):
                    raise FaultError(
                        f"program() leaves ideal_weight() of {words} off by up to "
                        f"{float((found - target).detach().abs().max()):.2g} from a weight up to "
                        f"{float(target.abs().max()):.2g} that project_weight() gave; program "
                        "every weight that project_weight() leaves as it is."
                    )


@check("gradient", "errors-declared")
def check_gradient(subject: Subject) -> None:
    """A gradient reaches every control, on the ideal device, on another one, on two at once."""
    network = subject.network()
    one, other = (Condition(Device.draw(network, SMALL, seed)) for seed in (1, 2))
    places: dict[str, list[Condition]] = {
        "On the ideal device": [Condition(Device.ideal())],
        "On a device with errors": [one],
        "On the first of two devices in one pass": [one, other],
        "On the second of two devices in one pass": [other, one],
    }
    for where, conditions in places.items():
        block = int(where.startswith("On the second"))
        _check_gradient_of(subject, network, where, conditions, block)


def _check_gradient_of(
    subject: Subject, network: nn.Module, where: str, conditions: list[Condition], block: int
) -> None:
    with operate(network, conditions):
        found = network(subject.repeated(len(conditions)))
    found = found.unflatten(0, (len(conditions), -1))[block]
    real = torch.view_as_real(found) if found.is_complex() else found
    loss = (real * torch.randn(real.shape, generator=generator())).sum()
    for name, layer in physical_layers(network).items():
        for control in layer.control_names:
            parameter = getattr(layer, control)
            grad = None
            if loss.requires_grad:
                (grad,) = torch.autograd.grad(loss, parameter, retain_graph=True, allow_unused=True)
            if grad is None or not bool(grad.count_nonzero()):
                raise FaultError(
                    f"{where} no gradient reaches {control!r} of layer {name!r}; compute "
                    "transfer() from the control without detach() and without no_grad()."
                )
            if not bool(torch.isfinite(grad).all()):
                raise FaultError(
                    f"{where} the gradient of {control!r} of layer {name!r} is not finite; keep "
                    "roots and quotients in transfer() away from 0."
                )


@check("continuous", "device", "environment")
def check_continuous(subject: Subject) -> None:
    """A tiny change of the controls changes the transfer a little, wherever the layer operates."""
    for _, words, layer in subject.layers():
        errors = layer.draw_errors(SEEN, generator())
        places = {
            "the ideal device": Condition(Device.ideal()),
            "a device with errors": Condition(Device({Alone.NAME: errors})),
            # Drivers with a resolution go in steps, and are meant to.
            **{
                f"another {field}": Condition(Device.ideal(), moved)
                for field, moved in fields_of(layer)
                if field != "control_bits"
            },
        }
        for where, condition in places.items():
            jump = largest_jump(layer, condition)
            if jump > JUMP:
                raise FaultError(
                    f"Under {where} the transfer of {words} jumps by {jump:.2g} of its size when "
                    f"the controls change by {TINY:g} of theirs; let transfer() round, compare and "
                    "choose nothing that depends on the controls."
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
