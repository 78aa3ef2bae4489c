from __future__ import annotations

import math
from typing import ClassVar

import pytest
import torch
import torchmetrics
from hypothesis import given, settings
from hypothesis import strategies as hs

from pnnbench.workloads.accuracy import Accuracy, top1
from pnnbench.workloads.base import Classification
from pnnbench.workloads.mzi import MZIDigits


@settings(max_examples=50, deadline=None, derandomize=True)
@given(
    n=hs.integers(1, 80),
    classes=hs.integers(2, 12),
    cut=hs.integers(1, 80),
    lost=hs.sets(hs.integers(0, 79)),
    value=hs.sampled_from([math.nan, math.inf, -math.inf]),
    seed=hs.integers(0, 999),
)
def test_accuracy_is_the_librarys_with_lost_outputs_wrong(n, classes, cut, lost, value, seed):
    g = torch.Generator().manual_seed(seed)
    outputs = torch.randn(n, classes, generator=g)
    targets = torch.randint(classes, (n,), generator=g)
    library = torchmetrics.classification.MulticlassAccuracy(
        classes, average="micro", validate_args=False
    )
    kept = torch.tensor([i not in lost for i in range(n)])
    right = 0.0
    if kept.any():
        library.update(outputs[kept], targets[kept])
        right = float(library.compute()) * int(kept.sum())
    outputs[~kept, torch.arange(n)[~kept] % classes] = value
    metric = Accuracy()
    for o, t in zip(outputs.split(cut), targets.split(cut), strict=True):
        metric.update(o, t)
    assert float(metric.compute()) == pytest.approx(right / n, abs=1e-6)
    assert not top1(outputs, targets)[~kept].any()


@settings(max_examples=200, deadline=None, derandomize=True)
@given(counts=hs.lists(hs.tuples(hs.integers(0, 40), hs.integers(0, 40)), min_size=1, max_size=9))
def test_accuracy_is_the_exact_share(counts):
    metric = Accuracy()
    for right, wrong in counts:
        outputs = torch.eye(2)[[0] * right + [1] * wrong]
        metric.update(outputs, torch.zeros(right + wrong, dtype=torch.long))
    right, total = sum(r for r, _ in counts), sum(map(sum, counts))
    if total:
        assert metric.compute().item() == right / total


def test_chance_follows_the_classes_unless_a_class_says_otherwise():
    class Two(MZIDigits):
        n_classes = 2

    class Unbalanced(Two):
        chance: ClassVar[float | None] = 0.7

    class Derived(Unbalanced):
        pass

    class Unknown(MZIDigits):
        chance: ClassVar[float | None] = None

    assert Classification.chance == MZIDigits.chance == 0.1
    assert Two.chance == Two(0).chance == 0.5
    assert Unbalanced.chance == Derived.chance == Derived(0).chance == 0.7
    assert Unknown.chance is None
    many = MZIDigits(0)
    many.n_classes = 4  # type: ignore[misc]
    assert many.chance == 0.25
