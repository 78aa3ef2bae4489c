"""Classification: its loss, its metric, and which outputs are right."""

from __future__ import annotations

from typing import Any, ClassVar, cast

import torch.nn.functional as F
import torchmetrics
from torch import Tensor

from pnnbench.data import DataSet, resolve_data
from pnnbench.errors import UserError
from pnnbench.workloads.accuracy import Accuracy, top1

Batch = tuple[Tensor, Tensor]


class _Classes:
    """Class attribute that is the number of classes of the data set; 10 where none is named."""

    def __get__(self, instance: Any, owner: type) -> int | None:
        if instance is None:
            named = getattr(owner, "data", None)
            return 10 if named is None else resolve_data(named).n_classes
        data_set: DataSet = instance.data_set
        return data_set.n_classes


class _GuessingLevel:
    """Class attribute that is what guessing reaches of the class, or of the object, it is read on.

    1 / ``n_classes``; where the classes of the data set are not balanced, the share of the most
    frequent one.
    """

    def __get__(self, instance: Any, owner: type) -> float:
        n = getattr(owner if instance is None else instance, "n_classes")  # noqa: B009
        data_set: DataSet | None = None if instance is None else instance.data_set
        # A workload may make classes of its own from those of the set.
        if data_set is None or data_set.balanced or data_set.n_classes != n:
            return 1.0 / int(n)
        return data_set.constant_score()


class Classification:
    """Mixin: cross-entropy loss and top-1 accuracy over ``n_classes``.

    A workload with another accuracy gives `metric` and `outcomes` together.

    ``n_classes`` is that of the data set. ``chance`` is the accuracy of guessing: 1 / ``n_classes``
    where the classes are balanced, as in the sets that ship, else the share of the most frequent
    one. A workload with classes of its own sets both on its class.
    """

    metric_name: ClassVar[str] = "accuracy"
    higher_is_better: ClassVar[bool] = True
    n_classes: ClassVar[int] = cast(Any, _Classes())
    chance: ClassVar[float | None] = cast(Any, _GuessingLevel())

    def check_data(self, data_set: DataSet) -> None:
        """Refuses a set of real-valued targets."""
        if data_set.n_classes is None:
            raise UserError(
                f"{type(self).__name__} classifies, and data {data_set.name!r} has real targets",
                allowed="a data set with classes",
                next_step="write a workload with Regression in the place of Classification",
            )

    def loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Mean cross-entropy of logits (B, classes)."""
        self._check_outputs(outputs)
        return F.cross_entropy(outputs, batch[1])

    def metric(self) -> torchmetrics.Metric:
        """Top-1 accuracy over all images; outputs that are not finite count as wrong."""
        return Accuracy()

    def outcomes(self, outputs: Tensor, targets: Tensor) -> Tensor | None:
        """Which images are right (B,): the largest output is that of the class, all are finite."""
        self._check_outputs(outputs)
        return top1(outputs, targets)

    def _check_outputs(self, outputs: Tensor) -> None:
        """Refuses outputs that are fewer than the classes; looked at once."""
        if self.__dict__.get("_outputs_fit", False):
            return
        try:
            n = self.n_classes
        except UserError:  # outputs of a network whose data set is not there are not looked at
            return
        if outputs.dim() != 2 or outputs.shape[1] < n:
            raise UserError(
                f"the network of {type(self).__name__} gives outputs of shape "
                f"{tuple(outputs.shape)} for {n} classes",
                allowed=f"(batch, {n}): one output for each class",
                next_step="give its last layer as many outputs as the data have classes",
            )
        self.__dict__["_outputs_fit"] = True
