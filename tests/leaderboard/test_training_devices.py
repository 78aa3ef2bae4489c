"""Rows that train on several devices at each seed count as their mean."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

from pnnbench.errors import UserError
from pnnbench.leaderboard import ranking
from pnnbench.leaderboard.choice import choose
from pnnbench.leaderboard.training_devices import mean_record
from pnnbench.records.store import job_hash
from tests.record_factory import make_later_record, make_mesh_record

DEVICES = (0, 1, 2)


def on_device(record: dict[str, Any], number: int, shift: float) -> dict[str, Any]:
    """The same row and seed on another training device, with other figures."""
    record = copy.deepcopy(record)
    record.pop("checksum", None)
    record["job"]["seeds"]["train_device"] = number
    record["job"]["hash"] = job_hash(record["job"])
    record["clean"] -= shift
    for cell in record["cells"]:
        cell["value"] -= shift
    if "training_device" in record:
        record["training_device"]["seed"] = number
        record["training_device"]["value"] -= shift
    for entry in record.get("earlier", []):
        entry["clean"] -= shift
    for step in record.get("deployments", []):
        step["values"] = [value - shift for value in step["values"]]
    return record


def crossed(label: str = "PAT", seeds: tuple[int, ...] = (0, 1)) -> list[dict[str, Any]]:
    return [
        on_device(make_mesh_record(label, seed, sealed=False), number, 0.03 * number)
        for seed in seeds
        for number in DEVICES
    ]


def index_of(records: list[dict[str, Any]]) -> dict[Any, Any]:
    job = records[0]["job"]
    board = (job["suite"], records[0]["protocol"], job["workload"], job["tier"])
    rows: dict[str, dict[int, tuple[str, ...]]] = {}
    for record in records:
        row = rows.setdefault(record["job"]["method"]["label"], {})
        seed = record["job"]["seed"]
        row[seed] = (*row.get(seed, ()), record["job"]["hash"])
    return {board: rows}


@pytest.mark.parametrize("indexed", [False, True])
def test_the_value_at_a_seed_is_the_mean_over_its_training_devices(indexed: bool) -> None:
    records = crossed()
    (table,) = ranking.build(records, current=index_of(records) if indexed else None)
    assert table.older == ()  # none takes the place of another
    (row,) = table.rows
    assert row.seeds == (0, 1)
    assert row.complete
    clean = [[r["clean"] for r in records if r["job"]["seed"] == seed] for seed in (0, 1)]
    assert row.clean.mean == pytest.approx(np.mean(clean))
    own = [r["training_device"]["value"] for r in records]
    assert row.training_device.mean == pytest.approx(np.mean(own))
    # The score is that of a row whose every cell is the mean over the devices.
    single = [ranking.rows([r])[0].robust.mean for r in records]
    assert row.robust.mean == pytest.approx(np.mean(single))


def test_rows_in_silico_and_rows_on_several_devices_share_a_table() -> None:
    """The first train on no device, so that theirs may be any."""
    digital = make_mesh_record("BP", 1, sealed=False)
    digital["provenance"]["method"] = {"access": "in_silico", "knows": []}
    digital["job"]["hash"] = job_hash(digital["job"])
    for mine in (crossed(seeds=(1,)), crossed(seeds=(1,))[:1]):
        (table,) = ranking.build([digital, *mine])
        assert {row.method for row in table.rows} == {"BP", "PAT"}


def test_a_seed_is_missing_while_one_of_its_devices_is() -> None:
    records = crossed()
    (row,) = ranking.rows(records[:-1], current=index_of(records))
    assert (row.seeds, row.missing) == ((0,), (1,))
    assert not row.complete


def test_a_seed_has_failed_if_one_of_its_devices_has() -> None:
    records = crossed()
    kept = ("schema", "protocol", "job", "provenance")
    for status in ("diverged", "killed"):
        bad = {key: records[0][key] for key in kept} | {"status": status}
        bad["error"] = {"type": "Diverged", "message": "on this device"}
        chosen = choose([bad, *records[1:]])
        assert [r["job"]["seed"] for r in chosen.finished["PAT"]] == [1]
        assert [r["status"] for r in chosen.failed["PAT"]] == [status]


def test_a_newer_job_of_the_same_device_takes_the_place_of_the_older() -> None:
    records = crossed(seeds=(0,))
    newer = copy.deepcopy(records[1])
    newer["provenance"]["finished"] = "2030-01-01T00:00:00+00:00"
    chosen = choose([*records, newer])
    assert chosen.older == (records[1],)
    assert len(chosen.finished["PAT"]) == 1


def test_every_part_of_the_mean_is_the_mean_of_the_parts() -> None:
    first = make_later_record("Pruning", 0)
    first["sharpness"] |= {"is_minimum": 1, "point": {"device_seed": 100_000, "severity": 0.1}}
    second = on_device(first, 4, 0.02)
    second["sharpness"]["is_minimum"] = 0
    second["sharpness"]["lambda_max"] = 3.0 * first["sharpness"]["lambda_max"]
    second["cells"][3]["value"] = None
    before = copy.deepcopy((first, second))
    found = mean_record([first, second])
    assert (first, second) == before
    assert found["clean"] == pytest.approx(first["clean"] - 0.01)
    for i, (cell, own) in enumerate(zip(found["cells"], first["cells"], strict=True)):
        assert {**cell, "value": 0} == {**own, "value": 0}
        expected = None if i == 3 else pytest.approx(own["value"] - 0.01)
        assert cell["value"] == expected
    assert found["earlier"][1]["clean"] == pytest.approx(first["earlier"][1]["clean"] - 0.01)
    assert found["earlier"][1]["steps"] == first["earlier"][1]["steps"]
    assert found["deployments"][0]["values"][0] == pytest.approx(
        first["deployments"][0]["values"][0] - 0.01
    )
    sharpness = found["sharpness"]
    assert sharpness["lambda_max"] == pytest.approx(2.0 * first["sharpness"]["lambda_max"])
    assert sharpness["is_minimum"] == 0
    assert sharpness["point"]["device_seed"] is not None  # still no point on the ideal device
    assert found["job"]["seeds"]["train_device"] is None
    assert mean_record([first]) is first


def test_devices_with_other_cells_have_no_mean() -> None:
    first, second = crossed(seeds=(0,))[:2]
    del second["cells"][-1]
    with pytest.raises(UserError, match="differ in their cells"):
        mean_record([first, second])
