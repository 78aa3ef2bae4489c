"""Rounding: what it moves, which images it may flip, and what no rounding explains."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pnnbench.submitting.differences import Agreement, Difference, _beside, exact
from pnnbench.submitting.rounding import (
    MARGIN,
    UNDECIDED,
    DecidedAccuracy,
    count_undecided,
    output_rounding,
    relative_limit,
)
from pnnbench.workloads.mrr import MRRDigits

EPS = 2.0**-23


def test_the_rounding_of_outputs_is_measured_against_double_precision() -> None:
    workload = MRRDigits()
    images = torch.rand(20, 1, 8, 8)
    workload.calibrate(images)
    workload.eval()
    before = {name: t.clone() for name, t in workload.tensors().items()}
    found = output_rounding(workload, images)
    assert MARGIN * EPS <= found < 0.1
    assert all(t.equal(before[name]) for name, t in workload.tensors().items())
    assert count_undecided(workload, found)
    assert type(workload.metric()) is DecidedAccuracy


@given(st.integers(0, 2**32 - 1), st.floats(1e-6, 1e-2))
def test_only_undecided_images_flip(seed: int, rounding: float) -> None:
    """However outputs move by less than the rounding, no more images flip than were counted."""
    generator = torch.Generator().manual_seed(seed)
    outputs = torch.randn(200, 5, generator=generator, dtype=torch.float64)
    outputs[:50, 1] = outputs[:50, 0] * (1 + rounding * torch.rand(50, generator=generator))
    targets = torch.randint(0, 5, (200,), generator=generator)
    moved = 2 * torch.rand(200, 5, generator=generator, dtype=torch.float64) - 1
    other = outputs + 0.999 * rounding * outputs.abs().amax(1, keepdim=True) * moved
    metric = DecidedAccuracy(rounding)
    metric.update(outputs, targets)
    figures = metric.compute()
    right, then = outputs.argmax(1) == targets, other.argmax(1) == targets
    assert figures["accuracy"] == right.double().mean()
    assert int((right != then).sum()) <= figures[UNDECIDED]


def differing(agreement: Agreement, *pairs: tuple[float | None, float | None, int]) -> list[str]:
    found = [
        d.field
        for i, (recorded, computed, undecided) in enumerate(pairs)
        for d in agreement.compare(f"{i}", recorded, computed, {UNDECIDED: undecided})
    ]
    return found + [d.field for d in agreement.whole()]


def test_an_accuracy_agrees_to_the_image_where_all_are_decided() -> None:
    for images in (10, 64, 10_000):
        assert differing(Agreement(images, 1e-5), (0.5, 0.5, 0)) == []
        assert differing(Agreement(images, 1e-5), (0.5 + 1 / images, 0.5, 0))[0] == "0"
        assert differing(Agreement(images, 1e-5), (0.5 + 1 / images, 0.5, 1)) == []
        assert "0" in differing(Agreement(images, 1e-5), (None, 0.5, 1))
    assert Agreement(10, 1e-5).largest == 0.0


def test_outputs_that_are_all_alike_bear_no_claim() -> None:
    assert differing(Agreement(64, 1e-5), (1.0, 0.1, 64))[0] == "0"
    assert differing(Agreement(10_000, 1e-5), (0.1 + 21 / 10_000, 0.1, 10_000))[0] == "0"


def test_a_shift_of_all_cells_in_one_direction_is_seen() -> None:
    up = [(0.5 + 1 / 64, 0.5, 1)] * 200
    both = [(0.5 + (-1) ** i / 64, 0.5, 1) for i in range(200)]
    assert differing(Agreement(64, 1e-5), *up) == ["cells together, in one direction"]
    assert differing(Agreement(64, 1e-5), *both) == []
    part = 0.9 * relative_limit(1e-4)
    up = [(0.5 * (1 + part), 0.5, 0)] * 200
    both = [(0.5 * (1 + part * (-1) ** i), 0.5, 0) for i in range(200)]
    assert differing(Agreement(None, 1e-4), *up) == ["cells together, in one direction"]
    assert differing(Agreement(None, 1e-4), *both) == []
    assert differing(Agreement(None, 1e-4), (0.51, 0.5, 0))[0] == "0"


def test_a_distance_near_zero_is_the_difference_of_large_terms() -> None:
    near = (1e-5, -1e-5, 0)
    assert "0" in differing(Agreement(None, 1e-5), near)
    assert differing(Agreement(None, 1e-5, terms=100.0), near) == []
    assert "0" in differing(Agreement(None, 1e-5, terms=100.0), (1.0, -1.0, 0))


@pytest.mark.parametrize(
    ("name", "here", "near", "far"),
    [
        ("precision-efficientnet", 0.1, 0.1 + 2 / 360, 0.1 + 3 / 360),
        ("recall-efficientnet", 0.0, 1 / 360, 3 / 360),
        ("kid-efficientnet", 1e-6, -1e-6, 0.1),
        ("ssim", 0.0, 1e-5, 0.01),
        ("psnr_db", 0.001, 0.0012, 0.2),
        ("else", 0.0, 0.0, 1e-9),
    ],
)
def test_figures_beside_the_metric_move_by_what_rounding_makes_of_their_terms(
    name: str, here: float, near: float, far: float
) -> None:
    def told(value: float) -> list[Difference]:
        pair = ({"also": {name: value}}, {"also": {name: here}})
        return list(_beside("clean", *pair, 1e-5, 360))

    assert told(here) == told(near) == []
    assert [d.field for d in told(far)] == [f"clean.also.{name}"]


def test_what_counts_is_not_paid_for_by_what_does_not() -> None:
    """Cells that count go up, others down as far: together nothing, in each part everything."""
    for images, step in ((64, 1 / 64), (None, 0.45 * relative_limit(1e-4))):
        agreement = Agreement(images, 1e-4)
        for i in range(200):
            part, sign = ("a", 1) if i % 2 else ("b", -1)
            assert not [*agreement.compare("x", 0.5 + sign * step, 0.5, {UNDECIDED: 1}, part)]
        fields = {d.field for d in agreement.whole()}
        assert fields == {f"cells together, in one direction, {part}" for part in "ab"}


def test_plain_values_are_compared_leaf_by_leaf() -> None:
    one = {"a": [1, {"b": 2}], "c": True, "d": None}
    assert list(exact("x", one, {"a": [1.0, {"b": 2}], "c": True})) == []
    fields = [d.field for d in exact("x", one, {"a": [1, {"b": 3}, 4], "c": 1, "e": 5})]
    assert fields == ["x.a length", "x.a[1].b", "x.c", "x.e"]
