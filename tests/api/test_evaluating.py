"""Evaluating in Python: what is measured, and what is refused."""

from __future__ import annotations

import pytest

import pnnbench
from pnnbench.records.store import seal
from pnnbench.workloads.grid import FIRST_TEST_DEVICE
from pnnbench.workloads.mzi import MZIDigits


def test_a_workload_of_unknown_training_is_measured_as_it_is() -> None:
    told: list[str] = []
    workload = MZIDigits(0)
    results = pnnbench.evaluate(workload, tier="smoke", label="untrained", say=told.append)
    (record,) = results.records
    assert seal(record) == record
    assert record["job"]["method"] == {"name": "unknown", "label": "untrained", "params": {}}
    assert "method" not in record["provenance"]
    assert len(record["cells"]) == len(workload.perturbation_grid("smoke")) + 1
    assert [gap["type"] for gap in record["gaps"]] == ["left-out"]
    assert told[-1].endswith("cells")
    assert "untrained" in results.summary()
    assert results.plot_degradation().axes


def test_fewer_devices_are_the_first_of_the_grid_with_the_same_values() -> None:
    workload = MZIDigits(0)
    whole, part = (
        pnnbench.evaluate(workload, tier="smoke", devices=count).records[0] for count in (None, 1)
    )
    assert part["job"]["seeds"]["test_devices"] == [FIRST_TEST_DEVICE]
    kept = [c for c in whole["cells"] if c["device_seed"] in (None, FIRST_TEST_DEVICE)]
    assert part["cells"] == kept
    assert part["clean"] == whole["clean"]
    assert part["job"]["hash"] != whole["job"]["hash"]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"network": 3}, "network is 3"),
        ({"tier": "fast"}, "unknown tier 'fast'"),
        ({"devices": 0}, r"an integer in \[1, 2\]"),
        ({"devices": 3}, "devices is 3"),
        ({"devices": True}, "devices is True"),
        ({"network": "nothing/at/all"}, "there is no run"),
    ],
)
def test_mistakes_read(arguments: dict[str, object], text: str) -> None:
    with pytest.raises(pnnbench.UserError, match=text):
        pnnbench.evaluate(**{"network": MZIDigits(0), "tier": "smoke", **arguments})


def test_a_network_without_a_finite_output_reads() -> None:
    workload = MZIDigits(0)
    for parameter in workload.digital_parameters().values():
        parameter.data.fill_(float("nan"))
    with pytest.raises(pnnbench.UserError, match="no output of the trained network is finite"):
        pnnbench.evaluate(workload, tier="smoke")
