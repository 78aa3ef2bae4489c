from __future__ import annotations

import json
from pathlib import Path

import pytest

from pnnbench.records.doctor import examine
from pnnbench.records.received import MANIFEST, submission_of
from pnnbench.records.store import file_sha256

from ..record_factory import make_record, write_job


@pytest.fixture
def submission(tmp_path: Path) -> Path:
    folder = tmp_path / "submissions" / "mine"
    path = write_job(tmp_path / "runs", make_record())
    folder.mkdir(parents=True)
    path.parent.rename(folder / "seed-0")
    files = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
    entries = {n: {"sha256": file_sha256(p), "bytes": p.stat().st_size} for n, p in files.items()}
    (folder / MANIFEST).write_text(json.dumps({"format": 1, "files": entries}))
    return folder


def test_the_outcomes_that_a_run_has_are_not_missed_in_a_submission(tmp_path: Path) -> None:
    record = {**make_record(), "outcomes": {"file": "outcomes.safetensors", "sha256": "0" * 64}}
    path = write_job(tmp_path / "runs", record)
    assert [finding.kind for finding in examine(path.parent)[0]] == ["outcomes"]
    folder = tmp_path / "submissions" / "mine"
    folder.mkdir(parents=True)
    path.parent.rename(folder / "seed-0")
    files = [p for p in folder.rglob("*") if p.is_file()]
    entries = {p.relative_to(folder).as_posix(): {"sha256": file_sha256(p)} for p in files}
    (folder / MANIFEST).write_text(json.dumps({"format": 1, "files": entries}))
    assert examine(folder.parent)[0] == []


def _kinds(folder: Path) -> set[tuple[str, str]]:
    return {(f.kind, f.path.relative_to(folder).as_posix()) for f in examine(folder.parent)[0]}


def test_a_whole_submission_has_no_finding(submission: Path) -> None:
    assert examine(submission.parent)[0] == []
    assert submission_of(submission / "seed-0" / "record.json") == submission


def test_changed_missing_and_added_files_are_told(submission: Path) -> None:
    tensors = submission / "seed-0" / "parameters.safetensors"
    tensors.write_bytes(bytes(len(tensors.read_bytes())))
    changed = ("mismatch", "seed-0/parameters.safetensors")
    assert _kinds(submission) == {changed, ("parameters", "seed-0/record.json")}
    tensors.unlink()
    missing = ("mismatch", MANIFEST)
    assert _kinds(submission) == {missing, ("parameters", "seed-0/record.json")}
    (submission / "seed-0" / "run.py").write_text("print()")
    assert _kinds(submission) >= {("code", "seed-0/run.py"), ("mismatch", "seed-0/run.py")}


def test_a_forged_record_in_a_submission_names_the_submission(submission: Path) -> None:
    path = submission / "seed-0" / "record.json"
    path.write_text(path.read_text().replace('"clean":0.9', '"clean":0.99', 1))
    assert _kinds(submission) == {
        ("corrupt", "seed-0/record.json"),
        ("mismatch", "seed-0/record.json"),
    }


@pytest.mark.parametrize("text", ["{", "[]", '{"files": []}', '{"files": {"a": 1}}', "[" * 10**5])
def test_a_manifest_that_is_none_is_one_finding(text: str, submission: Path) -> None:
    (submission / MANIFEST).write_text(text)
    assert _kinds(submission) == {("corrupt", MANIFEST)}
