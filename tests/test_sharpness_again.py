"""Measuring the sharpness of finished jobs again: what it changes in a record, and what not."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pnnbench.records.store import read_record, write_record
from pnnbench.running.jobs import run_suite
from pnnbench.running.suites import load_suite

from .scripts import load_script

SUITE = """
suite: again
protocol: pnnbench-2
tier: smoke
workloads: [mrr-digits]
seeds: [0]
methods: [{method: bp, label: BP}, {method: sat-in-situ, label: SAT in situ}]
"""


@pytest.mark.slow
def test_only_the_sharpness_of_a_record_is_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    suite = tmp_path / "again.yaml"
    suite.write_text(SUITE)
    records = run_suite(load_suite(suite), tmp_path / "runs", say=str)
    first, second = (
        tmp_path / "runs" / "again" / r["job"]["hash"] / "record.json" for r in records
    )
    content = {k: v for k, v in read_record(first).items() if k != "checksum"}
    wrong = content["sharpness"] | {"lambda_max": 0.5 * content["sharpness"]["lambda_max"]}
    gap = {"part": "sharpness.lambda_max_pyhessian", "type": "error", "message": "they differ"}
    kept = [g for g in content.get("gaps", []) if not g["part"].startswith("sharpness.")]
    wrong.pop("lambda_max_pyhessian", None)
    write_record(first, {**content, "sharpness": wrong, "gaps": [*kept, gap]})
    (second.parent / "parameters.safetensors").unlink()
    untouched = second.read_bytes()

    script = load_script("benchmarks/sharpness_again.py")
    monkeypatch.setattr(sys, "argv", ["sharpness_again.py", str(tmp_path / "runs" / "again")])
    script.main()
    told = capsys.readouterr().out
    assert "+100.000 %  BP, seed 0" in told
    assert "its tensors are not there" in told
    assert second.read_bytes() == untouched
    after = read_record(first)
    assert set(after["provenance"]["sharpness"]) == {"measured_again", "commit"}
    for key in content.keys() - {"sharpness", "provenance", "cost", "gaps"}:
        assert after[key] == content[key], key
    assert after["sharpness"] == content["sharpness"]
    assert after.get("gaps", []) == content.get("gaps", [])
    assert after["cost"]["train_seconds"] == content["cost"]["train_seconds"]

    script.main()
    assert "BP" not in capsys.readouterr().out
