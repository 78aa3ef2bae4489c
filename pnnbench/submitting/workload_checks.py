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
from pnnbench.evaluation.gaps import NotFiniteError
from pnnbench.evaluation.harness import measure_clean, measure_grid
from pnnbench.methods.bp import BP
from pnnbench.platforms.base import PhysicalLayer
from pnnbench.registry import workload_class
from pnnbench.seeds import FIRST_TEST_DEVICE
from pnnbench.submitting import platform_checks  # noqa: F401 - registers its checks
from pnnbench.submitting.checks import Check, CheckResult, Checks, FaultError
from pnnbench.submitting.subject import PLATFORM_CHECKS, Subject, scramble
from pnnbench.submitting.trial import Trial, differing, resumed
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
        measured: As many as its metric needs.
        tier: Its smallest tier.
    """

    def __init__(self, cls: type[Workload]) -> None:
        self.cls = cls
        count = max(IMAGES, cls(0).least_images)
        data = DataModule(cls.data, batch_size=IMAGES, limit_train=64, limit_test=count)
        self.measured: tuple[Tensor, Tensor] = data.test_tensors()
        self.batch = (self.measured[0][:IMAGES], self.measured[1][:IMAGES])
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


@check("loss-of-outputs", "loss")
def check_loss_of_outputs(subject: WorkloadSubject) -> None:
    """Methods train what makes the outputs, and nothing that the loss looks at them with."""
    workload = subject.cls(0).eval()
    inside = {id(p) for p in workload.network.parameters()}
    trained = {**workload.controls(), **workload.digital_parameters()}
    outside = [name for name, p in trained.items() if id(p) not in inside]
    if outside:
        raise FaultError(
            f"{outside[0]} is no parameter of the network, and every method would train it; keep "
            "it out of controls() and digital_parameters()."
        )
    named = {name: p for name, p in trained.items() if p.requires_grad}
    outputs = workload(subject.batch[0])
    loss = workload.loss(outputs, subject.batch)

    def reached(value: Tensor) -> set[str]:
        found = torch.autograd.grad(
            value, list(named.values()), allow_unused=True, retain_graph=True
        )
        return {name for name, g in zip(named, found, strict=True) if g is not None}

    judging = sorted(reached(loss) - reached(outputs.sum()))
    if judging:
        raise FaultError(
            f"{judging[0]} enters the loss and no output, and every method would train it to a "
            "lower loss; keep it outside the network, with an optimiser of its own in prepared()."
        )


@check("kept", "loss", "same-start")
def check_kept(subject: WorkloadSubject) -> None:
    """What a record keeps gives the loss back."""
    workload, other = subject.cls(0).eval(), subject.cls(1).eval()
    outputs = workload(subject.batch[0]).detach()
    other.load_tensors({name: value.clone() for name, value in workload.tensors().items()})
    losses = [w.loss(outputs, subject.batch) for w in (workload, other)]
    if not torch.equal(*losses):
        raise FaultError(
            f"The loss is {float(losses[0]):.6g}, and {float(losses[1]):.6g} with the tensors that "
            "a record keeps; give all that the loss needs in tensors() and take it in "
            "load_tensors()."
        )


@check("same-inputs", "forward")
def check_same_inputs(subject: WorkloadSubject) -> None:
    """Every evaluation meets the same inputs, and the same inputs give the same outputs."""
    found = []
    for seed in (1, 2):
        scramble(seed)
        found.append(subject.cls(0).data_set.read().fingerprint)
    if found[0] != found[1]:
        raise FaultError(
            "The data set is another one each time it is read; draw what it draws from a seed of "
            "its own."
        )
    workload = subject.cls(0).eval()
    with torch.no_grad():
        scramble(1)
        first = workload(subject.batch[0])
        scramble(2)
        again = workload(subject.batch[0])
    if not torch.equal(first, again):
        raise FaultError(
            "Two evaluations of one network differ; draw nothing in the network, and give latent "
            "vectors as inputs (the data set latents:SET,NUMBER)."
        )


@check("resumes", "kept", "same-inputs")
def check_resumes(subject: WorkloadSubject) -> None:
    """An interrupted training goes on to the same bits, in all that a record keeps."""
    trial = Trial(BP, {}, subject.cls)
    whole = trial.train().workload.tensors()
    interrupted = resumed(trial).tensors()
    changed = differing(whole, interrupted)
    if changed:
        raise FaultError(
            f"A resumed run differs from an uninterrupted one in {changed[0]}; put what the "
            "workload remembers between steps into on_save_checkpoint() and on_load_checkpoint()."
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
    clean = measure_clean(workload, *subject.measured)
    if clean.error is not None and not isinstance(clean.error, NotFiniteError):
        raise FaultError(
            f"The metric of the network without any perturbation cannot be had ({clean.error}); "
            "give a metric() that takes these outputs and targets."
        )
    chosen = part_of_grid(cells, levels=2, devices=1)
    for cell, reading in zip(
        chosen, measure_grid(workload, *subject.measured, chosen), strict=True
    ):
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
