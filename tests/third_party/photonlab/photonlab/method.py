"""A training method: signs instead of gradients."""

from types import MappingProxyType

import torch

from pnnbench import TrainingMethod
from pnnbench.errors import check_range
from pnnbench.methods.laws import Law


class SignStep(TrainingMethod):
    """The task loss at controls that have all moved by the same step, up the slope.

    Args:
        step_size: Size of the step, from 0 to 10, in multiples of the workload's control scale.
        lr: Peak learning rate of the controls; see TrainingMethod.
    """

    source = "photonlab, internal note 3"
    laws = MappingProxyType({"step_size": Law(0.001, 0.1)})

    def __init__(self, step_size: float = 0.01, lr: float = 0.1) -> None:
        super().__init__(lr)
        self.step_size = check_range("step_size", step_size, low=0.0, high=10.0)

    def loss(self, workload, batch):
        """The loss up the slope."""
        controls = workload.controls(trainable=True)
        with workload.extra_pass():
            first = workload.loss(workload(batch[0]), batch)
        slopes = torch.autograd.grad(first, list(controls.values()))
        step = self.step_size * workload.control_scale.value
        moved = {n: p + step * g.sign() for (n, p), g in zip(controls.items(), slopes, strict=True)}
        return workload.loss(workload.outputs_at(batch[0], moved), batch)
