"""The interface between the rooms: what a method, the harness and the runner know of a workload."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

import torch
import torchmetrics
from torch import Tensor, nn

from pnnbench.data import DataSet, resolve_data
from pnnbench.data.augmentation import Augmentation, check_augmentation
from pnnbench.errors import UserError, kind_word, line_of, own_code
from pnnbench.platforms.base import derive_seed
from pnnbench.platforms.products import ConvProduct
from pnnbench.workloads.axes import check_axes, further_cells
from pnnbench.workloads.classification import Batch as Batch
from pnnbench.workloads.classification import Classification as Classification
from pnnbench.workloads.grid import (
    FROZEN,
    Cell,
    Deployment,
    of_source,
    part_of_grid,
)
from pnnbench.workloads.handing import Handing
from pnnbench.workloads.lightning_steps import Access as Access
from pnnbench.workloads.networks import PhysicalNetwork
from pnnbench.workloads.operated import Operated
from pnnbench.workloads.reached import check_reached
from pnnbench.workloads.regression import Regression as Regression
from pnnbench.workloads.tiers import Tier as Tier
from pnnbench.workloads.tiers import find_tier


class Workload(Operated):
    """A platform/task pair: network, loss, metric and the perturbations that apply.

    `training_step` asks the attached training method for the loss to back-propagate, or to take its
    step, and does nothing else; see `LightningSteps` for what Lightning's Trainer does with it.

    Args:
        init_seed: Seed of the initial control and digital parameters.
        data: Another data set than that of the class, as `pnnbench.data.resolve_data` takes it;
            networks that can are sized by it.

    Attributes:
        network: The network of physical and digital layers.
        gradient_evaluations: Passes through the network recorded for differentiation so far.
        hardware_queries: Inputs measured on hardware so far.
    """

    #: Registered name.
    name: ClassVar[str]
    #: Registered name of the platform.
    platform: ClassVar[str]
    #: The data set that is meant, as `pnnbench.data.resolve_data` takes it, most often its name.
    data: ClassVar[Any]
    #: Name of the metric, whether more of it is better, and its value for guessing.
    metric_name: ClassVar[str] = "accuracy"
    higher_is_better: ClassVar[bool] = True
    chance: ClassVar[float | None] = None
    #: How the images of training batches are changed each time they are met; None for as they are.
    augmentation: ClassVar[Augmentation | None] = None
    #: Tier name -> how much to run.
    tiers: ClassVar[Mapping[str, Tier]]
    #: Fewest images of which its metric can be taken.
    least_images: int = 1
    #: Images without labels from which a deployed device's batch-norm statistics are taken again
    #: (``"offset-calibrated"``), beside those of the ideal device; 0 for none.
    offset_calibration_images: ClassVar[int] = 0
    #: Which of the deployments gives the robust score.
    headline: ClassVar[Deployment] = FROZEN
    #: Whether a job gains from a GPU by so much that it takes one where there is one.
    gains_from_gpu: ClassVar[bool] = False
    #: Whether physical convolutions have channels last in memory; see
    #: `pnnbench.platforms.products.ConvProduct`. From some 16 channels on it is faster.
    channels_last: ClassVar[bool] = False
    #: Field of the environment -> half-width of the range around nominal for methods that train
    #: against the environment.
    environment_ranges: ClassVar[Mapping[str, float]] = MappingProxyType({})

    def __init__(self, init_seed: int = 0, *, data: Any = None) -> None:
        super().__init__()
        self._brought = None if data is None else resolve_data(data, where=type(self).__name__)
        if self._brought is not None:
            self.check_data(self._brought)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed("init", init_seed))
            self._take(self._built())
        for layer in self.layers().values():
            if isinstance(layer, ConvProduct):
                layer.channels_last = self.channels_last
        if self._brought is not None:
            self.network.check_input(self._brought.input_shape, self._brought.name)

    def __setattr__(self, name: str, value: Any) -> None:
        # Some fifty times a step Lightning notes which of its hooks is running: a text, or None,
        # of which torch need not look whether it is a parameter, a buffer or a module.
        if name == "_current_fx_name":
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    @property
    def data_set(self) -> DataSet:
        """The data set that the workload is trained and measured on.

        Raises:
            UserError: If there is none.
        """
        return self.brought or resolve_data(self._own_data())

    @property
    def brought(self) -> DataSet | None:
        """The data set that is not that of the class; None for that."""
        return self._brought

    def _own_data(self) -> Any:
        found = getattr(type(self), "data", None)
        if found is None:
            raise UserError(
                f"{type(self).__name__} has no data set",
                allowed="what pnnbench.data.resolve_data takes",
                next_step="name it on the class, data = 'digits', or give data=",
            )
        return found

    def check_data(self, data_set: DataSet) -> None:
        """Raises a UserError if the task cannot be done with a data set; here any will do.

        Args:
            data_set: What was brought.
        """

    def check_reached(self, x: Tensor) -> None:
        """Raises a UserError if devices would change nothing; see `reached.check_reached`.

        Args:
            x: Inputs (N, ...).
        """
        check_reached(self, x)

    def check_ready(self) -> None:
        """Raises a UserError if its metric cannot be had, or something that it needs is missing.

        So it does if the metric says the opposite of `higher_is_better`, or is another one than
        `metric_name` was given to. Asked before a suite, a search or a training begins.
        """
        with own_code(f"the metric of {type(self).__name__} cannot be had"):
            handing = Handing(self.metric(), self.metric_name)
        handing.check_direction(self.higher_is_better)
        self._check_name()

    def _check_name(self) -> None:
        """Refuses a class that makes a metric of its own and keeps the name of another one."""
        order = type(self).__mro__
        made, named = (
            next(i for i, cls in enumerate(order) if attribute in vars(cls))
            for attribute in ("metric", "metric_name")
        )
        maker = order[made]
        if made < named:
            raise UserError(
                f"{maker.__name__} has a metric() of its own, and metric_name {self.metric_name!r} "
                f"is that of {order[named].__name__}",
                allowed="metric_name, higher_is_better and chance beside metric()",
                next_step="say what it is called, which way it points and what guessing has",
            )

    @property
    def axes(self) -> tuple[str, ...]:
        """Axes beside those of its grid: names of `pnnbench.workloads.axes.AXES`, none by default.

        Their cells are measured and shown, and carry no weight. A name that is unknown, or an axis
        that the network has not, is refused with a `UserError`.
        """
        return self._axes

    @axes.setter
    def axes(self, names: Sequence[str]) -> None:
        check_axes(names, self.layers(), self._devices)
        self._axes = tuple(names)

    def build_network(self) -> PhysicalNetwork:
        """Builds the network with fresh parameters from torch's global generator.

        `data_set` says which inputs it has to take, and how many classes there are.
        """
        raise NotImplementedError

    def _built(self) -> PhysicalNetwork:
        found = self.build_network()
        if not isinstance(found, nn.Module):
            place = line_of(type(self).build_network)
            raise UserError(
                f"build_network of {type(self).__name__} gives {kind_word(found)}: {place}",
                allowed="a pnnbench.workloads.networks.PhysicalNetwork",
                next_step="end it with: return PhysicalNetwork(...)",
            )
        return found

    def perturbation_grid(self, tier: str) -> list[Cell]:
        """Declares the cells on which the workload is measured at a tier."""
        raise NotImplementedError

    def cells(self, tier: str) -> list[Cell]:
        """The cells that are measured: the grid on the devices that there are, then other `axes`.

        Args:
            tier: Name of the tier.
        """
        unit = self.severity_unit
        one = 1.0 if unit.startswith("x ") else self.training_severity
        grid = of_source(self.perturbation_grid(tier), self._devices, one)
        devices = sorted({c.device_seed for c in grid if c.device_seed is not None})
        environment = self.nominal_environment()
        return [*grid, *further_cells(self._axes, environment, devices)]

    def part_of_grid(self, tier: str) -> list[Cell]:
        """Declares the few cells on which a run is measured after shares of its steps.

        Args:
            tier: Name of the tier.

        Returns:
            Cells of `cells` that carry weight, by default those of
            `pnnbench.workloads.grid.part_of_grid`.
        """
        return part_of_grid(self.cells(tier))

    def metric(self) -> torchmetrics.Metric:
        """Makes a fresh metric.

        Its ``update`` takes outputs and targets, batch by batch; for other needs see
        `pnnbench.workloads.handing`.
        """
        raise NotImplementedError

    def outcomes(self, outputs: Tensor, targets: Tensor) -> Tensor | None:
        """Says which images are right, where the task has right and wrong.

        Args:
            outputs: Outputs of the network (B, ...); what is not finite is wrong.
            targets: Targets (B, ...).

        Returns:
            Booleans (B,), a figure of each image by itself; None for tasks without.
        """
        return None

    @classmethod
    def tier(cls, name: str) -> Tier:
        """Looks a tier up.

        Raises:
            UserError: If the workload has no such tier.
        """
        return find_tier(
            getattr(cls, "tiers", None), name, where=getattr(cls, "name", cls.__name__)
        )

    def describe(self, tier: str) -> dict[str, Any]:
        """Everything of the workload that decides a result at a tier, as plain values.

        Args:
            tier: Name of the tier.

        Returns:
            Class, tier, test devices, grid, layers and the number of parameters; axes and the
            source of devices where they are not the usual ones; the augmentation where there is
            one.
        """
        cells = self.cells(tier)
        source = self._devices.describe()
        return {
            **({"axes": list(self._axes)} if self._axes else {}),
            **({"devices": source} if source else {}),
            **self._augmented(),
            "workload": f"{type(self).__module__}.{type(self).__qualname__}",
            "network": type(self.network).__qualname__,
            "tier": dataclasses.asdict(self.tier(tier)),
            "test_devices": sorted({c.device_seed for c in cells if c.device_seed is not None}),
            "grid": [
                {"axis": axis, "level": level, "severity": severity, "environment": dict(env)}
                for axis, level, severity, env in dict.fromkeys(
                    (c.axis, c.level, c.severity, tuple(c.environment.as_dict().items()))
                    for c in cells
                )
            ],
            "layers": {name: layer.describe() for name, layer in self.layers().items()},
            "scales": {
                "control": dataclasses.asdict(self.control_scale),
                "offset": dataclasses.asdict(self.offset_scale),
                "weight": dataclasses.asdict(self.weight_scale),
                **self._own_ball(),
            },
            "offset_calibration_images": self.offset_calibration_images,
            "headline": self.headline,
            "n_controls": self.n_controls,
            "n_digital": sum(p.numel() for p in self.digital_parameters().values()),
        }

    def _augmented(self) -> dict[str, Any]:
        """How training images are changed, as plain values; nothing where they are not."""
        given = self.augmentation
        check_augmentation(given, type(self).__name__)
        if given is None:
            return {}
        given.check(self.data_set.input_shape, self.data_set.name)
        return {"augmentation": dataclasses.asdict(given)}

    def _own_ball(self) -> dict[str, Any]:
        """The scale of radii, where it does not follow from that of the controls."""
        if type(self).ball_scale is Workload.ball_scale:
            return {}
        return {"ball": dataclasses.asdict(self.ball_scale)}

    def figures(self, images: Tensor, labels: Tensor) -> dict[str, float]:
        """Measures what the workload shows beside its metric; part of a record.

        Args:
            images: Test images (N, ...).
            labels: Their labels (N,).

        Returns:
            Name with its unit -> value. None by default.
        """
        return {}
