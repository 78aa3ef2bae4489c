from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from pnnbench.data import DataModule, load
from pnnbench.errors import UserError
from pnnbench.platforms.base import Condition, Device, operate, physical_layers
from pnnbench.platforms.mrr import MRREnvironment, MRRLinear, MRRWeightBank
from pnnbench.workloads.calibration import calibrate, calibrated_apart
from pnnbench.workloads.converted import physical_network
from pnnbench.workloads.mrr import MRRDigits
from pnnbench.workloads.mzi import MZIDigits

IMAGES, _ = DataModule(load("digits")).train_tensors()


def buffers(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in network.named_buffers()}


def assert_close(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    """Equal to the rounding of single precision, whatever the order of the sums."""
    assert a.keys() == b.keys()
    for name, value in a.items():
        torch.testing.assert_close(
            value, b[name], rtol=2e-4, atol=2e-5, msg=lambda text, name=name: f"{name}: {text}"
        )


@torch.no_grad()
def one_pass(network: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """Oracle: torch's own norms in training mode see all images at once."""
    peaks: dict[str, Tensor] = {}
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.reset_running_stats()
            module.momentum = None
            module.train()
    layers = physical_layers(network)

    def keep(name: str, seen: Tensor) -> None:
        peaks[name] = torch.maximum(peaks.get(name, torch.zeros(())), seen.abs().max())

    hooks = []
    for name, layer in layers.items():

        def tap(y: Tensor, name: str = name) -> Tensor:
            keep(name, y)
            return y

        def light(layer: nn.Module, args: tuple[Tensor], name: str = name) -> None:
            keep(name, layer._light(args[0]))  # type: ignore[operator]

        if isinstance(layer, MRRWeightBank):
            hooks.append(layer.register_forward_pre_hook(light))
        else:
            layer.read_out_tap = tap
    network(images)
    for hook in hooks:
        hook.remove()
    for name, layer in layers.items():
        layer.read_out_tap = None
        layer.full_scale.copy_(peaks[name])
    network.eval()
    return buffers(network)


class Shared(nn.Module):
    """A norm that is called twice, one without running statistics, one that is never called."""

    def __init__(self) -> None:
        super().__init__()
        self.first = MRRLinear(6, 5)
        self.shared = nn.BatchNorm1d(5)
        self.second = MRRLinear(5, 5)
        self.untracked = nn.BatchNorm1d(5, track_running_stats=False)
        self.unused = nn.BatchNorm1d(5)
        self.last = nn.BatchNorm1d(5, affine=False, momentum=None)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.shared(self.first(x)))
        h = torch.tanh(self.untracked(self.second(h)))
        return self.last(input=self.shared(2.0 * h + x[:, :5]))


def shared() -> nn.Module:
    return Shared().eval()


def rings() -> nn.Module:
    return MRRDigits(0).network.eval()


def mesh() -> nn.Module:
    return MZIDigits(0).network.eval()


def made(make: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return make()


def inputs(make: Callable[[], nn.Module], count: int) -> Tensor:
    if make is shared:
        return torch.randn(count, 6, generator=torch.Generator().manual_seed(count)) + 3.0
    return IMAGES[:count]


@pytest.mark.parametrize("make", [rings, mesh, shared])
@pytest.mark.parametrize(
    ("count", "batch_size"), [(102, 100), (101, 50), (100, 50), (37, 1), (2, 1), (60, 500)]
)
def test_statistics_are_those_of_one_pass_over_all(
    make: Callable[[], nn.Module], count: int, batch_size: int
) -> None:
    network, x = made(make), inputs(make, count)
    calibrate(network, x, batch_size)
    assert_close(buffers(network), one_pass(made(make), x))


@settings(deadline=None, max_examples=25)
@given(count=st.integers(2, 40), batch_size=st.integers(1, 45), seed=st.integers(0, 100))
def test_the_cut_into_batches_changes_nothing(count: int, batch_size: int, seed: int) -> None:
    whole, cut = made(shared, seed), made(shared, seed)
    x = 5.0 * torch.randn(count, 6, generator=torch.Generator().manual_seed(seed)) + 10.0
    calibrate(whole, x, count)
    calibrate(cut, x, batch_size)
    assert_close(buffers(whole), buffers(cut))


def test_statistics_by_hand() -> None:
    network = nn.Sequential(nn.BatchNorm1d(1), nn.BatchNorm1d(1))
    calibrate(network, torch.tensor([[0.0], [0.0], [0.0], [8.0]]), 3)
    first, second = network
    assert isinstance(first, nn.BatchNorm1d)
    assert isinstance(second, nn.BatchNorm1d)
    assert (float(first.running_mean), float(first.running_var)) == (2.0, 16.0)
    # The first divides by its biased variance, 12: what enters the second has the variance 1.
    assert float(second.running_mean) == pytest.approx(0.0, abs=1e-6)
    assert float(second.running_var) == pytest.approx(4 / 3, rel=1e-5)


def test_in_double_precision_the_cut_is_lost_in_its_rounding() -> None:
    x = IMAGES[:57].double()
    a, b = MRRDigits(0).double().network, MRRDigits(0).double().network
    calibrate(a, x, 57)
    calibrate(b, x, 8)
    for name, value in buffers(a).items():
        torch.testing.assert_close(value, dict(b.named_buffers())[name], rtol=1e-11, atol=1e-12)
        assert value.dtype in (torch.float64, torch.int64)


def test_nothing_is_dropped_and_nothing_drawn() -> None:
    def network() -> nn.Module:
        return nn.Sequential(nn.Dropout(0.5), MRRLinear(6, 4), nn.BatchNorm1d(4), nn.Dropout(0.5))

    x = torch.randn(30, 6)
    with_dropout = made(network).train()
    state = torch.get_rng_state()
    calibrate(with_dropout, x, 7)
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(m.training for m in with_dropout.modules())
    norm: Any = with_dropout[2]  # type: ignore[index]
    products = with_dropout[1](x)  # type: ignore[index]
    torch.testing.assert_close(norm.running_mean, products.mean(0), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(norm.running_var, products.var(0), rtol=1e-5, atol=1e-5)


def test_a_network_without_norms_gets_its_full_scale_in_one_pass() -> None:
    calls = []

    class Counted(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            calls.append(len(x))
            return super().forward(x)

    network = Counted(MRRLinear(6, 4, bias=False))
    x = torch.randn(11, 6)
    assert calibrate(network, x, 4) == 11
    assert calls == [4, 4, 3]
    bank: Any = network[0]
    peak = torch.stack([x[:, :4].abs().sum(1), x[:, 4:].abs().sum(1)]).max()
    torch.testing.assert_close(bank.full_scale, peak, rtol=1e-5, atol=0)


def test_a_norm_that_is_not_called_keeps_what_it_has() -> None:
    network: Any = made(shared)
    network.unused.running_mean.fill_(7.0)
    calibrate(network, inputs(shared, 20), 6)
    assert (network.unused.running_mean == 7.0).all()
    assert int(network.unused.num_batches_tracked) == 0
    assert int(network.shared.num_batches_tracked) == 2
    assert network.untracked.running_mean is None
    assert not network.shared._forward_pre_hooks


def test_a_pass_that_fails_leaves_the_statistics_as_they_were() -> None:
    network: Any = made(rings)
    calibrate(network, IMAGES[:50], 20)
    before = buffers(network)
    with pytest.raises(RuntimeError, match="shape"):
        calibrate(network, torch.rand(10, 1, 12, 12), 4)
    assert all(torch.equal(value, before[name]) for name, value in buffers(network).items())
    assert not network.norm1._forward_pre_hooks


class Wayward(nn.Module):
    """Dark batches take another way."""

    def __init__(self, skips: bool) -> None:
        super().__init__()
        self.a, self.b, self.skips = nn.BatchNorm1d(3), nn.BatchNorm1d(3), skips

    def forward(self, x: Tensor) -> Tensor:
        if x.any():
            return self.b(self.a(x))
        return x if self.skips else self.a(self.b(x))


@pytest.mark.parametrize("skips", [True, False])
@pytest.mark.parametrize("dark_first", [True, False])
def test_a_network_that_takes_another_way_for_other_images_is_refused(
    skips: bool, dark_first: bool
) -> None:
    x = torch.randn(8, 3)
    x[slice(0, 4) if dark_first else slice(4, 8)] = 0.0
    with pytest.raises(UserError, match="another order"):
        calibrate(Wayward(skips), x, 4)


@pytest.mark.parametrize(
    ("count", "batch_size", "text"),
    [
        (0, 5, "calibration images"),
        (1, 5, "calibration images"),
        (9, 0, "batch_size"),
        (9, -3, "batch_size"),
        (9, 2.5, "batch_size"),
    ],
)
def test_what_cannot_be_calibrated_with_is_refused(count: int, batch_size: Any, text: str) -> None:
    with pytest.raises(UserError, match=text):
        calibrate(made(rings), IMAGES[:count], batch_size)


def test_images_whose_outputs_overflow_do_not_set_the_full_scale() -> None:
    bank = MRRLinear(2, 1, bias=False)
    x = torch.tensor([[1.0, -1.0], [float("inf"), 0.0], [float("nan"), 0.0]])
    calibrate(nn.Sequential(bank), x, 2)
    torch.testing.assert_close(bank.full_scale, torch.tensor(2.0))


# --- each condition by itself ------------------------------------------------------------------


def calibrated_rings() -> MRRDigits:
    workload = MRRDigits(0)
    workload.calibrate(torch.rand(64, 1, 8, 8, generator=torch.Generator().manual_seed(5)))
    return workload


def test_each_condition_has_the_statistics_that_it_measures() -> None:
    """Against `calibrate` itself, one device after another."""
    workload = calibrated_rings()
    network = workload.network
    images = torch.rand(40, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    tests = torch.rand(7, 1, 8, 8, generator=torch.Generator().manual_seed(2))
    conditions = [
        Condition(workload.draw_device(1.0, 5), MRREnvironment(22.2)),
        Condition(Device.ideal()),
        Condition(workload.draw_device(2.0, 6)),
    ]
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with torch.no_grad(), operate(network, conditions):
        frozen = network.physical(tests.repeat(3, 1, 1, 1))
        with calibrated_apart(network, images, 3) as queries:
            found = network.physical(tests.repeat(3, 1, 1, 1)).unflatten(0, (3, 7))
        assert torch.equal(network.physical(tests.repeat(3, 1, 1, 1)), frozen)
    assert queries == 2 * 40
    assert all(torch.equal(before[n], v) for n, v in network.state_dict().items())
    for out, condition in zip(found, conditions, strict=True):
        other = MRRDigits(0)
        other.network.load_state_dict(before)
        with torch.no_grad(), operate(other.network, [condition]):
            calibrate(other.network, images, 40)
            expected = other.network(tests)
        torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(found, frozen.unflatten(0, (3, 7)), atol=1e-2)


@given(count=st.integers(1, 5))
@settings(deadline=None, max_examples=5)
def test_a_condition_does_not_feel_the_others(count: int) -> None:
    workload = calibrated_rings()
    images = torch.rand(20, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    conditions = [Condition(workload.draw_device(1.0, seed)) for seed in range(count)]
    with torch.no_grad():
        with (
            operate(workload.network, conditions),
            calibrated_apart(workload.network, images, count),
        ):
            together = workload.network.physical(images.repeat(count, 1, 1, 1))
        for i, condition in enumerate(conditions):
            with (
                operate(workload.network, [condition]),
                calibrated_apart(workload.network, images, 1),
            ):
                alone = workload.network.physical(images)
            torch.testing.assert_close(together[20 * i : 20 * (i + 1)], alone, rtol=1e-4, atol=1e-4)


def test_a_pass_that_fails_leaves_the_norms_as_they_were() -> None:
    workload = calibrated_rings()
    before = {name: value.clone() for name, value in workload.network.state_dict().items()}
    for images, error in (
        (torch.rand(1, 1, 8, 8), UserError),
        (torch.rand(4, 1, 9, 12), RuntimeError),
    ):
        with (
            pytest.raises(error),
            operate(workload.network, [Condition(Device.ideal())]),
            calibrated_apart(workload.network, images, 1),
        ):
            raise AssertionError
    assert all(torch.equal(before[n], v) for n, v in workload.network.state_dict().items())
    assert all("forward" not in vars(m) for m in workload.network.modules())


def test_a_device_is_calibrated_with_queries_that_count() -> None:
    workload, ideal = calibrated_rings(), calibrated_rings()
    images = torch.rand(30, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    device = workload.training_device(3)
    workload.calibrate(images, device=device)
    ideal.calibrate(images)
    assert workload.hardware_queries == 3 * 30  # two norms, and the outputs behind them
    assert ideal.hardware_queries == 0
    mine, its = workload.network.norm1.running_mean, ideal.network.norm1.running_mean
    assert not torch.allclose(mine, its, atol=1e-3)
    assert all(layer.operation is None for layer in workload.layers().values())
    again = calibrated_rings()
    again.calibrate(images, device=device)
    assert torch.equal(again.network.norm2.running_var, workload.network.norm2.running_var)


class Normed(nn.Module):
    """A norm before the first physical layer, and one behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.first = nn.BatchNorm1d(16), nn.Linear(16, 6)
        self.behind, self.second = nn.BatchNorm1d(6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.relu(self.behind(self.first(self.before(x)))))


@torch.no_grad()
def test_norms_before_the_first_physical_layer_stay_as_they_are() -> None:
    network = physical_network(made(Normed), "mrr", scale="per-layer").eval()
    x = 2.0 + torch.rand(20, 16, generator=torch.Generator().manual_seed(0))
    calibrate(network, x, 10)
    model = network.model
    kept = buffers(model.before)
    devices = [Device.draw(network, 1.0, seed) for seed in (1, 2)]
    with (
        operate(network, [Condition(device) for device in devices]),
        calibrated_apart(network, x[:8], 2) as queries,
    ):
        assert queries == 8  # of the one norm that devices feel
        assert torch.equal(model.before.running_mean, kept["running_mean"].repeat(2))
        assert torch.equal(model.before.running_var, kept["running_var"].repeat(2))
        together = network(x.repeat(2, 1)).unflatten(0, (2, 20))
    assert all(torch.equal(value, kept[name]) for name, value in buffers(model.before).items())
    for device, expected in zip(devices, together, strict=True):
        with (
            operate(network, [Condition(device)]),
            calibrated_apart(network, x[:8], 1),
        ):
            torch.testing.assert_close(network(x), expected, rtol=1e-4, atol=1e-4)


class Activated(nn.BatchNorm1d):
    """A norm and what follows it, in one class."""

    def forward(self, x: Tensor) -> Tensor:
        return 3.0 * torch.tanh(super().forward(x))


class Shifted(nn.BatchNorm1d):
    """A norm of something else than what it is given."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.abs() + 5.0)


class Apart(nn.Module):
    """The same with a plain norm."""

    def __init__(self, norm: nn.Module, before: Any, behind: Any) -> None:
        super().__init__()
        self.norm, self.before, self.behind = norm, before, behind

    def forward(self, x: Tensor) -> Tensor:
        return self.behind(self.norm(self.before(x)))


class Handed(nn.Module):
    """Hands the buffers of a norm, which is not called, to the function."""

    def __init__(self, norm: nn.BatchNorm1d) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        n = self.norm
        return F.batch_norm(
            x, n.running_mean, n.running_var, n.weight, n.bias, self.training, 0.1, n.eps
        )


def _same(x: Tensor) -> Tensor:
    return x


def _own_forward() -> nn.Module:
    norm = nn.BatchNorm1d(6)
    norm.forward = types.MethodType(  # type: ignore[method-assign]
        lambda self, x: nn.BatchNorm1d.forward(self, x) - 1.0, norm
    )
    return norm


@pytest.mark.parametrize(
    ("unusual", "usual"),
    [
        (
            lambda: Activated(6),
            lambda: Apart(nn.BatchNorm1d(6), _same, lambda y: 3.0 * torch.tanh(y)),
        ),
        (lambda: Shifted(6), lambda: Apart(nn.BatchNorm1d(6), lambda x: x.abs() + 5.0, _same)),
        (lambda: Handed(nn.BatchNorm1d(6)), lambda: nn.BatchNorm1d(6)),
        (_own_forward, lambda: Apart(nn.BatchNorm1d(6), _same, lambda y: y - 1.0)),
        (
            lambda: Handed(nn.BatchNorm1d(6, affine=False)),
            lambda: nn.BatchNorm1d(6, affine=False),
        ),
    ],
)
@torch.no_grad()
def test_norms_that_are_more_than_norms_are_calibrated_where_they_are_computed(
    unusual: Callable[[], nn.Module], usual: Callable[[], nn.Module]
) -> None:
    x = 2.0 + torch.randn(40, 16, generator=torch.Generator().manual_seed(0))
    found = []
    for norm in (unusual, usual):
        with torch.random.fork_rng():
            torch.manual_seed(3)
            model = nn.Sequential(nn.Linear(16, 6), norm(), nn.Linear(6, 6), nn.BatchNorm1d(6))
        network = physical_network(model, "mrr", scale="per-layer").eval()
        calibrate(network, x, 16)
        devices = [Device.draw(network, 1.0, seed) for seed in (1, 2)]
        given = {name for name, part in model.named_modules() if "forward" in vars(part)}
        ideal = network(x[:10])
        with operate(network, [Condition(device) for device in devices]):
            frozen = network(x[:10].repeat(2, 1))
            with calibrated_apart(network, x, 2) as queries:
                shown = network(x[:10].repeat(2, 1))
            assert torch.equal(network(x[:10].repeat(2, 1)), frozen)
        # The user's own forward is still there, and nothing else is.
        parts = network.model.named_modules()
        assert {name for name, part in parts if "forward" in vars(part)} == given
        assert not torch.allclose(shown, frozen, atol=1e-2)
        found.append((ideal, frozen, shown, torch.tensor(queries)))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_norms_that_share_a_weight_have_statistics_of_their_own() -> None:
    x = 2.0 + torch.randn(40, 16, generator=torch.Generator().manual_seed(0))
    first, second = nn.BatchNorm1d(6), Activated(6)
    second.weight, second.bias = first.weight, first.bias
    model = nn.Sequential(nn.Linear(16, 6), first, nn.Linear(6, 6), second)
    network = physical_network(model, "mrr", scale="per-layer").eval()
    calibrate(network, x, 16)
    h = network.model[0](x)
    torch.testing.assert_close(network.model[1].running_mean, h.mean(0), rtol=1e-4, atol=1e-5)
    h = network.model[2](network.model[1](h))
    torch.testing.assert_close(network.model[3].running_mean, h.mean(0), rtol=1e-3, atol=1e-3)
