"""Limited-memory BFGS with a line search: an optimiser that computes the loss several times."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from types import MappingProxyType
from typing import Any, ClassVar, cast

import torch
from torch import Tensor

from pnnbench.errors import check_count, check_range
from pnnbench.methods.base import TrainingMethod
from pnnbench.methods.draws import Draws
from pnnbench.methods.laws import Law, LawOf
from pnnbench.workloads.base import Batch, Workload


class LBFGS(TrainingMethod):
    """Back-propagation on control parameters with L-BFGS, whose memory is of one batch.

    Each batch gets a few quasi-Newton iterations with a line search that meets the strong Wolfe
    conditions. Differences of gradients between batches are no curvature, so that the memory
    starts anew with each batch: batches should be large. Every evaluation of the loss is counted.
    What the search asks for beyond the range of the hardware is the setting at its edge.

    Args:
        iterations: Quasi-Newton iterations for each batch, 1 to 1,000.
        history: Pairs of steps and gradients that are remembered, 1 to 1,000.
        lr: First length that the line search tries, in (0, 10], without a unit: 1 is the
            quasi-Newton step. It follows the schedule.
    """

    amounts: ClassVar[tuple[str, ...]] = ()
    laws: ClassVar[Mapping[str, LawOf]] = MappingProxyType({"lr": Law(0.03, 3.0, most=10.0)})
    source = "Liu and Nocedal, Mathematical Programming 45, 503 (1989)"

    def __init__(self, iterations: int = 4, history: int = 10, lr: float = 1.0) -> None:
        super().__init__(check_range("lr", lr, low=0.0, high=10.0, low_open=True))
        self.iterations = check_count("iterations", iterations, low=1, high=1000)
        self.history = check_count("history", history, low=1, high=1000)

    def make_optimizer(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        """One group, since L-BFGS knows no more: controls and digital parameters together."""
        return torch.optim.LBFGS(
            [p for group in groups for p in group["params"]],
            lr=float(self.lr),
            max_iter=self.iterations,
            history_size=self.history,
            line_search_fn="strong_wolfe",
        )

    def step(self, workload: Workload, batch: Batch) -> Tensor:
        """Takes the iterations of one batch.

        Returns:
            Loss before them.
        """
        optimizer = cast(torch.optim.LBFGS, workload.optimizers())
        optimizer.state.clear()
        first = True
        draws = Draws(workload)
        controls = workload.controls(trainable=True)

        def closure() -> Tensor:
            nonlocal first
            optimizer.zero_grad()
            asked = {name: p.detach().clone() for name, p in controls.items()}
            workload.project_controls()
            with ExitStack() as again:
                if not first:
                    again.enter_context(workload.extra_pass())
                    again.enter_context(draws.again())
                loss = workload.loss(workload(batch[0]), batch)
                loss.backward()
            for name, p in controls.items():  # beyond the range nothing changes any more
                if p.grad is not None:
                    p.grad.masked_fill_(p.detach() != asked[name], 0.0)
            first = False
            return loss

        return cast(Tensor, optimizer.step(closure))
