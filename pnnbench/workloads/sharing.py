"""Whether images, and several devices, can share a batch of a user's network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from pnnbench.errors import UserError
from pnnbench.platforms.base import hold_transfer
from pnnbench.platforms.layer import PhysicalLayer, physical_layers

#: Images of each of the two devices that are compared.
IMAGES = 2
#: Share of the largest output by which two ways to compute one output may differ.
_TOLERANCE = 1e-3
#: (layer, inputs, outputs) -> outputs.
_Hook = Callable[[nn.Module, Any, Tensor], Tensor]


def can_check(model: nn.Module) -> bool:
    """Whether a network is as it is measured: in evaluation, and without hooks of this package.

    Batch-norm statistics are taken through these, from the whole batch. Hooks of somebody else are
    part of the network.
    """
    return not any(
        m.training or any(map(_ours, (vars(m).get("forward"), *_hooks(m)))) for m in model.modules()
    )


def _hooks(module: nn.Module) -> Iterator[Any]:
    yield from module._forward_hooks.values()
    yield from module._forward_pre_hooks.values()


def _ours(function: Any) -> bool:
    """Whether a function is of this package, bound or with some arguments given."""
    while isinstance(function, partial):
        function = function.func
    function = getattr(function, "__func__", function)
    kind = getattr(function, "__module__", None) or type(function).__module__
    return str(kind).partition(".")[0] == __name__.partition(".")[0]


@torch.no_grad()
def check_sharing(model: nn.Module, run: Callable[[Tensor], Any], h: Tensor) -> None:
    """Refuses a network in which an image's outputs depend on what else is in the batch.

    Outputs of the physical layers are changed for one half of a batch, as another device does.
    Each half must then be what it is alone. A network with random outputs is not judged.

    Args:
        model: The network; it stays as it is.
        run: Computes its outputs from the inputs of its physical part.
        h: Such inputs (B, ...), of which the first are taken.

    Raises:
        UserError: If a half is not what it is alone.
    """
    x = h[:IMAGES]
    with ExitStack() as contexts:
        contexts.enter_context(apart(model))
        contexts.enter_context(hold_transfer(model))

        def outputs(inputs: Tensor, hook: _Hook | None = None) -> Any:
            with _hooked(model, hook, len(inputs)):
                return run(inputs)

        alone = outputs(x)
        if not isinstance(alone, Tensor) or not torch.equal(alone, outputs(x)):
            return  # the network is refused elsewhere, is random, or has outputs without a number
        expected = torch.cat([alone, outputs(x, _changed)])
        together = outputs(torch.cat([x, x]), _second_half_changed)
    bound = _TOLERANCE * float(expected.abs().max())
    if together.shape == expected.shape and float((together - expected).abs().max()) <= bound:
        return
    raise _mixing("several devices share a batch, and their figures would mix")


@torch.no_grad()
def check_companions(model: nn.Module, run: Callable[[Tensor], Any], x: Tensor) -> None:
    """Refuses a network in which an image's outputs depend on the other images of its batch.

    The first images are computed beside the next ones and beside others, in batches of one size, so
    that rounding is the same. A network with random outputs is not judged.

    Args:
        model: The network, in evaluation; it stays as it is.
        run: Computes its outputs from its inputs.
        x: Inputs (N, ...); with fewer than three times `IMAGES` nothing is looked at.

    Raises:
        UserError: If the outputs of the first images differ.
    """
    if len(x) < 3 * IMAGES:
        return
    first, *others = x[: 3 * IMAGES].split(IMAGES)
    with apart(model):
        found = [run(torch.cat([first, other])) for other in (*others, others[0])]
    if not all(isinstance(outputs, Tensor) for outputs in found):
        return
    beside, beside_others, again = (outputs[:IMAGES] for outputs in found)
    if not torch.equal(beside, again):
        return
    bound = _TOLERANCE * float(beside.abs().max())
    if float((beside - beside_others).abs().max()) > bound:
        raise _mixing("figures would follow the size of the batches")


def _mixing(why: str) -> UserError:
    return UserError(
        f"outputs of the network for one image depend on what else is in its batch: {why}",
        allowed="networks in which every image is computed by itself, with the batch in the first "
        "dimension of every physical layer",
        next_step="put the batch first (batch_first=True), take no statistics over it in "
        "evaluation, or leave the layer digital with modules=",
    )


@contextmanager
def apart(model: nn.Module) -> Iterator[None]:
    """Context in which no layer is operated, overridden or read out by anything else."""
    names = ("operation", "field_tap", "read_out_tap", "_recorded_peak", "_calls", "_images")
    layers = physical_layers(model).values()
    kept = [
        (layer, {n: getattr(layer, n) for n in names}, layer.weight_override) for layer in layers
    ]
    try:
        for layer in layers:
            vars(layer).update(dict.fromkeys(names))
            layer.override_weight(None)
        yield
    finally:
        for layer, attributes, override in kept:
            vars(layer).update(attributes)
            layer.override_weight(override)


@contextmanager
def _hooked(model: nn.Module, hook: _Hook | None, images: int) -> Iterator[None]:
    layers: list[PhysicalLayer] = list(physical_layers(model).values())
    handles = [layer.register_forward_hook(hook) for layer in layers] if hook else []
    try:
        for layer in layers:
            layer.start_pass(images)
        yield
    finally:
        for handle in handles:
            handle.remove()


def _changed(_: nn.Module, inputs: Any, y: Tensor) -> Tensor:
    """Outputs of another device: not all by one factor, which a normalisation would take out."""
    return y * torch.linspace(0.5, 1.5, y.shape[-1], dtype=y.real.dtype, device=y.device)


def _second_half_changed(layer: nn.Module, inputs: Any, y: Tensor) -> Tensor:
    half = len(y) // 2
    return torch.cat([y[:half], _changed(layer, inputs, y[half:])])
