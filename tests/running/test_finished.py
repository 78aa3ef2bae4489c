"""A finished job is found by whoever asks for the same thing, under whatever name."""

from __future__ import annotations

import importlib
import shutil
import sys
from pathlib import Path

import pytest
import yaml

from pnnbench.errors import UserError
from pnnbench.leaderboard.ranking import build
from pnnbench.records.folders import read_records
from pnnbench.records.index import read_index
from pnnbench.records.store import read_record, write_record
from pnnbench.running.finished import adopt, find_finished, index_of, job_folder
from pnnbench.running.jobs import run_suite
from pnnbench.running.rebuilding import load_trained
from pnnbench.running.selection import select
from pnnbench.running.suites import Suite, load_suite

SUITE = {
    "suite": "first",
    "protocol": "pnnbench-2",
    "tier": "smoke",
    "workloads": ["mzi-digits"],
    "seeds": [0],
    "methods": [{"method": "bp", "label": "BP"}],
}


def suite(folder: Path, **changes: object) -> Suite:
    path = folder / "suite.yaml"
    path.write_text(yaml.safe_dump({**SUITE, **changes}))
    return load_suite(path)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    said: list[str] = []
    run_suite(suite(folder), folder / "runs", say=said.append)
    assert any("start" in line for line in said)
    return folder / "runs"


def trains(loaded: Suite, runs: Path) -> bool:
    said: list[str] = []
    run_suite(loaded, runs, say=said.append)
    return any(line.endswith("start") for line in said)


def test_name_and_label_decide_nothing(tmp_path: Path) -> None:
    base = suite(tmp_path).jobs[0].spec()["hash"]
    renamed = suite(tmp_path, suite="second", methods=[{"method": "bp", "label": "Baseline"}])
    by_path = suite(
        tmp_path,
        methods=["pnnbench.methods.bp.BP"],
        workloads=["pnnbench.workloads.mzi.MZIDigits"],
    )
    assert renamed.jobs[0].spec()["hash"] == base == by_path.jobs[0].spec()["hash"]


def test_another_suite_and_another_label_train_nothing(runs: Path, tmp_path: Path) -> None:
    (record,) = read_records(runs / "first")
    second = suite(tmp_path, suite="second", methods=[{"method": "bp", "label": "Baseline"}])
    assert not trains(second, runs)
    folder = job_folder(runs, second.jobs[0])
    adopted = read_record(folder / "record.json")
    assert (adopted["job"]["suite"], adopted["job"]["method"]["label"]) == ("second", "Baseline")
    for key in ("cells", "clean", "sharpness", "cost", "provenance", "parameters"):
        assert adopted[key] == record[key]
    load_trained(folder, adopted)  # the parameters came along
    # A new label in the same suite: the same jobs, renamed.
    assert not trains(suite(tmp_path, methods=[{"method": "bp", "label": "Plain"}]), runs)
    tables = build(read_records(runs / "first"), current=read_index(runs / "first"))
    assert [(row.method, row.complete) for row in tables[0].rows] == [("Plain", True)]
    assert not trains(suite(tmp_path), runs)


def test_published_records_are_found_without_their_parameters(runs: Path, tmp_path: Path) -> None:
    (record,) = read_records(runs / "first")
    board = tmp_path / "leaderboards" / "any" / "records"
    write_record(board / f"{record['job']['hash']}.json", record)
    own = suite(tmp_path, suite="own")
    boards = tmp_path / "leaderboards"
    assert not adopt(own.jobs, tmp_path / "runs", boards, elsewhere=False).sources
    assert not job_folder(tmp_path / "runs", own.jobs[0]).exists()
    taken = adopt(own.jobs, tmp_path / "runs", boards)
    assert taken.lines() == [f"1 job was finished elsewhere: taken over from {boards / 'any'}"]
    assert not adopt(own.jobs, tmp_path / "runs", boards).sources
    assert (
        read_record(job_folder(tmp_path / "runs", own.jobs[0]) / "record.json")["clean"]
        == (record["clean"])
    )


def test_a_record_in_the_folder_of_another_job_is_refused_and_stays_as_it_is(
    runs: Path, tmp_path: Path
) -> None:
    two = suite(tmp_path, methods=[{"method": "bp", "label": "BP"}, "nat"])
    mine, other = (job_folder(tmp_path / "runs", job) for job in two.jobs)
    shutil.copytree(job_folder(runs, suite(tmp_path).jobs[0]), mine)
    shutil.copytree(mine, other)
    before = (other / "record.json").read_bytes()
    for elsewhere in (False, True):
        with pytest.raises(UserError, match=f"is the record of job {mine.name}"):
            adopt(two.jobs, tmp_path / "runs", elsewhere=elsewhere)
    assert (other / "record.json").read_bytes() == before
    # One that says to be the other, sealed anew, is told by its content.
    record = read_record(other / "record.json")
    record["job"]["hash"] = other.name
    write_record(other / "record.json", {k: v for k, v in record.items() if k != "checksum"})
    with pytest.raises(UserError, match=f"its folder is that of {other.name}"):
        adopt(two.jobs, tmp_path / "runs")


def test_a_forged_record_is_taken_over_from_nowhere(runs: Path, tmp_path: Path) -> None:
    own = suite(tmp_path, suite="own")
    source = job_folder(runs, suite(tmp_path).jobs[0])
    forged = shutil.copytree(source, tmp_path / "runs" / "friend" / source.name)
    record = read_record(forged / "record.json")
    record["cells"] = [{**cell, "value": 1.0} for cell in record["cells"]]
    write_record(forged / "record.json", {k: v for k, v in record.items() if k != "checksum"})
    taken = adopt(own.jobs, tmp_path / "runs")
    assert not taken.sources
    assert "is not taken over: cells[0].value is 1.0, but the outcomes" in taken.lines()[0]
    assert find_finished(own.jobs[0], tmp_path / "runs") is None
    # A whole one beside it is.
    shutil.copytree(source, tmp_path / "runs" / "kin" / source.name)
    taken = adopt(own.jobs, tmp_path / "runs")
    assert [path.parents[1].name for path in taken.sources] == ["kin"]
    assert len(taken.refused) == 1


@pytest.mark.parametrize("how", ["damaged", "missing"])
@pytest.mark.parametrize("part", ["parameters", "outcomes"])
def test_a_run_whose_tensors_are_not_whole_is_not_taken_over(
    runs: Path, tmp_path: Path, how: str, part: str
) -> None:
    own = suite(tmp_path, suite="own")
    source = job_folder(runs, suite(tmp_path).jobs[0])
    friend = shutil.copytree(source, tmp_path / "runs" / "friend" / source.name)
    file = friend / f"{part}.safetensors"
    if how == "missing":
        file.unlink()
    else:
        content = bytearray(file.read_bytes())
        content[-1] ^= 0xFF
        file.write_bytes(content)
    taken = adopt(own.jobs, tmp_path / "runs", tmp_path / "boards")
    assert not taken.sources
    assert f"is not taken over: the {part} file {file.name}" in taken.lines()[0]
    assert find_finished(own.jobs[0], tmp_path / "runs", tmp_path / "boards") is None
    # A board's record stands without its tensors, and a whole run goes before it.
    record = read_record(source / "record.json")
    board = tmp_path / "boards" / "any" / "records"
    write_record(board / f"{source.name}.json", record)
    found = find_finished(own.jobs[0], tmp_path / "runs", tmp_path / "boards")
    assert found == board / f"{source.name}.json"
    shutil.copytree(source, tmp_path / "runs" / "kin" / source.name)
    taken = adopt(own.jobs, tmp_path / "runs", tmp_path / "boards")
    assert [line.rpartition("/")[2] for line in taken.lines()] == ["kin"]
    folder = job_folder(tmp_path / "runs", own.jobs[0])
    load_trained(folder, read_record(folder / "record.json"))


def test_the_index_lists_the_jobs_of_a_suite(tmp_path: Path) -> None:
    loaded = suite(tmp_path, seeds=[0, 3])
    hashes = {job.seed: job.spec()["hash"] for job in loaded.jobs}
    assert index_of(loaded.jobs) == {("first", "pnnbench-2", "mzi-digits", "smoke"): {"BP": hashes}}


def test_seeds_run_again_with_other_settings_leave_no_seeds_of_the_former(
    runs: Path, tmp_path: Path
) -> None:
    """Whatever the order of the edits, a row has the settings that were run last."""

    def ran(lr: float, seeds: list[int]) -> None:
        row = {"method": "bp", "label": "BP", "params": {"lr": lr}}
        loaded = suite(tmp_path, suite="edited", seeds=[0, 1], methods=[row])
        run_suite(select(loaded, seeds=seeds), runs, say=lambda line: None)
        board = loaded.jobs[0].board
        index = read_index(runs / "edited")[board]
        assert index == index_of(select(loaded, seeds=seeds).jobs)[board]
        (row, *_) = build(read_records(runs / "edited"), current={board: index})[0].rows
        assert (row.seeds, row.missing, row.params["lr"]) == (tuple(seeds), (), lr)

    ran(0.1, [0, 1])
    ran(0.2, [0])
    ran(0.1, [1])


METHOD = """
from pnnbench.methods.bp import BP
from {0}_scale import SCALE


class Mine(BP):
    '''Mine.'''
"""


def test_an_edited_helper_is_a_new_job_and_an_edit_taken_back_is_not(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "edited_method"
    (tmp_path / f"{name}.py").write_text(METHOD.format(name))
    monkeypatch.syspath_prepend(str(tmp_path))

    def loaded(scale: float) -> Suite:
        (tmp_path / f"{name}_scale.py").write_text(f"SCALE = {scale}\n")
        for known in (name, f"{name}_scale"):
            sys.modules.pop(known, None)
        importlib.invalidate_caches()
        return suite(tmp_path, suite="author", methods=[f"{name}.Mine"])

    assert trains(loaded(1.0), runs)
    assert not trains(loaded(1.0), runs)
    assert trains(loaded(2.0), runs)
    table = build(read_records(runs / "author"), current=read_index(runs / "author"))[0]
    assert (table.rows[0].complete, len(table.older)) == (True, 1)
    newest = table.older[0]["hash"]
    assert not trains(loaded(1.0), runs)
    table = build(read_records(runs / "author"), current=read_index(runs / "author"))[0]
    assert (table.rows[0].complete, len(table.older)) == (True, 1)
    assert table.older[0]["hash"] != newest
    (record, *_) = read_records(runs / "author")
    source = record["provenance"]["sources"]["method"]
    assert len(source["sha256"]) == 64
    assert source["n_files"] == 2
    assert record["provenance"]["sources"]["workload"]["distribution"] == "pnnbench"
    for known in (name, f"{name}_scale"):
        sys.modules.pop(known, None)
