from __future__ import annotations

import copy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from pnnbench.data.digits import Digits
from pnnbench.records.findings import Finding
from pnnbench.records.folders import read_placed
from pnnbench.records.store import file_sha256, read_record, write_record
from pnnbench.running.registry_check import _Expected, check_registry

QUICKSTART = Path(__file__).resolve().parents[2] / "leaderboards" / "quickstart"
#: A record of the board that has its parameters beside it.
HASH = min(path.name for path in (QUICKSTART / "records").iterdir() if path.is_dir())


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of the quickstart as its own folder."""
    home = tmp_path / HASH
    shutil.copytree(QUICKSTART / "records" / HASH, home)
    shutil.copy(QUICKSTART / "records" / f"{HASH}.json", home / "record.json")
    return home / "record.json"


def _found(path: Path) -> list[Finding]:
    return list(check_registry([(path, read_record(path))]))


def test_the_quickstart_is_as_its_workload_says() -> None:
    placed = read_placed(QUICKSTART)
    assert len(placed) >= 20
    assert list(check_registry(placed)) == []


CHANGES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "images": (lambda r: r["data"].update(n_test=90), "data.n_test is 90"),
    "other data": (lambda r: r["data"].update(fingerprint="sha256:" + "0" * 64), "data.fingerp"),
    "chance": (lambda r: r["metric"].update(chance=0.5), "metric.chance is 0.5"),
    "direction": (lambda r: r["metric"].update(higher_is_better=False), "metric.higher_is_better"),
    "tier": (lambda r: r["config"]["tier"].update(test_images=90), "config.tier is"),
    "layers": (lambda r: r["config"]["layers"].popitem(), "config.layers is"),
    "controls": (lambda r: r["config"].update(n_controls=1), "config.n_controls is 1"),
    "weights": (
        lambda r: [cell.update(counts=not cell["counts"]) for cell in r["cells"]],
        "cells[0].counts is",
    ),
    "fewer cells": (lambda r: r["cells"].pop(), "the number of cells is"),
    "unit": (lambda r: r["cells"][0].update(unit="V"), 'cells[0].unit is "V"'),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_a_record_says_otherwise_is_told(name: str, run: Path) -> None:
    record = copy.deepcopy(read_record(run))
    change, words = CHANGES[name]
    change(record)
    (finding,) = check_registry([(run, record)])
    assert (finding.kind, finding.path) == ("registry", run)
    assert words in finding.message
    assert finding.next_step.startswith("pnnbench run quickstart")


def _with_tensors(run: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    file = run.parent / "parameters.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file)
    record = read_record(run)
    record.pop("checksum")
    record["parameters"]["sha256"] = file_sha256(file)
    write_record(run, record)


def test_controls_out_of_the_range_of_the_hardware_are_told(run: Path) -> None:
    assert _found(run) == []
    _with_tensors(run, lambda tensors: tensors["fc1.current"][0, :3].fill_(1e3))
    (finding,) = _found(run)
    assert (finding.kind, finding.path) == ("controls", run)
    assert "3 of 4096 values of network.fc1.current are out of the range" in finding.message


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors: tensors.pop("fc1.bias"),
        lambda tensors: tensors.update(extra=torch.zeros(1)),
        lambda tensors: tensors.update({"fc1.bias": torch.zeros(33)}),
        lambda tensors: tensors.update({"fc1.bias": torch.zeros(32, dtype=torch.float64)}),
    ],
    ids=["missing", "extra", "shape", "kind"],
)
def test_tensors_that_do_not_fit_are_told(
    change: Callable[[dict[str, torch.Tensor]], object], run: Path
) -> None:
    _with_tensors(run, change)
    (finding,) = _found(run)
    assert (finding.kind, finding.path) == ("parameters", run)
    assert "does not fit mrr-digits" in finding.message


def test_what_is_not_registered_is_not_built(run: Path) -> None:
    record = read_record(run)
    for place, value in (("workload", "evil.Workload"), ("data", {"name": "x", "set": "evil"})):
        other = copy.deepcopy(record)
        other["job"][place] = value
        other["metric"]["chance"] = 0.5
        assert list(check_registry([(run, other)])) == []
    other = copy.deepcopy(record)
    other["job"]["tier"] = "paper"
    (finding,) = check_registry([(run, other)])
    assert finding.kind == "registry"


def test_data_that_are_not_here_are_a_note(run: Path, tmp_path: Path) -> None:
    record = copy.deepcopy(read_record(run))
    record["job"]["workload"] = "mrr-mnist"
    record["job"]["tier"] = "smoke"
    kinds = {f.kind for f in check_registry([(run, record)], str(tmp_path / "nothing"))}
    assert kinds == {"registry", "parameters", "unchecked"}


def test_records_of_a_metric_whose_guessing_needs_the_data_are_unchecked_without_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PNNBENCH_DATA", str(tmp_path / "nothing"))
    board = QUICKSTART.parent / "cifar10_reconstruct" / "records"
    placed = [(path, read_record(path)) for path in sorted(board.glob("*.json"))[:2]]
    (finding,) = check_registry(placed)
    assert finding.kind == "unchecked"
    assert "--download" in finding.next_step


@pytest.mark.parametrize(("copies", "kind"), [(True, "unchecked"), (False, "registry")])
def test_records_of_another_copy_of_the_data_are_wrong_only_where_there_are_no_copies(
    run: Path, monkeypatch: pytest.MonkeyPatch, copies: bool, kind: str
) -> None:
    monkeypatch.setattr(Digits, "copies", copies)
    record = copy.deepcopy(read_record(run))
    record["data"]["fingerprint"] = "sha256:of another copy"
    (finding,) = check_registry([(run, record)])
    assert finding.kind == kind
    assert "sha256:of another copy" in finding.message
    # What does not follow from the copy is told all the same.
    record["metric"]["higher_is_better"] = False
    assert "registry" in {f.kind for f in check_registry([(run, record)])}


def test_a_record_that_cannot_be_compared_does_not_hide_the_others(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OverflowError("too large")

    monkeypatch.setattr(_Expected, "tensors", fail)
    placed = [(run, read_record(run))] * 2
    found = list(check_registry(placed))
    assert [(f.kind, f.path) for f in found] == [("registry", run)] * 2
    assert "cannot be compared (OverflowError: too large)" in found[0].message
