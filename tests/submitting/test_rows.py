"""Finding a row among runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pnnbench.errors import UserError
from pnnbench.records.index import write_index
from pnnbench.records.store import job_hash, write_record
from pnnbench.submitting.rows import RowOfRuns, find_row

from ..record_factory import make_record

BOARD = ("own", "pnnbench-2", "mrr-mnist", "standard")


def record_of(label: str, name: str, seed: int = 0, **job: Any) -> dict[str, Any]:
    """A finished record of a row."""
    record = make_record("BP", seed, suite="own", sealed=False)
    params = {"adaptive": True} if "adaptive" in label else {}
    record["job"] |= {"method": {"name": name, "label": label, "params": params}, **job}
    record["job"]["hash"] = job_hash(record["job"])
    return record


def write(runs: Path, records: Sequence[dict[str, Any]]) -> list[Path]:
    """Writes records as runs; returns their folders."""
    found = [runs / "own" / record["job"]["hash"] for record in records]
    for folder, record in zip(found, records, strict=True):
        write_record(folder / "record.json", record)
    return found


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of a suite of four rows with two seeds; read it, never change it."""
    folder = tmp_path_factory.mktemp("runs")
    rows = {"BP": "bp", "SAT": "sat", "SAT, adaptive": "sat", "Mine/of ours": "mine.Tilted"}
    rows["Pruned"] = "pruning"
    write(folder, [record_of(label, name, s) for label, name in rows.items() for s in (0, 1)])
    return folder


def told(row: RowOfRuns) -> tuple[str, list[int]]:
    """Label and seeds of a row."""
    return row.label, [run.record["job"]["seed"] for run in row.runs]


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("BP", "BP"),
        ("bp", "BP"),
        ("SAT", "SAT"),
        ("sat adaptive", "SAT, adaptive"),
        ("own/SAT", "SAT"),
        ("own/mrr-mnist/SAT, adaptive", "SAT, adaptive"),
        ("own/SAT/1", "SAT"),
        ("Mine/of ours", "Mine/of ours"),
        ("mine", "Mine/of ours"),
        ("mine.Tilted", "Mine/of ours"),
        ("pruning", "Pruned"),
        ("pru", "Pruned"),
    ],
)
def test_a_row_has_many_names(name: str, label: str, runs: Path) -> None:
    assert told(find_row(name, runs)) == (label, [0, 1])
    assert told(find_row(name, runs / "own")) == (label, [0, 1])


def test_a_run_names_its_row(runs: Path) -> None:
    (folder,) = [
        path
        for path in (runs / "own").iterdir()
        if path.name == record_of("SAT", "sat", 1)["job"]["hash"]
    ]
    for name in (str(folder), str(folder / "record.json"), f"own/{folder.name}", folder.name[:8]):
        assert told(find_row(name, runs)) == ("SAT", [0, 1])


def test_what_names_no_row_or_two_is_refused(runs: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean 'Pruned'"):
        find_row("Prunde", runs)
    with pytest.raises(UserError, match="2 rows are meant by 'sa'"):
        find_row("sa", runs)
    with pytest.raises(UserError, match="no runs in"):
        find_row("BP", tmp_path)
    for name in ("", "..", "../own", "\0", "/"):
        with pytest.raises(UserError, match=r"no row|holds"):
            find_row(name, runs)
    file = next(runs.glob("own/*/record.json")).with_name("parameters.safetensors")
    file.write_bytes(b"")
    with pytest.raises(UserError, match="is a file"):
        find_row(str(file), runs)
    file.unlink()


def test_the_same_label_on_two_workloads_is_two_rows(tmp_path: Path) -> None:
    write(tmp_path, [record_of("BP", "bp"), record_of("BP", "bp", workload="mzi-mnist")])
    with pytest.raises(UserError, match="2 rows are meant by 'BP'"):
        find_row("BP", tmp_path)
    row = find_row("own/mzi-mnist/BP", tmp_path)
    assert row.first["job"]["workload"] == "mzi-mnist"


def test_of_several_versions_the_one_of_the_index_counts(tmp_path: Path) -> None:
    old, new = record_of("BP", "bp", content="0" * 64), record_of("BP", "bp", content="1" * 64)
    write(tmp_path, [old, new])
    with pytest.raises(UserError, match="several runs of seed 0"):
        find_row("BP", tmp_path)
    write_index(tmp_path / "own", "own", {BOARD: {"BP": {0: new["job"]["hash"]}}})
    assert find_row("BP", tmp_path).first["job"]["content"] == "1" * 64


@pytest.mark.parametrize(
    "change",
    [
        {"content": "1" * 64},
        {"epochs_factor": 2.0},
        {"precision": "bf16-mixed"},
        {"method": {"name": "bp", "label": "BP", "params": {"lr": 0.3}}},
        {"method": {"name": "nat", "label": "BP", "params": {}}},
    ],
)
def test_seeds_of_different_things_are_no_row(change: dict[str, Any], tmp_path: Path) -> None:
    write(tmp_path, [record_of("BP", "bp", 0), record_of("BP", "bp", 1, **change)])
    with pytest.raises(UserError, match="not runs of one thing"):
        find_row("BP", tmp_path)


def test_a_changed_record_is_refused(tmp_path: Path) -> None:
    (folder,) = write(tmp_path, [record_of("BP", "bp")])
    path = folder / "record.json"
    text = path.read_text()
    path.write_text(text.replace('"clean":0.98', '"clean":0.97'))
    assert path.read_text() != text
    with pytest.raises(UserError, match="checksum does not match"):
        find_row("BP", tmp_path)
