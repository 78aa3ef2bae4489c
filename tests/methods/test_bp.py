from __future__ import annotations

import torch
import torch.nn.functional as F

from pnnbench.data import DataModule, load
from pnnbench.methods.bp import BP
from pnnbench.workloads.mrr import MRRDigits

X, Y = (t[:20] for t in DataModule(load("digits")).train_tensors())


def test_the_loss_is_that_of_the_ideal_device() -> None:
    workload = MRRDigits(0).train()
    found = BP().loss(workload, (X, Y))
    assert workload.gradient_evaluations == 1
    assert torch.equal(found, F.cross_entropy(MRRDigits(0).train().network(X), Y))


def test_the_gradient_is_that_of_finite_differences() -> None:
    workload = MRRDigits(0).double().train()
    batch = (X.double(), Y)
    controls = list(workload.controls().values())
    gradients = torch.autograd.grad(BP().loss(workload, batch), controls)
    generator = torch.Generator().manual_seed(0)
    for control, gradient in zip(controls, gradients, strict=True):
        direction = torch.randn(control.shape, generator=generator).double()
        direction /= direction.norm()
        values = []
        for step in (1e-7, -1e-7):  # pooling and ReLU have kinks further away
            with torch.no_grad():
                control.add_(step * direction)
                values.append(BP().loss(workload, batch).item())
                control.sub_(step * direction)
        slope = (gradient * direction).sum()
        expected = torch.tensor((values[0] - values[1]) / 2e-7, dtype=torch.float64)
        torch.testing.assert_close(slope, expected, rtol=1e-6, atol=1e-9)
