"""Suites with measured devices and axes: hashes, records, and finished jobs read again."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from pnnbench.errors import UserError
from pnnbench.leaderboard.grid import read_grid
from pnnbench.leaderboard.ranking import build
from pnnbench.records.doctor import examine
from pnnbench.records.store import read_record
from pnnbench.running.finished import adopt
from pnnbench.running.jobs import build as build_workload
from pnnbench.running.jobs import job_folder, run_suite
from pnnbench.running.rebuilding import load_trained
from pnnbench.running.selection import select
from pnnbench.running.suites import Suite, load_suite
from pnnbench.seeds import FIRST_TEST_DEVICE
from pnnbench.submitting.remeasuring import remeasure
from pnnbench.workloads.axes import BITS

from .test_jobs import SUITE, nothing

CHIPS = """device,role,row,column,detuning_hwhm
a,train,0,0,0.1
a,train,0,1,-0.1
b,test,0,0,0.2
b,test,0,1,-0.2
c,test,0,0,0.3
c,test,0,1,-0.3
"""


def suite(folder: Path, **changes: Any) -> Suite:
    (folder / "chips.csv").write_text(CHIPS)
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump({**SUITE, **changes}))
    return load_suite(path)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Suite, Path, list[dict[str, Any]]]:
    folder = tmp_path_factory.mktemp("setup")
    loaded = suite(folder, methods=["bp", "pat"], devices="chips.csv", axes=["control-bits"])
    return loaded, folder / "runs", run_suite(loaded, folder / "runs", say=nothing)


def test_a_suite_on_measured_devices_runs_and_says_so(done: Any) -> None:
    _, runs, records = done
    for record in records:
        assert record["status"] == "ok"
        assert "gaps" not in record or {g["type"] for g in record["gaps"]} == {"left-out"}
        marked = {c.get("source") for c in record["cells"] if c["device_seed"] is not None}
        assert marked == {"measured"}
        assert record["job"]["seeds"]["test_devices"] == [FIRST_TEST_DEVICE, FIRST_TEST_DEVICE + 1]
        assert record["training_device"]["unit"] == "x as measured"
        bits = [c for c in record["cells"] if c["axis"] == "resolution"]
        assert [c["level"] for c in bits] == list(BITS)
        assert {(c["nominal"], c["counts"]) for c in bits} == {("inf", False)}
        assert read_grid(record).nominal_of("resolution") == float("inf")
    assert examine(runs)[0] == []
    assert {row.method for table in build(records) for row in table.rows} == {"bp", "pat"}


def test_a_finished_job_is_read_and_measured_again(done: Any, tmp_path: Path) -> None:
    loaded, runs, records = done
    folder = job_folder(runs, loaded.jobs[1])
    workload = load_trained(folder, records[1])
    assert workload.devices.describe() == records[1]["config"]["devices"]
    assert workload.axes == ("control-bits",)
    from pnnbench.running.rebuilding import data_of

    assert remeasure(records[1], workload, data_of(records[1]), nothing)["difference"] == 0.0
    packed = shutil.copytree(folder, tmp_path / "moved")
    assert load_trained(packed, read_record(packed / "record.json")).devices.label == "measured"
    taken = dataclasses.replace(loaded.jobs[1], suite="other")
    assert len(adopt([taken], runs).sources) == 1
    load_trained(job_folder(runs, taken), read_record(job_folder(runs, taken) / "record.json"))


def test_what_is_given_and_nothing_else_is_in_the_hash(tmp_path: Path) -> None:
    def hashes(folder: str, content: str = CHIPS, **changes: Any) -> str:
        (tmp_path / folder).mkdir(exist_ok=True)
        loaded = suite(tmp_path / folder, **changes)
        if content != CHIPS:
            (tmp_path / folder / "chips.csv").write_text(content)
            loaded = load_suite(tmp_path / folder / "tiny.yaml")
        return str(loaded.jobs[0].spec()["hash"])

    plain = hashes("a")
    measured = hashes("a", devices="chips.csv")
    assert measured == hashes("b", devices="chips.csv")  # content, not place
    other = hashes("b", CHIPS.replace("0.3", "0.4"), devices="chips.csv")
    bits = hashes("a", axes=["control-bits"])
    assert len({plain, measured, other, bits}) == 4


def test_a_file_that_changes_on_the_way_and_a_kept_one_that_changed_are_refused(
    done: Any, tmp_path: Path
) -> None:
    loaded = suite(tmp_path, devices="chips.csv")
    (tmp_path / "chips.csv").write_text(CHIPS.replace("0.3", "0.4"))
    with pytest.raises(UserError, match="not the file that the job was made for"):
        build_workload(loaded.jobs[0])
    whole, runs, records = done
    packed = shutil.copytree(job_folder(runs, whole.jobs[0]), tmp_path / "moved")
    (packed / "devices.csv").write_text(CHIPS)
    load_trained(packed, records[0])
    (packed / "devices.csv").write_text(CHIPS + "d,test,0,0,1\n")
    with pytest.raises(UserError, match="devices"):
        load_trained(packed, records[0])


@pytest.mark.parametrize("change", ["edited", "deleted"])
@pytest.mark.parametrize("moment", ["epoch", "sharpness"])
def test_a_file_that_changes_while_a_job_runs_is_kept_as_it_was(
    tmp_path: Path, change: str, moment: str
) -> None:
    loaded = suite(tmp_path, devices="chips.csv")

    def meddle(line: str) -> None:
        if moment in line:
            if change == "edited":
                (tmp_path / "chips.csv").write_text(CHIPS.replace("0.3", "1.9"))
            else:
                (tmp_path / "chips.csv").unlink(missing_ok=True)

    (record,) = run_suite(loaded, tmp_path / "runs", say=meddle)
    assert record["status"] == "ok"
    folder = job_folder(tmp_path / "runs", loaded.jobs[0])
    assert (folder / record["devices"]["file"]).read_text() == CHIPS
    workload = load_trained(folder, record)
    assert workload.devices.describe() == record["config"]["devices"]


def test_a_file_that_changed_before_its_job_is_refused_before_the_training(
    tmp_path: Path,
) -> None:
    loaded = suite(tmp_path, devices="chips.csv")
    for words in ("not the file that the job was made for", "cannot be read: No such file"):
        if "not the file" in words:
            (tmp_path / "chips.csv").write_text(CHIPS.replace("0.3", "1.9"))
        else:
            (tmp_path / "chips.csv").unlink()
        said: list[str] = []
        (record,) = run_suite(loaded, tmp_path / "runs", say=said.append)
        assert record["status"] == "error"
        assert words in record["error"]["message"]
        assert not [line for line in said if "epoch" in line]
        assert not (job_folder(tmp_path / "runs", loaded.jobs[0]) / "devices.csv").exists()


def test_added_rows_meet_the_same_devices(tmp_path: Path) -> None:
    loaded = select(suite(tmp_path, devices="chips.csv"), add=["nat"])
    assert {job.setup.devices for job in loaded.jobs} == {tmp_path / "chips.csv"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"devices": "none.csv"}, r"devices: there is no file none\.csv"),
        ({"devices": 3}, "devices is 3"),
        ({"axes": "control-bits"}, "a list of names"),
        ({"axes": [1]}, r"axes\[0\] is 1"),
        ({"axes": ["bits"]}, "unknown axis 'bits'"),
        ({"devices": "chips.csv", "workloads": ["mzi-digits"]}, "unknown column"),
    ],
)
def test_what_is_wrong_with_a_set_up_is_said(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(UserError, match=words):
        suite(tmp_path, **changes)
