"""Building methods and workloads, and reading committed networks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import pnnbench
from pnnbench.api.locating import locate
from pnnbench.methods.sat import SAT
from pnnbench.records.parameters import LARGEST, read_parameters
from pnnbench.records.store import file_sha256, read_record
from pnnbench.registry import BOARDS
from pnnbench.workloads.mrr import MRRDigits

COMMITTED = [
    pytest.param(index.parent.parent, row, id=f"{index.parent.parent.name}/{row['row']}")
    for index in sorted(BOARDS.glob("*/parameters/index.json"))
    for row in read_parameters(index.parent.parent)
]


def test_a_method_is_built_by_name_or_path() -> None:
    for name in ("sat", "SAT", "pnnbench.methods.sat.SAT"):
        method = pnnbench.method(name, rho=0.25)
        assert isinstance(method, SAT)
        assert method.rho == 0.25


@pytest.mark.parametrize(
    ("name", "params", "text"),
    [
        ("sta", {}, "did you mean 'sat'"),
        ("sat", {"roh": 1.0}, "did you mean 'rho'"),
        ("sat", {"rho": -1.0}, "rho is -1.0, out of range"),
    ],
)
def test_mistakes_in_a_method_read(name: str, params: dict[str, float], text: str) -> None:
    with pytest.raises(pnnbench.UserError) as error:
        pnnbench.method(name, **params)
    assert text in str(error.value)


def test_a_workload_is_built_with_its_seed() -> None:
    one, same, other = (pnnbench.workload("mrr-digits", seed) for seed in (1, 1, 2))
    assert isinstance(one, MRRDigits)
    first = next(iter(one.controls()))
    assert one.controls()[first].equal(same.controls()[first])
    assert not one.controls()[first].equal(other.controls()[first])


def test_mistakes_in_a_workload_read() -> None:
    with pytest.raises(pnnbench.UserError, match="init_seed is -1"):
        pnnbench.workload("mrr-digits", -1)
    with pytest.raises(pnnbench.UserError, match="unknown option of MRRDigits 'colour'"):
        pnnbench.workload("mrr-digits", colour="red")


def test_data_are_read_by_name() -> None:
    assert pnnbench.load_data("digits").fingerprint.startswith("sha256:")
    with pytest.raises(pnnbench.UserError, match="did you mean 'digits'"):
        pnnbench.load_data("digit")


def test_the_quickstart_has_a_network_for_each_row() -> None:
    labels = {row["row"] for row in read_parameters(BOARDS / "quickstart")}
    assert labels == {row["method"] for row in pnnbench.load_leaderboard("quickstart").rows}


@pytest.mark.parametrize(("board", "row"), COMMITTED)
def test_a_committed_file_is_small_and_the_one_of_its_record(
    board: Path, row: dict[str, str]
) -> None:
    file = board / "parameters" / row["file"]
    record = read_record(board / "records" / f"{row['hash']}.json")
    assert file.stat().st_size <= LARGEST
    assert file_sha256(file) == row["sha256"] == record["parameters"]["sha256"]
    assert locate(file).record == record
    network = pnnbench.load_network(file)
    assert network.name == record["job"]["workload"]
    assert not network.training
    index = json.loads((board / "parameters" / "index.json").read_text(encoding="utf-8"))
    assert {path.name for path in file.parent.iterdir()} == {"index.json"} | {
        entry["file"] for entry in index["rows"]
    }
    if record["data"]["name"] == "digits":
        (measured,) = pnnbench.evaluate(file, devices=1).records
        allowed = 2.0 / record["data"]["n_test"]  # images that rounding may flip elsewhere
        assert abs(measured["clean"] - record["clean"]) <= allowed
        known = {place(cell): cell["value"] for cell in record["cells"]}
        assert len(measured["cells"]) > 10
        for cell in measured["cells"]:
            assert abs(cell["value"] - known[place(cell)]) <= allowed


def place(cell: dict[str, object]) -> tuple[object, ...]:
    return (cell["axis"], cell["level"], cell["severity"], cell["device_seed"])


def test_a_network_has_many_names(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(small)
    path = next((small / "runs" / "small").glob("*/record.json"))
    record = read_record(path)
    label = record["job"]["method"]["label"]
    names = [path, path.parent, path.parent / "parameters.safetensors", record]
    names += [record["job"]["hash"], f"small/{label}/1", f"small/mrr-digits/{label}/1"]
    for name in names:
        assert locate(name).path.resolve() == path.resolve()
        assert pnnbench.load_network(name).name == "mrr-digits"


@pytest.mark.parametrize("name", ["quickstart/NAT", "quickstart/nat", "quickstart/mrr-digits/NAT"])
def test_a_row_of_a_board_is_its_best_seed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    job = locate(name).record["job"]
    assert job["method"]["label"] == "NAT"
    runs = pnnbench.load("quickstart").to_dict("runs")
    scores = {
        seed: robust
        for row, seed, robust in zip(runs["row"], runs["seed"], runs["robust"], strict=True)
        if row == "NAT"
    }
    assert job["seed"] == max(scores, key=lambda seed: scores[seed])


def test_a_record_of_a_board_finds_its_parameters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    records = pnnbench.load("quickstart").records
    best = {row["hash"] for row in read_parameters(BOARDS / "quickstart")}
    (record,) = [r for r in records if r["job"]["hash"] == max(best)]
    assert pnnbench.load_network(record).name == "mrr-digits"
    others = [r for r in records if r["job"]["hash"] not in best]
    kept = [r for r in others if (BOARDS / "quickstart" / "records" / r["job"]["hash"]).is_dir()]
    bare = next(r for r in others if r not in kept)
    with pytest.raises(pnnbench.UserError, match="are neither in runs/ nor on a board"):
        pnnbench.load_network(bare)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("quickstart/SATT", "did you mean 'SAT'"),
        ("quickstart", "is a board of 7 rows, not one run"),
        ("nothing.safetensors", "there is no such file"),
        ("alone.safetensors", "stands alone"),
        ("empty", "holds no run"),
        ("board", "is a board of 7 rows, not one run"),
    ],
)
def test_mistakes_in_a_network_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "alone.safetensors").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    (tmp_path / "board").symlink_to(BOARDS / "quickstart")
    with pytest.raises(pnnbench.UserError) as error:
        pnnbench.load_network(name)
    assert text in str(error.value)
    with pytest.raises(pnnbench.UserError, match="is no record"):
        pnnbench.load_network({"job": None})
