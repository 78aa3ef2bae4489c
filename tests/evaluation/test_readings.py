"""Metrics that need the inputs, or all outputs of a cell at once, over a whole grid."""

from __future__ import annotations

import pytest
import torch
import torchmetrics
from scipy.stats import spearmanr
from torch import Tensor

from pnnbench.data import DataModule
from pnnbench.evaluation.gaps import NotFiniteError
from pnnbench.evaluation.harness import DeviceNoise, evaluate_clean, evaluate_grid, measure_grid
from pnnbench.evaluation.readings import LARGEST
from pnnbench.platforms.base import Condition, operate
from pnnbench.records import checks
from pnnbench.running.watching import ValidationCurve
from pnnbench.workloads.base import Workload
from pnnbench.workloads.mrr import MRRDigits

N = 70  # a block of shot noise and a part of another


class Reconstruction(torchmetrics.Metric):
    """Mean squared difference of outputs and the brightness of the inputs."""

    needs = ("outputs", "inputs")
    higher_is_better = False
    total: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    @staticmethod
    def errors(outputs: Tensor, inputs: Tensor) -> Tensor:
        return (outputs - inputs.flatten(1).mean(1, keepdim=True)).double().square()

    def update(self, outputs: Tensor, inputs: Tensor) -> None:
        self.total += self.errors(outputs, inputs).sum()
        self.count += outputs.numel()

    def compute(self) -> Tensor:
        return self.total / self.count


class Rank(torchmetrics.Metric):
    """Rank correlation of the first output with the class, which no batch has a share of."""

    whole = True
    value: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("value", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        self.value += torch.tensor(spearmanr(outputs[:, 0], targets).statistic)

    def compute(self) -> Tensor:
        return self.value


class Reconstructing(MRRDigits):
    def metric(self) -> torchmetrics.Metric:
        return Reconstruction()

    def outcomes(self, outputs: Tensor, targets: Tensor) -> Tensor | None:
        return None


class Ranking(Reconstructing):
    def metric(self) -> torchmetrics.Metric:
        return Rank()


def brute(workload: Workload, outputs: Tensor, x: Tensor, y: Tensor) -> float:
    if isinstance(workload, Ranking):
        return float(spearmanr(outputs[:, 0], y).statistic)
    return float(Reconstruction.errors(outputs, x).mean())


@pytest.fixture(scope="module", params=[Reconstructing, Ranking])
def workload(request: pytest.FixtureRequest) -> Workload:
    made = request.param(0)
    made.calibrate(DataModule("digits", limit_train=100).train_tensors()[0])
    return made.double()


@pytest.fixture(scope="module")
def images() -> tuple[Tensor, Tensor]:
    x, y = DataModule("digits", limit_test=N).test_tensors()
    return x.double(), y


def test_each_cell_is_that_of_one_pass_of_its_own(
    workload: Workload, images: tuple[Tensor, Tensor]
) -> None:
    x, y = images
    cells = workload.perturbation_grid("smoke")
    expected = []
    for cell in cells:
        device = workload.draw_device(cell.severity, cell.device_seed, cell.law)
        noise = DeviceNoise([cell.device_seed])
        condition = Condition(device, cell.environment)
        with torch.no_grad(), operate(workload.network, [condition], noise):
            expected.append(brute(workload, workload.eval()(x), x, y))
    assert evaluate_grid(workload, x, y, cells, batch_size=N) == pytest.approx(expected, rel=1e-9)
    assert len(set(expected)) > 20  # some devices are dark at the same temperatures
    clean = brute(workload, workload(x).detach(), x, y)
    assert evaluate_clean(workload, x, y) == pytest.approx(clean, rel=1e-9)


@pytest.mark.parametrize("size", [1, 7, 50])
@pytest.mark.parametrize("together", [1, 3])
def test_values_do_not_depend_on_the_batch(
    workload: Workload, images: tuple[Tensor, Tensor], size: int, together: int
) -> None:
    cells = workload.perturbation_grid("smoke")[:4]
    whole = evaluate_grid(workload, *images, cells, batch_size=N)
    found = evaluate_grid(workload, *images, cells, batch_size=size, cells_per_batch=together)
    assert found == pytest.approx(whole, rel=1e-9)
    clean = evaluate_clean(workload, *images)
    assert evaluate_clean(workload, *images, batch_size=size) == pytest.approx(clean, rel=1e-9)


def test_the_validation_curve_hands_over_the_same(
    workload: Workload, images: tuple[Tensor, Tensor]
) -> None:
    curve = ValidationCurve(*images, batch_size=9)
    curve.on_train_epoch_end(None, workload)  # type: ignore[arg-type]
    assert curve.metrics == pytest.approx([evaluate_clean(workload, *images)], rel=1e-9)


def test_a_metric_that_asks_for_what_there_is_not_is_told_in_each_cell(
    images: tuple[Tensor, Tensor],
) -> None:
    class Odd(Reconstruction):
        needs = ("outputs", "labels")

    class Asking(Reconstructing):
        def metric(self) -> torchmetrics.Metric:
            return Odd()

    made = Asking(0).double()
    (reading,) = measure_grid(made, *images, made.perturbation_grid("smoke")[:1])
    assert reading.value is None
    assert "needs of the metric Odd is" in str(reading.error)


class Large(Rank):
    def compute(self) -> Tensor:
        return torch.tensor(1e60, dtype=torch.float64)


def test_what_no_record_can_hold_is_a_gap() -> None:
    assert LARGEST == checks.LARGEST

    class Enlarging(Ranking):
        def metric(self) -> torchmetrics.Metric:
            return Large()

    made = Enlarging(0)
    x, y = DataModule("digits", limit_test=N).test_tensors()
    (reading,) = measure_grid(made, x, y, made.perturbation_grid("smoke")[:1])
    assert reading.value is None
    assert isinstance(reading.error, NotFiniteError)
