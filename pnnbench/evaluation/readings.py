"""What one cell comes to: its metric, and right or wrong of each image."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from pnnbench.accelerator import device_of
from pnnbench.errors import UserError
from pnnbench.evaluation.gaps import NotFiniteError
from pnnbench.workloads.base import Workload
from pnnbench.workloads.handing import Handing

#: Largest figure that a record holds.
LARGEST = 1e50


@dataclasses.dataclass(frozen=True)
class Reading:
    """What the metric of one cell came to.

    Attributes:
        value: The metric; None where there is none.
        not_finite: Images whose outputs were not all finite.
        error: Why there is no value; None where there is one.
        queries: Images that the device has measured before, to be calibrated.
        right: Which images are right, booleans (N,); None for tasks without right and wrong, and
            where `right_error` says why.
        right_error: Why it is not known which images are right.
        also: Figures beside the metric by name; one that is not finite, or above `LARGEST`, is
            left out.
    """

    value: float | None
    not_finite: int = 0
    error: Exception | None = None
    queries: int = 0
    right: Tensor | None = dataclasses.field(default=None, compare=False, repr=False)
    right_error: Exception | None = dataclasses.field(default=None, compare=False, repr=False)
    also: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def as_dict(self, name: str = "value") -> dict[str, Any]:
        """The value under a name, as in records.

        Beside it ``not_finite`` if there are such images, and ``also`` if there are more figures.
        """
        dark = {"not_finite": self.not_finite} if self.not_finite else {}
        return {name: self.value, **dark, **({"also": dict(self.also)} if self.also else {})}


class Meter:
    """One metric on its way through the images, on the workload's device until it is read."""

    def __init__(self, workload: Workload) -> None:
        self.handing = Handing(
            workload.metric().to(device_of(workload.network)), workload.metric_name
        )
        self.metric = self.handing.metric
        self._not_finite: list[Tensor] = []
        self.images = 0
        self.error: Exception | None = None

    def update(self, outputs: Tensor, targets: Tensor, inputs: Tensor) -> None:
        """Adds outputs, targets and inputs (B, ...) of some images."""
        finite = torch.isfinite(outputs.reshape(len(outputs), -1)).all(1)
        self._not_finite.append((~finite).sum())
        self.images += len(outputs)
        if self.error is None:
            try:
                self.handing.update(outputs, targets, inputs)
            except Exception as error:
                self.error = error

    @property
    def not_finite(self) -> int:
        """Images whose outputs were not all finite."""
        return int(torch.stack(self._not_finite).sum()) if self._not_finite else 0

    def _figures(self) -> tuple[float, dict[str, float]]:
        if self.error is not None:
            raise self.error
        # A metric that was not made for them may take such outputs for class 0, or for nothing.
        if self.not_finite and not getattr(self.metric, "counts_not_finite", False):
            raise NotFiniteError(
                f"the outputs of {self.not_finite} of {self.images} images are not finite, and "
                f"{type(self.metric).__name__} does not say what they count"
            )
        value, also = self.handing.figures()
        if not abs(value) <= LARGEST:  # what is no number, too
            raise NotFiniteError(f"the metric {type(self.metric).__name__} is {value}")
        return value, {name: figure for name, figure in also.items() if abs(figure) <= LARGEST}

    def reading(self) -> Reading:
        """The value, or why there is none."""
        try:
            value, also = self._figures()
            return Reading(value, self.not_finite, also=also)
        except Exception as error:
            return Reading(None, self.not_finite, error)


class Outcomes:
    """Right or wrong of each image of some cells that share a batch."""

    def __init__(self, workload: Workload, count: int) -> None:
        self.workload = workload
        self.count = count
        self.parts: list[Tensor] = []
        self.error: Exception | None = None

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Adds outputs (count * B, ...), cell by cell, and the targets (B, ...) of all of them."""
        if self.error is not None:
            return
        try:
            every = targets.repeat(self.count, *[1] * (targets.dim() - 1))
            right = self.workload.outcomes(outputs, every)
            if right is None:
                return
            if right.shape != (len(outputs),) or right.dtype != torch.bool:
                raise UserError(
                    f"the outcomes of {len(outputs)} images are {right.dtype} of shape "
                    f"{tuple(right.shape)}",
                    allowed="one boolean per image",
                )
            self.parts.append(right.unflatten(0, (self.count, -1)))
        except Exception as error:
            self.error = error

    def of(self, readings: Sequence[Reading]) -> list[Reading]:
        """The readings of the cells with their outcomes."""
        if self.error is not None:
            return [dataclasses.replace(reading, right_error=self.error) for reading in readings]
        if not self.parts:
            return list(readings)
        rows = torch.cat(self.parts, dim=1).cpu()
        return [
            dataclasses.replace(reading, right=row)
            for reading, row in zip(readings, rows, strict=True)
        ]
