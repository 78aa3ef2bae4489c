"""Whether a converted network computes what the network that it was made from computes."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import torch
from torch import Tensor, nn

from pnnbench.errors import UserError
from pnnbench.workloads.sharing import apart

#: Images that are compared.
IMAGES = 8
#: Share of the largest output by which the middle one of the images may differ. A single image may
#: differ by more: rounding moves a step function across now and then.
_TOLERANCE = 1e-3


@torch.no_grad()
def check_likeness(
    model: nn.Module,
    run: Callable[[Tensor], Any],
    original: nn.Module,
    names: Collection[str],
    x: Tensor,
) -> None:
    """Refuses a converted network that is another function than the original at its weights.

    A forward that looks at the kinds of its layers, such as one that puts an activation behind each
    `torch.nn.Linear`, takes another way where layers are physical. A network with random outputs
    is not judged, nor is one that the original cannot be asked for.

    Args:
        model: The converted network, in evaluation; it stays as it is.
        run: Computes its outputs from its inputs.
        original: The network before the conversion, in a copy of its own: it takes the weights.
        names: Names of the layers that have become physical.
        x: Inputs (N, ...), of which the first are taken.

    Raises:
        UserError: If the outputs differ.
    """
    x = x[:IMAGES]
    original.eval()
    try:
        _take_weights(original, model, names)
        expected = original(x.clone())
        again = original(x.clone())
        with apart(model):
            found = run(x)
    except Exception:  # whatever somebody's network raises: the passes that follow tell it
        return
    if not all(isinstance(outputs, Tensor) for outputs in (expected, again, found)):
        return
    if not torch.equal(expected, again):  # random, or without a number
        return
    if found.shape == expected.shape:
        off = (found - expected).abs().flatten(1).amax(1).median()
        if float(off) <= _TOLERANCE * float(expected.abs().max()):
            return
    raise UserError(
        "the network computes something else with physical layers than it did with its own, at the "
        "same weights",
        allowed="a forward that calls its layers, whatever kind they are of: isinstance(layer, "
        "nn.Linear) and hasattr(layer, 'in_features') are false for physical ones",
        next_step="write what the forward does between the layers without looking at their kinds, "
        "or leave them digital with modules=",
    )


def _take_weights(original: nn.Module, model: nn.Module, names: Collection[str]) -> None:
    """Gives a network the parameters and buffers of the one that was made of it."""
    own: dict[str, Tensor] = dict(model.named_parameters(remove_duplicate=False))
    own |= dict(model.named_buffers(remove_duplicate=False))
    for name, held in (*original.named_parameters(), *original.named_buffers()):
        if name in own and own[name].shape == held.shape:
            held.data = own[name].detach().clone()  # in its precision, where it is
    for name in names:
        made: Any = model.get_submodule(name)
        layer = getattr(made, "layer", made)
        weight = layer.ideal_weight() if layer is made else made.gain * layer.ideal_weight()
        linear: Any = original.get_submodule(name)
        linear.weight.data = weight.detach().clone()
        if linear.bias is not None:
            linear.bias.data = made.bias.detach().clone()
