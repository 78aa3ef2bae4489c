"""Errors of meshes on request: heat of neighbouring heaters, and losses that differ."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from pnnbench.errors import UserError
from pnnbench.platforms.base import Condition, Device, operate
from pnnbench.platforms.heaters import SET_UP, UNDRIVEN
from pnnbench.platforms.mesh import coupler_places, edge_columns
from pnnbench.platforms.mzi import (
    COUPLERS,
    LOSS_SPREAD,
    LOSSES,
    PHASES,
    MZIEnvironment,
    MZIMesh,
    couplings,
    entries,
)

N = 6


def made(n: int = N) -> tuple[MZIMesh, nn.Module]:
    torch.manual_seed(0)
    mesh = MZIMesh(n).double()
    return mesh, nn.Sequential(mesh)


def transfer(network: nn.Module, device: Device, place: MZIEnvironment | None = None) -> Tensor:
    mesh = next(iter(network.children()))
    assert isinstance(mesh, MZIMesh)
    with torch.no_grad(), operate(network, [Condition(device, place)]):
        return mesh.transfer()


def dense(
    mesh: MZIMesh, theta: Tensor, phi: Tensor, loss: Tensor, e_l: Tensor, e_r: Tensor
) -> Tensor:
    """The mesh interferometer by interferometer; idle waveguides lose the mean."""
    columns, tops = coupler_places(mesh.n)
    amplitude = 10.0 ** (-loss / 20.0)
    blocks = entries(theta[None], phi[None], couplings(e_l, e_r))[0]
    matrix = torch.diag(torch.polar(torch.ones_like(mesh.gamma), mesh.gamma.detach()))
    edges = edge_columns(mesh.n)
    for column in range(mesh.n):
        step = torch.eye(mesh.n, dtype=torch.complex128) * 10.0 ** (-loss.mean() / 20.0)
        step = step * (-1j if edges[column] else 1.0)
        for i, top in enumerate(tops):
            if columns[i] == column:
                step[top : top + 2, top : top + 2] = blocks[:, i].view(2, 2) * amplitude[i]
        matrix = step @ matrix
    return matrix


@pytest.mark.parametrize("n", [2, 3, 6, 7])
def test_losses_of_each_interferometer_are_those_of_a_dense_product(n: int) -> None:
    mesh, network = made(n)
    device = Device.draw(network, 0.2, 3)
    drawn = Device.draw(network, 0.5, 3, LOSSES)
    errors = {**device.errors["0"], **drawn.errors["0"]}
    errors = {name: value.double() for name, value in errors.items()}
    theta = mesh.theta.detach() + errors["theta"]
    phi = mesh.all_phi().detach() + errors["phi"]
    wanted = dense(mesh, theta, phi, errors["loss_db"], errors["e_l"], errors["e_r"])
    found = transfer(network, Device({"0": errors}))
    torch.testing.assert_close(found, wanted.to(found.dtype), rtol=1e-6, atol=1e-7)


def test_a_mesh_with_losses_gives_the_right_gradient() -> None:
    mesh, network = made(4)
    x = torch.rand(3, 4, dtype=torch.float64)
    errors = {**Device.draw(network, 0.2, 1).errors["0"]}
    errors |= Device.draw(network, 1.0, 1, LOSSES).errors["0"]
    with operate(network, [Condition(Device({"0": errors}))]):

        def powers(theta: Tensor, phi: Tensor, gamma: Tensor) -> Tensor:
            controls = {"0.theta": theta, "0.phi": phi, "0.gamma": gamma}
            return torch.func.functional_call(network, controls, (x,))

        given = tuple(getattr(mesh, n).detach().requires_grad_() for n in mesh.control_names)
        assert torch.autograd.gradcheck(powers, given, atol=1e-6)


def test_equal_losses_are_the_loss_that_all_have() -> None:
    mesh, network = made()
    x = torch.rand(5, N, dtype=torch.float64)
    same = Device({"0": {"loss_db": torch.full((len(mesh.theta),), 0.3)}})
    with operate(network, [Condition(same)]):
        found = mesh(x)
    mesh.loss_db = 0.3
    torch.testing.assert_close(found, mesh(x), rtol=1e-6, atol=1e-8)


def test_losses_are_drawn_with_their_mean_and_spread_and_never_amplify() -> None:
    _, network = made(40)
    loss = Device.draw(network, 0.4, 0, LOSSES).errors["0"]["loss_db"]
    assert float(loss.mean()) == pytest.approx(0.4, rel=0.05)
    assert float(loss.std()) == pytest.approx(0.4 * LOSS_SPREAD, rel=0.1)
    twice = Device.draw(network, 0.8, 0, LOSSES).errors["0"]["loss_db"]
    torch.testing.assert_close(twice, 2 * loss)
    values = torch.linalg.svdvals(transfer(network, Device.draw(network, 0.4, 0, LOSSES)))
    assert float(values.max()) < 1.0
    for law in (PHASES, COUPLERS):
        assert "loss_db" not in Device.draw(network, 0.1, 0, law).errors["0"]
    with pytest.raises(UserError, match="physically impossible"):
        Device({"0": {"loss_db": -loss}}).check(network)


def test_heat_falls_with_the_distance_in_a_column() -> None:
    mesh, network = made()
    c = 0.1
    columns, tops = coupler_places(N)
    expected = {}
    for name, period in (("theta", 4 * math.pi), ("phi", 2 * math.pi)):
        phase = mesh.theta.detach() if name == "theta" else mesh.all_phi().detach()
        heat = (phase - UNDRIVEN) % period + UNDRIVEN - SET_UP
        added = torch.zeros_like(phase)
        for i in range(len(phase)):
            for j in range(len(phase)):
                if i != j and columns[i] == columns[j]:
                    added[i] += c ** (abs(tops[i] - tops[j]) // 2) * heat[j]
        expected[name] = added
    found = transfer(network, Device.ideal(), MZIEnvironment(thermal_crosstalk=c))
    torch.testing.assert_close(found, transfer(network, Device({"0": expected})))


def test_conditions_with_heat_and_losses_are_one_by_one() -> None:
    mesh, network = made()
    x = torch.rand(3, N, dtype=torch.float64)
    conditions = [
        Condition(Device.draw(network, 0.3, 1, LOSSES), MZIEnvironment(thermal_crosstalk=0.05)),
        Condition(Device.draw(network, 0.1, 2)),
        Condition(Device.ideal(), MZIEnvironment(thermal_crosstalk=0.2, control_bits=3.0)),
    ]
    with operate(network, conditions):
        together = mesh(x.repeat(3, 1)).unflatten(0, (3, -1))
    for condition, found in zip(conditions, together, strict=True):
        with operate(network, [condition]):
            torch.testing.assert_close(found, mesh(x))


def test_what_is_on_request_is_unsaid_until_it_is_asked_for() -> None:
    mesh, _ = made()
    assert MZIEnvironment().as_dict() == {}
    assert MZIEnvironment(thermal_crosstalk=0.1).as_dict() == {"thermal_crosstalk": 0.1}
    assert "loss_db" not in mesh.describe()["errors"]
    assert "loss_db" not in mesh.draw_errors(1.0, torch.Generator())
    with pytest.raises(UserError, match="thermal_crosstalk"):
        MZIEnvironment(thermal_crosstalk=0.6)
