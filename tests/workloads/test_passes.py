from __future__ import annotations

import pytest
import torch
from torch import nn

from pnnbench.data import Arrays, DataModule, load
from pnnbench.platforms.base import Device
from pnnbench.workloads.mrr import MRRDigits

from .training import assert_same, state

IMAGES, LABELS = DataModule(load("digits")).train_tensors()


def test_passes_are_counted_with_and_without_differentiation() -> None:
    workload = MRRDigits(0)
    x = IMAGES[:4]
    workload(x)
    workload.outputs_at(x, {})
    with torch.no_grad():
        workload(x)
        workload(x)
        workload.eval()(x)  # a look at it is no cost
        workload.train()
    workload.hardware(Device.ideal()).measure(x)
    assert (workload.gradient_evaluations, workload.forward_evaluations) == (2, 2)


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


@pytest.mark.parametrize("precision", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(
    "dtype",
    [torch.float64, torch.float16, torch.int64, torch.int16, torch.uint16, torch.bool],
    ids=str,
)
def test_inputs_of_any_real_type_are_those_numbers(
    dtype: torch.dtype, precision: torch.dtype
) -> None:
    workload = MRRDigits(0).to(precision).eval()
    whole = (4 * IMAGES[:6]).round().to(dtype)
    targets = LABELS[:6]
    arrays = Arrays("own", whole, targets, whole, targets, 10)  # as sets of one's own are handed
    x = DataModule(arrays, holdout=0).test_tensors()[0]
    assert x.dtype == dtype
    found = workload(x)
    assert torch.equal(found, workload(whole.to(precision)))
    assert found.dtype == precision
    assert workload.in_precision(IMAGES.to(precision)).dtype == precision


def test_what_is_no_amount_is_handed_on_as_it_is() -> None:
    workload = MRRDigits(0)
    pixels, fields = torch.zeros(2, 3, dtype=torch.uint8), torch.zeros(2, 3, dtype=torch.complex64)
    places = torch.zeros(2, 3, dtype=torch.int64)
    assert workload.in_precision(pixels) is pixels
    assert workload.in_precision(fields) is fields
    assert workload.in_precision(places).dtype == torch.float32
    workload.network.words = nn.Embedding(4, 3)
    assert workload.in_precision(places) is places
    assert workload.in_precision(places.double()).dtype == torch.float32
