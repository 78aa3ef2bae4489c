from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.func import functional_call

from pnnbench.errors import UserError
from pnnbench.platforms.base import Condition, Device, operate
from pnnbench.platforms.mesh import coupler_places
from pnnbench.platforms.mzi import MZIMesh, couplings, entries, haar_phases


def made(n: int, seed: int = 0, **options: bool) -> MZIMesh:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return MZIMesh(n, **options)


def coupler(e: Tensor) -> Tensor:
    bar, cross = torch.sqrt(1 + e), 1j * torch.sqrt(1 - e)
    return torch.stack((torch.stack((bar + 0j, cross)), torch.stack((cross, bar + 0j)))) / 2**0.5


def test_one_interferometer_is_its_factors() -> None:
    theta, phi, e_l, e_r = torch.tensor([0.7, 2.1, 0.3, -0.2], dtype=torch.float64)
    u = torch.polar(torch.ones_like(theta), theta / 2)
    arms = torch.diag(torch.stack((u, u.conj())))
    outer = torch.diag(torch.stack((torch.polar(torch.ones_like(phi), phi), torch.ones(()) + 0j)))
    expected = outer @ coupler(e_r) @ arms @ coupler(e_l)
    got = entries(theta.view(1, 1), phi.view(1, 1), couplings(e_l, e_r)).view(2, 2)
    torch.testing.assert_close(got, expected.to(got.dtype), rtol=0, atol=1e-14)
    ideal = entries(theta.view(1, 1), phi.view(1, 1)).view(2, 2)
    torch.testing.assert_close(
        ideal, (outer @ coupler(0 * e_r) @ arms @ coupler(0 * e_l)).to(ideal.dtype)
    )


@pytest.mark.parametrize(("theta", "bar"), [(math.pi, 1.0), (0.0, 0.0)])
def test_bar_and_cross_states(theta: float, bar: float) -> None:
    block = entries(torch.full((1, 1), theta), torch.zeros(1, 1)).view(2, 2).abs().square()
    torch.testing.assert_close(block, torch.tensor([[bar, 1 - bar], [1 - bar, bar]]))


def test_the_published_edge_is_an_interferometer_in_the_bar_state_with_phi_pi() -> None:
    # theta = phi = pi on the wrapped-around pair gives both edges the factor -i.
    block = entries(torch.full((1, 1), math.pi), torch.full((1, 1), math.pi)).view(2, 2)
    torch.testing.assert_close(block.diagonal(), torch.full((2,), -1j), rtol=0, atol=1e-6)


@settings(deadline=None, max_examples=40)
@given(
    n=st.integers(2, 24),
    seed=st.integers(0, 1000),
    severity=st.sampled_from([0.0, 0.01, 0.15, 0.3, 1.0, 30.0]),
)
def test_the_mesh_is_unitary_whatever_the_errors(n: int, seed: int, severity: float) -> None:
    mesh = made(n, seed, detected=False)
    with operate(mesh, [Condition(Device.draw(mesh, severity, seed))]):
        unitary = mesh.transfer()
    assert torch.isfinite(torch.view_as_real(unitary)).all()
    torch.testing.assert_close(
        unitary @ unitary.mH, torch.eye(n, dtype=unitary.dtype), rtol=0, atol=1e-5
    )


@pytest.mark.parametrize("n", [64, 65])
def test_a_full_size_mesh_is_unitary_and_its_gradient_finite_with_huge_errors(n: int) -> None:
    mesh = made(n)
    with operate(mesh, [Condition(Device.draw(mesh, 5.0, 1))]):
        unitary = mesh.transfer()
        powers = mesh(torch.randn(7, n))
    torch.testing.assert_close(
        unitary @ unitary.mH, torch.eye(n, dtype=unitary.dtype), rtol=0, atol=1e-5
    )
    powers[:, 0].sum().backward()
    for name in mesh.control_names:
        gradient = getattr(mesh, name).grad
        assert gradient is not None
        assert torch.isfinite(gradient).all()


def test_imbalances_stay_physical() -> None:
    mesh = made(16)
    errors = mesh.draw_errors(2.0, torch.Generator().manual_seed(0))
    for name in ("e_l", "e_r"):
        assert float(errors[name].abs().max()) == pytest.approx(0.999)
        assert len(errors[name]) == 120
    small = mesh.draw_errors(0.1, torch.Generator().manual_seed(0))
    assert float(small["theta"].std()) == pytest.approx(0.1, rel=0.2)
    assert float(small["e_l"].std()) == pytest.approx(0.1, rel=0.2)


@settings(deadline=None, max_examples=20)
@given(n=st.integers(2, 16), seed=st.integers(0, 1000))
def test_energy_is_conserved(n: int, seed: int) -> None:
    mesh = made(n, seed)
    x = torch.randn(5, n, generator=torch.Generator().manual_seed(seed))
    with operate(mesh, [Condition(Device.draw(mesh, 0.2, seed))]):
        powers = mesh(x)
    torch.testing.assert_close(powers.sum(-1), x.square().sum(-1), rtol=1e-4, atol=1e-5)


def test_programming_a_unitary_gives_it_back() -> None:
    wanted = made(9, 1, detected=False).ideal_weight().detach()
    mesh = made(9, 2, detected=False)
    mesh.program(wanted)
    torch.testing.assert_close(mesh.ideal_weight(), wanted, rtol=0, atol=3e-6)


def test_programming_with_detectors_gives_the_powers_back() -> None:
    wanted = made(8, 1, detected=False).ideal_weight().detach()
    mesh = made(8, 2)
    mesh.program(wanted)
    torch.testing.assert_close(mesh.ideal_weight().abs(), wanted.abs(), rtol=0, atol=3e-6)


@pytest.mark.parametrize("n", [2, 5, 16, 33])
@pytest.mark.parametrize("detected", [True, False])
def test_programming_is_as_exact_as_the_mesh(n: int, detected: bool) -> None:
    wanted = made(n, 1, detected=False).double().ideal_weight().detach()
    mesh = made(n, 2, detected=detected).double()
    mesh.program(wanted)
    found = mesh.ideal_weight()
    if detected:
        wanted, found = wanted.abs(), found.abs()
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)


class Lossy(MZIMesh):
    """Every interferometer passes 0.9 of the power."""

    def couplers(self, theta: Tensor, phi: Tensor, coupling: Any = None) -> Tensor:
        return 0.9**0.5 * super().couplers(theta, phi, coupling)


class Swapped(MZIMesh):
    """The outer phase stands on the lower arm."""

    def couplers(self, theta: Tensor, phi: Tensor, coupling: Any = None) -> Tensor:
        return (
            super().couplers(theta, -phi, coupling)
            * torch.polar(torch.ones_like(phi), phi)[:, None]
        )


class Elsewhere(MZIMesh):
    """Another weight altogether."""

    def ideal_weight(self) -> Tensor:
        return super().ideal_weight().mH


@pytest.mark.parametrize("law", [Lossy, Swapped, Elsewhere])
@pytest.mark.parametrize("double", [False, True])
def test_a_mesh_with_a_law_of_its_own_cannot_be_programmed_by_the_ideal_one(
    law: type[MZIMesh], double: bool
) -> None:
    mesh, wanted = law(6), made(6, 1, detected=False).ideal_weight().detach()
    if double:
        mesh, wanted = mesh.double(), wanted.to(torch.complex128)
    before = {name: p.detach().clone() for name, p in mesh.named_parameters()}
    with pytest.raises(UserError, match=rf"{law.__name__} does not follow the law"):
        mesh.program(wanted)
    assert all(torch.equal(p, before[name]) for name, p in mesh.named_parameters())


def test_a_law_of_its_own_holds_on_devices_and_in_gradients() -> None:
    torch.manual_seed(0)
    mesh, ideal = Lossy(5, detected=False).double(), MZIMesh(5, detected=False).double()
    ideal.load_state_dict(mesh.state_dict())
    device = Device.draw(mesh, 0.2, 0)
    with operate(mesh, [Condition(device)]), operate(ideal, [Condition(device)]):
        lossy, unitary = mesh.transfer(), ideal.transfer()
    # The shortest way, along an edge, passes two interferometers, the longest five.
    kept = lossy.detach().abs().square().sum(-2)
    assert bool((kept <= 0.9**2 + 1e-12).all())
    assert bool((kept >= 0.9**5 - 1e-12).all())
    torch.testing.assert_close(unitary.abs().square().sum(-2), torch.ones_like(kept))
    x = torch.randn(3, 5, dtype=torch.float64)

    def powers(theta: Tensor, phi: Tensor, gamma: Tensor) -> Tensor:
        with operate(mesh, [Condition(device)]):
            fields = functional_call(mesh, {"theta": theta, "phi": phi, "gamma": gamma}, (x,))
        return fields.real.square() + fields.imag.square()

    controls = tuple(p.detach().clone().requires_grad_() for p in mesh.parameters())
    assert torch.autograd.gradcheck(powers, controls)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_projection_of_what_is_not_finite_is_not_a_number(value: float) -> None:
    weight = torch.eye(4, dtype=torch.complex64)
    weight[1, 2] = value
    assert made(4).project_weight(weight).isnan().all()
    with pytest.raises(UserError, match=r"\(4, 4\)"):
        made(4).project_weight(weight[:2])


@pytest.mark.parametrize(
    ("weight", "text"),
    [
        (torch.full((4, 4), math.nan) + 0j, "not finite"),
        (torch.eye(3) + 0j, r"\(4, 4\)"),
        (torch.ones(4, 4) + 0j, "not unitary"),
    ],
)
def test_what_cannot_be_programmed_is_refused(weight: Tensor, text: str) -> None:
    with pytest.raises(UserError, match=text):
        made(4).program(weight)


def test_projection_is_the_nearest_unitary() -> None:
    mesh = made(5)
    unitary = mesh.ideal_weight().detach()
    torch.testing.assert_close(mesh.project_weight(3.0 * unitary), unitary, rtol=0, atol=1e-5)


@pytest.mark.parametrize("n", [2, 3, 4, 5, 8, 64])
def test_only_phases_that_detectors_see_are_controls(n: int) -> None:
    mesh = made(n)
    couplers = n * (n - 1) // 2
    columns, _ = coupler_places(n)
    last = int((columns == n - 1).sum())
    # All of the last column, and the interferometer before the edge of waveguide 0 if it has one.
    unseen = last + (1 if n % 2 == 0 else 0)
    assert (len(mesh.theta), len(mesh.phi), len(mesh.gamma)) == (couplers, couplers - unseen, n)
    assert len(made(n, detected=False).phi) == couplers


def test_the_published_mesh_has_the_published_counts() -> None:
    mesh = made(64)
    assert len(mesh.theta) == 2016
    assert len(mesh.phi) == 2016 - 32  # 31 of column 63 and one of column 62
    assert len(mesh.gamma) == 64


@pytest.mark.parametrize("n", [2, 3, 4, 5, 8, 9])
def test_what_is_no_control_changes_no_power_and_every_control_does(n: int) -> None:
    mesh = made(n).double()
    x = torch.randn(20, n, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    theta, phi = mesh.theta.detach(), mesh.all_phi().detach()

    def gradient_of(i: int) -> float:
        moved = phi.clone().requires_grad_()
        unitary = mesh._assembled(mesh.couplers(theta[None], moved[None]))[0]
        powers = (x.to(unitary.dtype) @ unitary.mT).abs().square()
        weights = torch.randn(n, generator=torch.Generator().manual_seed(2)).double()
        (g,) = torch.autograd.grad((powers * weights).sum(), moved)
        return float(g[i].abs())

    seen = set(mesh.live_phi.tolist())
    for i in range(len(phi)):
        assert (gradient_of(i) > 1e-9) == (i in seen)


@pytest.mark.parametrize("real", [True, False])
def test_many_devices_at_once_are_one_by_one(real: bool) -> None:
    mesh = made(6)
    x = torch.randn(4, 6)
    if not real:
        x = torch.complex(x, torch.randn(4, 6))
    conditions = [Condition(Device.draw(mesh, 0.1, seed)) for seed in range(5)]
    with operate(mesh, conditions):
        together = mesh(x.repeat(5, 1)).view(5, 4, 6)
    for condition, powers in zip(conditions, together, strict=True):
        with operate(mesh, [condition]):
            torch.testing.assert_close(mesh(x), powers, rtol=1e-5, atol=1e-6)


def test_the_split_into_batches_changes_nothing() -> None:
    mesh = made(10)
    x = torch.randn(12, 10)
    parts = torch.cat([mesh(part) for part in x.split(5)])
    torch.testing.assert_close(mesh(x), parts, rtol=1e-6, atol=1e-7)


def test_a_real_input_is_a_complex_one_without_imaginary_part() -> None:
    mesh = made(7, detected=False)
    x = torch.randn(3, 7)
    torch.testing.assert_close(mesh(x), mesh(x + 0j), rtol=1e-5, atol=1e-6)


def test_errors_of_zero_are_the_ideal_mesh() -> None:
    mesh = made(8, detected=False)
    with operate(mesh, [Condition(Device.draw(mesh, 0.0, 3))]):
        torch.testing.assert_close(mesh.transfer(), mesh.ideal_weight(), rtol=0, atol=1e-6)


def test_fidelity_falls_as_published() -> None:
    # |tr(U' V)| / 64 is close to exp(-39 s^2): 0.87 at 0.06, 0.42 at 0.15.
    mesh = made(64, detected=False)
    ideal = mesh.ideal_weight().detach()
    for severity, expected in [(0.06, 0.868), (0.15, 0.415)]:
        conditions = [Condition(Device.draw(mesh, severity, seed)) for seed in range(20)]
        with torch.no_grad(), operate(mesh, conditions):
            fidelity = torch.einsum("ij,cij->c", ideal.conj(), mesh.transfer()).abs() / 64
        assert float(fidelity.mean()) == pytest.approx(expected, abs=0.03)


def test_initial_unitaries_are_haar_random() -> None:
    # Moments of the entries of a Haar-random unitary: E|u|^2 = 1/n, E|u|^4 = 2 / (n (n + 1)).
    n, draws = 6, 4000
    generator = torch.Generator().manual_seed(0)
    mesh = made(n, detected=False)
    powers = torch.empty(draws, n, n)
    with torch.no_grad():
        for i in range(draws):
            mesh._set(*haar_phases(n, generator))
            powers[i] = mesh.ideal_weight().abs().square()
    second, fourth = powers.mean(0), powers.square().mean(0)
    torch.testing.assert_close(second, torch.full((n, n), 1 / n), rtol=0, atol=0.012)
    torch.testing.assert_close(fourth, torch.full((n, n), 2 / n / (n + 1)), rtol=0, atol=0.007)


def test_sensitivity_is_the_slope_of_the_cross_power() -> None:
    mesh = made(4).double()
    theta = mesh.theta.detach().clone().requires_grad_()
    cross = entries(theta[None], torch.zeros_like(theta)[None])[0, 1].abs().square()
    (slope,) = torch.autograd.grad(cross.sum(), theta)
    torch.testing.assert_close(mesh.sensitivity().abs(), slope.abs())


def test_it_is_a_layer_among_others() -> None:
    network = nn.Sequential(nn.Linear(3, 4), made(4), nn.Linear(4, 2))
    out = network(torch.randn(5, 3))
    out.sum().backward()
    assert all(p.grad is not None for p in network.parameters())
    assert set(network.state_dict()) >= {"1.theta", "1.phi", "1.gamma"}


@pytest.mark.parametrize(
    "options",
    [
        {"n": 1},
        {"n": 4.0},
        {"n": True},
        {"n": 4, "imbalance_per_rad": -1.0},
        {"n": 4, "readout_noise": math.nan},
    ],
)
def test_impossible_meshes_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(UserError):
        MZIMesh(**options)  # type: ignore[arg-type]


# --- kinds of errors, noise and loss -----------------------------------------------------------


def test_phases_and_couplers_alone_are_those_of_the_whole_device() -> None:
    mesh = nn.Sequential(made(6, imbalance_per_rad=0.2))
    whole = Device.draw(mesh, 0.3, 7).errors["0"]
    phases = Device.draw(mesh, 0.3, 7, "phases").errors["0"]
    couplers = Device.draw(mesh, 0.2 * 0.3, 7, "couplers").errors["0"]
    assert (set(phases), set(couplers)) == ({"theta", "phi"}, {"e_l", "e_r"})
    for name, error in (phases | couplers).items():
        torch.testing.assert_close(error, whole[name])
    twice = Device.draw(mesh, 0.12, 7, "couplers").errors["0"]
    torch.testing.assert_close(twice["e_l"], 2 * couplers["e_l"])
    assert not any(e.any() for e in Device.draw(mesh, 0.0, 7, "couplers").errors["0"].values())
    large = Device.draw(mesh, 9.0, 7, "couplers").errors["0"]["e_r"]
    assert float(large.abs().max()) < 1.0
    with pytest.raises(UserError, match="no device errors of the kind 'mirrors'"):
        Device.draw(mesh, 0.1, 7, "mirrors")


def test_offsets_of_noise_aware_training_are_of_the_controls_alone() -> None:
    mesh = made(9)
    errors = mesh.random_offsets(0.3, torch.Generator().manual_seed(0))
    assert set(errors) == {"theta", "phi"}
    dead = torch.ones(len(mesh.theta), dtype=torch.bool)
    dead[mesh.live_phi] = False
    assert dead.any()
    assert not errors["phi"][dead].any()
    assert errors["phi"][~dead].all()
    values = torch.cat([made(40).random_offsets(0.3, torch.Generator())[n] for n in ("theta",)])
    assert float(values.std()) == pytest.approx(0.3, rel=0.1)


def ones(name: str, shape: tuple[int, ...]) -> Tensor:
    return torch.ones(shape)


def test_noise_is_a_share_of_the_power_of_each_input_whatever_the_mesh_does() -> None:
    x = torch.randn(5, 6, dtype=torch.complex64) * torch.tensor([0.1, 1, 2, 3, 4])[:, None]
    for seed in (0, 1):
        mesh = made(6, readout_noise=0.02)
        mesh.reset_parameters(torch.Generator().manual_seed(seed))
        with torch.no_grad():
            quiet = mesh(x)
            with operate(mesh, [Condition(Device.ideal())], ones):
                noise = mesh(x) - quiet
        expected = 0.02 * x.abs().square().sum(-1, keepdim=True).expand(5, 6)
        torch.testing.assert_close(noise, expected, rtol=1e-3, atol=1e-5)


def test_loss_takes_light_and_leaves_the_noise() -> None:
    clear, lossy = made(6, readout_noise=0.02), made(6, readout_noise=0.02, loss_db=0.5)
    lossy.load_state_dict(clear.state_dict())
    x = torch.randn(5, 6)
    with torch.no_grad():
        power, left = clear(x), lossy(x)
        # Six interferometers of half a dB on every path.
        torch.testing.assert_close(left, power * 10 ** (-6 * 0.5 / 10), rtol=1e-5, atol=1e-7)
        added = []
        for mesh, quiet in ((clear, power), (lossy, left)):
            with operate(mesh, [Condition(Device.ideal())], ones):
                added.append(mesh(x) - quiet)
    torch.testing.assert_close(added[0], added[1], rtol=1e-3, atol=1e-5)
    assert torch.equal(lossy.ideal_weight(), clear.ideal_weight())
    assert lossy.describe()["loss_db"] == 0.5
    with pytest.raises(UserError, match="loss_db"):
        made(4, loss_db=-1.0)
