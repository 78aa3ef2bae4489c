"""The task loss in double precision."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from pnnbench.evaluation.task_loss import task_loss


class Task:
    """Any loss, called as a workload's."""

    def __init__(self, loss):
        self.loss = loss


def curvature(loss, margin: float) -> float:
    """Second derivative of a loss along the margin of the right one of two classes."""
    z = torch.tensor(margin, requires_grad=True)
    outputs = torch.stack([z, torch.zeros(())]).unsqueeze(0)
    value = loss(outputs)
    (slope,) = torch.autograd.grad(value, z, create_graph=True)
    (second,) = torch.autograd.grad(slope, z)
    return float(second)


@pytest.mark.parametrize("margin", [1.0, 10.0, 20.0])
def test_curvature_of_an_image_told_apart_well_keeps_its_digits(margin):
    labels = torch.tensor([0])
    x = torch.zeros(1)
    exact = curvature(
        lambda z: task_loss(
            Task(lambda outputs, batch: F.cross_entropy(outputs, batch[1])), z, (x, labels)
        ),
        margin,
    )
    p = torch.sigmoid(torch.tensor(-margin, dtype=torch.float64))
    assert exact == pytest.approx(float(p * (1.0 - p)), rel=1e-5)
    if margin == 20.0:  # what it is for: one minus a probability has no digit left
        single = curvature(lambda z: F.cross_entropy(z, labels), margin)
        assert abs(single / exact - 1.0) > 0.01


def test_targets_and_inputs_follow_the_outputs():
    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(5, 3, generator=g), torch.randn(5, 3, generator=g)
    outputs = torch.randn(5, 3, generator=g)

    def loss(out, batch):
        assert out.dtype == batch[0].dtype == batch[1].dtype == torch.float64
        return F.mse_loss(out, batch[1]) + F.mse_loss(out, batch[0])

    found = task_loss(Task(loss), outputs, (x, y))
    assert found.dtype == torch.float64
    truth = (outputs - y).double().square().mean() + (outputs - x).double().square().mean()
    assert float(found) == pytest.approx(float(truth), rel=1e-6)


def test_a_loss_with_single_precision_weights_of_its_own_is_taken_as_it_is():
    weight = torch.linspace(0.5, 2.0, 4)
    outputs, labels = torch.randn(6, 4, generator=torch.Generator().manual_seed(1)), torch.arange(6)
    task = Task(lambda out, batch: F.cross_entropy(out, batch[1], weight=weight))
    found = task_loss(task, outputs, (outputs, labels % 4))
    assert found.dtype == torch.float64
    assert float(found) == float(F.cross_entropy(outputs, labels % 4, weight=weight))


def test_a_loss_that_fails_fails():
    def broken(outputs, batch):
        raise RuntimeError("no such loss")

    for dtype in (torch.float32, torch.float64):
        with pytest.raises(RuntimeError, match="no such loss"):
            task_loss(Task(broken), torch.zeros(2, 2, dtype=dtype), (torch.zeros(2),) * 2)
