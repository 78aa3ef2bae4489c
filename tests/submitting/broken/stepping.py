"""Methods that set the parameters themselves, and the faults of such."""

from __future__ import annotations

import random
from typing import Any

import torch
from torch import Tensor, nn

from pnnbench.methods.base import TrainingMethod
from pnnbench.workloads.base import Batch, Workload


class Steps(TrainingMethod):
    """Sets the parameters itself: a step against the sign of the gradient.

    Attributes:
        rate: Size of the step, in the unit of each parameter.
    """

    rate = 1e-3

    def __init__(self) -> None:
        super().__init__(0.1)

    def trained(self, workload: Workload) -> dict[str, nn.Parameter]:
        """Trainable controls and digital parameters."""
        return {
            **workload.controls(trainable=True),
            **workload.digital_parameters(trainable=True),
        }

    def step(self, workload: Workload, batch: Batch) -> Any:
        """Steps."""
        trained = list(self.trained(workload).values())
        loss = workload.loss(workload(batch[0]), batch)
        with torch.no_grad():
            for p, slope in zip(trained, torch.autograd.grad(loss, trained), strict=True):
                p.sub_(self.rate * slope.sign())
        return loss


class ReturnsNothing(Steps):
    """Keeps the loss to itself."""

    def step(self, workload: Workload, batch: Batch) -> None:
        super().step(workload, batch)


class ReturnsMany(Steps):
    """Returns a loss for each class."""

    def step(self, workload: Workload, batch: Batch) -> Tensor:
        return super().step(workload, batch) * torch.ones(10)


class ReturnsNan(Steps):
    """Returns no number."""

    def step(self, workload: Workload, batch: Batch) -> float:
        super().step(workload, batch)
        return float("nan")


class StandsStill(Steps):
    """Computes and sets nothing."""

    rate = 0.0


class StepsOut(Steps):
    """Steps far and does not come back."""

    rate = 10.0

    def after_step(self, workload: Workload) -> None:
        pass


class StepsAtRandom(Steps):
    """Draws its steps from a global generator."""

    def step(self, workload: Workload, batch: Batch) -> Any:
        self.rate = random.uniform(1e-3, 2e-3)  # noqa: S311
        return super().step(workload, batch)


class StepsAnew(Steps):
    """Learns less with each step, and begins again after an interruption."""

    def attach(self, workload: Workload) -> None:
        super().attach(workload)
        self.rate = 1e-3

    def step(self, workload: Workload, batch: Batch) -> Any:
        self.rate *= 0.9
        return super().step(workload, batch)


class StepsOnFrozen(Steps):
    """Moves what is frozen."""

    def step(self, workload: Workload, batch: Batch) -> Any:
        loss = super().step(workload, batch)
        with torch.no_grad():
            for p in workload.network.parameters():
                p.add_(1e-4)
        return loss


class TakesEverything(Steps):
    """Accepts what Lightning cannot do for it."""

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        self.attach(pl_module)


class Forward(Steps):
    """Keeps a random step that lowers the loss: no gradient, no hardware."""

    @torch.no_grad()
    def step(self, workload: Workload, batch: Batch) -> float:
        generator, trained = self.generator(), self.trained(workload)
        with workload.extra_pass():
            before = workload.loss(workload(batch[0]), batch)
            moved = {
                n: p + 1e-2 * torch.randn(p.shape, generator=generator) for n, p in trained.items()
            }
            after = workload.loss(workload.outputs_at(batch[0], moved), batch)
        for name, p in trained.items():
            p.copy_(moved[name] if after < before else 2 * p - moved[name])
        return float(before)


class TwoOptimizers(Steps):
    """Adam for the controls, SGD for what is digital."""

    def configure_optimizers(self, workload: Workload) -> Any:
        return [
            torch.optim.Adam(workload.controls(trainable=True).values(), lr=1e-2),
            torch.optim.SGD(
                workload.digital_parameters(trainable=True).values(), lr=1e-2, momentum=0.9
            ),
        ]

    def step(self, workload: Workload, batch: Batch) -> Tensor:
        optimizers = workload.optimizers()
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss = workload.loss(workload(batch[0]), batch)
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
        return loss


FAULTS: list[tuple[type[Any], str, str]] = [
    (ReturnsNothing, "step", "ReturnsNothing.step returned None"),
    (ReturnsMany, "step", "ReturnsMany.step returned 10 numbers"),
    (ReturnsNan, "step", "returned nan on the first batch"),
    (StandsStill, "controls-change", "left every control as it was"),
    (StepsOut, "controls-in-range", "project_controls"),
    (StepsAtRandom, "reproducible", "self.generator()"),
    (StepsAnew, "resumes", "state_dict()"),
    (StepsOnFrozen, "frozen", "is frozen and has moved"),
    (TakesEverything, "own-steps", "gradient_clip_val"),
]
