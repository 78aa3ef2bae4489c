"""Regression: real-valued targets, their mean squared error, less is better."""

from __future__ import annotations

from typing import Any, ClassVar, cast

import torch
import torch.nn.functional as F
import torchmetrics
from torch import Tensor

from pnnbench.data import DataSet
from pnnbench.errors import UserError

Batch = tuple[Tensor, Tensor]


def like_targets(outputs: Tensor, targets: Tensor) -> Tensor:
    """Outputs in the shape of their targets, so that no axis is spread over another.

    Args:
        outputs: Outputs (B, ...), such as (B, 1).
        targets: Targets (B, ...), such as (B,).

    Returns:
        The outputs.

    Raises:
        UserError: If an input has another number of outputs than of targets.
    """
    if outputs.shape[:1] != targets.shape[:1] or outputs.numel() != targets.numel():
        raise UserError(
            f"outputs have the shape {tuple(outputs.shape)} and targets {tuple(targets.shape)}",
            allowed="one output for each target",
        )
    return outputs.reshape(targets.shape)


def squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean squared error of outputs (B, ...) in the shape of their targets (B, ...).

    Raises:
        UserError: As `like_targets`.
    """
    return F.mse_loss(like_targets(outputs, targets), targets)


class MSE(torchmetrics.MeanSquaredError):
    """Mean squared error over all targets, summed in double precision.

    So the value does not depend on how the inputs are cut into batches.
    """

    def __init__(self) -> None:
        super().__init__()
        self.set_dtype(torch.float64)

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Adds the outputs (B, ...) and targets (B, ...) of some inputs."""
        super().update(like_targets(outputs, targets).double(), targets.double())


class _MeanLevel:
    """Attribute that is the error of the constant mean; None on a class."""

    def __get__(self, instance: Any, owner: type) -> float | None:
        if instance is None:
            return None
        data_set: DataSet = instance.data_set
        return data_set.constant_score()


class Regression:
    """Mixin: mean squared error of real-valued targets, as loss and as metric; less is better.

    ``chance`` is the error of one answer for all inputs, the mean of the training targets.
    """

    metric_name: ClassVar[str] = "mse"
    higher_is_better: ClassVar[bool] = False
    chance: ClassVar[float | None] = cast(Any, _MeanLevel())

    def check_data(self, data_set: DataSet) -> None:
        """Refuses a set of classes."""
        if data_set.n_classes is not None:
            raise UserError(
                f"{type(self).__name__} takes real-valued targets, and data {data_set.name!r} has "
                f"{data_set.n_classes} classes",
                allowed="a data set with n_classes None",
            )

    def loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Mean squared error of outputs (B, ...)."""
        return squared_error(outputs, batch[1])

    def metric(self) -> torchmetrics.Metric:
        """Mean squared error over all inputs."""
        return MSE()

    def outcomes(self, outputs: Tensor, targets: Tensor) -> Tensor | None:
        """None: no output is right or wrong."""
        return None
