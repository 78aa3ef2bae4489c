"""Networks of committed boards, measured again by what is here: no figure has moved."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import pytest

from pnnbench.api.locating import locate
from pnnbench.running.rebuilding import data_of, load_parameters
from pnnbench.submitting.remeasuring import remeasure


def again(row: str, count: int, root: Path | None = None, **changes: Any) -> dict[str, Any]:
    """Measures a row of a committed board again, on the first so many of its devices."""
    found = locate(row)
    workload = load_parameters(found.parameters, found.record)
    record = {**copy.deepcopy(found.record), **changes}
    devices = sorted({c["device_seed"] for c in record["cells"]} - {None})[:count]
    data = data_of(record, None if root is None else str(root))
    return remeasure(record, workload, data, lambda line: None, devices=devices)


@pytest.mark.parametrize("row", ["quickstart/NAT", "quickstart/SAT"])
def test_networks_on_rings_have_the_recorded_figures(row: str) -> None:
    found = again(row, 1)
    assert found["within"]
    assert found["difference"] <= found["tolerance"] < 0.01
    (step,) = found["deployments"]
    assert step["name"] == "offset-calibrated"
    assert len(step["values"]) == len(found["cells"]) == 20


@pytest.mark.parametrize("row", ["mzi_mnist/SAT", "freespace_mnist/SAT, misalignment"])
def test_networks_of_other_platforms_have_the_recorded_figures(row: str, mnist_root: Path) -> None:
    found = again(row, 1, mnist_root)
    assert found["within"]
    assert "deployments" not in found


def test_a_deployment_that_the_record_lacks_differs() -> None:
    found = again("quickstart/BP", 1, deployments=[])
    assert (found["difference"], found["within"]) == (math.inf, False)
