from __future__ import annotations

import pytest
import torch

from pnnbench.data import DataModule, load
from pnnbench.errors import UserError
from pnnbench.methods.bp import BP
from pnnbench.methods.nat import NAT
from pnnbench.platforms.base import Device
from pnnbench.workloads.mrr import MRRDigits

X, Y = (t[:20] for t in DataModule(load("digits")).train_tensors())


def noisy(sigma: float, call: int = 1, seed: int = 0) -> torch.Tensor:
    method = NAT(sigma=f"{sigma} HWHM")
    method.calls, method.seed = call, seed
    return method.loss(MRRDigits(0).train(), (X, Y)).detach()


def test_noise_is_drawn_anew_at_each_call_and_follows_the_seed() -> None:
    values = [noisy(0.3, call, seed).item() for call in (1, 2) for seed in (0, 1)]
    assert len(set(values)) == 4
    assert noisy(0.3, 2, 1) == noisy(0.3, 2, 1)


def test_without_noise_it_is_back_propagation() -> None:
    torch.testing.assert_close(noisy(0.0), BP().loss(MRRDigits(0).train(), (X, Y)).detach())


def test_the_noise_is_an_offset_of_the_resonance_in_hwhm() -> None:
    seen: list[torch.Tensor] = []

    class Watches(MRRDigits):
        """Keeps the detuning errors that its layers see."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for layer in self.layers().values():
                assert layer.operation is not None
                assert list(layer.operation.errors) == ["detuning"]
                seen.append(layer.operation.errors["detuning"])
                u = layer.calibration.detuning(layer.current) - seen[-1]  # type: ignore[operator]
                torch.testing.assert_close(layer.transfer(), 1.116 - 2.117 / (1.0 + u.square()))
            return super().forward(x)

    workload = Watches(0).train()
    method = NAT(sigma="0.3 HWHM")
    method.loss(workload, (X, Y))
    values = torch.cat([s.flatten() for s in seen])
    assert values.numel() == 4488
    assert values.std().item() == pytest.approx(0.3, rel=0.05)
    assert values.mean().item() == pytest.approx(0.0, abs=0.015)
    assert abs(torch.corrcoef(torch.stack([seen[1].flatten()[:72], seen[0].flatten()]))[0, 1]) < 0.4
    assert all(layer.operation is None for layer in workload.layers().values())


def test_the_gradient_is_taken_at_the_noisy_point() -> None:
    workload, method = MRRDigits(0).train(), NAT(sigma="0.5 HWHM")
    method.loss(workload, (X, Y)).backward()
    generator = method.generator()
    other = MRRDigits(0).train()
    device = Device({n: m.random_offsets(0.5, generator) for n, m in other.layers().items()})
    with other.operating(device):
        other.loss(other(X), (X, Y)).backward()
    ideal = MRRDigits(0).train()
    BP().loss(ideal, (X, Y)).backward()
    for a, b, c in zip(
        workload.controls().values(),
        other.controls().values(),
        ideal.controls().values(),
        strict=True,
    ):
        assert torch.equal(a.grad, b.grad)
        assert (a.grad - c.grad).norm() > 0.1 * c.grad.norm()


@pytest.mark.parametrize("sigma", [-0.1, float("nan"), 1e7])
def test_sigma_out_of_range_is_refused(sigma: float) -> None:
    with pytest.raises(UserError, match="sigma is"):
        NAT(sigma=sigma)
