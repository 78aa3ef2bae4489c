from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pnnbench.errors import UserError
from pnnbench.records import doctor, inspecting
from pnnbench.records import store as rec
from pnnbench.records.doctor import examine
from pnnbench.records.plain_json import LARGEST

from ..record_factory import changed, make_failure, make_record, make_suite, write_job


def test_the_doctor_finds_nothing_wrong_in_whole_runs(tmp_path: Path) -> None:
    for record in make_suite(("SAT",), (0, 1)):
        whole = rec.read_record(write_job(tmp_path, record))
        # Committed records travel without their parameters.
        rec.write_record(tmp_path / "board" / "records" / f"{record['job']['hash']}.json", whole)
    assert examine(tmp_path)[0] == []


def test_the_doctor_recomputes_the_hash_of_a_job(tmp_path: Path) -> None:
    record = changed(make_record(), "job.epochs_factor", 3.0)
    path = write_job(tmp_path, record)
    (finding,) = examine(tmp_path)[0]
    assert (finding.kind, finding.path) == ("mismatch", path)
    assert rec.job_hash(record["job"]) in finding.message


def test_the_doctor_names_every_kind_of_trouble(tmp_path: Path) -> None:
    good, torn, moved, lost = make_suite(("SAT", "BP"), (0, 1))
    write_job(tmp_path, good)
    torn_path = write_job(tmp_path, torn)
    torn_path.write_text(torn_path.read_text()[:-200])
    moved_path = write_job(tmp_path, moved)
    moved_path.parent.rename(tmp_path / ("0" * 16))
    lost_path = write_job(tmp_path, lost)
    (lost_path.parent / "parameters.safetensors").unlink()
    failure = make_failure("NAT")
    write_job(tmp_path, failure)
    (tmp_path / ("1" * 16)).mkdir()
    left = tmp_path / ("1" * 16) / f".record.json.{2**31 - 1}.tmp"  # of a process that is gone
    left.write_text("{")
    os.utime(left, (1000, 1000))
    (tmp_path / ("1" * 16) / "checkpoints").mkdir()
    changed_path = write_job(tmp_path, make_record("Pruning"))
    (changed_path.parent / "parameters.safetensors").write_bytes(b"x")
    found = {(f.kind, f.path.parent.name, f.path.name) for f in examine(tmp_path)[0]}
    assert found == {
        ("corrupt", torn["job"]["hash"], "record.json"),
        ("mismatch", "0" * 16, "record.json"),
        ("parameters", lost["job"]["hash"], "record.json"),
        ("parameters", changed_path.parent.name, "record.json"),
        ("failed", failure["job"]["hash"], "record.json"),
        ("incomplete", tmp_path.name, "1" * 16),
        ("leftover", "1" * 16, left.name),
    }
    assert all(finding.next_step for finding in examine(tmp_path)[0])
    failed = next(f for f in examine(tmp_path)[0] if f.kind == "failed")
    assert "diverged: Diverged: the loss is not finite at step 412" in str(failed)


def test_the_doctor_names_the_gaps_of_a_record_but_not_what_has_no_meaning(tmp_path: Path) -> None:
    record = changed(make_record(), "cells.3.value", None)
    left_out = {"part": "sharpness.lambda_max_calibrated", "type": "left-out", "message": "mse"}
    gap = {"part": "cells[3]", "type": "not-finite", "message": "the metric is nan"}
    path = write_job(tmp_path, {**record, "gaps": [left_out, gap]})
    (finding,) = examine(tmp_path)[0]
    assert (finding.kind, finding.path) == ("gaps", path)
    assert finding.message == "1 missing, the first cells[3]: the metric is nan"


def test_the_doctor_looks_at_the_parameters_of_a_failure_too(tmp_path: Path) -> None:
    failure = {**make_failure(), "parameters": make_record()["parameters"]}
    path = write_job(tmp_path, failure)
    assert {f.kind for f in examine(tmp_path)[0]} == {"failed"}
    (path.parent / "parameters.safetensors").unlink()
    assert {f.kind for f in examine(tmp_path)[0]} == {"failed", "parameters"}


def _rewritten(path: Path, change: Callable[[str], str]) -> None:
    """Changes the text of a record and seals it again, as somebody would who knows how."""
    text = change(path.read_text())
    stored = json.loads(text)
    right = stored["checksum"]
    del stored["checksum"]
    digest = hashlib.sha256(rec.canonical(stored)).hexdigest()
    path.write_text(text.replace(right, f"sha256:{digest}"))


HOSTILE: dict[str, tuple[Callable[[str], str], str]] = {
    "a key twice": (lambda text: text.replace('"status":', '"status":"ok","status":', 1), "twice"),
    "not a number": (lambda text: text.replace('"clean":0', '"clean":NaN,"c":0', 1), "NaN"),
    "infinite": (lambda text: text.replace('"threads":1', '"threads":1e999', 1), "JSON"),
    "half a character": (lambda text: text.replace('"threads":1', r'"threads":"\ud800"'), "JSON"),
    "deep": (lambda text: text.replace('"threads":1', '"threads":' + "[" * 10**5), "deep"),
    "deep, but read": (
        lambda text: text.replace('"threads":1', f'"threads":{"[" * 800}{"]" * 800}'),
        "checksum",
    ),
    "no object": (lambda text: "[]", "is not a record but list"),
    "schema": (lambda text: text.replace('"schema":3', '"schema":4'), "schema version 4"),
    "changed": (lambda text: text.replace('"seed":0', '"seed":1'), "checksum does not match"),
    "unsealed": (lambda text: text.replace('"checksum":', '"sum":'), "never sealed"),
    "huge": (lambda text: text + " " * LARGEST, "too large"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_record_is_one_finding(name: str, tmp_path: Path) -> None:
    path = write_job(tmp_path, make_record())
    change, words = HOSTILE[name]
    before = path.read_text()
    path.write_text(change(before))
    assert path.read_text() != before
    (finding,) = examine(tmp_path)[0]
    assert (finding.kind, finding.path) == ("corrupt", path)
    assert words in finding.message
    assert finding.next_step
    with pytest.raises(UserError):
        rec.read_record(path)


def test_a_record_that_was_sealed_again_is_held_against_its_figures(tmp_path: Path) -> None:
    record = make_record()
    path = write_job(tmp_path, record)
    value = record["cells"][0]["value"]
    _rewritten(path, lambda text: text.replace(f"{value!r},", f"{value + 3e-5!r},", 1))
    assert rec.read_record(path)["cells"][0]["value"] == value + 3e-5
    (finding,) = examine(tmp_path)[0]
    assert finding.kind == "forged"
    assert "no whole number of 10000 test images" in finding.message
    assert finding.next_step == f"pnnbench verify {path.parent}"


def test_two_records_of_one_job_that_differ_are_told(tmp_path: Path) -> None:
    record = make_record()
    first = write_job(tmp_path / "a", record)
    second = write_job(tmp_path / "b", record)
    assert examine(tmp_path)[0] == []
    _rewritten(second, lambda text: text.replace('"threads":1', '"threads":2'))
    (finding,) = examine(tmp_path)[0]
    assert (finding.kind, finding.path) == ("repeated", second)
    assert str(first) in finding.message


def test_looking_changes_nothing_and_loads_no_network(tmp_path: Path) -> None:
    """In a process of its own, where nothing else has imported torch."""
    record = changed(make_record(), "job.workload", "evil.module.Workload")
    record["job"]["hash"] = rec.job_hash(record["job"])
    write_job(tmp_path / "runs", record)
    write_job(tmp_path / "runs", make_record("BP"))
    (tmp_path / "evil").mkdir()
    (tmp_path / "evil" / "module.py").write_text("raise SystemExit('it ran')")
    before = {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in tmp_path.rglob("*")}
    code = (
        "import sys; from pnnbench.records.doctor import examine\n"
        "print([f.kind for f in examine('runs')[0]])\n"
        "assert not {'torch', 'lightning', 'evil'} & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "['unregistered']\n"
    assert {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in tmp_path.rglob("*")} == before


def test_the_doctor_reads_the_index_of_a_suite(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "suite.json").write_text("{")
    (finding,) = examine(tmp_path)[0]
    assert (finding.kind, finding.path.name) == ("corrupt", "suite.json")
    assert finding.message.startswith("is not the index of a suite")


def test_a_record_that_cannot_be_looked_at_does_not_hide_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, other = (write_job(tmp_path, record) for record in (make_record(), make_record("BP")))
    (other.parent / "parameters.safetensors").unlink()

    def look(path: Path, record: dict) -> list:
        if path == bad:
            raise OverflowError("too large")
        return list(inspecting.inspect(path, record))

    monkeypatch.setattr(doctor, "inspect", look)
    found = {(finding.kind, finding.path) for finding in examine(tmp_path)[0]}
    assert found == {("corrupt", bad), ("parameters", other)}
