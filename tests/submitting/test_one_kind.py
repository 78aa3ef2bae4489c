"""Records of one row are runs of one thing."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from pnnbench.submitting.one_kind import difference_of

from ..record_factory import make_record
from .packed import fail


def test_seeds_of_a_row_are_of_one_kind_and_failures_say_less() -> None:
    one, other = (make_record("BP", seed) for seed in (0, 1))
    assert difference_of(one, other) is None
    failed = copy.deepcopy(other)
    fail(failed)
    for part in ("config", "data", "metric"):
        failed.pop(part, None)
    assert difference_of(one, failed) is None
    assert difference_of(failed, one) is None


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("protocol", lambda r: r.update(protocol="published")),
        ("workload", lambda r: r["job"].update(workload="mzi-mnist")),
        ("data", lambda r: r["job"].update(data={"name": "kmnist", "set": "kmnist"})),
        ("tier", lambda r: r["job"].update(tier="paper")),
        ("epochs_factor", lambda r: r["job"].update(epochs_factor=3.0)),
        ("precision", lambda r: r["job"].update(precision="bf16-mixed")),
        ("content", lambda r: r["job"].update(content="1" * 64)),
        ("revision", lambda r: r["job"].update(revision=99)),
        ("test_devices", lambda r: r["job"]["seeds"]["test_devices"].append(1_000_099)),
        ("config", lambda r: r["config"].update(axes=["control-bits"])),
        ("data.fingerprint", lambda r: r["data"].update(fingerprint="sha256:00000000")),
        ("metric.name", lambda r: r["metric"].update(name="mse")),
    ],
)
def test_what_differs_is_named(part: str, change: Callable[[dict[str, Any]], object]) -> None:
    one, other = (make_record("BP", seed) for seed in (0, 1))
    change(other)
    assert difference_of(one, other) == part
    assert difference_of(other, one) == part
