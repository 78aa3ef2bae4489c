"""Physics-aware training: the hardware's values forward, the digital model's gradient back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import ClassVar

from torch import Tensor

from pnnbench.errors import UserError
from pnnbench.methods.base import TrainingMethod
from pnnbench.methods.draws import Draws
from pnnbench.methods.laws import Rule
from pnnbench.platforms.base import tapped
from pnnbench.workloads.amounts import Amount
from pnnbench.workloads.base import Access, Batch, Workload
from pnnbench.workloads.hardware import Hardware, Measurement

#: Where the measured value takes the place of the simulated one.
PLACEMENTS = ("output", "read-out")


def check_placement(placement: str) -> str:
    """Returns the placement; raises UserError if there is no such one."""
    if placement not in PLACEMENTS:
        raise UserError(f"placement is {placement!r}", allowed=", ".join(PLACEMENTS))
    return placement


def straight_through(simulated: Tensor, measured: Tensor) -> Tensor:
    """The measured value with the gradient of the simulated one."""
    return simulated + (measured - simulated).detach()


def _next(measured: Iterator[Tensor], simulated: Tensor) -> Tensor:
    """The next of the measured values of a layer with the gradient of the simulated one."""
    return straight_through(simulated, next(measured))


def measured_outputs(
    workload: Workload,
    measurement: Measurement,
    h: Tensor,
    controls: Mapping[str, Tensor] | None,
    placement: str,
) -> Tensor:
    """Outputs that have the hardware's values and the digital model's gradient.

    Args:
        workload: The workload; its layers are the digital model.
        measurement: What the hardware gave for the same inputs and controls.
        h: What `Workload.prefix` gives (B, ...).
        controls: Replaced controls, as for `Workload.physical`.
        placement: ``"output"`` replaces the network's outputs, ``"read-out"`` what each layer's
            detectors read, so that digital steps behind them are differentiated at what was
            measured.

    Returns:
        Outputs (B, ...).
    """
    if placement == "output":
        return straight_through(workload.physical(h, controls), measurement.outputs)
    taps = {n: partial(_next, iter(uses)) for n, uses in measurement.uses.items()}
    with tapped(workload.network, read_outs=taps):
        return workload.physical(h, controls)


def in_situ_outputs(
    workload: Workload,
    hardware: Hardware,
    h: Tensor,
    controls: Mapping[str, Tensor] | None,
    placement: str,
) -> Tensor:
    """Measures a batch; see `measured_outputs`. Both passes draw the same, such as dropout."""
    with Draws(workload).again():
        measurement = hardware.measure(h, controls)
    return measured_outputs(workload, measurement, h, controls, placement)


class PAT(TrainingMethod):
    """Physics-aware training: straight-through from the device to the digital model.

    Args:
        placement: Where the measured value stands: ``"read-out"``, what the detectors of every
            layer measure, as the method was published, or ``"output"``, the network's outputs, as
            in the sharpness-aware-training paper. With several layers these are two methods.
        lr: Peak learning rate of the control parameters; see TrainingMethod.
        lr_digital: Peak learning rate of the digital parameters.
        optimizer: ``"adam"`` or ``"sgd"``.
    """

    access: ClassVar[Access] = "in_situ"
    chosen_by: ClassVar[Rule] = "own device"
    source = "Wright et al., Nature 601, 549 (2022)"

    def __init__(
        self,
        placement: str = "read-out",
        lr: Amount = 0.1,
        lr_digital: float = 1e-3,
        optimizer: str = "adam",
    ) -> None:
        super().__init__(lr, lr_digital, optimizer)
        self.placement = check_placement(placement)

    def loss(self, workload: Workload, batch: Batch) -> Tensor:
        """Task loss of what the hardware gives."""
        h = workload.prefix(batch[0])
        outputs = in_situ_outputs(workload, self.hardware, h, None, self.placement)
        return workload.loss(outputs, batch)
