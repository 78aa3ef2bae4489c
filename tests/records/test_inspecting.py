from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from pnnbench.records import store as rec
from pnnbench.records.doctor import examine
from pnnbench.records.findings import NOTES, Finding
from pnnbench.records.inspecting import CURRENT
from pnnbench.records.outcomes import write_outcomes
from pnnbench.running.job_specs import PROTOCOLS

from ..record_factory import changed, make_record, write_job


def _written(folder: Path, record: dict[str, Any], tensors: bytes) -> Path:
    path = write_job(folder, record)
    (path.parent / "parameters.safetensors").write_bytes(tensors)
    record = rec.read_record(path)
    record["parameters"]["sha256"] = rec.file_sha256(path.parent / "parameters.safetensors")
    record.pop("checksum")
    rec.write_record(path, record)
    return path


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        (save({"fc": np.array([1.0, np.nan])}), "the tensor 'fc' of parameters.safetensors is not"),
        (save({"fc": np.array([np.inf], np.float32)}), "is not finite"),
        (b"pickle" * 30, "is not a file of tensors"),
    ],
)
def test_tensors_are_looked_into(tensors: bytes, words: str, tmp_path: Path) -> None:
    path = _written(tmp_path, make_record(), tensors)
    (finding,) = examine(tmp_path)[0]
    assert (finding.kind, finding.path) == ("parameters", path)
    assert words in finding.message


def test_accuracies_are_held_against_the_outcomes_of_the_images(tmp_path: Path) -> None:
    record = copy.deepcopy(make_record())
    record.pop("checksum")
    home = tmp_path / record["job"]["hash"]
    values = np.array([record["clean"], *(cell["value"] for cell in record["cells"])])
    right = np.arange(10000)[None, :] < np.round(values * 10000)[:, None]
    record["outcomes"] = write_outcomes(home, right)
    path = write_job(tmp_path, record)
    assert examine(tmp_path)[0] == []
    record = rec.read_record(path)
    record.pop("checksum")
    record["cells"][7]["value"] += 0.0002  # two images of ten thousand
    rec.write_record(path, record)
    (finding,) = examine(tmp_path)[0]
    assert finding.kind == "forged"
    assert "cells[7].value" in finding.message
    record["cells"][7]["value"] -= 0.0002
    record["outcomes"] = write_outcomes(home, right[:-1])
    rec.write_record(path, record)
    (finding,) = examine(tmp_path)[0]
    assert (finding.kind, finding.path) == ("outcomes", path)


@pytest.mark.parametrize(
    ("place", "value", "kind", "words"),
    [
        ("protocol", "pnnbench-9", "protocol", "is of the protocol 'pnnbench-9'"),
        ("job.revision", 99, "protocol", "is of revision 99 of pnnbench-2"),
        ("job.workload", "lab.my.Mesh", "unregistered", "'lab.my.Mesh', which is not registered"),
        ("job.data", {"name": "x", "set": "lab.Data:y"}, "unregistered", "data set 'lab.Data'"),
        (
            "job.method.label",
            "SAT\u202eTAS",
            "characters",
            "job.method.label holds the sign U+202E",
        ),
        ("job.method.params", {"a\x07": 1}, "characters", "U+0007"),
    ],
)
def test_what_a_record_names_is_looked_up_and_not_imported(
    place: str, value: Any, kind: str, words: str, tmp_path: Path
) -> None:
    record = changed(make_record(), place, value)
    record["job"]["hash"] = rec.job_hash(record["job"])
    write_job(tmp_path, record)
    (finding,) = examine(tmp_path)[0]
    assert finding.kind == kind
    assert words in finding.message
    assert finding.next_step
    assert finding.fault == (kind not in NOTES)


def test_the_protocols_are_those_that_jobs_are_run_under() -> None:
    assert CURRENT == PROTOCOLS


def test_a_finding_holds_nothing_that_a_terminal_obeys() -> None:
    shown = str(Finding(Path("runs/a\x1b[2J"), "code", "says\nfine\u202e", "rm 'a\x1b[2J'"))
    assert shown.splitlines() == [
        r"code         runs/a\x1b[2J: says\nfine\u202e",
        r"             next: rm 'a\x1b[2J'",
    ]


def test_a_finding_reads_as_a_line_and_its_next_step() -> None:
    finding = Finding(Path("runs/a"), "lock", "is stale", "pnnbench doctor runs --fix")
    assert (
        str(finding)
        == "lock         runs/a: is stale\n             next: pnnbench doctor runs --fix"
    )
    assert finding.as_dict() == {
        "path": "runs/a",
        "kind": "lock",
        "message": "is stale",
        "next_step": "pnnbench doctor runs --fix",
        "fault": True,
    }
