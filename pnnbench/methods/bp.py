"""Back-propagation through the digital model, on the control parameters."""

from __future__ import annotations

from torch import Tensor

from pnnbench.methods.base import TrainingMethod
from pnnbench.workloads.amounts import Amount
from pnnbench.workloads.base import Batch, Workload


class BP(TrainingMethod):
    """Back-propagation on control parameters: L(Θ). The baseline of the fair protocol.

    Args:
        lr: Peak learning rate of the control parameters; see TrainingMethod.
        lr_digital: Peak learning rate of the digital parameters.
        optimizer: ``"adam"`` or ``"sgd"``.
    """

    source = "Rumelhart, Hinton, Williams, Nature 323, 533 (1986)"

    def __init__(self, lr: Amount = 0.1, lr_digital: float = 1e-3, optimizer: str = "adam") -> None:
        super().__init__(lr, lr_digital, optimizer)

    def loss(self, workload: Workload, batch: Batch) -> Tensor:
        """Task loss on the ideal device."""
        return workload.loss(workload(batch[0]), batch)
