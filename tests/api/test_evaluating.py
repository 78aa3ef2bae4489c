"""Evaluating in Python: what is measured, and what is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import yaml

import pnnbench
from pnnbench.data import load as load_digits
from pnnbench.data import resolve_data
from pnnbench.errors import UserError
from pnnbench.records.store import read_record, seal
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


@pytest.mark.parametrize("training", [True, False])
def test_modes_are_afterwards_what_they_were(training: bool) -> None:
    workload = MZIDigits(0).train(training)
    workload.network.front.norm1.train(not training)
    modes = [module.training for module in workload.modules()]
    pnnbench.evaluate(workload, tier="smoke", devices=1)
    assert [module.training for module in workload.modules()] == modes


def test_a_run_is_measured_on_its_own_training_device_and_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite = {
        "suite": "devices",
        "protocol": "pnnbench-2",
        "tier": "smoke",
        "workloads": ["mrr-digits"],
        "seeds": [0],
        "training_devices": [3, 4],
        "methods": ["pat"],
    }
    (tmp_path / "devices.yaml").write_text(yaml.safe_dump(suite))
    pnnbench.run(tmp_path / "devices.yaml", tmp_path / "runs")
    folders = sorted((tmp_path / "runs" / "devices").glob("*/record.json"))
    assert len(folders) == 2
    for path in folders:
        record = read_record(path)
        (again,) = pnnbench.evaluate(path.parent).records
        assert again["training_device"] == record["training_device"]
        assert again["job"]["seeds"] == record["job"]["seeds"]
    other = load_digits("digits")
    changed = dataclasses.replace(other, test_targets=other.test_targets.flip(0), own=False)
    monkeypatch.setitem(vars(resolve_data("digits"))["_kept"], None, changed)
    monkeypatch.setitem(vars(resolve_data("digits"))["_kept"], "last", changed)
    with pytest.raises(UserError, match="has other contents than those of the record"):
        pnnbench.evaluate(folders[0].parent)
