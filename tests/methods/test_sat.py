from __future__ import annotations

import dataclasses
import math
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from pnnbench.data import DataModule, load
from pnnbench.errors import UserError
from pnnbench.methods.bp import BP
from pnnbench.methods.sat import SAT
from pnnbench.platforms.mrr import MRRLinear
from pnnbench.platforms.rings import PUBLISHED_CALIBRATION, RingCalibration
from pnnbench.workloads.mrr import MRRDigits

X, Y = (t[:20] for t in DataModule(load("digits")).train_tensors())


def norm(tensors: dict[str, Tensor]) -> float:
    return math.sqrt(sum(float(t.square().sum()) for t in tensors.values()))


def example() -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    parameters = {"a": torch.tensor([1.0, -2.0]), "b": torch.tensor([[0.0, 4.0]])}
    gradients = {"a": torch.tensor([3.0, 0.5]), "b": torch.tensor([[1.0, -1.0]])}
    return parameters, gradients


def test_the_plain_step_goes_up_the_gradient_to_the_edge_of_the_ball() -> None:
    parameters, gradients = example()
    found = SAT().perturbation(parameters, gradients, 0.7)
    assert norm(found) == pytest.approx(0.7)
    length = math.sqrt(9.0 + 0.25 + 1.0 + 1.0)
    torch.testing.assert_close(found["a"], 0.7 * gradients["a"] / length)
    torch.testing.assert_close(found["b"], 0.7 * gradients["b"] / length)


def test_the_adaptive_step_scales_the_ball_with_the_parameters() -> None:
    parameters, gradients = example()
    found = SAT(adaptive=True).perturbation(parameters, gradients, 0.7)
    length = math.sqrt(3.0**2 + 1.0**2 + 0.0 + 4.0**2)  # of |parameter| * gradient
    torch.testing.assert_close(found["a"], 0.7 * torch.tensor([3.0, 4.0 * 0.5]) / length)
    torch.testing.assert_close(found["b"], 0.7 * torch.tensor([[0.0, -16.0]]) / length)
    relative = {
        n: e[parameters[n] != 0] / parameters[n][parameters[n] != 0].abs() for n, e in found.items()
    }
    assert norm(relative) == pytest.approx(0.7)


def test_without_gradient_there_is_no_step() -> None:
    zeros = {"a": torch.zeros(3)}
    assert (SAT().perturbation({"a": torch.ones(3)}, zeros, 1.0)["a"] == 0.0).all()


@pytest.mark.parametrize("adaptive", [False, True])
def test_with_radius_zero_it_is_back_propagation(adaptive: bool) -> None:
    workload, other = MRRDigits(0).train(), MRRDigits(0).train()
    SAT(rho=0.0, adaptive=adaptive).loss(workload, (X, Y)).backward()
    BP().loss(other, (X, Y)).backward()
    for a, b in zip(workload.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)


@pytest.mark.parametrize("params", [{}, {"adaptive": True}, {"perturb": "all"}])
def test_the_loss_grows_with_the_radius(params: dict[str, Any]) -> None:
    losses = [
        SAT(rho=rho, **params).loss(MRRDigits(0).train(), (X, Y)).item()
        for rho in (0.0, 0.001, 0.002, 0.005)
    ]
    assert losses == sorted(losses)
    assert losses[-1] > losses[0] + 0.01


def test_to_first_order_the_loss_grows_by_radius_times_gradient() -> None:
    def at(rho: float) -> float:
        return SAT(rho=f"{rho} mA").loss(MRRDigits(0).double().train(), (X.double(), Y)).item()

    workload = MRRDigits(0).double().train()
    gradients = torch.autograd.grad(
        BP().loss(workload, (X.double(), Y)), list(workload.controls().values())
    )
    slope = norm({str(i): g for i, g in enumerate(gradients)})
    assert (at(1e-5) - at(0.0)) / 1e-5 == pytest.approx(slope, rel=1e-3)


@pytest.mark.parametrize("perturb", ["controls", "all"])
def test_the_chosen_group_is_perturbed(perturb: str) -> None:
    seen: list[set[str]] = []

    class Notes(SAT):
        """Notes which parameters are perturbed."""

        def perturbation(self, parameters: Any, gradients: Any, radius: float) -> dict[str, Tensor]:
            seen.append(set(parameters))
            return super().perturbation(parameters, gradients, radius)

    workload = MRRDigits(0).train()
    Notes(perturb=perturb).loss(workload, (X, Y))
    expected = set(workload.controls())
    if perturb == "all":
        expected |= set(workload.digital_parameters())
    assert seen == [expected]


def test_a_step_is_two_passes_and_leaves_the_parameters() -> None:
    workload = MRRDigits(0).train()
    before = {n: p.detach().clone() for n, p in workload.named_parameters()}
    loss = SAT().loss(workload, (X, Y))
    assert workload.gradient_evaluations == 2
    assert int(workload.network.norm1.num_batches_tracked) == 1
    assert all(p.grad is None for p in workload.parameters())
    loss.backward()
    assert all(torch.equal(p, before[n]) for n, p in workload.named_parameters())
    assert all(p.grad is not None for p in workload.parameters())


def test_the_perturbation_carries_no_gradient() -> None:
    workload = MRRDigits(0).double().train()
    controls, batch = dict(workload.controls()), (X.double(), Y)
    method = SAT(rho="0.5 mA")
    found = torch.autograd.grad(method.loss(workload, batch), list(controls.values()))
    with workload.extra_pass():
        first = torch.autograd.grad(BP().loss(workload, batch), list(controls.values()))
    epsilon = method.perturbation(controls, dict(zip(controls, first, strict=True)), 0.5)
    with torch.no_grad():
        for name, control in controls.items():
            control.add_(epsilon[name])
    expected = torch.autograd.grad(BP().loss(workload, batch), list(controls.values()))
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ({"rho": -1.0}, "rho is -1.0"),
        ({"rho": float("nan")}, "rho is nan"),
        ({"perturb": "weights"}, "controls, all"),
    ],
)
def test_wrong_parameters_are_refused(params: dict[str, Any], text: str) -> None:
    with pytest.raises(UserError) as error:
        SAT(**params)
    assert text in str(error.value)


def test_about_the_dip_the_step_is_that_of_the_published_normalised_currents() -> None:
    """The same rings in normalised units, counted from the dip, and in mA, counted from zero."""
    normalised = MRRLinear(6, 4, bias=False, calibration=PUBLISHED_CALIBRATION)
    # I = 4 - 4 x mA, so that u = x / 0.15 = (1 - I / 4) / 0.15.
    shifted = dataclasses.replace(PUBLISHED_CALIBRATION, rest_detuning_nm=1.0, tuning=0.25)
    heated = MRRLinear(6, 4, bias=False, calibration=shifted)
    with torch.no_grad():
        heated.current.copy_(4.0 - 4.0 * normalised.current)
    slopes = torch.randn(4, 6, generator=torch.Generator().manual_seed(1))
    moved = []
    for layer in (normalised, heated):
        origin = layer.control_origins()["current"]
        workload = SimpleNamespace(control_origins=lambda origin=origin: {"c": origin})
        loss = (layer.ideal_weight() * slopes).sum()
        gradients = {"c": torch.autograd.grad(loss, layer.current)[0]}
        method = SAT(rho="0.5 relative", adaptive=True, origin="platform")
        sizes = method.sizes(cast(Any, workload), {"c": layer.current})
        epsilon = method.perturbation(sizes, gradients, 0.5)["c"]
        moved.append(layer.calibration.weight(layer.current + epsilon).detach())
    assert float((moved[0] - normalised.ideal_weight().detach()).abs().max()) > 0.01
    torch.testing.assert_close(moved[0], moved[1], rtol=1e-4, atol=1e-5)


def test_a_ring_at_the_dip_is_not_moved() -> None:
    workload = MRRDigits(0)
    dip = workload.control_origins()
    controls = workload.controls()
    assert set(dip) == set(controls)
    current = next(iter(dip.values()))
    assert float(RingCalibration().weight(torch.tensor(current))) == pytest.approx(1.116 - 2.117)
    with torch.no_grad():
        next(iter(controls.values()))[0] = current
    method = SAT(adaptive=True, origin="platform")
    gradients = {n: torch.ones_like(p) for n, p in controls.items()}
    epsilon = method.perturbation(method.sizes(workload, controls), gradients, 0.5)
    first = next(iter(epsilon.values()))
    assert float(first[0].abs().max()) == pytest.approx(0.0, abs=1e-10)
    assert float(first[1:].abs().min()) > 0.0


def test_an_origin_without_an_adaptive_ball_is_refused() -> None:
    with pytest.raises(UserError, match="origin is 'platform' and adaptive is false"):
        SAT(origin="platform")
    with pytest.raises(UserError, match="origin is 'dip'"):
        SAT(origin="dip", adaptive=True)
