"""Methods with the device in the loop against surrogates written out by hand."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pnnbench.data import DataModule, load
from pnnbench.errors import UserError
from pnnbench.methods.base import TrainingMethod
from pnnbench.methods.bp import BP
from pnnbench.methods.nat import NATInSitu
from pnnbench.methods.pat import PAT, straight_through
from pnnbench.methods.sat import SATInSitu
from pnnbench.platforms.base import Device
from pnnbench.workloads.base import Workload
from pnnbench.workloads.mrr import MRRDigits
from pnnbench.workloads.mzi import MZIDigits

IMAGES, LABELS = DataModule(load("digits")).train_tensors()
BATCH = (IMAGES[:32], LABELS[:32])
BOTH = pytest.mark.parametrize("cls", [MRRDigits, MZIDigits])


def unit(cls: type[Workload]) -> str:
    return cls(0).control_scale.unit


def started(cls: type[Workload], method: TrainingMethod, seed: int = 0) -> Workload:
    workload = cls(seed)
    method.attach(workload)
    method.calls = 1
    if method.access != "in_silico":
        method.hardware.start_step(1)
    workload.train()
    return workload


def gradients(workload: Workload, loss: Tensor) -> dict[str, Tensor]:
    named = {**workload.controls(), **workload.digital_parameters()}
    found = torch.autograd.grad(loss, list(named.values()), materialize_grads=True)
    return dict(zip(named, found, strict=True))


def assert_close(a: dict[str, Tensor], b: dict[str, Tensor], rtol: float = 1e-4) -> None:
    # A bias in front of batch norm has no gradient but rounding: it is compared to the others.
    largest = max(float(value.abs().max()) for value in a.values())
    for name, value in a.items():
        scale = max(float(value.abs().max()), 0.01 * largest)
        assert float((value - b[name]).abs().max()) <= rtol * scale, name


def test_straight_through_has_the_value_of_one_and_the_gradient_of_the_other() -> None:
    simulated = torch.randn(5, requires_grad=True)
    measured = torch.randn(5, requires_grad=True)
    value = straight_through(simulated, measured)
    torch.testing.assert_close(value, measured)
    value.square().sum().backward()
    torch.testing.assert_close(simulated.grad, 2 * measured.detach())
    assert measured.grad is None


@BOTH
@pytest.mark.parametrize("placement", ["output", "read-out"])
def test_the_loss_is_that_of_the_hardware(cls: type[Workload], placement: str) -> None:
    method = PAT(placement=placement)
    workload = started(cls, method)
    loss = method.loss(workload, BATCH)
    method.hardware.start_step(1)
    with torch.no_grad(), workload.extra_pass():
        outputs = method.hardware.measure(workload.prefix(BATCH[0])).outputs
    torch.testing.assert_close(
        loss.detach(), F.cross_entropy(outputs, BATCH[1]), rtol=1e-5, atol=1e-5
    )


@BOTH
def test_the_gradient_is_the_digital_models_at_what_was_measured(cls: type[Workload]) -> None:
    method = PAT(placement="output")
    workload = started(cls, method)
    found = gradients(workload, method.loss(workload, BATCH))
    other = cls(0).train()
    box = other.hardware(other.training_device(0))
    box.start_step(1)
    h = other.prefix(BATCH[0])
    z = box.measure(h).outputs
    outputs = other.physical(h)
    upstream = (torch.softmax(z, 1) - F.one_hot(BATCH[1], 10)) / len(z)
    expected = gradients(other, (outputs * upstream).sum())
    assert_close(expected, found)


def test_at_the_read_out_the_normalisation_is_differentiated_at_what_was_measured() -> None:
    method = PAT(placement="read-out")
    workload = started(MZIDigits, method)
    found = gradients(workload, method.loss(workload, BATCH))
    other = MZIDigits(0).train()
    box = other.hardware(other.training_device(0))
    box.start_step(1)
    h = other.prefix(BATCH[0])
    measured = box.measure(h).read_outs["mesh"].requires_grad_()
    z = F.normalize(measured, dim=-1)[:, :10]
    (upstream,) = torch.autograd.grad(F.cross_entropy(z, BATCH[1]), measured)
    power = other.network.mesh(F.normalize(h, dim=-1))  # type: ignore[operator]
    assert_close(gradients(other, (power * upstream).sum()), found)
    method = PAT()
    elsewhere = gradients(workload, method.loss(started(MZIDigits, method), BATCH))
    name = "network.mesh.theta"
    assert not torch.allclose(found[name], elsewhere[name], rtol=0.1)


@BOTH
@pytest.mark.parametrize("placement", ["output", "read-out"])
def test_on_an_ideal_quiet_device_it_is_back_propagation(
    cls: type[Workload], placement: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cls, "training_device", lambda self, seed: Device.ideal())
    method, plain = PAT(placement=placement), BP()
    workload, other = started(cls, method), started(cls, plain)
    for layer in workload.layers().values():
        if hasattr(layer, "readout_noise"):
            layer.readout_noise = 0.0
        else:
            object.__setattr__(layer.calibration, "readout_noise", 0.0)
    found = gradients(workload, method.loss(workload, BATCH))
    expected = gradients(other, plain.loss(other, BATCH))
    for layer in workload.layers().values():
        if not hasattr(layer, "readout_noise"):
            object.__setattr__(layer.calibration, "readout_noise", 0.025)
    assert_close(expected, found)


@BOTH
def test_dithering_moves_hardware_and_model_together(cls: type[Workload]) -> None:
    method = NATInSitu(placement="output", sigma=f"0.05 {unit(cls)}")
    workload = started(cls, method)
    found = gradients(workload, method.loss(workload, BATCH))
    generator, other = method.generator(), cls(0).train()
    shifted = {
        n: p + 0.05 * torch.randn(p.shape, generator=generator) for n, p in other.controls().items()
    }
    box = other.hardware(other.training_device(0))
    box.start_step(1)
    h = other.prefix(BATCH[0])
    z = box.measure(h, shifted).outputs
    upstream = (torch.softmax(z, 1) - F.one_hot(BATCH[1], 10)) / len(z)
    assert_close(gradients(other, (other.physical(h, shifted) * upstream).sum()), found)
    assert workload.hardware_queries == len(BATCH[0])
    assert workload.gradient_evaluations == 1


def test_without_dither_it_is_physics_aware_training() -> None:
    pat, nat = PAT(), NATInSitu(sigma=0.0)
    a, b = started(MZIDigits, pat), started(MZIDigits, nat)
    assert_close(gradients(a, pat.loss(a, BATCH)), gradients(b, nat.loss(b, BATCH)))


@BOTH
@pytest.mark.parametrize("perturb", ["controls", "all"])
def test_sharpness_on_hardware_measures_at_both_points(cls: type[Workload], perturb: str) -> None:
    rho = 0.05
    method = SATInSitu(placement="output", rho=f"{rho} {unit(cls)}", perturb=perturb)
    workload = started(cls, method)
    found = gradients(workload, method.loss(workload, BATCH))
    assert workload.hardware_queries == 2 * len(BATCH[0])
    assert workload.gradient_evaluations == 2

    other = cls(0).train()
    box = other.hardware(other.training_device(0))
    box.start_step(1)
    names = {**other.controls(), **(other.digital_parameters() if perturb == "all" else {})}

    def surrogate(shift: dict[str, Tensor]) -> Tensor:
        moved = {n: p + shift[n] for n, p in names.items()} if shift else {}
        h = other.prefix(BATCH[0], moved)
        z = box.measure(h, moved or None).outputs
        upstream = (torch.softmax(z, 1) - F.one_hot(BATCH[1], 10)) / len(z)
        return (other.physical(h, moved) * upstream).sum()

    with other.extra_pass():
        first = torch.autograd.grad(surrogate({}), list(names.values()))
    norm = torch.sqrt(sum(g.square().sum() for g in first))
    step = {n: rho * g / norm for n, g in zip(names, first, strict=True)}
    expected = gradients(other, surrogate(step))
    assert_close(expected, found, rtol=2e-3)


@pytest.mark.parametrize("make", [PAT, NATInSitu, SATInSitu])
def test_an_unknown_placement_is_one_clear_error(make: type[TrainingMethod]) -> None:
    with pytest.raises(UserError, match="placement is 'middle'"):
        make(placement="middle")  # type: ignore[call-arg]


@BOTH
@pytest.mark.parametrize("placement", ["output", "read-out"])
@pytest.mark.parametrize("perturb", ["controls", "all"])
def test_in_the_worst_point_of_the_ball_the_device_is_measured_at_all_that_moved(
    cls: type[Workload], placement: str, perturb: str
) -> None:
    method = SATInSitu(rho=f"0.3 {unit(cls)}", placement=placement, perturb=perturb)
    workload = started(cls, method)
    x = BATCH[0]
    with workload.extra_pass():
        first = workload.loss(method.outputs(workload, workload.prefix(x), None), BATCH)
    moved = method.step_to_worst(workload, first, method.perturbed(workload))
    method.hardware.start_step(7)
    with workload.extra_pass():
        found = method.outputs(workload, workload.prefix(x, moved), moved).detach()
    with torch.no_grad():  # the device itself, set to what has moved
        for name, p in {**workload.controls(), **workload.digital_parameters()}.items():
            p.copy_(moved.get(name, p))
    method.hardware.start_step(7)
    with torch.no_grad(), workload.extra_pass():
        expected = method.hardware.measure(workload.prefix(x)).outputs
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
