"""The checks of workloads: those of platforms on its network, and those of grid, start and loss."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pnnbench.data import DataModule
from pnnbench.errors import UserError
from pnnbench.evaluation.harness import measure_grid
from pnnbench.platforms.base import PhysicalLayer
from pnnbench.registry import workload_class
from pnnbench.seeds import FIRST_TEST_DEVICE
from pnnbench.submitting import platform_checks  # noqa: F401 - registers its checks
from pnnbench.submitting.checks import Check, CheckResult, Checks, FaultError
from pnnbench.submitting.subject import PLATFORM_CHECKS, Subject
from pnnbench.workloads.base import Workload
from pnnbench.workloads.grid import part_of_grid

#: Images that a workload is looked at with.
IMAGES = 4


class WorkloadSubject(Subject):
    """A workload under check.

    Args:
        cls: The class.

    Attributes:
        batch: Inputs (B, ...) and targets (B, ...).
        tier: Its smallest tier.
    """

    def __init__(self, cls: type[Workload]) -> None:
        self.cls = cls
        data = DataModule(cls.data, batch_size=IMAGES, limit_train=64, limit_test=IMAGES)
        self.batch: tuple[Tensor, Tensor] = data.test_tensors()
        self.tier = "smoke" if "smoke" in cls.tiers else next(iter(cls.tiers))
        super().__init__(lambda: cls(0).network, self.batch[0])


WORKLOAD_CHECKS: Checks[WorkloadSubject] = Checks()
for _name, _check in PLATFORM_CHECKS.items():
    WORKLOAD_CHECKS[_name] = Check(_check.function, _check.needs)
check = WORKLOAD_CHECKS.check


@check("same-start", "forward")
def check_same_start(subject: WorkloadSubject) -> None:
    """The seed alone decides the initial parameters."""
    states = []
    for seed, other in ((0, 1), (0, 2), (1, 1)):
        torch.manual_seed(other)
        states.append(subject.cls(seed).network.state_dict())
    first, again, third = states
    changed = [n for n, value in first.items() if not torch.equal(value, again[n])]
    if changed:
        raise FaultError(
            f"Two workloads of one seed differ in {changed[0]!r}; draw initial parameters in "
            "build_network() from torch's global generator only."
        )
    if all(torch.equal(value, third[n]) for n, value in first.items()):
        raise FaultError(
            "Workloads of two seeds are the same; draw initial parameters in build_network()."
        )


@check("loss", "forward", "gradient")
def check_loss(subject: WorkloadSubject) -> None:
    """Loss and metric of a batch are finite numbers, and the loss has a gradient."""
    workload = subject.cls(0).eval()
    outputs = workload(subject.batch[0])
    loss = workload.loss(outputs, subject.batch)
    finite = isinstance(loss, Tensor) and loss.numel() == 1 and bool(torch.isfinite(loss))
    if not finite or not loss.requires_grad:
        raise FaultError(
            f"loss() gives {loss!r:.100}; give the mean over the batch, a finite scalar with a "
            "gradient."
        )


@check("grid", "device", "environment", "conditions", "read-out-noise")
def check_grid(subject: WorkloadSubject) -> None:
    """The grid counts somewhere, meets test devices only, and every cell of it perturbs."""
    workload = subject.cls(0)
    cells = workload.cells(subject.tier)
    if not any(cell.counts_when(workload.headline) for cell in cells):
        raise FaultError("No cell of the grid counts; say which carry weight: Cell(counts=True).")
    strange = [c for c in cells if c.device_seed is not None and c.device_seed < FIRST_TEST_DEVICE]
    if strange:
        raise FaultError(
            f"The grid meets device {strange[0].device_seed}, which is no test device; take seeds "
            "from pnnbench.workloads.grid.test_devices(count)."
        )
    chosen = part_of_grid(cells, levels=2, devices=1)
    for cell, reading in zip(chosen, measure_grid(workload, *subject.batch, chosen), strict=True):
        if isinstance(reading.error, RuntimeError):
            raise FaultError(
                f"The cell {cell.axis} {cell.level:g} {cell.unit} cannot be measured "
                f"({reading.error}); let every cell of the grid change the transfer of every "
                "layer, or say in answers() which do not."
            )
        if reading.error is not None:
            raise reading.error
        if reading.value is None or not math.isfinite(reading.value):
            raise FaultError(
                f"The metric of the cell {cell.axis} {cell.level:g} {cell.unit} is no number; "
                "give a metric() that every output has."
            )


@check("describe-workload", "describe", "grid")
def check_describe_workload(subject: WorkloadSubject) -> None:
    """What decides a result is told as plain values."""
    try:
        json.dumps(subject.cls(0).describe(subject.tier), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise FaultError(
            f"describe() of the workload is no JSON ({error}); give finite numbers, texts, lists "
            "and dicts."
        ) from error


def kind_of(cls: type[Any]) -> str:
    """Which checks a class has: ``"workloads"``, ``"platforms"``, else ``"methods"``."""
    if issubclass(cls, Workload):
        return "workloads"
    return "platforms" if issubclass(cls, PhysicalLayer) else "methods"


def check_workload(
    workload: type[Any] | str, *, progress: Callable[[CheckResult], None] | None = None
) -> list[CheckResult]:
    """Runs every check on a workload, with a few of its images.

    Args:
        workload: The class, its registered name or its path ``package.module.Class``.
        progress: Called after each check.

    Returns:
        One result per check, in order, without those that make no sense because another failed.

    Raises:
        UserError: If there is no such class, it is no workload, or its data are missing.
    """
    cls = workload_class(workload) if isinstance(workload, str) else workload
    if not issubclass(cls, Workload):
        raise UserError(
            f"{cls.__name__} is no workload",
            allowed="a subclass of pnnbench.workloads.base.Workload",
        )
    return WORKLOAD_CHECKS.run(WorkloadSubject(cls), "workload", progress)
