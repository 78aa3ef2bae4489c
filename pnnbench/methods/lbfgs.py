"""Limited-memory BFGS with a line search: an optimiser that computes the loss several times."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from types import MappingProxyType
from typing import Any, ClassVar, cast

import torch
from torch import Tensor

from pnnbench.accelerator import device_of
from pnnbench.errors import check_count, check_range
from pnnbench.methods.base import TrainingMethod
from pnnbench.methods.laws import Law, LawOf
from pnnbench.workloads.base import Batch, Workload


class _Draws:
    """What a network draws in a pass, such as dropout, to be drawn once more.

    A line search compares values of one function: with other draws in each pass it finds none that
    is lower, and stands still.

    Args:
        device: Where the network is.
    """

    def __init__(self, device: torch.device) -> None:
        self._gpus = [device] if device.type == "cuda" else []
        self._states = [torch.get_rng_state(), *map(torch.cuda.get_rng_state, self._gpus)]

    @contextmanager
    def again(self) -> Iterator[None]:
        """Context in which the same is drawn as from when this was made."""
        with torch.random.fork_rng(devices=self._gpus):
            torch.set_rng_state(self._states[0])
            for gpu, state in zip(self._gpus, self._states[1:], strict=True):
                torch.cuda.set_rng_state(state, gpu)
            yield


class LBFGS(TrainingMethod):
    """Back-propagation on control parameters with L-BFGS, whose memory is of one batch.

    Each batch gets a few quasi-Newton iterations with a line search that meets the strong Wolfe
    conditions. Differences of gradients between batches are no curvature, so that the memory
    starts anew with each batch: batches should be large. Every evaluation of the loss is counted.

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
        draws = _Draws(device_of(workload.network))

        def closure() -> Tensor:
            nonlocal first
            optimizer.zero_grad()
            with ExitStack() as again:
                if not first:
                    again.enter_context(workload.extra_pass())
                    again.enter_context(draws.again())
                loss = workload.loss(workload(batch[0]), batch)
                loss.backward()
            first = False
            return loss

        return cast(Tensor, optimizer.step(closure))
