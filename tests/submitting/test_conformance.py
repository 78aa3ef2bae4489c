"""Every registered method passes every check; each broken method fails the one check it breaks."""

from __future__ import annotations

import random
import sys
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pnnbench.data import DataModule, load
from pnnbench.errors import UserError, check_range
from pnnbench.methods.base import TrainingMethod
from pnnbench.methods.bp import BP
from pnnbench.methods.bp_weights import BPWeights
from pnnbench.methods.laws import Law
from pnnbench.platforms.base import Condition, Device
from pnnbench.registry import method_class, registered, workload_class
from pnnbench.seeds import FIRST_TRAINING_DEVICE
from pnnbench.submitting.conformance import (
    CHECKS,
    CheckResult,
    check_everywhere,
    check_method,
)
from pnnbench.submitting.trial import WORKLOADS, kind_of
from pnnbench.submitting.watched import counted_passes
from pnnbench.workloads.amounts import Amount, check_amount
from pnnbench.workloads.base import Batch, Workload
from pnnbench.workloads.grid import FIRST_TEST_DEVICE
from pnnbench.workloads.hardware import Hardware
from pnnbench.workloads.mrr_images import MRRDigitsGAN

BUILT_IN = [
    *("bp", "bp-weights", "nat", "pruning", "sat"),
    *("nat-in-situ", "pat", "dat", "dat-internal", "sat-in-situ"),
    *("sat-environment", "sat-outward", "random-environment"),
    *("evolution", "coordinate-search", "spsa", "lbfgs"),
]
#: Hyper-parameters with which methods that measure many settings take seconds.
FEW: dict[str, dict[str, Any]] = {
    "evolution": {"population": 3, "parents": 2},
    "coordinate-search": {"coordinates": 4},
    "spsa": {"directions": 1},
    "lbfgs": {"iterations": 2},
}
DIGITS = [workload.name for workload in WORKLOADS]
BUILT = {name: workload_class(name)() for name in DIGITS}
GENERATOR = MRRDigitsGAN()


def workloads_of(place: int, method: str) -> list[str]:
    """The digits workloads that a method supports, each method's beginning with another one."""
    found = [name for name in DIGITS if method_class(method).supports(BUILT[name])]
    return found[place % len(found) :] + found[: place % len(found)]


PAIRS = [
    pytest.param(
        method,
        workload,
        # Two platforms for each method; the longest with a few that take few passes.
        marks=[pytest.mark.slow]
        if number > 1 or (workload == "diffractive-digits" and method not in ("bp", "nat", "sat"))
        else [],
    )
    for place, method in enumerate(registered("methods"))
    for number, workload in enumerate(workloads_of(place, method))
]


def names_for(cls: type[Any]) -> list[str]:
    """Names of the checks for methods such as a class."""
    return [name for name, check in CHECKS.items() if check.meant_for(kind_of(cls))]


@pytest.mark.parametrize(("name", "workload"), PAIRS)
def test_registered_methods_pass_every_check(name: str, workload: str) -> None:
    results = check_method(name, FEW.get(name), workload=workload)
    assert [r.message for r in results if not r.passed] == []
    assert [r.name for r in results] == names_for(method_class(name))
    assert all(r.message.endswith(".") for r in results)


@pytest.mark.slow
@pytest.mark.parametrize("name", [m for m in BUILT_IN if method_class(m).supports(GENERATOR)])
def test_methods_pass_every_check_on_a_generator(name: str) -> None:
    """Their loss is the score of a judge that is trained beside them."""
    results = check_method(name, FEW.get(name), workload=GENERATOR.name)
    assert [r.message for r in results if not r.passed] == []


def test_a_step_of_the_workload_itself_is_no_pass_of_the_method() -> None:
    workload = MRRDigitsGAN().train()
    data = DataModule(MRRDigitsGAN.data, batch_size=8, limit_train=8)
    with counted_passes(workload) as passes:
        workload.prepared(data.train_tensors())
        assert (passes.recorded, passes.simulated) == (0, 0)
        with torch.no_grad():
            workload(data.train_tensors()[0])
        assert (passes.recorded, passes.simulated) == (0, 1)


def test_the_built_in_methods_are_registered() -> None:
    assert set(BUILT_IN) <= set(registered("methods"))


def test_a_workload_is_left_out_only_where_it_lacks_what_the_method_needs() -> None:
    everything = {(m, w) for m in registered("methods") for w in DIGITS}
    no_ports = {"mrr-digits", "freespace-digits", "diffractive-digits"}
    no_slopes = {"freespace-digits", "diffractive-digits"}
    assert everything - {tuple(pair.values) for pair in PAIRS} == {
        *((m, w) for m in ("dat", "dat-internal") for w in no_ports),
        *(("pruning", w) for w in no_slopes),
        *(("pruning-weights", w) for w in (*no_slopes, "mzi-digits")),
        *((m, "mzi-digits") for m in ("sat-environment", "sat-outward", "random-environment")),
    }


def test_a_workload_on_other_data_is_refused() -> None:
    with pytest.raises(UserError, match=", ".join(DIGITS)):
        check_method("bp", workload="mzi-mnist")


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("pat", {"placement": "read-out"}),
        ("dat-internal", {"states": "both", "keep_learning": True, "batch_norm": False}),
        pytest.param("dat", {"size": "4k", "count": 2, "first_phase": 1.0}, marks=pytest.mark.slow),
        ("sat-in-situ", {"optimizer": "sgd", "rho": 0.0}),
    ],
)
def test_variants_of_in_situ_methods_pass(name: str, params: dict[str, Any]) -> None:
    results = check_method(name, params, workload="mzi-digits")
    assert [r.message for r in results if not r.passed] == []
    assert len(results) == len(names_for(BP))


@pytest.mark.parametrize(
    "params",
    [{"adaptive": True}, {"perturb": "all"}, {"optimizer": "sgd", "lr": "0.5 mA^2"}, {"rho": 0.0}],
)
def test_variants_of_sat_pass(params: dict[str, Any]) -> None:
    results = check_method("sat", params)
    assert [r.message for r in results if not r.passed] == []
    assert len(results) == len(names_for(BP))


class NoMethod:
    """Not a method at all."""


class Undocumented(BP):
    pass


class Greedy(BP):
    """Wants everything.

    Args:
        lr: Learning rate.
        lr_digital: Learning rate.
        optimizer: Optimiser.
    """

    access = "everything"  # type: ignore[assignment]


class NeedsLr(BP):
    """Has a hyper-parameter without default.

    Args:
        lr: Learning rate.
    """

    def __init__(self, lr: float) -> None:
        super().__init__(lr)


class Undescribed(BP):
    """Forgets one of its hyper-parameters here.

    Args:
        lr: Learning rate.
    """

    def __init__(self, lr: float = 0.02, gain: int = 1) -> None:
        super().__init__(lr)


class AcceptsNan(BP):
    """Takes any strength.

    Args:
        strength: A strength.
    """

    def __init__(self, strength: float = 0.1) -> None:
        super().__init__()


class AcceptsNegativeLr(BP):
    """Takes a negative learning rate.

    Args:
        lr: Learning rate.
    """

    def __init__(self, lr: float = 0.02) -> None:
        super().__init__(0.02 if lr <= 0 else lr)


class RaisesValueError(BP):
    """Raises the wrong error.

    Args:
        lr: Learning rate.
    """

    def __init__(self, lr: float = 0.02) -> None:
        if not 0.0 < lr < 1.0:
            raise ValueError("lr")
        super().__init__(lr)


class Plain(BP):
    """Works, and has nothing to describe."""

    def __init__(self) -> None:
        super().__init__()


class Detached(Plain):
    """Loses the gradient."""

    def loss(self, workload: Workload, batch: Batch) -> Tensor:
        return super().loss(workload, batch).detach()


class PerImage(Plain):
    """Returns one loss per image."""

    def loss(self, workload: Workload, batch: Batch) -> Tensor:
        return nn.functional.cross_entropy(workload(batch[0]), batch[1], reduction="none")


class NotFinite(Plain):
    """Returns NaN."""

    def loss(self, workload: Workload, batch: Batch) -> Tensor:
        return super().loss(workload, batch) * float("nan")


class TrainsSomethingElse(Plain):
    """Trains a parameter that nothing depends on."""

    def trained_parameters(self, workload: Workload) -> list[nn.Parameter]:
        return [nn.Parameter(torch.zeros(3))]


class Crashes(Plain):
    """Fails at the end of the first epoch."""

    def on_train_epoch_end(self, *args: Any) -> None:
        raise ValueError("out of paper")


class LawOfNothing(BP):
    __doc__ = BP.__doc__  # a law for a hyper-parameter that it does not have

    laws = MappingProxyType({"gain": Law(0.1, 1.0)})


class LawElsewhere(BP):
    __doc__ = BP.__doc__  # a default outside of its law

    laws = MappingProxyType({"lr": Law(1.0, 2.0)})


class LawReversed(BP):
    __doc__ = BP.__doc__  # a law whose ends are the wrong way round

    laws = MappingProxyType({"lr": lambda params: Law(1.0, 0.01)})


class LawOfZero(BP):
    __doc__ = BP.__doc__  # a logarithmic law that includes zero

    laws = MappingProxyType({"lr": lambda params: Law(0.0, 1.0)})


class LawTooWide(BP):
    __doc__ = BP.__doc__  # a law with values that the constructor refuses

    laws = MappingProxyType({"lr_digital": Law(1e-4, 1e4)})


class LawOfNobody(BP):
    __doc__ = BP.__doc__  # a rule of the choice that there is not

    chosen_by = "luck"  # type: ignore[assignment]


class NeverPrograms(BPWeights):
    """Keeps its weights to itself."""

    def __init__(self) -> None:
        super().__init__()

    def on_train_epoch_end(self, *args: Any) -> None:
        pass


class LeavesRange(Plain):
    """Goes far and does not come back."""

    def __init__(self) -> None:
        super().__init__()
        self.lr = 1.0

    def after_step(self, workload: Workload) -> None:
        pass


class TwoPasses(Plain):
    """Makes a second pass that moves the batch-norm statistics."""

    def loss(self, workload: Workload, batch: Batch) -> Tensor:
        with torch.no_grad():
            workload(batch[0])
        return super().loss(workload, batch)


class HeadStart(Plain):
    """Begins somewhere else."""

    def attach(self, workload: Workload) -> None:
        super().attach(workload)
        with torch.no_grad():
            for control in workload.controls().values():
                control.add_(0.01)


class Shuffles(Plain):
    """Turns the batch around, in place."""

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Batch, index: int) -> None:
        super().on_train_batch_start(trainer, pl_module, batch, index)
        for part in batch:
            part.copy_(part.flip(0))


class LeavesHook(Plain):
    """Adds one to the logits, which the loss does not see."""

    def attach(self, workload: Workload) -> None:
        super().attach(workload)
        workload.network.register_forward_hook(lambda module, args, out: out + 1.0)


class AddsToNetwork(Plain):
    """Keeps an auxiliary network in the wrong place."""

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        pl_module.network.register_buffer("helper", torch.zeros(()))


class LeavesOverride(Plain):
    """Leaves its weights in the layers until training ends."""

    def loss(self, workload: Workload, batch: Batch) -> Tensor:
        for layer in workload.layers().values():
            layer.override_weight(layer.ideal_weight())
        return super().loss(workload, batch)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        for layer in pl_module.layers().values():
            layer.override_weight(None)


class Freezes(Plain):
    """Freezes a digital parameter and forgets to thaw it."""

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Batch, index: int) -> None:
        super().on_train_batch_start(trainer, pl_module, batch, index)
        pl_module.network.fc2.bias.requires_grad_(False)


class Rolls(Plain):
    """Draws from Python's global generator."""

    def loss(self, workload: Workload, batch: Batch) -> Tensor:
        return super().loss(workload, batch) * (1.0 + 0.1 * random.random())  # noqa: S311


class RollsNumpy(Plain):
    """Draws from NumPy's global generator."""

    def loss(self, workload: Workload, batch: Batch) -> Tensor:
        return super().loss(workload, batch) * float(np.random.uniform(1.0, 1.1))  # noqa: NPY002


class Opaque:
    pass


class SavesObject(Plain):
    """Puts an object into the checkpoint."""

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "object": Opaque()}


class Forgets(Plain):
    """Remembers something between steps, but not in the checkpoint."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = 0

    def loss(self, workload: Workload, batch: Batch) -> Tensor:
        self.steps += 1
        return super().loss(workload, batch) * (1.0 + 0.1 * self.steps)


class CountsOn(Plain):
    """Takes it that each batch is a step."""

    def on_train_batch_end(self, trainer: Any, *args: Any) -> None:
        if trainer.global_step != self.calls:
            raise ValueError("lost count")


class Barges(Plain):
    """Takes the place of another method."""

    def attach(self, workload: Workload) -> None:
        workload.method = self


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


class Uncounted(Plain):
    """Goes past the counter."""

    def loss(self, workload: Workload, batch: Batch) -> Tensor:
        return workload.loss(workload.network(batch[0]), batch)


class Unitless(Plain):
    """Names an amount that takes numbers only.

    Args:
        strength: A strength.
    """

    amounts = ("lr", "strength")

    def __init__(self, strength: float = 0.1) -> None:
        super().__init__()
        self.strength = check_range("strength", strength, low=0.0)


class AnyUnit(Plain):
    """Does not look at the unit.

    Args:
        strength: A strength.
    """

    amounts = ("lr", "strength")

    def __init__(self, strength: Amount = 0.1) -> None:
        super().__init__()
        self.strength = check_amount("strength", strength)

    def check(self, workload: Workload) -> None:
        pass


class Thaws(Plain):
    """Trains what is frozen."""

    def attach(self, workload: Workload) -> None:
        workload.network.requires_grad_(True)
        super().attach(workload)


class TakesAll(Plain):
    """Differentiates by all controls."""

    def loss(self, workload: Workload, batch: Batch) -> Tensor:
        loss = super().loss(workload, batch)
        torch.autograd.grad(loss, list(workload.controls().values()), retain_graph=True)
        return loss


class HoldsOn(Plain):
    """Does not let go."""

    def teardown(self, *args: Any, **kwargs: Any) -> None:
        pass


class GrowsOlder(Plain):
    """Learns less in its second training."""

    def __init__(self) -> None:
        super().__init__()
        self.age = 0

    def loss(self, workload: Workload, batch: Batch) -> Tensor:
        self.age += 1
        return super().loss(workload, batch) / self.age

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "age": self.age}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self.age = state_dict["age"]


class Idle(TrainingMethod):
    """Has neither loss nor step."""

    def __init__(self) -> None:
        super().__init__(0.1)


class PretendsInSitu(Plain):
    """Says that it needs hardware, and measures nothing."""

    access = "in_situ"


class Steps(TrainingMethod):
    """Sets the parameters itself: a step against the sign of the gradient.

    Attributes:
        rate: Size of the step, in the unit of each parameter.
    """

    rate = 1e-3

    def __init__(self) -> None:
        super().__init__(0.1)

    def trained(self, workload: Workload) -> dict[str, nn.Parameter]:
        """Trainable controls and digital parameters."""
        return {
            **workload.controls(trainable=True),
            **workload.digital_parameters(trainable=True),
        }

    def step(self, workload: Workload, batch: Batch) -> Any:
        """Steps."""
        trained = list(self.trained(workload).values())
        loss = workload.loss(workload(batch[0]), batch)
        with torch.no_grad():
            for p, slope in zip(trained, torch.autograd.grad(loss, trained), strict=True):
                p.sub_(self.rate * slope.sign())
        return loss


class ReturnsNothing(Steps):
    """Keeps the loss to itself."""

    def step(self, workload: Workload, batch: Batch) -> None:
        super().step(workload, batch)


class ReturnsMany(Steps):
    """Returns a loss for each class."""

    def step(self, workload: Workload, batch: Batch) -> Tensor:
        return super().step(workload, batch) * torch.ones(10)


class ReturnsNan(Steps):
    """Returns no number."""

    def step(self, workload: Workload, batch: Batch) -> float:
        super().step(workload, batch)
        return float("nan")


class StandsStill(Steps):
    """Computes and sets nothing."""

    rate = 0.0


class StepsOut(Steps):
    """Steps far and does not come back."""

    rate = 10.0

    def after_step(self, workload: Workload) -> None:
        pass


class StepsAtRandom(Steps):
    """Draws its steps from a global generator."""

    def step(self, workload: Workload, batch: Batch) -> Any:
        self.rate = random.uniform(1e-3, 2e-3)  # noqa: S311
        return super().step(workload, batch)


class StepsAnew(Steps):
    """Learns less with each step, and begins again after an interruption."""

    def attach(self, workload: Workload) -> None:
        super().attach(workload)
        self.rate = 1e-3

    def step(self, workload: Workload, batch: Batch) -> Any:
        self.rate *= 0.9
        return super().step(workload, batch)


class StepsOnTestDevice(Steps):
    """Measures a test device."""

    access = "in_situ"

    def step(self, workload: Workload, batch: Batch) -> Any:
        workload.hardware(workload.draw_device(0.1, FIRST_TEST_DEVICE)).measure(batch[0])
        return super().step(workload, batch)


class StepsOnFrozen(Steps):
    """Moves what is frozen."""

    def step(self, workload: Workload, batch: Batch) -> Any:
        loss = super().step(workload, batch)
        with torch.no_grad():
            for p in workload.network.parameters():
                p.add_(1e-4)
        return loss


class StepsUncounted(Steps):
    """Goes past the counter."""

    def step(self, workload: Workload, batch: Batch) -> Any:
        extra = torch.enable_grad(), workload.extra_pass()
        with extra[0], extra[1]:
            workload.network(batch[0])
        return super().step(workload, batch)


class TakesEverything(Steps):
    """Accepts what Lightning cannot do for it."""

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        self.attach(pl_module)


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


class Forward(Steps):
    """Keeps a random step that lowers the loss: no gradient, no hardware."""

    @torch.no_grad()
    def step(self, workload: Workload, batch: Batch) -> float:
        generator, trained = self.generator(), self.trained(workload)
        with workload.extra_pass():
            before = workload.loss(workload(batch[0]), batch)
            moved = {
                n: p + 1e-2 * torch.randn(p.shape, generator=generator) for n, p in trained.items()
            }
            after = workload.loss(workload.outputs_at(batch[0], moved), batch)
        for name, p in trained.items():
            p.copy_(moved[name] if after < before else 2 * p - moved[name])
        return float(before)


class TwoOptimizers(Steps):
    """Adam for the controls, SGD for what is digital."""

    def configure_optimizers(self, workload: Workload) -> Any:
        return [
            torch.optim.Adam(workload.controls(trainable=True).values(), lr=1e-2),
            torch.optim.SGD(
                workload.digital_parameters(trainable=True).values(), lr=1e-2, momentum=0.9
            ),
        ]

    def step(self, workload: Workload, batch: Batch) -> Tensor:
        optimizers = workload.optimizers()
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss = workload.loss(workload(batch[0]), batch)
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
        return loss


BROKEN: list[tuple[type[Any], str, str]] = [
    (NoMethod, "class", "TrainingMethod"),
    (Undocumented, "class", "docstring"),
    (Greedy, "access", "in_silico, in_situ, in_situ_internal"),
    (NeedsLr, "defaults", "lr"),
    (Undescribed, "documented", "gain"),
    (AcceptsNan, "ranges", "strength = nan is accepted"),
    (AcceptsNegativeLr, "ranges", "lr = -1.0 is accepted"),
    (RaisesValueError, "ranges", "lr = nan raises ValueError"),
    (LawOfNothing, "laws", "'gain', which is no hyper-parameter"),
    (LawElsewhere, "laws", "lr = 0.1 is outside of its law, 1 to 2 (log)"),
    (LawReversed, "laws", "1 to 0.01"),
    (LawOfZero, "laws", "numbers above 0"),
    (LawTooWide, "laws", "lr_digital = 10000"),
    (LawOfNobody, "laws", "chosen_by is 'luck'"),
    (Unitless, "units", "strength as a text raises UserError"),
    (AnyUnit, "units", "'1 furlong' is accepted"),
    (Thaws, "frozen", "network.conv1.current, network.conv1.bias was frozen"),
    (TakesAll, "frozen", "trainable=True"),
    (HoldsOn, "lets-go", "holds on"),
    (GrowsOlder, "lets-go", "second training"),
    (Detached, "loss", "without gradient"),
    (PerImage, "loss", "one finite number"),
    (NotFinite, "loss", "one finite number"),
    (TrainsSomethingElse, "loss", "trained_parameters"),
    (Crashes, "trains", "ValueError: out of paper"),
    (NeverPrograms, "controls-change", "network.fc1.current"),
    (LeavesRange, "controls-in-range", "project_controls"),
    (TwoPasses, "batch-norm", "is 16 after 8 steps"),
    (HeadStart, "same-start", "fc1.current"),
    (Shuffles, "same-data", "order"),
    (LeavesHook, "detached", "hooks"),
    (AddsToNetwork, "detached", "helper"),
    (LeavesOverride, "tidy", "weight override on layer conv1"),
    (Freezes, "tidy", "fc2.bias"),
    (Rolls, "reproducible", "self.generator()"),
    (RollsNumpy, "reproducible", "self.generator()"),
    (SavesObject, "plain-state", "tensors, numbers"),
    (Forgets, "resumes", "state_dict()"),
    (CountsOn, "trainer-flags", "accumulate_grad_batches"),
    (Barges, "alone", "super().attach"),
    (Asks, "loss", "declare access = 'in_situ' on its class"),
    (Reaches, "loss", "in_situ_internal"),
    (TrainsOnTestDevice, "loss", "is a test device"),
    (Peeks, "access-kept", "in_situ"),
    (Uncounted, "counted", "workload(x)"),
    (Idle, "class", "neither loss(workload, batch)"),
    (PretendsInSitu, "access-kept", "no measurement was counted"),
    (ReturnsNothing, "step", "ReturnsNothing.step returned None"),
    (ReturnsMany, "step", "ReturnsMany.step returned 10 numbers"),
    (ReturnsNan, "step", "returned nan on the first batch"),
    (StandsStill, "controls-change", "left every control as it was"),
    (StepsOut, "controls-in-range", "project_controls"),
    (StepsAtRandom, "reproducible", "self.generator()"),
    (StepsAnew, "resumes", "state_dict()"),
    (StepsOnTestDevice, "step", "is a test device"),
    (StepsOnFrozen, "frozen", "is frozen and has moved"),
    (StepsUncounted, "counted", "16 passes were recorded for differentiation and 8 counted"),
    (TakesEverything, "own-steps", "gradient_clip_val"),
    (Blind, "access-kept", "no measurement was counted"),
    (Simulates, "measures", "makes 8 passes through the network that are neither measured nor"),
    (LooksInside, "hardware-closed", "looks into device 100000, which stands for hardware"),
    (SimulatesHardware, "hardware-closed", "looks into device 100000, which stands for hardware"),
    (DrawsHardware, "hardware-closed", "looks into device 100000, which stands for hardware"),
    (ReadsTestData, "test-data-unseen", "reads test data while it trains"),
    (LoadsTestData, "test-data-unseen", "reads test data while it trains"),
]


@pytest.mark.parametrize(("cls", "name", "text"), BROKEN, ids=[c.__name__ for c, _, _ in BROKEN])
def test_a_broken_method_fails_exactly_its_check(cls: type[Any], name: str, text: str) -> None:
    failed = [r for r in check_method(cls) if not r.passed]
    assert [r.name for r in failed] == [name], failed
    assert text in failed[0].message


def test_each_check_has_a_method_that_fails_it() -> None:
    assert {name for _, name, _ in BROKEN} == set(CHECKS)


@pytest.mark.parametrize("cls", [Plain, Steps, Forward, TwoOptimizers, Ensemble])
def test_the_frame_of_the_broken_methods_is_sound(cls: type[Any]) -> None:
    results = check_method(cls)
    assert [r.message for r in results if not r.passed] == []
    assert [r.name for r in results] == names_for(cls)


def test_every_platform_that_the_method_supports_is_checked() -> None:
    class Picky(Plain):
        """Supports two platforms.

        Nothing else.
        """

        @classmethod
        def supports(cls, workload: Workload) -> bool:
            return workload.platform in ("mrr", "mzi")

        def after_step(self, workload: Workload) -> None:
            if workload.platform == "mzi":
                super().after_step(workload)

    told: list[tuple[str, CheckResult]] = []
    found = check_everywhere(Picky, {}, progress=lambda name, result: told.append((name, result)))
    assert [name for name, results in found.items() if results is None] == DIGITS[2:]
    assert told == [(name, r) for name, results in found.items() for r in results or ()]
    assert all(r.passed for r in found["mzi-digits"] or ())


def test_a_method_without_platform_is_told() -> None:
    class Nowhere(Plain):
        """Supports nothing."""

        @classmethod
        def supports(cls, workload: Workload) -> bool:
            return False

    with pytest.raises(UserError, match="Nowhere supports none of mrr-digits, mzi-digits"):
        check_everywhere(Nowhere)


def test_what_makes_no_sense_after_a_fault_is_left_out() -> None:
    assert [r.name for r in check_method(NoMethod)] == ["class"]
    names = [r.name for r in check_method(Crashes)]
    assert names[-1] == "trains"
    assert "resumes" not in [r.name for r in check_method(SavesObject)]


def test_progress_is_told_each_result() -> None:
    told: list[CheckResult] = []
    results = check_method(Crashes, progress=told.append)
    assert told == results


def test_a_class_path_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = (
        "from pnnbench.methods.bp import BP\n\n\nclass Mine(BP):\n"
        '    """Mine.\n\n    Args:\n        lr: mA.\n        lr_digital: One.\n'
        '        optimizer: Name.\n    """\n\n    def after_step(self, workload):\n        pass\n'
    )
    (tmp_path / "conformance_of_mine.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    results = check_method("conformance_of_mine.Mine", {"lr": 1.0})
    sys.modules.pop("conformance_of_mine")
    assert [r.name for r in results if not r.passed] == ["controls-in-range"]


@pytest.mark.parametrize(
    ("name", "params", "text"),
    [
        ("satt", None, "did you mean 'sat'"),
        ("pnnbench.methods.sat.SAM", None, "SAM"),
        ("sat", {"roh": 1.0}, "did you mean 'rho'"),
        ("sat", {"rho": -1.0}, "rho is -1.0"),
    ],
)
def test_user_mistakes_read(name: str, params: dict[str, Any] | None, text: str) -> None:
    with pytest.raises(UserError) as error:
        check_method(name, params)
    assert text in str(error.value)


def test_the_callers_random_state_is_kept() -> None:
    torch.manual_seed(5)
    random.seed(5)
    np.random.seed(5)  # noqa: NPY002
    expected = (torch.rand(2).tolist(), random.random(), np.random.rand())  # noqa: S311, NPY002
    torch.manual_seed(5)
    random.seed(5)
    np.random.seed(5)  # noqa: NPY002
    check_method("nat")
    assert (torch.rand(2).tolist(), random.random(), np.random.rand()) == expected  # noqa: S311, NPY002
