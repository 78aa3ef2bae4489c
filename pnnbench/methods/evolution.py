"""Evolution strategy: offspring are measured on the device, the best of them are averaged."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

import torch

from pnnbench.errors import UserError, check_count
from pnnbench.methods.candidates import CandidateMethod
from pnnbench.methods.laws import Law, LawOf
from pnnbench.workloads.amounts import Amount
from pnnbench.workloads.base import Batch, Workload


class Evolution(CandidateMethod):
    """Evolution strategy (μ/μ, λ): the mean of the best offspring is the next parent.

    Each batch is one generation: λ Gaussian offspring of the present settings are measured, and the
    μ with the lowest loss are averaged with weights that fall with the logarithm of their rank. The
    mutations shrink with the schedule of the learning rate. The more parameters, the more
    generations it takes: at its defaults it knows a third of the images of ``mrr-digits`` after the
    quick tier's epochs, and most of ``mzi-digits`` (``tests/methods/test_amounts.py``, slow).

    Args:
        population: Offspring of a generation λ, 2 to 10,000: so many times is each image measured.
        parents: How many of them are averaged, μ, 1 to ``population``.
        lr: Peak standard deviation of the mutations of a control, > 0: multiples of
            `Workload.control_scale`, or absolute (``"0.03 mA"``).
        lr_digital: Peak standard deviation of the mutations of a digital parameter.

    Raises:
        UserError: If a hyper-parameter is out of range.
    """

    # Best so far: 0.3 on rings and meshes, of 0.05 to 0.6.
    laws: ClassVar[Mapping[str, LawOf]] = MappingProxyType({"lr": Law(0.03, 3.0)})
    source = (
        "Beyer and Schwefel, Natural Computing 1, 3 (2002); weights of Hansen, arXiv:1604.00772"
    )

    def __init__(
        self,
        population: int = 32,
        parents: int = 8,
        lr: Amount = 0.3,
        lr_digital: float = 0.02,
    ) -> None:
        super().__init__(lr, lr_digital)
        self.population = check_count("population", population, low=2, high=10_000)
        self.parents = check_count("parents", parents, low=1)
        if self.parents > self.population:
            raise UserError(
                f"parents is {self.parents} of a population of {self.population}",
                allowed=f"1 to {self.population}",
            )

    def step(self, workload: Workload, batch: Batch) -> float:
        """Takes one generation.

        Returns:
            Mean loss of those that were chosen.
        """
        generator, sizes = self.generator(), self.sizes(workload)
        trained = self.trained(workload)
        measured = []
        for _ in range(self.population):
            child = {
                name: p.detach()
                + sizes[name] * torch.randn(p.shape, generator=generator, dtype=torch.float32).to(p)
                for name, p in trained.items()
            }
            measured.append(self.measured_loss(workload, batch, child))
        chosen = sorted(measured, key=lambda found: found[0])[: self.parents]
        weights = [math.log(self.parents + 0.5) - math.log(i + 1) for i in range(self.parents)]
        with torch.no_grad():
            for name, p in trained.items():
                shares = [
                    w * reached[name] for w, (_, reached) in zip(weights, chosen, strict=True)
                ]
                p.copy_(torch.stack(shares).sum(0) / sum(weights))
        return sum(loss for loss, _ in chosen) / self.parents
