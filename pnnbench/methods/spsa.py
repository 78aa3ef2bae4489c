"""Simultaneous perturbation: a gradient estimated from pairs of measurements."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

import torch
from torch import Tensor

from pnnbench.errors import check_count, check_range
from pnnbench.methods.candidates import CandidateMethod
from pnnbench.methods.laws import Law, LawOf
from pnnbench.workloads.amounts import Amount, check_amount
from pnnbench.workloads.base import Batch, Workload


class SPSA(CandidateMethod):
    """Simultaneous perturbation stochastic approximation, in situ, with Adam on the estimate.

    All parameters are moved at once, up or down at random, and the loss is measured there and on
    the other side; the difference over the distance estimates every slope. Estimates of several
    directions are averaged. The loss that is returned has the estimate as its gradient, so that
    clipping and accumulation of gradients work as for any other method.

    Args:
        directions: Pairs of measurements for each batch, 1 to 10,000.
        distance: How far a control is moved, > 0: multiples of `Workload.control_scale`, or
            absolute (``"0.03 mA"``).
        distance_digital: How far a digital parameter is moved, in (0, 100].
        lr: Peak learning rate of the control parameters; see TrainingMethod.
        lr_digital: Peak learning rate of the digital parameters.
        optimizer: ``"adam"`` or ``"sgd"``.
    """

    amounts: ClassVar[tuple[str, ...]] = ("lr", "distance")
    # Best so far on rings: 0.1, of 0.03 to 0.3.
    laws: ClassVar[Mapping[str, LawOf]] = MappingProxyType({"distance": Law(0.01, 1.0)})
    source = "Spall, IEEE Transactions on Automatic Control 37, 332 (1992)"

    def __init__(
        self,
        directions: int = 16,
        distance: Amount = 0.1,
        distance_digital: float = 0.03,
        lr: Amount = 0.1,
        lr_digital: float = 0.03,
        optimizer: str = "adam",
    ) -> None:
        super().__init__(lr, lr_digital, optimizer)
        self.directions = check_count("directions", directions, low=1, high=10_000)
        self.distance = check_amount("distance", distance, low_open=True)
        self.distance_digital = check_range(
            "distance_digital", distance_digital, low=0.0, high=100.0, low_open=True
        )

    def make_optimizer(self, groups: list[dict[str, object]]) -> torch.optim.Optimizer:
        """Adam or SGD, as for methods that back-propagate."""
        return super(CandidateMethod, self).make_optimizer(groups)

    def loss(self, workload: Workload, batch: Batch) -> Tensor:
        """Mean loss of all measurements, with the estimate as its gradient."""
        generator, trained = self.generator(), self.trained(workload)
        controls = workload.controls()
        far = self.amount("distance", workload)
        slopes = {name: torch.zeros_like(p) for name, p in trained.items()}
        total, pairs = 0.0, 0
        for _ in range(self.directions):
            moves = {
                name: (far if name in controls else self.distance_digital)
                * (2.0 * torch.randint(2, p.shape, generator=generator) - 1.0).to(p)
                for name, p in trained.items()
            }
            up, above = self.measured_loss(
                workload, batch, {n: p.detach() + moves[n] for n, p in trained.items()}
            )
            down, below = self.measured_loss(
                workload, batch, {n: p.detach() - moves[n] for n, p in trained.items()}
            )
            if not math.isfinite(up) or not math.isfinite(down):
                continue  # a reading that is no number says nothing of the slope
            pairs += 1
            for name, slope in slopes.items():  # at the edge of its range a control moves less
                moved = above[name] - below[name]
                slope += torch.where(moved == 0.0, 0.0, (up - down) / moved)
            total += up + down
        if not pairs:
            total = math.nan
        linear = sum((p * slopes[name] / max(1, pairs)).sum() for name, p in trained.items())
        assert isinstance(linear, Tensor)  # noqa: S101 - `check` has seen something to train
        return linear - linear.detach() + total / (2 * max(1, pairs))
