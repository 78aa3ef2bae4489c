from __future__ import annotations

from typing import Any

import pytest
import torch
import torchmetrics
from torch import Tensor

from pnnbench.errors import UserError
from pnnbench.metrics.images import Reconstruction
from pnnbench.workloads.accuracy import Accuracy
from pnnbench.workloads.handing import Handing, needs_of
from pnnbench.workloads.mrr import MRRDigits

G = torch.Generator().manual_seed(0)
OUTPUTS, TARGETS, INPUTS = (torch.randn(20, n, generator=G) for n in (3, 2, 5))


class Noted(torchmetrics.Metric):
    """Notes what each call of ``update`` was handed."""

    def __init__(self, **declared: Any) -> None:
        super().__init__()
        for name, value in declared.items():
            setattr(self, name, value)
        self.calls: list[tuple[Tensor, ...]] = []

    def update(self, *given: Tensor) -> None:
        self.calls.append(given)

    def compute(self) -> Tensor:
        return torch.tensor(float(len(self.calls)))


def handed(metric: Noted, size: int) -> list[tuple[Tensor, ...]]:
    handing = Handing(metric, "calls")
    for parts in zip(*(t.split(size) for t in (OUTPUTS, TARGETS, INPUTS)), strict=True):
        handing.update(*parts)
    assert handing.compute() == len(metric.calls)
    return metric.calls


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        ({}, (OUTPUTS, TARGETS)),
        ({"needs": ("outputs", "inputs")}, (OUTPUTS, INPUTS)),
        ({"needs": ["inputs", "outputs", "targets"]}, (INPUTS, OUTPUTS, TARGETS)),
        ({"needs": "outputs"}, (OUTPUTS,)),
    ],
)
@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("size", [1, 7, 20, 50])
def test_a_metric_is_handed_what_it_declares(
    declared: dict[str, Any], expected: tuple[Tensor, ...], whole: bool, size: int
) -> None:
    calls = handed(Noted(whole=whole, **declared), size)
    assert len(calls) == (1 if whole else -(-20 // size))
    for got, want in zip(zip(*calls, strict=True), expected, strict=True):
        assert torch.equal(torch.cat(got), want)


@pytest.mark.parametrize("needs", ["images", (), ("outputs", "outputs"), ("outputs", "labels")])
def test_needs_that_are_none_are_told(needs: Any) -> None:
    with pytest.raises(UserError, match=r"needs of the metric Noted is .*\n.*outputs, targets, in"):
        Handing(Noted(needs=needs), "calls")


def test_metrics_of_the_library_need_outputs_and_targets() -> None:
    assert (
        needs_of(torchmetrics.MeanSquaredError())
        == needs_of(Accuracy())
        == (
            "outputs",
            "targets",
        )
    )


def test_the_first_of_several_figures_is_the_metric() -> None:
    inputs = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    outputs = (inputs + 0.1).clamp(0, 1)
    handing = Handing(Reconstruction(side=8), "mse")
    for a, b in zip(outputs.split(4), inputs.split(4), strict=True):
        handing.update(a, torch.zeros(len(a)), b)
    value, also = handing.figures()
    assert value == pytest.approx(float((outputs - inputs).square().mean()), rel=1e-5)
    assert list(also) == ["psnr_db", "ssim"]
    assert handing.compute() == value


def test_one_figure_has_nothing_beside_it() -> None:
    handing = Handing(torchmetrics.MeanSquaredError(), "mse")
    handing.update(torch.ones(3), torch.zeros(3), torch.zeros(3))
    assert handing.figures() == (1.0, {})


def test_the_metric_of_a_collection_is_the_one_of_its_name() -> None:
    """A collection sorts its names."""

    def made(name: str) -> Handing:
        errors = {"r2": torchmetrics.R2Score(), "mae": torchmetrics.MeanAbsoluteError()}
        handing = Handing(torchmetrics.MetricCollection(errors), name)
        handing.update(torch.tensor([1.0, 2.0, 4.0]), torch.tensor([1.0, 2.0, 3.0]), INPUTS)
        return handing

    value, also = made("r2").figures()
    assert value == pytest.approx(0.5)
    assert also == {"mae": pytest.approx(1 / 3)}
    with pytest.raises(UserError, match="the metric gives mae, r2, and metric_name is 'mse'"):
        made("mse").figures()


@pytest.mark.parametrize("better", [False, True])
def test_a_metric_that_points_the_other_way_is_refused(better: bool) -> None:
    made = torchmetrics.R2Score() if better else torchmetrics.MeanSquaredError()
    for metric in (made, torchmetrics.MetricCollection({"r2": made, "other": Noted()})):
        handing = Handing(metric, "r2")
        handing.check_direction(better)
        with pytest.raises(UserError, match="is better of the metric") as caught:
            handing.check_direction(not better)
        assert f"higher_is_better = {better}" in caught.value.next_step
    Handing(Noted(), "calls").check_direction(better)  # which says nothing


def test_a_workload_sorts_as_its_metric_says() -> None:
    class Other(MRRDigits):
        def metric(self) -> Any:
            return torchmetrics.MeanSquaredError()

    MRRDigits(0).check_ready()
    with pytest.raises(UserError, match="lower is better of the metric MeanSquaredError"):
        Other(0).check_ready()


def test_a_metric_of_its_own_has_a_name_of_its_own() -> None:
    class Unnamed(MRRDigits):
        def metric(self) -> Any:
            return Accuracy()

    class Named(Unnamed):
        metric_name = "share"

    with pytest.raises(UserError, match=r"has a metric\(\) of its own, and metric_name 'acc"):
        Unnamed(0).check_ready()
    Named(0).check_ready()
