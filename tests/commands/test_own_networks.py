"""A user's network as a workload of a suite, by its class path."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ..command import command
from .conftest import QUIET, write_suite

TEXT = """
from torch import nn

from pnnbench.workloads.convert import physical_network
from pnnbench.workloads.{room} import {base}
from pnnbench.workloads.tiers import DIGITS_TIERS


class Mine({base}):
    '''Mine.'''

    name = "mine"
    data = "digits"
    tiers = DIGITS_TIERS
    offset_calibration_images = 32

    def build_network(self):
        layers = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2)
        return physical_network(nn.Sequential(*layers, nn.Flatten(), nn.Linear(64, 10)), "{room}")
"""


@pytest.mark.slow
@pytest.mark.parametrize("room", ["mrr", "mzi"])
def test_a_network_of_ones_own_is_run_and_read(tmp_path: Path, room: str) -> None:
    (tmp_path / "mynet.py").write_text(TEXT.format(room=room, base=f"{room.upper()}Workload"))
    write_suite(tmp_path, workloads=["mynet.Mine"], methods=["bp"], seeds=[3])
    done = command("run", "tiny.yaml", *QUIET, cwd=tmp_path)
    assert done.err.count(": start") == 1
    assert "bp" in done.out
    records = sorted((tmp_path / "runs" / "tiny").glob("*/record.json"))
    assert len(records) == 1
    for path in records:
        record = json.loads(path.read_text())
        assert record["status"] == "ok"
        assert record["job"]["workload"] == "mynet.Mine"
        assert "gaps" not in record or not record["gaps"]
        assert len(record["groups"]) > 10
