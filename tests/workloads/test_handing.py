"""A metric says what it takes and gives one figure or several."""

from __future__ import annotations

import pytest
import torch
import torchmetrics

from pnnbench.errors import UserError
from pnnbench.metrics.images import Reconstruction
from pnnbench.workloads.handing import Handing


def test_the_first_of_several_figures_is_the_metric() -> None:
    inputs = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    outputs = (inputs + 0.1).clamp(0, 1)
    handing = Handing(Reconstruction(side=8))
    for a, b in zip(outputs.split(4), inputs.split(4), strict=True):
        handing.update(a, torch.zeros(len(a)), b)
    value, also = handing.figures()
    assert value == pytest.approx(float((outputs - inputs).square().mean()), rel=1e-5)
    assert list(also) == ["psnr_db", "ssim"]
    assert handing.compute() == value


def test_one_figure_has_nothing_beside_it() -> None:
    handing = Handing(torchmetrics.MeanSquaredError())
    handing.update(torch.ones(3), torch.zeros(3), torch.zeros(3))
    assert handing.figures() == (1.0, {})


def test_unknown_needs_are_refused() -> None:
    metric = torchmetrics.MeanSquaredError()
    metric.needs = ("outputs", "labels")  # type: ignore[attr-defined]
    with pytest.raises(UserError, match="labels"):
        Handing(metric)
