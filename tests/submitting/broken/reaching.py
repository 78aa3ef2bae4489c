"""Methods that reach for what they must not: devices, insides, passes not counted, test data."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pnnbench.data import load
from pnnbench.platforms.base import Condition, Device
from pnnbench.seeds import FIRST_TRAINING_DEVICE
from pnnbench.workloads.base import Batch, Workload
from pnnbench.workloads.grid import FIRST_TEST_DEVICE
from pnnbench.workloads.hardware import Hardware

from .stepping import Steps
from .training import Plain


class Peeks(Plain):
    """Makes itself hardware, though it says it needs none."""

    def loss(self, workload: Workload, batch: Batch) -> Tensor:
        box = Hardware(workload, Condition(Device.ideal()))
        box.measure(workload.prefix(batch[0]))
        return super().loss(workload, batch)


class Asks(Plain):
    """Asks for hardware, though it says it needs none."""

    def loss(self, workload: Workload, batch: Batch) -> Tensor:
        workload.hardware(Device.ideal())
        return super().loss(workload, batch)


class Reaches(Plain):
    """Looks at fields with access to outputs only."""

    access = "in_situ"

    def loss(self, workload: Workload, batch: Batch) -> Tensor:
        fields = self.hardware.measure(workload.prefix(batch[0])).fields
        return super().loss(workload, batch) + 0.0 * len(fields)


class TrainsOnTestDevice(Plain):
    """Takes a test device for training."""

    access = "in_situ"

    def loss(self, workload: Workload, batch: Batch) -> Tensor:
        workload.hardware(workload.draw_device(0.1, FIRST_TEST_DEVICE))
        return super().loss(workload, batch)


class StepsOnTestDevice(Steps):
    """Measures a test device."""

    access = "in_situ"

    def step(self, workload: Workload, batch: Batch) -> Any:
        workload.hardware(workload.draw_device(0.1, FIRST_TEST_DEVICE)).measure(batch[0])
        return super().step(workload, batch)


class Uncounted(Plain):
    """Goes past the counter."""

    def loss(self, workload: Workload, batch: Batch) -> Tensor:
        return workload.loss(workload.network(batch[0]), batch)


class StepsUncounted(Steps):
    """Goes past the counter."""

    def step(self, workload: Workload, batch: Batch) -> Any:
        extra = torch.enable_grad(), workload.extra_pass()
        with extra[0], extra[1]:
            workload.network(batch[0])
        return super().step(workload, batch)


class ForwardUncounted(Steps):
    """Tries other settings past the counter, without a gradient."""

    def step(self, workload: Workload, batch: Batch) -> Any:
        with torch.no_grad(), workload.extra_pass():
            workload.network(batch[0])
        return super().step(workload, batch)


class PretendsInSitu(Plain):
    """Says that it needs hardware, and measures nothing."""

    access = "in_situ"


class Blind(Steps):
    """Declares that it measures, and computes."""

    access = "in_situ"


class Simulates(Steps):
    """Measures once, and chooses on the ideal network, which costs nothing that is counted."""

    access = "in_situ"

    def step(self, workload: Workload, batch: Batch) -> Any:
        with torch.no_grad(), workload.extra_pass():
            self.hardware.measure(workload.prefix(batch[0]))
            workload.network(batch[0])
        return super().step(workload, batch)


class LooksInside(Steps):
    """Reads the errors of the device that it is to learn by measuring."""

    access = "in_situ"

    def step(self, workload: Workload, batch: Batch) -> Any:
        self.hardware.measure(workload.prefix(batch[0]))
        assert workload.training_device(0).errors
        return super().step(workload, batch)


class SimulatesHardware(Plain):
    """Takes the gradient on the very device that others have to measure."""

    def loss(self, workload: Workload, batch: Batch) -> Tensor:
        with workload.operating(workload.draw_device(0.1, FIRST_TRAINING_DEVICE)):
            return super().loss(workload, batch)


class DrawsHardware(Plain):
    """Draws that device itself."""

    def loss(self, workload: Workload, batch: Batch) -> Tensor:
        device = Device.draw(workload.network, 0.1, FIRST_TRAINING_DEVICE)
        with workload.operating(device):
            return super().loss(workload, batch)


class Ensemble(Plain):
    """Takes the gradient on simulated devices, which is honest."""

    def loss(self, workload: Workload, batch: Batch) -> Tensor:
        with workload.operating(workload.draw_device(0.1, self.calls)):
            return super().loss(workload, batch)


class ReadsTestData(Plain):
    """Trains on test images of the Trainer's data module."""

    def loss(self, workload: Workload, batch: Batch) -> Tensor:
        data = workload.trainer.datamodule.data if workload._trainer else None  # type: ignore
        return super().loss(workload, batch if data is None else data.test_tensors())


class LoadsTestData(Plain):
    """Trains on test images that it loads."""

    def loss(self, workload: Workload, batch: Batch) -> Tensor:
        arrays = load("digits")
        images = arrays.test_inputs[: len(batch[0])].float() / 255
        return super().loss(workload, (images, arrays.test_targets[: len(batch[0])]))


FAULTS: list[tuple[type[Any], str, str]] = [
    (Peeks, "access-kept", "in_situ"),
    (Asks, "loss", "declare access = 'in_situ' on its class"),
    (Reaches, "loss", "in_situ_internal"),
    (TrainsOnTestDevice, "loss", "is a test device"),
    (StepsOnTestDevice, "step", "is a test device"),
    (Uncounted, "counted", "workload(x)"),
    (StepsUncounted, "counted", "16 passes were recorded for differentiation and 8 counted"),
    (ForwardUncounted, "counted", "8 passes were made without a gradient and 0 counted"),
    (PretendsInSitu, "access-kept", "no measurement was counted"),
    (Blind, "access-kept", "no measurement was counted"),
    (Simulates, "measures", "makes 8 passes through the network that are neither measured nor"),
    (LooksInside, "hardware-closed", "looks into device 100000, which stands for hardware"),
    (SimulatesHardware, "hardware-closed", "looks into device 100000, which stands for hardware"),
    (DrawsHardware, "hardware-closed", "looks into device 100000, which stands for hardware"),
    (ReadsTestData, "test-data-unseen", "reads test data while it trains"),
    (LoadsTestData, "test-data-unseen", "reads test data while it trains"),
]
