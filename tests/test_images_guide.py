"""The guide to image tasks does what it says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from pnnbench.metrics.extractors import EXTRACTORS
from pnnbench.registry import SUITES

GUIDE = Path(__file__).resolve().parents[1] / "docs" / "images.md"
TEXT = GUIDE.read_text(encoding="utf-8")


def test_its_examples_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PNNBENCH_INCEPTION", raising=False)
    blocks = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    assert len(blocks) == 5
    names: dict[str, Any] = {"__name__": "guide"}
    for block in blocks:
        exec(compile(block, str(GUIDE), "exec"), names)  # noqa: S102 - our own text
    assert set(names["clean"].also) == {"psnr_db", "ssim"}
    assert all(reading.value > 0.0 for reading in names["readings"])
    assert names["made"].shape == names["real"].shape
    assert names["maker"].workload.metric_name in TEXT
    assert names["biased"] > 0.0
    assert abs(names["limit"]) < 1e-6
    assert abs(names["kid"]) < names["biased"]
    assert EXTRACTORS["inception-v3"].weights.file in capsys.readouterr().out
    assert names["wide"].network.encode(names["images"][:2]).shape == (2, 4)


def test_it_names_what_there_is() -> None:
    for name, found in EXTRACTORS.items():
        assert f"`{name}`" in TEXT
        assert found.weights.file in TEXT or found.weights.package is not None
    for name in re.findall(r"pnnbench run (\S+)", TEXT):
        assert (SUITES / f"{name}.yaml").is_file()
