"""A pass of a network with some of its parameters replaced, differentiable in the replacements."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn
from torch.func import functional_call


def call_replaced(module: nn.Module, parameters: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """Calls a module with replaced parameters, wherever it uses them.

    A module under several names is one module, and a parameter that several modules share is one
    parameter. (`functional_call` ties names by itself as well, but swaps the parameters of a module
    under two names twice, and puts the replacement back in the place of the parameter.)

    Args:
        module: The module; it is as it was afterwards.
        parameters: Replacements under the first of the names that a parameter has.
        x: Inputs.

    Returns:
        What the module gives.
    """
    names: dict[int, list[str]] = {}
    for owner, part in module.named_modules():
        for name, parameter in part._parameters.items():
            if parameter is not None:
                names.setdefault(id(parameter), []).append(f"{owner}.{name}" if owner else name)
    shared = {same[0]: same for same in names.values() if len(same) > 1}
    everywhere = {
        name: value for first, value in parameters.items() for name in shared.get(first, (first,))
    }
    return functional_call(module, everywhere, (x,), tie_weights=False)
