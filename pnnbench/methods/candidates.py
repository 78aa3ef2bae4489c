"""What methods share that compare settings by what the device measures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from types import MappingProxyType
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from pnnbench.methods.base import TrainingMethod
from pnnbench.methods.draws import Draws
from pnnbench.methods.laws import Law, LawOf, Rule
from pnnbench.workloads.base import Access, Batch, Workload


class StepSizes(torch.optim.Optimizer):
    """Sizes of steps that a method takes itself: groups, schedule and checkpoint of an optimiser.

    Args:
        groups: Parameters and their ``lr``, the size of a step.
    """

    def __init__(self, groups: list[dict[str, Any]]) -> None:
        super().__init__(groups, {"lr": 0.0})

    def step(self, closure: Any = None) -> Any:
        """Moves nothing; returns what the closure returns."""
        return None if closure is None else closure()


class CandidateMethod(TrainingMethod):
    """Base of methods in situ that set parameters, measure the loss and go where it is lower.

    No gradient is taken, and the device is simulated nowhere. What lies before the first physical
    layer is computed. Settings beyond the range of the hardware are those at its edge.
    """

    access: ClassVar[Access] = "in_situ"
    chosen_by: ClassVar[Rule] = "own device"
    laws: ClassVar[Mapping[str, LawOf]] = MappingProxyType(
        {"lr_digital": Law(1e-3, 1.0, most=100.0, on_request=True)}
    )

    _draws: Draws
    _drawn_at: int | None = None

    def attach(self, workload: Workload) -> None:
        """Starts with draws of its own."""
        super().attach(workload)
        self._drawn_at = None

    def make_optimizer(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        """Step sizes that follow the schedule."""
        return StepSizes(groups)

    @staticmethod
    def trained(workload: Workload) -> dict[str, nn.Parameter]:
        """Trainable controls and digital parameters by name."""
        return {
            **workload.controls(trainable=True),
            **workload.digital_parameters(trainable=True),
        }

    def sizes(self, workload: Workload) -> dict[str, float]:
        """Present size of a step of each of `trained`, in its own unit."""
        groups = cast(torch.optim.Optimizer, workload.optimizers()).param_groups
        sizes = {id(p): float(group["lr"]) for group in groups for p in group["params"]}
        return {name: sizes[id(p)] for name, p in self.trained(workload).items()}

    @torch.no_grad()
    def measured_loss(
        self, workload: Workload, batch: Batch, values: Mapping[str, Tensor]
    ) -> tuple[float, dict[str, Tensor]]:
        """Task loss of what the device gives at other settings; the workload keeps its own.

        Args:
            workload: The workload, in training mode.
            batch: Inputs (B, ...) and targets (B, ...).
            values: Settings of some of `trained` by name.

        Returns:
            The loss, infinite where it is not a number, and the settings as far as the hardware
            allows them.
        """
        if self._drawn_at != self.calls:  # another batch
            self._draws, self._drawn_at = Draws(workload), self.calls
            again: AbstractContextManager[None] = nullcontext()
        else:
            again = self._draws.again()
        trained = self.trained(workload)
        before = {name: trained[name].detach().clone() for name in values}
        try:
            for name, value in values.items():
                trained[name].copy_(value)
            workload.project_controls()
            with again:  # settings of one batch are compared: all passes drop the same
                with workload.extra_pass():
                    h = workload.prefix(batch[0])
                outputs = self.hardware.measure(h).outputs
            reached = {name: trained[name].detach().clone() for name in values}
        finally:
            for name, value in before.items():
                trained[name].copy_(value)
        loss = float(workload.loss(outputs, batch))
        return (math.inf if math.isnan(loss) else loss), reached
