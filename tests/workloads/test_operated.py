from __future__ import annotations

import pytest
import torch

from pnnbench.data import DataModule, load
from pnnbench.errors import UserError
from pnnbench.workloads.mrr import MRRDigits

from .training import assert_same, state

IMAGES, LABELS = DataModule(load("digits")).train_tensors()


def test_calibration_does_not_depend_on_what_came_before() -> None:
    fresh, used = MRRDigits(0), MRRDigits(0)
    used.train()
    with torch.no_grad():
        for _ in range(3):
            used(50.0 * torch.rand(8, 1, 8, 8))
    used.network.fc1.full_scale.fill_(123.0)
    used.eval()
    for workload in (fresh, used):
        workload.calibrate(IMAGES[:200], batch_size=90)
    assert_same(state(fresh), state(used))
    assert not used.network.training
    assert used.network.norm1.momentum == 0.1
    assert int(used.network.norm1.num_batches_tracked) == 1
    used.train()  # and the running average works as before
    kept = used.network.norm2.running_mean.clone()
    used(IMAGES[:20])
    assert not torch.equal(used.network.norm2.running_mean, kept)


def test_calibration_leaves_parameters_gradients_and_rng_alone() -> None:
    workload = MRRDigits(0)
    before = {n: p.detach().clone() for n, p in workload.named_parameters()}
    rng = torch.get_rng_state()
    workload.calibrate(IMAGES[:100])
    assert all(torch.equal(p, before[n]) for n, p in workload.named_parameters())
    assert all(p.grad is None for p in workload.parameters())
    assert torch.equal(torch.get_rng_state(), rng)
    assert workload.gradient_evaluations == 0


@pytest.mark.parametrize("n", [0, 1])
def test_calibration_needs_two_images(n: int) -> None:
    with pytest.raises(UserError, match="calibration images"):
        MRRDigits(0).calibrate(IMAGES[:n])


def test_operating_a_device_is_differentiable() -> None:
    workload = MRRDigits(0)
    with workload.operating(workload.draw_device(0.5, 3)):
        workload.loss(workload(IMAGES[:8]), (IMAGES[:8], LABELS[:8])).backward()
    assert all(p.grad is not None and p.grad.any() for p in workload.controls().values())


def test_every_workload_draws_the_same_device() -> None:
    a = MRRDigits(0).draw_device(1.0, 7).errors["fc1"]
    b = MRRDigits(9).draw_device(0.5, 7).errors["fc1"]
    torch.testing.assert_close(a["detuning"], 2.0 * b["detuning"])
