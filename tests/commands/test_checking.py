"""``pnnbench check``, ``doctor``, ``data`` and ``reproduce``."""

from __future__ import annotations

import json
from pathlib import Path

from pnnbench import __version__

from ..command import Done, command

Ran = tuple[Path, Done]


def test_doctor_finds_nothing_wrong_with_fresh_runs(ran: Ran) -> None:
    folder = ran[0]
    assert "0 findings" in command("doctor", "runs", cwd=folder).out
    assert json.loads(command("doctor", "--format", "json", cwd=folder).out) == []


def test_check_reports_each_check(tmp_path: Path) -> None:
    found = json.loads(command("check", "BP_Weights", "--format", "json", cwd=tmp_path).out)
    assert found["failed"] == 0
    assert found["pnnbench"] == __version__
    assert {"class", "units", "resumes", "lets-go"} <= {c["name"] for c in found["checks"]}


def test_check_goes_to_every_platform(tmp_path: Path) -> None:
    done = command("check", "pruning-weights", "--all", cwd=tmp_path)
    assert "mrr-digits:" in done.out
    assert "mzi-digits: not supported" in done.out
    found = json.loads(
        command("check", "pruning-weights", "--all", "--format", "json", cwd=tmp_path).out
    )
    assert found["failed"] == 0
    assert [name for name, checks in found["workloads"].items() if checks] == ["mrr-digits"]
    done = command("check", "bp", "--all", "--workload", "mrr-digits", cwd=tmp_path, status=2)
    assert "--all and --workload together" in done.err


def test_data_names_the_fingerprint(tmp_path: Path) -> None:
    assert "sha256:" in command("data", "digits", cwd=tmp_path).out
    found = json.loads(command("data", "Digits", "--format", "json", cwd=tmp_path).out)
    assert (found["n_train"], found["input_shape"], found["n_classes"]) == (1437, [1, 8, 8], 10)
    done = command("data", "mnist", "--root", "nowhere", cwd=tmp_path, status=2)
    assert "pnnbench data mnist --download" in done.err


def test_reproduce_asks_for_its_files(tmp_path: Path) -> None:
    done = command("reproduce", "mrr", cwd=tmp_path, status=2)
    assert "--checkpoints is missing" in done.err
    done = command("reproduce", "mrr", "--checkpoints", "nowhere", cwd=tmp_path, status=2)
    assert "nowhere" in done.err


def test_check_tells_methods_platforms_and_workloads_apart(tmp_path: Path) -> None:
    found = json.loads(command("check", "mzi", "--format", "json", cwd=tmp_path).out)
    assert found["failed"] == 0
    assert {"device", "conditions", "read-out-noise"} <= {c["name"] for c in found["checks"]}
    (tmp_path / "mine.py").write_text(
        "from pnnbench.platforms.mrr import MRRLinear\n"
        "from pnnbench.workloads.mrr import MRRDigits\n"
        "class Bank(MRRLinear):\n    def project(self): pass\n"
        "class Digits(MRRDigits): pass\n"
    )
    done = command("check", "mine.Bank", cwd=tmp_path, status=1).out
    assert "FAIL  projection: project() of Bank leaves current at 1000 mA" in done
    assert "0 failed" in command("check", "mine.Digits", cwd=tmp_path).out
    done = command("check", "mine.Bank", "--workload", "mrr-digits", cwd=tmp_path, status=2)
    assert "--workload is for methods, and mine.Bank is a platform" in done.err
    done = command("check", "mzi-digit", cwd=tmp_path, status=2)
    assert "unknown method, workload or platform 'mzi-digit'; did you mean 'mzi-digits'" in done.err
