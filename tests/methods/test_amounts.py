"""Amounts of methods: one default for all units, absolute values, errors before training."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pnnbench.data import DataModule, load
from pnnbench.errors import UserError
from pnnbench.methods.base import TrainingMethod
from pnnbench.methods.bp import BP
from pnnbench.methods.bp_weights import BPWeights
from pnnbench.methods.nat import NAT, NATInSitu
from pnnbench.methods.pruning import OpticalPruning
from pnnbench.methods.sat import SAT, SATInSitu
from pnnbench.platforms.mrr import RingCalibration
from pnnbench.registry import method_class, method_parameters, registered, workload_class
from pnnbench.running.training import fit
from pnnbench.submitting.trial import WORKLOADS
from pnnbench.workloads.base import Workload
from pnnbench.workloads.freespace import FreeSpaceDigits
from pnnbench.workloads.mrr import MRRDigits, mrr_layers
from pnnbench.workloads.mzi import MZIMNIST, MZIDigits
from pnnbench.workloads.networks import DigitsNet, PhysicalNetwork

DIGITS = load("digits")


class Halves(MRRDigits):
    """Rings whose currents are counted in units of 2 mA."""

    def build_network(self) -> PhysicalNetwork:
        own = RingCalibration()
        halved = RingCalibration(
            tuning=4.0 * own.tuning, max_current=own.max_current / 2, resistance_ohm=1500.0
        )
        return DigitsNet(*mrr_layers(halved))


@pytest.mark.parametrize(
    "method",
    [
        BP(),
        BP(optimizer="sgd", lr=0.5),
        SAT(),
        SAT(adaptive=True),
        NAT(),
        NATInSitu(),
        SATInSitu(),
        OpticalPruning(),
    ],
    ids=lambda m: type(m).__name__,
)
def test_another_unit_of_the_controls_changes_nothing(method: TrainingMethod) -> None:
    """The same training in mA and in units of 2 mA, halvings being exact but for Adam's epsilon."""
    found = []
    for cls in (MRRDigits, Halves):
        workload = cls(0)
        data = DataModule(DIGITS, batch_size=32, limit_train=96)
        fit(workload, method, data, epochs=1)
        found.append([layer.ideal_weight().detach() for layer in workload.layers().values()])
    start = [layer.ideal_weight().detach() for layer in MRRDigits(0).layers().values()]
    for a, b, c in zip(*found, start, strict=True):
        assert float((a - b).norm()) < 1e-2 * float((a - c).norm())


@settings(deadline=None, max_examples=20)
@given(st.floats(min_value=1e-3, max_value=10.0))
def test_a_radius_displaces_each_control_alike_whatever_their_number(rho: float) -> None:
    for cls in (MRRDigits, MZIDigits, MZIMNIST, FreeSpaceDigits):
        workload = cls(0)
        controls = dict(workload.controls())
        method = SAT(rho=rho)
        radius = method.amount("rho", workload)
        gradients = {n: torch.randn_like(p) for n, p in controls.items()}
        epsilon = method.perturbation(controls, gradients, radius)
        squares = sum(float(e.square().sum()) for e in epsilon.values())
        rms = math.sqrt(squares / workload.n_controls)
        assert rms == pytest.approx(rho * workload.control_scale.value, rel=1e-4)
        # Adaptive, the ball is as large where all controls are.
        relative = SAT(rho=rho, adaptive=True).amount("rho", workload)
        size = math.sqrt(sum(float(p.detach().square().sum()) for p in controls.values()))
        assert relative * size / math.sqrt(workload.n_controls) == pytest.approx(radius, rel=1e-6)


def test_amounts_in_the_unit_of_the_workload() -> None:
    workload, scale = MZIDigits(0), math.pi / 4
    assert BP(lr=0.5).amount("lr", workload) == pytest.approx(0.5 * scale)
    assert BP(lr=0.5, optimizer="sgd").amount("lr", workload) == pytest.approx(0.5 * scale**2)
    assert BP(lr="3 rad^2", optimizer="sgd").amount("lr", workload) == 3.0
    assert BPWeights(lr=0.5).amount("lr", workload) == pytest.approx(0.5 / 4)
    assert NAT(sigma=0.5).amount("sigma", workload) == pytest.approx(0.15)
    assert NATInSitu(sigma=0.5).amount("sigma", workload) == pytest.approx(0.5 * scale)
    strength = OpticalPruning(strength=0.5).amount("strength", workload)
    assert strength == pytest.approx(0.5 * 0.3 / math.sqrt(120))
    assert SAT(rho="0.3 rad").amount("rho", workload) == 0.3
    assert SAT(rho="0.15 relative", adaptive=True).amount("rho", workload) == 0.15


WRONG: list[tuple[TrainingMethod, type[Workload], str]] = [
    (SAT(rho="0.3 mA"), MZIDigits, "rho is '0.3 mA' on mzi-digits"),
    (SAT(rho="0.3 rad"), MRRDigits, "rho is '0.3 rad' on mrr-digits"),
    (SAT(rho="0.3 rad", adaptive=True), MZIDigits, "a text in 'relative'"),
    (SAT(rho="0.3 relative"), MZIDigits, "a text in 'rad'"),
    (BP(lr="0.1 rad"), FreeSpaceDigits, "a text in 'full modulation'"),
    (BP(lr="0.1 rad", optimizer="sgd"), MZIDigits, r"a text in 'rad\^2'"),
    (BPWeights(lr="0.1 mA"), MRRDigits, "a text in 'weight'"),
    (NAT(sigma="0.3 mA"), MRRDigits, "a text in 'HWHM'"),
    (NATInSitu(sigma="0.3 HWHM"), MRRDigits, "a text in 'mA'"),
    (OpticalPruning(strength="1 mA"), MRRDigits, "a text in 'HWHM'"),
]


@pytest.mark.parametrize(("method", "cls", "text"), WRONG)
def test_another_unit_is_refused_before_training(
    method: TrainingMethod, cls: type[Workload], text: str
) -> None:
    workload = cls(0)
    for refuse in (method.check, method.attach):
        with pytest.raises(UserError, match=text):
            refuse(workload)
    assert workload.method is None
    with pytest.raises(UserError, match=text):
        fit(workload, method, DataModule(DIGITS, limit_train=64), epochs=1)
    assert workload.hardware_queries == workload.gradient_evaluations == 0


@pytest.mark.parametrize("name", registered("methods"))
def test_every_amount_is_a_hyper_parameter_with_a_default_that_is_a_number(name: str) -> None:
    cls = method_class(name)
    defaults = method_parameters(cls, {})
    assert {n for n in cls.amounts if isinstance(defaults[n], float)} == set(cls.amounts)
    kept = cls()
    for workload_name in [w.name for w in WORKLOADS]:
        workload = workload_class(workload_name)(0)
        if not cls.supports(workload):
            continue
        kept.check(workload)
        absolute = {
            n: f"{kept.amount(n, workload)!r} {kept.scale(n, workload).unit}" for n in cls.amounts
        }
        full = method_parameters(cls, absolute)
        other: Any = cls(**full)
        other.check(workload)
        for n in cls.amounts:
            assert other.amount(n, workload) == kept.amount(n, workload)


def accuracy(cls: type[Workload], method: TrainingMethod, epochs: int) -> float:
    workload, data = cls(0), DataModule(DIGITS, batch_size=32)
    fit(workload, method, data, epochs=epochs)
    workload.calibrate(data.train_tensors()[0])
    x, y = data.test_tensors()
    with torch.no_grad():
        return float((workload(x).argmax(1) == y).float().mean())


@pytest.mark.parametrize(
    "cls",
    [
        pytest.param(cls, marks=[pytest.mark.slow] if cls.platform == "diffractive" else [])
        for cls in WORKLOADS
    ],
)
@pytest.mark.parametrize("method", [SAT(), SAT(adaptive=True)], ids=["plain", "adaptive"])
def test_the_default_radius_lets_every_workload_learn(
    cls: type[Workload], method: TrainingMethod
) -> None:
    assert accuracy(cls, method, epochs=3) > 0.5


#: Methods that compare noisy readings, on networks of too many parameters for the tier's epochs:
#: below half of the images, which their classes say.
TOO_LITTLE = {
    ("coordinate-search", "mrr-digits"),
    ("coordinate-search", "freespace-digits"),
    ("evolution", "mrr-digits"),
}


@pytest.mark.slow
@pytest.mark.parametrize("cls", WORKLOADS)
@pytest.mark.parametrize("name", registered("methods"))
def test_methods_learn_at_their_defaults_but_for_those_that_say_so(
    name: str, cls: type[Workload]
) -> None:
    method = method_class(name)()
    if method.supports(cls(0)):
        learnt = accuracy(cls, method, epochs=cls.tier("quick").epochs) > 0.5
        assert learnt is ((name, cls.name) not in TOO_LITTLE)
