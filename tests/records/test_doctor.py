from __future__ import annotations

from pathlib import Path

from pnnbench.records import store as rec
from pnnbench.records.doctor import diagnose

from ..record_factory import changed, make_failure, make_record, make_suite, write_job


def test_diagnose_finds_nothing_wrong_in_whole_runs(tmp_path: Path) -> None:
    for record in make_suite(("SAT",), (0, 1)):
        write_job(tmp_path, record)
        # Committed records travel without their parameters.
        rec.write_record(tmp_path / "board" / "records" / f"{record['job']['hash']}.json", record)
    assert diagnose(tmp_path) == []


def test_diagnose_recomputes_the_hash_of_a_job(tmp_path: Path) -> None:
    record = changed(make_record(), "job.epochs_factor", 3.0)
    path = write_job(tmp_path, record)
    (finding,) = diagnose(tmp_path)
    assert (finding.kind, finding.path) == ("mismatch", path)
    assert rec.job_hash(record["job"]) in finding.message


def test_diagnose_names_every_kind_of_trouble(tmp_path: Path) -> None:
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
    (tmp_path / ("1" * 16) / ".record.json.77.tmp").write_text("{")
    changed_path = write_job(tmp_path, make_record("Pruning"))
    (changed_path.parent / "parameters.safetensors").write_bytes(b"x")
    found = {(f.kind, f.path.parent.name, f.path.name) for f in diagnose(tmp_path)}
    assert found == {
        ("corrupt", torn["job"]["hash"], "record.json"),
        ("mismatch", "0" * 16, "record.json"),
        ("parameters", lost["job"]["hash"], "record.json"),
        ("parameters", changed_path.parent.name, "record.json"),
        ("failed", failure["job"]["hash"], "record.json"),
        ("incomplete", tmp_path.name, "1" * 16),
        ("leftover", "1" * 16, ".record.json.77.tmp"),
    }
    failed = next(f for f in diagnose(tmp_path) if f.kind == "failed")
    assert "diverged: Diverged: the loss is not finite at step 412" in str(failed)


def test_diagnose_names_the_gaps_of_a_record_but_not_what_has_no_meaning(tmp_path: Path) -> None:
    record = changed(make_record(), "cells.3.value", None)
    left_out = {"part": "sharpness.lambda_max_calibrated", "type": "left-out", "message": "mse"}
    gap = {"part": "cells[3]", "type": "not-finite", "message": "the metric is nan"}
    path = write_job(tmp_path, {**record, "gaps": [left_out, gap]})
    (finding,) = diagnose(tmp_path)
    assert (finding.kind, finding.path) == ("gaps", path)
    assert finding.message == "1 missing, the first cells[3]: the metric is nan"


def test_diagnose_looks_at_the_parameters_of_a_failure_too(tmp_path: Path) -> None:
    failure = {**make_failure(), "parameters": make_record()["parameters"]}
    path = write_job(tmp_path, failure)
    assert {f.kind for f in diagnose(tmp_path)} == {"failed"}
    (path.parent / "parameters.safetensors").unlink()
    assert {f.kind for f in diagnose(tmp_path)} == {"failed", "parameters"}


def test_diagnose_reads_the_index_of_a_suite(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "suite.json").write_text("{")
    (finding,) = diagnose(tmp_path)
    assert (finding.kind, finding.path.name) == ("corrupt", "suite.json")
    assert finding.message.startswith("is not the index of a suite")
