"""The interface between the rooms: what a method, the harness and the runner know of a workload."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, ClassVar

import torch
import torchmetrics
from torch import Tensor, nn

from pnnbench.data import DataSet, resolve_data
from pnnbench.data.augmentation import Augmentation, check_augmentation
from pnnbench.errors import UserError, check_range, kind_word, line_of
from pnnbench.platforms.base import (
    FABRICATION,
    Condition,
    Device,
    Environment,
    PhysicalLayer,
    derive_seed,
    operate,
    physical_layers,
)
from pnnbench.platforms.products import ConvProduct
from pnnbench.platforms.sources import DRAWN, DeviceSource
from pnnbench.seeds import FIRST_VALIDATION_DEVICE, training_device_seed
from pnnbench.workloads.amounts import Scale
from pnnbench.workloads.axes import check_axes, further_cells
from pnnbench.workloads.calibration import calibrate
from pnnbench.workloads.classification import Batch as Batch
from pnnbench.workloads.classification import Classification as Classification
from pnnbench.workloads.grid import (
    FIRST_TEST_DEVICE,
    FROZEN,
    Cell,
    Deployment,
    Law,
    of_source,
    part_of_grid,
)
from pnnbench.workloads.hardware import Hardware, measured_on
from pnnbench.workloads.lightning_steps import Access as Access
from pnnbench.workloads.lightning_steps import LightningSteps
from pnnbench.workloads.networks import PhysicalNetwork
from pnnbench.workloads.regression import Regression as Regression
from pnnbench.workloads.replaced import call_replaced
from pnnbench.workloads.tiers import Tier as Tier
from pnnbench.workloads.tiers import find_tier


class Workload(LightningSteps):
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
    #: Severity of the device that methods train on in situ.
    training_severity: ClassVar[float]
    #: Unit of the severities.
    severity_unit: ClassVar[str] = "x measured spread"
    #: Severity of the devices behind the sharpness figure ``device_increase``.
    sharpness_severity: ClassVar[float] = 0.1
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
            self.network = self._built()
        for layer in self.layers().values():
            if isinstance(layer, ConvProduct):
                layer.channels_last = self.channels_last
        if self._brought is not None:
            self.network.check_input(self._brought.input_shape, self._brought.name)
        # In a tuple, since assigning a module would register it a second time.
        self._parts = (_Part(self.network, "prefix"), _Part(self.network, "physical"))
        self._devices: DeviceSource = DRAWN
        self._axes: tuple[str, ...] = ()
        self.gradient_evaluations = 0
        self.hardware_queries = 0

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

    def check_ready(self) -> None:
        """Raises a UserError if something that its metric needs is missing; here nothing is.

        Asked before a suite, a search or a training begins.
        """

    @property
    def devices(self) -> DeviceSource:
        """Where all its devices come from: of tests, training, validation and sharpness alike.

        Drawn from seeds unless it is set to another source, such as `MeasuredDevices.read(path)`;
        a source whose devices are not those of the network is refused with a `UserError`.
        """
        return self._devices

    @devices.setter
    def devices(self, source: DeviceSource) -> None:
        if not isinstance(source, DeviceSource):
            said = repr(source) if isinstance(source, str) else kind_word(source)
            raise UserError(
                f"devices of a workload are {said}",
                allowed="a source of devices",
                next_step="workload.devices = "
                "pnnbench.platforms.measured.MeasuredDevices.read('FILE')",
            )
        source.check(self.network)
        check_axes(self._axes, self.layers(), source)
        self._devices = source

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

    @property
    def control_scale(self) -> Scale:
        """The change of one control in which methods state steps and strengths.

        One that matters: an optimiser takes a tenth of it per step. Here one unit; a workload
        states its own.
        """
        return Scale(1.0, self._unit("control_unit"))

    @property
    def offset_scale(self) -> Scale:
        """The offset of what the controls tune in which methods state noise and slopes.

        As large as those of a poor device of the grid. Here one unit; a workload states its own.
        """
        return Scale(1.0, self._unit("offset_unit"))

    @property
    def weight_scale(self) -> Scale:
        """The change of one weight in which methods that train weights state their steps.

        What `control_scale` makes of a weight. Here 1; a workload states its own.
        """
        return Scale(1.0, "weight")

    @property
    def ball_scale(self) -> Scale:
        """The Euclidean norm of a change of all controls in which methods state radii.

        As many times `control_scale` as moves every control by it: the square root of their number.
        """
        return self.control_scale.times(math.sqrt(self.n_controls))

    def tensors(self) -> dict[str, Tensor]:
        """What is kept of a trained workload: the tensors of the network by their names."""
        return dict(self.network.state_dict())

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Takes `tensors` back.

        Raises:
            RuntimeError: If names or shapes differ.
        """
        self.network.load_state_dict(dict(tensors))

    @property
    def n_controls(self) -> int:
        """Number of control parameters, those that are not trained included."""
        return sum(p.numel() for p in self.controls().values())

    def _unit(self, kind: str) -> str:
        units = {getattr(layer, kind) for layer in self.layers().values()}
        return units.pop() if len(units) == 1 else ""

    def forward(self, x: Tensor) -> Tensor:
        """Outputs of the network, (B, ...) for inputs (B, ...)."""
        return self.physical(self.prefix(x))

    def prefix(self, x: Tensor, parameters: Mapping[str, Tensor] | None = None) -> Tensor:
        """What goes into the first physical layer.

        A method that needs several passes at other controls takes this part once.

        Args:
            x: Inputs (B, ...).
            parameters: Replacements as for `physical`.

        Returns:
            Tensor (B, ...); the inputs themselves if the first layer is physical.
        """
        x = self.in_precision(x)
        if not parameters:
            return self.network.prefix(x)
        return call_replaced(self._parts[0], parameters, x)

    def in_precision(self, x: Tensor) -> Tensor:
        """The same inputs where the network is, in double precision if it is kept in it."""
        like = next(self.network.parameters())
        if x.dtype == torch.float32 and like.dtype == torch.float64:
            x = x.double()
        return x.to(like.device)

    def physical(self, h: Tensor, parameters: Mapping[str, Tensor] | None = None) -> Tensor:
        """Outputs (B, ...) from the inputs of the first physical layer (B, ...).

        Args:
            h: What `prefix` gives.
            parameters: Replacements under the names of `controls` or `digital_parameters`,
                differentiable; those left out are at their present values.

        Returns:
            Outputs (B, ...).
        """
        if torch.is_grad_enabled():
            self.gradient_evaluations += 1
        if not parameters:
            return self.network.physical(h)
        return call_replaced(self._parts[1], parameters, h)

    def outputs_at(self, x: Tensor, parameters: Mapping[str, Tensor]) -> Tensor:
        """Outputs with some parameters replaced, differentiable with respect to them.

        Args:
            x: Inputs (B, ...).
            parameters: Replacements under the names of `controls` or `digital_parameters`.

        Returns:
            Outputs (B, ...).
        """
        return self.physical(self.prefix(x, parameters), parameters)

    @contextmanager
    def extra_pass(self) -> Iterator[None]:
        """Context for a forward pass that must not touch buffers such as batch-norm statistics."""
        owners = [(m, n, b) for m in self.network.modules() for n, b in m._buffers.items()]
        try:
            for module, name, buffer in owners:
                module._buffers[name] = None if buffer is None else buffer.clone()
            yield
        finally:
            for module, name, buffer in owners:
                module._buffers[name] = buffer

    def layers(self) -> dict[str, PhysicalLayer]:
        """Physical layers by their names in the network."""
        return physical_layers(self.network)

    def controls(self, *, trainable: bool = False) -> dict[str, nn.Parameter]:
        """Control parameters by their names in this module, in layer order.

        Args:
            trainable: Whether to leave out those that are frozen (``requires_grad`` is False), such
                as a heater that cannot be set. Methods train and move what is trainable only.
        """
        return {
            f"network.{layer}.{name}": getattr(module, name)
            for layer, module in self.layers().items()
            for name in module.control_names
            if not trainable or getattr(module, name).requires_grad
        }

    def control_origins(self) -> dict[str, float]:
        """Where the platform counts the `controls` from, by name; see `PhysicalLayer`."""
        return {
            f"network.{layer}.{name}": origin
            for layer, module in self.layers().items()
            for name, origin in module.control_origins().items()
        }

    def digital_parameters(self, *, trainable: bool = False) -> dict[str, nn.Parameter]:
        """Parameters that are not controls: biases, batch norm, digital layers.

        Args:
            trainable: Whether to leave out those that are frozen; see `controls`.
        """
        controls = self.controls()
        return {
            f"network.{name}": p
            for name, p in self.network.named_parameters()
            if f"network.{name}" not in controls and (not trainable or p.requires_grad)
        }

    def project_controls(self) -> None:
        """Puts the controls back into the range the hardware allows."""
        for layer in self.layers().values():
            layer.project()

    def draw_device(self, severity: float, seed: int | None, law: Law = FABRICATION) -> Device:
        """Draws one device for this network; the ideal one without a seed.

        Args:
            severity: Severity of its errors, in the unit of their law.
            seed: Names the device.
            law: How its errors are drawn; see `pnnbench.workloads.grid.Law`.

        Returns:
            The device. The same seed at another severity is the same draw, scaled.

        Raises:
            UserError: If the seed is that of a test device while a method trains, or there is a
                severity without a seed.
        """
        if seed is None:
            check_range("severity of the ideal device", severity, low=0.0, high=0.0)
            return Device.ideal()
        self._refuse_test_device(seed)
        return self._devices.device(self.network, severity, seed, law)

    def training_device(self, number: int) -> Device:
        """A device that in-situ methods train on.

        Args:
            number: Which one, from 0; see `pnnbench.seeds.training_device_seed`.

        Raises:
            UserError: If there is none.
        """
        severity, _ = self.training_point
        seed = training_device_seed(number)
        return self._devices.device(self.network, severity, seed, FABRICATION)

    def has_training_device(self, number: int) -> bool:
        """Whether there is such a device: always if they are drawn, of measured ones if any trains.

        Args:
            number: Which one, from 0.
        """
        return bool(self._devices.having([training_device_seed(number)]))

    @property
    def training_point(self) -> tuple[float, str]:
        """Severity of training devices, and its unit."""
        return self._devices.as_it_is(self.training_severity, self.severity_unit)

    @property
    def sharpness_point(self) -> tuple[float, str]:
        """Severity of the devices behind the sharpness figure ``device_increase``, and its unit."""
        return self._devices.as_it_is(self.sharpness_severity, self.severity_unit)

    def nominal_environment(self) -> Environment:
        """The operating conditions that the workload is designed for."""
        return next(iter(self.layers().values())).environment_class()

    def operating(self, device: Device, environment: Environment | None = None) -> Any:
        """Context that puts the network on one device, differentiable, without shot noise."""
        return operate(self.network, [Condition(device, environment)])

    def hardware(
        self, device: Device, environment: Environment | None = None, *, seed: int = 0
    ) -> Hardware:
        """This workload on one device as a black box.

        Args:
            device: The device.
            environment: Conditions; None is nominal.
            seed: Seed of the detectors' noise.

        Returns:
            The black box; it reads intermediate fields out if the attached method declares so.

        Raises:
            UserError: If the attached method is in silico, or trains and asks for a test device.
        """
        internal = False
        if self.method is not None:
            if self.method.access == "in_silico":
                raise UserError(
                    f"{type(self.method).__name__} is in silico: it may not measure on hardware",
                    next_step="declare access = 'in_situ' on its class",
                )
            internal = self.method.access == "in_situ_internal"
            self._refuse_test_device(device.seed)
        return Hardware(self, Condition(device, environment), internal=internal, seed=seed)

    def _refuse_test_device(self, seed: int | None) -> None:
        meant = self.method is not None and self.training
        if meant and seed is not None and seed >= FIRST_VALIDATION_DEVICE:
            kind = "test" if seed >= FIRST_TEST_DEVICE else "validation"
            raise UserError(
                f"device {seed} is a {kind} device: training methods never meet it",
                allowed=f"seeds below {FIRST_VALIDATION_DEVICE}",
            )

    def calibrate(
        self, images: Tensor, batch_size: int = 500, *, device: Device | None = None
    ) -> None:
        """Gathers batch-norm statistics and read-out full scales on one device.

        Both are those of one pass of the final parameters over all images, however they are cut
        into batches, so that no method's training noise stays in them.

        Args:
            images: Training images (N, ...), N at least 2.
            batch_size: Images per batch, at least 1.
            device: The device that a method in situ has trained on, measured in its nominal
                environment with noisy detectors that range themselves; its queries are counted.
                None is the ideal device, simulated without noise.

        Raises:
            UserError: As `pnnbench.workloads.calibration.calibrate`.
        """
        images = self.in_precision(images)
        if device is None:
            calibrate(self.network, images, batch_size)
            return
        with measured_on(self.network, device):
            self.hardware_queries += calibrate(self.network, images, batch_size)

    def figures(self, images: Tensor, labels: Tensor) -> dict[str, float]:
        """Measures what the workload shows beside its metric; part of a record.

        Args:
            images: Test images (N, ...).
            labels: Their labels (N,).

        Returns:
            Name with its unit -> value. None by default.
        """
        return {}


class _Part(nn.Module):
    """Prefix or physical part of a network, parameters under their names in a workload."""

    def __init__(self, network: PhysicalNetwork, part: str) -> None:
        super().__init__()
        self.network = network
        self.part = part

    def forward(self, x: Tensor) -> Tensor:
        return getattr(self.network, self.part)(x)
