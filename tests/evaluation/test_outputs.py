from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
import torchmetrics
from hypothesis import given, settings
from hypothesis import strategies as hs
from scipy.optimize import minimize_scalar
from torch import Tensor, nn

from pnnbench.errors import UserError
from pnnbench.evaluation.gaps import LeftOutError, NotFiniteError
from pnnbench.evaluation.outputs import (
    GUESSING_SHARE,
    SCALE_RANGE,
    OutputLoss,
    at_guessing,
    fit_scale,
    guessing_loss,
    require_class_labels,
    require_free_scale,
)
from pnnbench.workloads.accuracy import Accuracy


class Task:
    """A network that hands its inputs through, with any loss and metric."""

    metric_name = "accuracy"

    def __init__(self, loss=F.cross_entropy, metric=Accuracy):
        self.network = nn.Identity()
        self._loss, self.metric = loss, metric

    def loss(self, outputs: Tensor, batch: tuple[Tensor, Tensor]) -> Tensor:
        return self._loss(outputs, batch[1])


def over(outputs, labels, loss=F.cross_entropy, metric=Accuracy, chunk=64):
    return OutputLoss(Task(loss, metric), outputs, labels, chunk)


def logits(scale, n=500, classes=10, seed=0):
    g = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (n,), generator=g)
    noise = torch.randn(n, classes, generator=g)
    return scale * (2.0 * F.one_hot(labels, classes) + noise).float(), labels


def onehot_mse(outputs, labels):
    return F.mse_loss(outputs, F.one_hot(labels, outputs.shape[1]).to(outputs))


def smoothed(outputs, labels):
    return F.cross_entropy(3.0 * outputs, labels, label_smoothing=0.1)


def odd(outputs, labels):
    return F.cross_entropy(outputs[:, :2], labels % 2)


@pytest.mark.parametrize("loss", [F.cross_entropy, onehot_mse, smoothed, odd])
@pytest.mark.parametrize("scale", [0.3, 1.0, 4.0])
def test_scale_is_the_minimum_of_the_own_loss_that_scipy_finds(loss, scale):
    outputs, labels = logits(scale)

    def at(log_s):
        return float(loss(outputs.double() * math.exp(log_s), labels))

    low, high = map(math.log, SCALE_RANGE)
    best = minimize_scalar(at, bounds=(low, high), method="bounded", options={"xatol": 1e-9})
    for chunk in (64, 500):
        found = fit_scale(over(outputs, labels, loss, chunk=chunk))
        assert at(math.log(found)) <= best.fun + 1e-6 * abs(best.fun)
        assert found == pytest.approx(math.exp(best.x), rel=1e-3)


def test_scale_of_separable_and_of_useless_logits_stops_at_the_range():
    labels = torch.arange(10).repeat(3)
    assert fit_scale(over(F.one_hot(labels, 10).float(), labels)) == SCALE_RANGE[1]
    assert fit_scale(over(-F.one_hot(labels, 10).float(), labels)) == SCALE_RANGE[0]


def test_scale_that_the_loss_does_not_see_is_one():
    outputs, labels = logits(1.0)
    loss = over(outputs, labels, lambda o, y: F.cross_entropy(F.normalize(o), y))
    assert fit_scale(loss) == 1.0
    with pytest.raises(NotFiniteError, match="at any scale"):
        fit_scale(over(outputs * math.nan, labels))


def test_scale_is_free_where_the_metric_does_not_follow_it():
    outputs, labels = logits(1.0)
    require_free_scale(over(outputs, labels), "accuracy")

    class Squares(torchmetrics.MeanSquaredError):
        def update(self, outputs, labels):
            super().update(outputs, F.one_hot(labels, 10).float())

    with pytest.raises(LeftOutError, match="mse changes with the scale"):
        require_free_scale(over(outputs, labels, onehot_mse, Squares), "mse")

    class Needy(Squares):
        def compute(self):
            raise UserError("10 images are too few")

    with pytest.raises(LeftOutError, match="10 images are too few"):
        require_free_scale(over(outputs, labels, onehot_mse, Needy), "mse")


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    counts=hs.lists(hs.integers(1, 60), min_size=2, max_size=12),
    chunk=hs.integers(3, 200),
    seed=hs.integers(0, 99),
)
def test_guessing_costs_the_entropy_of_the_classes(counts, chunk, seed):
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    g = torch.Generator().manual_seed(seed)
    labels = labels[torch.randperm(len(labels), generator=g)]
    outputs = torch.randn(len(labels), len(counts), generator=g)
    shares = torch.tensor(counts, dtype=torch.float64) / len(labels)
    entropy = -float((shares * shares.log()).sum())
    found = guessing_loss(over(outputs, labels, chunk=chunk))
    assert found == pytest.approx(entropy, rel=1e-4)


def test_guessing_of_a_mean_square_costs_the_variance():
    g = torch.Generator().manual_seed(0)
    targets = 3.0 + 2.0 * torch.randn(300, generator=g)
    found = guessing_loss(over(torch.randn(300, generator=g), targets, F.mse_loss))
    assert found == pytest.approx(float(targets.var(unbiased=False)), rel=1e-5)


def test_guessing_of_own_labels_is_that_of_the_own_classes():
    outputs, labels = logits(1.0, n=1000)
    share = float((labels % 2).double().mean())
    entropy = -share * math.log(share) - (1 - share) * math.log(1 - share)
    loss = over(outputs[:, :2].contiguous(), labels, lambda o, y: F.cross_entropy(o, y % 2))
    assert guessing_loss(loss) == pytest.approx(entropy, rel=1e-4)


def test_at_guessing_is_a_share_of_the_loss_of_guessing():
    assert at_guessing(2.3, 2.3026)
    assert at_guessing(9.0, 2.3026)
    assert not at_guessing((1 - 2 * GUESSING_SHARE) * 2.3026, 2.3026)
    for guess in (0.0, -1.0, math.nan):
        with pytest.raises(LeftOutError, match="no share"):
            at_guessing(0.0, guess)


@pytest.mark.parametrize("seed", range(5))
def test_outputs_without_a_signal_are_at_guessing_and_faint_ones_with_one_are_not(seed):
    """Whatever the scale of the outputs: what counts is what the best scale can make of them."""
    signal, labels = logits(1.0, n=2000, seed=seed)
    noise = torch.randn(2000, 10, generator=torch.Generator().manual_seed(100 + seed))
    for outputs, guessing in ((noise, True), (0.1 * signal, False), (10 * signal, False)):
        loss = over(outputs, labels)
        least = min(loss.scaled(1.0), loss.scaled(fit_scale(loss)))
        assert at_guessing(least, guessing_loss(loss)) == guessing


def test_labels_are_classes_where_the_metric_scores_by_them():
    outputs, labels = logits(1.0, n=100)
    images = torch.zeros(100, 1)
    require_class_labels(Task(), outputs, labels, images)

    class Odd(Accuracy):
        def update(self, outputs, labels):
            super().update(outputs, labels % 2)

    for task, out, y in (
        (Task(metric=Odd), outputs, labels),
        (Task(), outputs[:, :5].contiguous(), labels),
    ):
        with pytest.raises(LeftOutError, match="not the classes"):
            require_class_labels(task, out, y, images)
    with pytest.raises(LeftOutError, match="does not classify"):
        require_class_labels(Task(), outputs[:, 0], labels, images)
    outputs[3, 2] = math.inf
    with pytest.raises(NotFiniteError, match="1 of 100"):
        require_class_labels(Task(), outputs, labels, images)
