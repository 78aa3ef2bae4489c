"""Losses of the interferometers of real matrices on meshes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pnnbench.errors import UserError
from pnnbench.platforms.base import Condition, Device, operate
from pnnbench.platforms.insertion_loss import LOSS_SPREAD
from pnnbench.platforms.mesh import coupler_places, edge_columns
from pnnbench.platforms.mzi import LOSSES
from pnnbench.platforms.mzi_layers import MZIConv2d, MZILinear


def coupler(e: float) -> np.ndarray:
    """A lossless coupler with a power imbalance."""
    bar, cross = np.sqrt((1 + e) / 2), 1j * np.sqrt((1 - e) / 2)
    return np.array([[bar, cross], [cross, bar]])


def interferometer(theta: float, phi: float, e_l: float, e_r: float, loss_db: float) -> np.ndarray:
    """Two couplers, a phase in push and pull between and one behind them, and what is lost."""
    inside = np.diag(np.exp(0.5j * theta * np.array([1, -1])))
    whole = np.diag([np.exp(1j * phi), 1]) @ coupler(e_r) @ inside @ coupler(e_l)
    return whole * 10 ** (-loss_db / 20)


def dense(layer: MZILinear, errors: dict[str, Tensor], tile: int) -> np.ndarray:
    """One tile interferometer by interferometer, without the gain."""

    def of(name: str) -> np.ndarray:
        phase = getattr(layer, name)[tile].detach()
        return np.asarray(phase + errors[name][tile] if name in errors else phase)

    def elements(part: str) -> list[np.ndarray]:
        theta, further = of(f"{part}_theta"), [errors[f"{part}_{x}"] for x in ("e_l", "e_r")]
        phi = np.zeros_like(theta) if part == "s" else of(f"{part}_phi")
        e_l, e_r = (np.asarray(e[tile]) for e in further)
        loss = np.asarray(errors[f"{part}_loss_db"][tile])
        return [interferometer(*each) for each in zip(theta, phi, e_l, e_r, loss, strict=True)]

    def mesh(part: str, n: int) -> np.ndarray:
        (columns, tops), edges = coupler_places(n), edge_columns(n)
        idle = 10 ** (-float(errors[f"{part}_loss_db"][tile].mean()) / 20)
        matrix = np.diag(np.exp(1j * of(f"{part}_gamma")))
        for column in range(n):
            step = np.eye(n, dtype=complex) * idle * (-1j if edges[column] else 1)
            for place, top, block in zip(columns, tops, elements(part), strict=True):
                if place == column:
                    step[top : top + 2, top : top + 2] = block
            matrix = step @ matrix
        return matrix

    k = layer.joined
    passed = np.array([-1j * block[0, 0] for block in elements("s")])
    return ((mesh("u", layer.outputs)[:, :k] * passed) @ mesh("v", layer.inputs)[:k]).real


def drawn(layer: nn.Module, seed: int, loss_db: float = 0.7) -> Device:
    errors = dict(Device.draw(layer, 0.2, seed).errors[""])
    return Device({"": errors | dict(Device.draw(layer, loss_db, seed, LOSSES).errors[""])})


@pytest.mark.parametrize(
    ("rows", "columns", "ports"), [(4, 4, 4), (5, 3, 8), (3, 6, 8), (1, 2, 4), (6, 4, 4)]
)
def test_losses_are_those_of_a_dense_product(rows: int, columns: int, ports: int) -> None:
    torch.manual_seed(0)
    layer = MZILinear(columns, rows, ports=ports).double()
    device = drawn(layer, 3)
    errors = {name: value.double() for name, value in device.errors[""].items()}
    tiles = [torch.from_numpy(dense(layer, errors, tile)) for tile in range(layer.tiles)]
    wanted = layer.gain.detach() * layer._whole(torch.stack(tiles)[None])[0]
    with torch.no_grad(), operate(layer, [Condition(Device({"": errors}))]):
        torch.testing.assert_close(layer.transfer(), wanted, rtol=1e-9, atol=1e-12)


def test_the_gradients_are_right_with_losses() -> None:
    torch.manual_seed(0)
    layer = MZIConv2d(2, 3, 2, ports=4).double()
    x = torch.randn(2, 2, 4, 4, dtype=torch.float64)
    device = drawn(layer, 5)

    def outputs(*_: Tensor) -> Tensor:
        with operate(layer, [Condition(device)]):
            return layer(x)

    assert torch.autograd.gradcheck(outputs, list(layer.parameters()), atol=1e-6)


@torch.no_grad()
def test_equal_losses_cost_what_the_light_path_is_long() -> None:
    layer = MZILinear(5, 3).double()
    equal = {name: torch.full(law.shape, 0.1) for name, law in layer.further_errors().items()}
    with operate(layer, [Condition(Device({"": equal}))]):
        left = 10 ** (-0.1 * layer.light_path / 20)
        torch.testing.assert_close(
            layer.transfer(), left * layer.ideal_weight(), rtol=1e-6, atol=1e-9
        )


@torch.no_grad()
def test_conditions_are_one_by_one() -> None:
    layer = MZILinear(6, 9, ports=4).double()
    x = torch.randn(2, 6, dtype=torch.float64)
    conditions = [Condition(d) for d in (drawn(layer, 1), Device.ideal(), drawn(layer, 2))]
    with operate(layer, conditions):
        together = layer(x.repeat(3, 1)).unflatten(0, (3, -1))
    for condition, found in zip(conditions, together, strict=True):
        with operate(layer, [condition]):
            torch.testing.assert_close(found, layer(x))


def test_they_are_drawn_with_their_mean_and_spread() -> None:
    layer = MZILinear(40, 40)
    once, twice = (Device.draw(layer, db, 0, LOSSES).errors[""] for db in (0.4, 0.8))
    assert set(once) == {"u_loss_db", "s_loss_db", "v_loss_db"}
    loss = torch.cat([value.flatten() for value in once.values()])
    assert float(loss.mean()) == pytest.approx(0.4, rel=0.02)
    assert float(loss.std()) == pytest.approx(0.4 * LOSS_SPREAD, rel=0.05)
    for name, value in once.items():
        torch.testing.assert_close(twice[name], 2 * value)
        assert name not in layer.describe()["errors"]
    with pytest.raises(UserError, match="physically impossible"):
        Device({"": {"u_loss_db": -once["u_loss_db"]}}).check(layer)
