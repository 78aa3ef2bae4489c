"""Classification: its loss, its metric, and which outputs are right."""

from __future__ import annotations

from typing import Any, ClassVar, cast

import torch.nn.functional as F
import torchmetrics
from torch import Tensor

from pnnbench.workloads.accuracy import Accuracy, GuessingLevel, top1

Batch = tuple[Tensor, Tensor]


class Classification:
    """Mixin: cross-entropy loss and top-1 accuracy over ``n_classes``.

    A workload with another accuracy gives `metric` and `outcomes` together.

    ``chance`` is the accuracy of guessing each class equally often, 1 / ``n_classes``. Where the
    classes are not balanced, the answer that is always the most frequent class reaches its share:
    such a workload sets ``chance`` on its class to that share.
    """

    n_classes: ClassVar[int] = 10
    chance: ClassVar[float | None] = cast(Any, GuessingLevel())

    def loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Mean cross-entropy of logits (B, classes)."""
        return F.cross_entropy(outputs, batch[1])

    def metric(self) -> torchmetrics.Metric:
        """Top-1 accuracy over all images; outputs that are not finite count as wrong."""
        return Accuracy()

    def outcomes(self, outputs: Tensor, targets: Tensor) -> Tensor | None:
        """Which images are right (B,): the largest output is that of the class, all are finite."""
        return top1(outputs, targets)
