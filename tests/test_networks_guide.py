"""The guide to one's own networks does what it says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from pnnbench.platforms.rings import RingCalibration

GUIDE = Path(__file__).resolve().parents[1] / "docs" / "networks.md"
TEXT = GUIDE.read_text(encoding="utf-8")


def test_its_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    assert len(blocks) == 6
    names: dict[str, Any] = {"__name__": "guide"}
    for block in blocks:
        exec(compile(block, str(GUIDE), "exec"), names)  # noqa: S102 - our own text
    assert len(names["workload"].report) == 3
    assert [str(line).partition(":")[0] for line in names["some"].report if line.became] == ["conv"]
    assert names["also"].layers()["model.fc"].inputs == 32
    assert names["scaled"].network.model.fc.gain > 1.0
    assert all(0.0 <= reading.value <= 1.0 for reading in names["readings"])
    assert names["suite_workload"].n_controls == 1352
    assert (tmp_path / "settings.csv").stat().st_size > 10_000
    assert names["exported"].report == ()


def test_the_range_of_the_rings_is_the_stated_one() -> None:
    low, high = RingCalibration().weight_range()
    assert f"from {low:.3f} to {high:.3f}" in TEXT
