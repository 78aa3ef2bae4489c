"""What a metric is handed: outputs and targets, the inputs too, or all of a cell at once.

A ``torchmetrics.Metric`` says so by two attributes. ``needs``, a tuple of names among `NAMES`, is
what its ``update`` takes, in that order; without it outputs and targets. ``whole = True`` asks for
one call of ``update`` with all images of a cell; without it ``update`` is called batch by batch.

A metric may give several figures, as a ``torchmetrics.MetricCollection`` does: ``compute`` returns
a mapping. The one with the workload's ``metric_name`` is the metric by which a board is sorted, the
others stand beside it. Without one of that name it is the first; a collection, which sorts its
names, has to have one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NoReturn, cast

import torch
import torchmetrics
from torch import Tensor

from pnnbench.errors import UserError

#: What a metric may need.
NAMES = ("outputs", "targets", "inputs")


def needs_of(metric: torchmetrics.Metric | torchmetrics.MetricCollection) -> tuple[str, ...]:
    """What the ``update`` of a metric takes, in order.

    Args:
        metric: The metric.

    Returns:
        Names among `NAMES`.

    Raises:
        UserError: If the metric declares something else.
    """
    found = getattr(metric, "needs", NAMES[:2])
    names = (found,) if isinstance(found, str) else tuple(found)
    if not names or len(set(names)) < len(names) or not set(names) <= set(NAMES):
        raise UserError(
            f"needs of the metric {type(metric).__name__} is {found!r}",
            allowed=f"different names among {', '.join(NAMES)}, such as ('outputs', 'inputs')",
        )
    return names


class Handing:
    """A metric on its way through the images of one cell.

    Args:
        metric: A fresh metric.
        name: Name of the figure by which a board is sorted.

    Raises:
        UserError: If it is a collection without that one, or see `needs_of`.
    """

    def __init__(
        self, metric: torchmetrics.Metric | torchmetrics.MetricCollection, name: str
    ) -> None:
        self.metric = metric
        self.name = name
        if isinstance(metric, torchmetrics.MetricCollection):
            names = [str(given) for given, _ in metric.items()]
            if name not in names:
                self._refuse(names)
        self.needs = needs_of(metric)
        self._whole = bool(getattr(metric, "whole", False))
        self._kept: list[tuple[Tensor, ...]] = []

    def update(self, outputs: Tensor, targets: Tensor, inputs: Tensor) -> None:
        """Adds outputs, targets and inputs (B, ...) of some images."""
        given = {"outputs": outputs, "targets": targets, "inputs": inputs}
        chosen = tuple(given[name] for name in self.needs)
        if self._whole:
            self._kept.append(chosen)
        else:
            self.metric.update(*chosen)

    def figures(self) -> tuple[float, dict[str, float]]:
        """The metric over all images that were added, and the figures beside it by name.

        Raises:
            UserError: If a collection has no figure of the metric's name.
        """
        if self._kept:
            self.metric.update(*(torch.cat(parts) for parts in zip(*self._kept, strict=True)))
            self._kept = []
        found = self.metric.compute()
        if not isinstance(found, Mapping):
            return float(found), {}
        figures = {str(name): float(value) for name, value in found.items()}
        sorts = self.name if self.name in figures else next(iter(figures))
        if sorts != self.name and isinstance(self.metric, torchmetrics.MetricCollection):
            self._refuse(figures)
        return figures.pop(sorts), figures

    def check_direction(self, higher_is_better: bool) -> None:
        """Refuses a workload that sorts by its metric the other way round.

        Args:
            higher_is_better: What the workload says.

        Raises:
            UserError: If the metric says the opposite; one that says nothing is believed.
        """
        sorts = self.metric
        if isinstance(sorts, torchmetrics.MetricCollection):
            sorts = cast(Any, sorts[self.name])
        told = getattr(sorts, "higher_is_better", None)
        if told is None or bool(told) == bool(higher_is_better):
            return
        better, name = ("lower", "higher")[bool(told)], type(sorts).__name__
        raise UserError(
            f"{better} is better of the metric {name}, and the workload has higher_is_better = "
            f"{bool(higher_is_better)} for {self.name!r}",
            allowed="a workload with metric_name, higher_is_better and chance of its own metric",
            next_step=f"set higher_is_better = {bool(told)} on the workload, and what guessing has",
        )

    def _refuse(self, figures: Iterable[str]) -> NoReturn:
        raise UserError(
            f"the metric gives {', '.join(figures)}, and metric_name is {self.name!r}",
            allowed="a collection with a metric of that name",
        )

    def compute(self) -> float:
        """The metric over all images that were added."""
        return self.figures()[0]
