from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from pnnbench.data import Arrays, DataSet
from pnnbench.errors import UserError
from pnnbench.evaluation.harness import measure_grid
from pnnbench.platforms.mrr import MRRLinear
from pnnbench.workloads.mrr import MRRWorkload
from pnnbench.workloads.networks import PhysicalNetwork
from pnnbench.workloads.regression import MSE, Regression
from pnnbench.workloads.tiers import DIGITS_TIERS, Tier


class Waves(DataSet):
    """Two real values of four numbers."""

    input_shape = (4,)
    n_classes = None

    def load(self, root: Any = None, download: bool = False) -> Arrays:
        rng = np.random.default_rng(0)
        x = rng.normal(size=(80, 4))
        y = np.stack([np.sin(x.sum(1)), x[:, 0]], 1)
        return Arrays(self.name, x[:60], y[:60], x[60:], y[60:], None)


class Net(PhysicalNetwork):
    def __init__(self) -> None:
        super().__init__()
        self.fc1 = MRRLinear(4, 8)
        self.norm = nn.BatchNorm1d(8)
        self.fc2 = MRRLinear(8, 2)

    def physical(self, h: torch.Tensor) -> torch.Tensor:
        return self.fc2(torch.relu(self.norm(self.fc1(h))))


class Real(Regression, MRRWorkload):
    name = "real"
    data: ClassVar[Any] = Waves
    tiers: ClassVar[dict[str, Tier]] = dict(DIGITS_TIERS)

    def build_network(self) -> PhysicalNetwork:
        return Net()


@given(st.integers(1, 30), st.integers(1, 40), st.sampled_from([(), (1,), (3, 2)]))
def test_the_error_is_the_mean_square_whatever_the_batches(n, size, shape):
    g = torch.Generator().manual_seed(n)
    targets = torch.randn(n, *shape, generator=g)
    outputs = torch.randn(n, max(1, targets[0].numel()), generator=g)
    metric = MSE()
    for o, t in zip(outputs.split(size), targets.split(size), strict=True):
        metric.update(o, t)
    expected = (outputs.reshape(targets.shape).double() - targets.double()).square().mean()
    assert float(metric.compute()) == pytest.approx(float(expected), rel=1e-12)


def test_no_axis_is_spread_over_another():
    with pytest.raises(UserError, match=r"outputs have the shape \(5, 2\) and targets \(5,\)"):
        MSE().update(torch.zeros(5, 2), torch.zeros(5))
    loss = Regression().loss(torch.ones(5, 1), (torch.zeros(5, 4), torch.arange(5.0)))
    assert float(loss) == pytest.approx(float((torch.arange(5.0) - 1).square().mean()))


def test_guessing_is_the_training_mean():
    found = Real(0).data_set.arrays()
    off = found.test_targets.double() - found.train_targets.double().mean(0)
    assert Real(0).chance == pytest.approx(float(off.square().mean()), rel=1e-12)
    assert (Real.metric_name, Real.higher_is_better, Real.chance) == ("mse", False, None)


def test_a_grid_is_measured_and_worse_devices_have_larger_errors():
    workload = Real(0)
    found = workload.data_set.arrays()
    workload.calibrate(found.train_inputs)
    cells = [c for c in workload.perturbation_grid("smoke") if c.axis == "device"]
    readings = measure_grid(workload, found.test_inputs, found.test_targets, cells)
    assert all(r.value is not None and r.right is None for r in readings)


def test_classes_are_refused():
    with pytest.raises(UserError, match=r"Real takes real-valued targets, and data 'digits' has"):
        Real(0, data="digits")
