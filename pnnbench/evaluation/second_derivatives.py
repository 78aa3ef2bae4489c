"""Second derivatives of a network for less work; they stay what they are, but for rounding.

A graph of gradients holds what its operations need to be differentiated again, and torch's batch
norm and convolution hold, and compute, more than a Hessian over the controls asks for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from pnnbench.platforms.fixed_inputs import fixed_inputs

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


@contextmanager
def cheap_second_derivatives(network: nn.Module) -> Iterator[None]:
    """Context for passes of a network whose gradients will be differentiated again.

    Inside, batch norms in evaluation mode are the scale and shift of each channel that they are
    there, and convolutions leave out derivatives towards inputs that ask for none.

    Args:
        network: The network; afterwards it is what it was.
    """
    norms = [
        m
        for m in network.modules()
        if isinstance(m, _BatchNorm) and type(m) in _NORMS and _is_fixed(m)
    ]
    for norm in norms:
        norm.__dict__["forward"] = _scaling(norm)
    try:
        with fixed_inputs():
            yield
    finally:
        for norm in norms:
            norm.__dict__.pop("forward", None)


def _is_fixed(norm: _BatchNorm) -> bool:
    """Whether a batch norm has statistics of its own, and takes these."""
    return not norm.training and norm.running_mean is not None and "forward" not in norm.__dict__


def _scaling(norm: _BatchNorm) -> Callable[[Tensor], Tensor]:
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None and variance is not None  # noqa: S101, PT018 - `_is_fixed`
    scale = (variance + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * norm.weight
    shift = -mean * scale
    if norm.bias is not None:
        shift = shift + norm.bias

    def forward(x: Tensor) -> Tensor:
        shape = (-1,) + (1,) * (x.dim() - 2)
        return torch.addcmul(shift.view(shape), x, scale.view(shape))

    return forward
