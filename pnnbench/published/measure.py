"""What the published protocols of several platforms measure in the same way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from pnnbench.evaluation.lanczos import Product

#: Mean and standard deviation with which published code normalises MNIST images in [0, 1].
INPUT_MEAN, INPUT_STD = 0.1307, 0.3081


@contextmanager
def batch_statistics(network: nn.Module) -> Iterator[None]:
    """Lets batch norm normalise with each batch's own statistics, leaving its buffers alone."""
    norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    buffers = [(m.running_mean, m.running_var) for m in norms]
    try:
        for m in norms:
            m.running_mean = m.running_var = None
        yield
    finally:
        for m, (mean, var) in zip(norms, buffers, strict=True):
            m.running_mean, m.running_var = mean, var


def parameter_product(loss: Tensor, parameters: Sequence[Tensor]) -> Product:
    """Products with the Hessian of a loss with respect to tensors of any kind, digital or physical.

    Args:
        loss: A scalar with a graph that can be differentiated twice; it is kept.
        parameters: Leaves of that graph, n numbers in all.

    Returns:
        Function from a flat vector (n,), the parameters one after another, to the product (n,),
        both float64; computed in the precision of the parameters.
    """
    sizes = [p.numel() for p in parameters]
    gradient = torch.autograd.grad(loss, parameters, create_graph=True, materialize_grads=True)
    pairs = [(i, g) for i, g in enumerate(gradient) if g.requires_grad]

    def product(vector: Tensor) -> Tensor:
        parts = [v.view_as(p).to(p) for v, p in zip(vector.split(sizes), parameters, strict=True)]
        rows = torch.autograd.grad(
            [g for _, g in pairs],
            parameters,
            [parts[i] for i, _ in pairs],
            retain_graph=True,
            materialize_grads=True,
        )
        return torch.cat([row.flatten() for row in rows]).double()

    return product
