"""Coordinate search: one parameter at a time, and what lowers the measured loss is kept."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

import torch

from pnnbench.errors import check_count
from pnnbench.methods.candidates import CandidateMethod
from pnnbench.methods.laws import Law, LawOf
from pnnbench.workloads.amounts import Amount
from pnnbench.workloads.base import Batch, Workload


class CoordinateSearch(CandidateMethod):
    """Stochastic coordinate search on hardware.

    On each batch some parameters are chosen at random. Each is moved up, and down if that does not
    lower the measured loss; a step that lowers it is kept. It takes one measurement of the batch,
    and one or two for each chosen parameter, so that networks of thousands of parameters learn
    slowly: that is what the method costs. At its defaults it is still at guessing on ``mrr-digits``
    after the quick tier's epochs and below half on ``freespace-digits``; ``mzi-digits`` is learnt
    (``tests/methods/test_amounts.py``, slow).

    What one parameter changes has to be seen above the noise of the read-out, and of many noisy
    readings the smallest is kept. On untrained ``mrr-digits`` the loss of one batch of 32 reads 6.2
    with a standard deviation of 0.32, and a full step of one parameter changes it by 0.018, root
    mean square (median 0.004): some 600 readings of each of two settings tell one such step with an
    error of its own size, and the quick tier has 13 at most for each parameter
    (``tests/methods/test_candidates.py`` measures both).

    A variant of the source that keeps only what lowers the loss. The authors' optimiser sets a
    parameter to the step down, unasked, where the step up did not help, and compares the next one
    with the reading that this gives; here a step is kept only if it reads lower than everything
    before it in the batch.

    Args:
        coordinates: Parameters tried on each batch, 1 to 100,000; all of them if there are fewer.
        lr: Peak step of a control, > 0: multiples of `Workload.control_scale`, or absolute
            (``"0.3 mA"``); it follows the schedule of the learning rate.
        lr_digital: Peak step of a digital parameter.
    """

    # One parameter among many: only steps as large as the scale come near the detectors' noise.
    laws: ClassVar[Mapping[str, LawOf]] = MappingProxyType({"lr": Law(0.03, 10.0)})
    source = "Gu et al., AAAI 35, 7583 (2021), arXiv:2012.11148: sparse zeroth-order coordinates"

    def __init__(self, coordinates: int = 32, lr: Amount = 1.0, lr_digital: float = 0.1) -> None:
        super().__init__(lr, lr_digital)
        self.coordinates = check_count("coordinates", coordinates, low=1, high=100_000)

    @torch.no_grad()
    def step(self, workload: Workload, batch: Batch) -> float:
        """Tries some parameters.

        Returns:
            The smallest loss that was measured, by which the settings were kept. It is one reading
            of many, with the detectors' noise: on average lower than the loss at those settings.
        """
        sizes, trained = self.sizes(workload), self.trained(workload)
        places = [(name, i) for name, p in trained.items() for i in range(p.numel())]
        generator = self.generator()
        order = torch.randperm(len(places), generator=generator)[: self.coordinates]
        best, _ = self.measured_loss(workload, batch, {})
        for name, i in (places[int(k)] for k in order):
            for sign in (1.0, -1.0):
                moved = trained[name].detach().clone()
                moved.view(-1)[i] += sign * sizes[name]
                loss, reached = self.measured_loss(workload, batch, {name: moved})
                if loss < best:
                    best = loss
                    trained[name].copy_(reached[name])
                    break
        return best
