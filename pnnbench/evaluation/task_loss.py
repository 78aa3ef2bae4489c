"""The task loss as sharpness takes it: of the network's outputs, in double precision."""

from __future__ import annotations

import torch
from torch import Tensor

from pnnbench.workloads.base import Workload


def _double(t: Tensor) -> Tensor:
    return t.double() if t.is_floating_point() else t


def task_loss(workload: Workload, outputs: Tensor, batch: tuple[Tensor, Tensor]) -> Tensor:
    """A workload's own loss of outputs of any precision, itself in double precision.

    In a sample that is told apart well the gradient of the cross-entropy is the difference of a
    probability and one. In single precision that loses all digits long before the network does:
    of a network of microrings with a loss of 5e-7 the leading Hessian eigenvalue is off by 9,000
    units in the last place, and with the loss in double precision by less than 100.

    Args:
        workload: The workload.
        outputs: Outputs of its network (B, ...).
        batch: Inputs and targets (B, ...), as its loss takes them.

    Returns:
        A scalar, float64, differentiable; from a loss that takes single precision only (one with
        weights of its own, say) its value as it is, whose second derivatives are less exact then.
    """
    x, y = batch
    try:
        loss = workload.loss(outputs.double(), (_double(x), _double(y)))
    except (RuntimeError, TypeError):
        if outputs.dtype == torch.float64:
            raise
        loss = workload.loss(outputs, batch)
    return loss.double()
