from __future__ import annotations

import pytest
import torch

from pnnbench.data import DataModule, load
from pnnbench.platforms.base import Device
from pnnbench.workloads.mrr import MRRDigits

from .training import assert_same, state

IMAGES, LABELS = DataModule(load("digits")).train_tensors()


def test_only_passes_for_differentiation_are_counted() -> None:
    workload = MRRDigits(0)
    x = IMAGES[:4]
    workload(x)
    workload.outputs_at(x, {})
    with torch.no_grad():
        workload(x)
    workload.hardware(Device.ideal()).measure(x)
    assert workload.gradient_evaluations == 2


def test_an_extra_pass_leaves_the_buffers() -> None:
    workload = MRRDigits(0).train()
    before, objects = state(workload), list(workload.network.buffers())
    with workload.extra_pass():
        inside = workload(IMAGES[:20])
        assert int(workload.network.norm1.num_batches_tracked) == 1
    assert_same(state(workload), before)
    assert all(a is b for a, b in zip(workload.network.buffers(), objects, strict=True))
    outside = workload(IMAGES[:20])
    assert torch.equal(inside, outside)
    assert int(workload.network.norm1.num_batches_tracked) == 1


def test_an_extra_pass_that_fails_leaves_the_buffers() -> None:
    workload = MRRDigits(0).train()
    before = state(workload)
    # The pass itself fails: 12 x 12 pixels do not fit fc1, after conv1 and its norm have run.
    with pytest.raises(RuntimeError, match="shape"), workload.extra_pass():
        workload(torch.rand(4, 1, 12, 12))
    assert_same(state(workload), before)


def test_outputs_elsewhere_equal_those_of_the_moved_parameters() -> None:
    workload, moved = MRRDigits(0).train(), MRRDigits(0).train()
    name = "network.fc1.current"
    step = torch.full_like(workload.controls()[name], 0.05).requires_grad_()
    found = workload.outputs_at(IMAGES[:20], {name: workload.controls()[name] + step})
    with torch.no_grad():
        moved.controls()[name].add_(0.05)
    expected = moved(IMAGES[:20])
    assert torch.equal(found, expected)
    assert not torch.equal(found, MRRDigits(0).train()(IMAGES[:20]))
    found.square().sum().backward()
    expected.square().sum().backward()
    torch.testing.assert_close(step.grad, moved.controls()[name].grad)
    assert_same(
        {n: b for n, b in state(workload).items() if "running" in n or "batches" in n},
        {n: b for n, b in state(moved).items() if "running" in n or "batches" in n},
    )
    assert int(workload.network.norm2.num_batches_tracked) == 1
