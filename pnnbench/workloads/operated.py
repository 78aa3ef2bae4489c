"""A workload on devices: where they come from, who may meet which, and calibration on one."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from pnnbench.errors import UserError, check_range, kind_word
from pnnbench.platforms.base import FABRICATION, Condition, Device, Environment, operate
from pnnbench.platforms.sources import DRAWN, DeviceSource
from pnnbench.seeds import FIRST_VALIDATION_DEVICE, training_device_seed
from pnnbench.workloads.axes import check_axes
from pnnbench.workloads.calibration import calibrate
from pnnbench.workloads.grid import FIRST_TEST_DEVICE, Law
from pnnbench.workloads.hardware import Hardware, measured_on
from pnnbench.workloads.parameters import Parameters


class Operated(Parameters):
    """A network on devices in environments.

    Attributes:
        hardware_queries: Inputs measured on hardware so far.
    """

    #: Severity of the device that methods train on in situ.
    training_severity: ClassVar[float]
    #: Unit of the severities.
    severity_unit: ClassVar[str] = "x measured spread"
    #: Severity of the devices behind the sharpness figure ``device_increase``.
    sharpness_severity: ClassVar[float] = 0.1

    def __init__(self) -> None:
        super().__init__()
        self._devices: DeviceSource = DRAWN
        self._axes: tuple[str, ...] = ()
        self.hardware_queries = 0

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

        Both are those of one pass of the final parameters over all images, so that no method's
        training noise stays in them. On the ideal device it does not matter how the images are cut
        into batches; on another one each batch has its own noise, and the detectors range
        themselves to it.

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
