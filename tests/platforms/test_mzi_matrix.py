from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from pnnbench.errors import UserError
from pnnbench.platforms import mzi_matrix
from pnnbench.platforms.base import Condition, Device, operate
from pnnbench.platforms.mzi import MZIMesh
from pnnbench.platforms.mzi_layers import MZIConv2d, MZILinear
from pnnbench.platforms.mzi_matrix import MZIMatrix, mesh_matrix

from ..defaults import double_by_default


def dense_mesh(theta: Tensor, phi: Tensor, gamma: Tensor) -> Tensor:
    """A mesh as the product of dense matrices, column by column, by ordinary autograd."""
    n, number = len(gamma), 0
    whole = torch.diag(torch.polar(torch.ones_like(gamma), gamma))
    for column in range(n):
        tops = list(range(column % 2, n - 1, 2))
        matrix = torch.eye(n, dtype=whole.dtype) * -1j
        for top in tops:
            c, s = torch.cos(theta[number] / 2), torch.sin(theta[number] / 2)
            outer = torch.polar(torch.ones_like(s), phi[number])
            rows = torch.stack((outer * s, outer * c, c + 0j, -s + 0j)).view(2, 2) * 1j
            matrix = matrix.clone()
            matrix[top : top + 2, top : top + 2] = rows
            number += 1
        whole = matrix @ whole
    return whole


def dense(layer: MZIMatrix) -> Tensor:
    """The weight of a layer of one tile, by ordinary autograd."""
    u, v = (
        dense_mesh(*(getattr(layer, f"{part}_{name}")[0] for name in ("theta", "phi", "gamma")))
        for part in ("u", "v")
    )
    k = layer.joined
    passed = torch.sin(layer.s_theta[0] / 2)
    return layer.gain * (u[:, :k] * passed @ v[:k]).real[: layer.rows, : layer.columns]


@settings(max_examples=30)
@given(
    rows=st.integers(1, 9),
    columns=st.integers(1, 9),
    ports=st.sampled_from([2, 3, 4, 64]),
    scale=st.sampled_from([1e-3, 1.0, 50.0]),
    seed=st.integers(0, 100),
)
def test_any_weight_can_be_programmed(
    rows: int, columns: int, ports: int, scale: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    weight = scale * torch.randn(rows, columns, generator=generator)
    layer = MZILinear(columns, rows, ports=ports, weight=weight)
    torch.testing.assert_close(layer.ideal_weight(), weight, rtol=0, atol=3e-6 * scale * 3)
    assert torch.equal(layer.project_weight(weight), weight)


@pytest.mark.parametrize("weight", [torch.zeros(4, 3), torch.ones(4, 3), torch.eye(4)[:, :3]])
def test_weights_without_full_rank_can_be_programmed(weight: Tensor) -> None:
    layer = MZILinear(3, 4, weight=weight)
    torch.testing.assert_close(layer.ideal_weight(), weight, rtol=0, atol=3e-6)


def test_the_largest_singular_value_stands_at_the_headroom() -> None:
    layer = MZILinear(6, 4, headroom=2.0)
    passed = torch.sin(layer.s_theta.detach() / 2)
    assert float(passed.max()) == pytest.approx(0.5)
    largest = float(torch.linalg.matrix_norm(layer.ideal_weight().detach(), 2))
    assert float(layer.gain.detach()) == pytest.approx(2.0 * largest)


@pytest.mark.parametrize(("rows", "columns"), [(4, 4), (3, 5), (5, 2), (1, 4)])
def test_the_gradients_are_those_of_the_dense_product(rows: int, columns: int) -> None:
    torch.manual_seed(0)
    layer = MZILinear(columns, rows).double()
    with torch.no_grad():
        for name in layer.control_names:
            getattr(layer, name).add_(torch.randn_like(getattr(layer, name)))
    direction = torch.randn(rows, columns, dtype=torch.float64)
    parameters = [*(getattr(layer, n) for n in layer.control_names), layer.gain]
    torch.testing.assert_close(layer.ideal_weight(), dense(layer), rtol=0, atol=1e-12)
    ours = torch.autograd.grad((layer.ideal_weight() * direction).sum(), parameters)
    theirs = torch.autograd.grad((dense(layer) * direction).sum(), parameters)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-11)


def test_the_gradients_are_right_with_errors_too() -> None:
    torch.manual_seed(0)
    layer = MZIConv2d(2, 3, 2, ports=4).double()
    x = torch.randn(2, 2, 4, 4, dtype=torch.float64)
    device = Device.draw(layer, 0.2, 5)
    parameters = list(layer.parameters())

    def outputs(*_: Tensor) -> Tensor:
        with operate(layer, [Condition(device)]):
            return layer(x)

    assert torch.autograd.gradcheck(outputs, parameters, atol=1e-6)


def test_its_meshes_are_those_of_the_mesh_layer() -> None:
    torch.manual_seed(0)
    for n in (2, 5, 8):
        mesh = MZIMesh(n, detected=False)
        phases = (mesh.theta[None], mesh.phi[None], mesh.gamma[None])
        assert torch.equal(mesh_matrix(*phases)[0], mesh.ideal_weight())


@torch.no_grad()
def test_an_attenuator_has_the_errors_of_an_interferometer() -> None:
    layer = MZILinear(2, 2, weight=torch.diag(torch.tensor([1.0, 0.5]))).double()
    e = torch.tensor([[0.3, -0.2]], dtype=torch.float64)
    with operate(layer, [Condition(Device({"": {"s_e_l": e, "s_e_r": -e}}))]):
        skewed = layer.transfer()
    assert float((skewed - layer.ideal_weight()).abs().max()) > 0.01
    shift = torch.full((1, 2), 2 * math.pi, dtype=torch.float64)
    with operate(layer, [Condition(Device({"": {"s_theta": shift}}))]):
        torch.testing.assert_close(layer.transfer(), -layer.ideal_weight())


@torch.no_grad()
def test_errors_grow_with_the_severity_and_keep_their_draw() -> None:
    layer = MZILinear(5, 7)
    one, two = (layer.draw_errors(s, torch.Generator().manual_seed(1)) for s in (0.1, 0.2))
    none = layer.draw_errors(0.0, torch.Generator().manual_seed(1))
    assert set(one) == set(layer.static_errors())
    for name, law in layer.static_errors().items():
        assert one[name].shape == law.shape
        torch.testing.assert_close(2 * one[name], two[name])
        assert not none[name].any()
    alone = layer.draw_alone("phases", 0.1, torch.Generator().manual_seed(1))
    assert set(alone) == {"u_theta", "u_phi", "s_theta", "v_theta", "v_phi"}
    assert all(torch.equal(alone[name], one[name]) for name in alone)
    couplers = layer.draw_alone("couplers", 0.1, torch.Generator().manual_seed(1))
    assert set(couplers) == set(one) - set(alone)
    with pytest.raises(UserError, match="no device errors of the kind 'dust'"):
        layer.draw_alone("dust", 0.1, torch.Generator())


def test_errors_are_the_same_whatever_precision_torch_has_by_default() -> None:
    layer = MZILinear(5, 7)
    for draw in (layer.draw_errors, layer.random_offsets):
        expected = draw(0.1, torch.Generator().manual_seed(1))
        with double_by_default():
            found = draw(0.1, torch.Generator().manual_seed(1))
        assert {value.dtype for value in found.values()} == {torch.float32}
        assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_first_use_in_inference_mode_leaves_later_gradients() -> None:
    mzi_matrix._edges.cache_clear()
    layer = MZILinear(5, 4).double()
    x = torch.rand(3, 5, dtype=torch.float64)
    with torch.inference_mode():
        layer(x)
    layer(x).sum().backward()
    assert all(bool(getattr(layer, name).grad.any()) for name in layer.control_names)


@torch.no_grad()
def test_the_noise_is_a_fraction_of_the_light_of_an_output() -> None:
    layer = MZIConv2d(4, 2, 1, groups=2, bias=False, readout_noise=0.1)
    x = torch.tensor([3.0, 4.0, 0.0, 1.0]).view(1, 4, 1, 1)
    with operate(layer, [Condition(Device.ideal())], lambda _, shape: torch.ones(shape)):
        noise = (layer(x) - layer._product(x, layer.ideal_weight())).flatten()
    gain = float(layer.gain)
    assert noise.tolist() == pytest.approx([0.1 * gain * 5.0, 0.1 * gain * 1.0], rel=1e-4)


def test_tiles_share_one_gain_so_that_noise_adds_up_in_quadrature() -> None:
    torch.manual_seed(0)
    linear = nn.Linear(12, 9)
    whole, cut = (MZILinear(12, 9, ports=p, weight=linear.weight.detach()) for p in (64, 4))
    assert (whole.tiles, cut.tiles) == (1, 9)
    x = torch.randn(3, 12)
    torch.testing.assert_close(whole._amplitude(x), cut._amplitude(x))
    torch.testing.assert_close(whole.ideal_weight(), cut.ideal_weight(), rtol=0, atol=1e-6)


def test_the_slopes_are_those_of_the_cross_powers() -> None:
    layer = MZILinear(3, 4)
    theta = torch.cat([layer.v_theta, layer.s_theta, layer.u_theta], 1)[0]
    power = torch.cos(theta / 2).square().sum()
    (slope,) = torch.autograd.grad(power, theta)
    torch.testing.assert_close(layer.sensitivity(), -slope)


@pytest.mark.parametrize(
    "options", [{"ports": 1}, {"headroom": 0.5}, {"readout_noise": -1.0}, {"imbalance_per_rad": -1}]
)
def test_what_is_out_of_range_reads(options: dict[str, float]) -> None:
    with pytest.raises(UserError, match=next(iter(options))):
        MZILinear(3, 3, **options)  # type: ignore[arg-type]


def test_a_weight_of_another_shape_reads() -> None:
    with pytest.raises(UserError, match="do not fit"):
        MZILinear(3, 4).program(torch.zeros(3, 4))
    with pytest.raises(UserError, match="not finite"):
        MZILinear(3, 4).program(torch.full((4, 3), math.nan))
