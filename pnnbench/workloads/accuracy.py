"""Top-1 accuracy."""

from __future__ import annotations

import torch
import torchmetrics
from torch import Tensor


def top1(outputs: Tensor, targets: Tensor) -> Tensor:
    """Which images are right: their largest output is that of their class, and all are finite.

    Args:
        outputs: Outputs (B, classes).
        targets: Class indices (B,).

    Returns:
        Booleans (B,).
    """
    right = outputs.argmax(1) == targets.to(outputs.device)
    return right & torch.isfinite(outputs).all(1)


class Accuracy(torchmetrics.Metric):
    """Share of the images whose largest output is that of their class.

    An image with an output that is not finite counts as wrong.

    Attributes:
        counts_not_finite: A metric that says so decides itself what outputs that are not finite
            count; the harness gives no value for other metrics that meet them.
    """

    counts_not_finite = True
    higher_is_better = True
    is_differentiable = False
    full_state_update = False
    correct: Tensor
    total: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("correct", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")
        self.add_state("total", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Adds the outputs (B, classes) and class indices (B,) of some images."""
        self.correct += top1(outputs, targets).sum().to(self.correct)
        self.total += len(targets)

    def compute(self) -> Tensor:
        """The share, in [0, 1], in float64: ``n`` right of ``N`` is the float ``n / N``."""
        return self.correct.double() / self.total
