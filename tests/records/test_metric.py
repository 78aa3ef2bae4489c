"""Two metrics are one, but for the rounding of what guessing reaches."""

from __future__ import annotations

from typing import Any

import pytest

from pnnbench.records.metric import same_metric

FID: dict[str, Any] = {"name": "fid-x", "higher_is_better": False, "chance": 3580.0}


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({}, True),
        ({"chance": 3580.0 * (1 + 1e-5)}, True),
        ({"chance": 3580.0 * 1.01}, False),
        ({"chance": None}, False),
        ({"name": "fid-y"}, False),
        ({"higher_is_better": True}, False),
    ],
)
def test_rounding_makes_no_other_metric(change: dict[str, Any], same: bool) -> None:
    other = {**FID, **change}
    assert same_metric(FID, other) is same
    assert same_metric(other, FID) is same


def test_a_metric_without_a_level_is_itself_alone() -> None:
    bare = {name: value for name, value in FID.items() if name != "chance"}
    assert same_metric(bare, dict(bare))
    assert not same_metric(bare, FID)
