from __future__ import annotations

import copy
import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pnnbench.errors import UserError
from pnnbench.leaderboard import ranking
from pnnbench.records.folders import read_placed
from pnnbench.records.store import seal
from pnnbench.report import mirror
from pnnbench.report.page import write_page

from ..record_factory import (
    make_failure,
    make_mesh_record,
    make_mesh_suite,
    make_record,
    make_suite,
    write_job,
)
from .wandb_files import read_offline


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    # No key of whoever runs the tests is in reach.
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB; only root may make one."""
    place = tmp_path / "small"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)]
    if os.getuid() != 0 or subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("no right to mount a file system")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_without_room_there_is_a_warning_and_no_half_a_run(small_disk: Path) -> None:
    warning = mirror.log_job(make_record(), small_disk / "run")
    assert warning is not None
    assert "the disk is full" in warning
    assert "the record stands" in warning
    assert not [path for path in small_disk.rglob("*") if path.is_file()]


def test_gaps_are_shown_and_missing_cells_count_as_guessing() -> None:
    record = make_record(sealed=False)
    whole = mirror.job_summary(record)
    record["cells"][0]["value"] = 0.1
    guessed = mirror.job_summary(record)
    record["cells"][0]["value"] = None
    record["clean"] = None
    del record["sharpness"]["lambda_max"]
    record["gaps"] = [
        {"part": part, "type": "not-finite", "message": "nan"}
        for part in ("clean", "cells[0]", "sharpness.lambda_max")
    ]
    summary = mirror.job_summary(seal(record))
    assert summary["gaps/cells[0]"] == "not-finite: nan"
    lost = {name for name in whole if name not in summary}
    assert lost == {"clean", "lambda_max", "sharpness/lambda_max"}
    assert summary["robust"] == guessed["robust"] < whole["robust"]
    assert summary["cost/train_seconds"] == whole["cost/train_seconds"]


def test_a_job_reads_back_from_the_offline_files(tmp_path: Path) -> None:
    record = make_record("SAT", 1)
    picture = tmp_path / "curves.png"
    Image.new("RGB", (12, 7), "red").save(picture)
    before = dict(os.environ)
    assert mirror.log_job(record, tmp_path / "run", {"degradation": picture}) is None
    assert dict(os.environ) == before
    (run,) = read_offline(tmp_path / "run")
    job = record["job"]
    assert (run.group, run.job_type, run.name) == ("mrr_mnist", "train", "SAT seed 1")
    assert run.run_id == f"mrr_mnist-{job['hash']}"
    assert {"pnnbench-2", "standard", "mrr-mnist", "sat", "ok"} == set(run.tags)
    assert run.exit_code == 0
    assert run.config["job"] == job
    assert run.config["config"] == record["config"]
    assert run.config["checksum"] == record["checksum"]
    curve = [(line["epoch"], line["train_loss"]) for line in run.history if "train_loss" in line]
    assert curve == list(zip(*record["curves"].values(), strict=True))
    assert run.summary["clean"] == record["clean"]
    assert run.summary["lambda_max"] == record["sharpness"]["lambda_max"]
    assert run.summary["sharpness/worst_loss_increase"] == pytest.approx(
        record["sharpness"]["worst_loss_increase"]
    )
    assert run.summary["extra/heater_power_mw"] == 301234.5
    devices = [c["value"] for c in record["cells"] if c["axis"] == "device"]
    assert run.summary["robust/device"] == pytest.approx(sum(devices) / len(devices))
    # The table is a file of the run, cell for cell.
    media = next(line for line in run.history if "grid/path" in line)
    assert media["grid/nrows"] == 260
    table = json.loads((run.folder / "files" / media["grid/path"]).read_text())
    assert table["columns"][:6] == ["axis", "level", "unit", "severity", "device_seed", "value"]
    assert [line[5] for line in table["data"]] == [c["value"] for c in record["cells"]]
    assert [line[6] for line in table["data"]] == [
        c["environment"]["temperature_degc"] for c in record["cells"]
    ]
    image = run.folder / "files" / media["pictures/degradation/path"]
    assert image.read_bytes() == picture.read_bytes()
    # What a later `wandb sync` needs stays beside the run.
    staged = [file for artifact in run.artifacts.values() for file in artifact["files"].values()]
    assert staged
    assert all(file.is_relative_to(tmp_path / "run") and file.is_file() for file in staged)


def test_a_failed_job_is_mirrored_with_its_error(tmp_path: Path) -> None:
    assert mirror.log_job(make_failure("NAT", 2), tmp_path) is None
    (run,) = read_offline(tmp_path)
    assert run.summary["status"] == "diverged"
    assert run.summary["error"] == "Diverged: the loss is not finite at step 412"
    assert "diverged" in run.tags
    assert "clean" not in run.summary


def test_the_leaderboard_is_a_run_with_summary_table_and_artifact(tmp_path: Path) -> None:
    tables = ranking.build(make_suite())
    page = write_page(tmp_path / "page", tables)
    assert mirror.log_leaderboard(tables, page, folder=tmp_path / "mirror") is None
    assert sorted(p.name for p in page.parent.iterdir()) == [
        "index.html",
        "leaderboard.json",
        "leaderboard.md",
    ]
    (run,) = read_offline(tmp_path / "mirror")
    assert (run.job_type, run.group, run.exit_code) == ("leaderboard", "mrr_mnist", 0)
    best = tables[0].rows[0]
    base = f"mrr_mnist/mrr-mnist/{best.method}"
    assert run.summary["n_rows"] == 5
    assert run.summary[f"{base}/rank_low"] == 1
    assert run.summary[f"{base}/rank_high"] == best.rank_high
    against = f"{base}/difference_to_baseline/superiority/share"
    assert run.summary[against] == best.superiority.share
    assert run.summary[f"{base}/robust/mean"] == pytest.approx(best.robust.mean)
    assert run.summary[f"{base}/robust/low"] == pytest.approx(best.robust.low)
    media = next(line for line in run.history if "leaderboard/path" in line)
    table = json.loads((run.folder / "files" / media["leaderboard/path"]).read_text())
    at = table["columns"].index("method")
    assert [line[at] for line in table["data"]] == [row.method for row in tables[0].rows]
    artifact = run.artifacts["leaderboard-mrr_mnist"]
    assert artifact["type"] == "leaderboard"
    assert set(artifact["files"]) == {"index.html", "leaderboard.json"}
    stored = json.loads(artifact["files"]["leaderboard.json"].read_text())
    assert stored["rows"] == [row.as_dict() for row in tables[0].rows]
    assert artifact["files"]["index.html"].read_bytes() == page.read_bytes()


def test_an_unchanged_leaderboard_is_one_run_and_a_changed_one_keeps_its_id(
    tmp_path: Path,
) -> None:
    tables = ranking.build(make_suite(["BP", "SAT"], (0, 1)))
    page = write_page(tmp_path / "page", tables)
    for _ in range(3):
        assert mirror.log_leaderboard(tables, page, folder=tmp_path / "mirror") is None
    (first,) = (tmp_path / "mirror" / "wandb").glob("offline-run-*")
    more = ranking.build(make_suite(["BP", "SAT"], (0, 1, 2)))
    page = write_page(tmp_path / "page", more)
    assert mirror.log_leaderboard(more, page, folder=tmp_path / "mirror") is None
    # Of two runs in one second the later folder has a number behind the id.
    ids = [p.name.split("-leaderboard-")[1][:16] for p in first.parent.glob("offline-run-*")]
    assert len(ids) == 2
    assert len(set(ids)) == 1


def _at(value: Any, path: str) -> Any:
    """What stands at a path of keys in JSON, written down in the way that a reader does it."""
    for key in path.split("/"):
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, dict) and value:
        return [leaf for item in value.values() for leaf in _leaves(item)]
    return [value]


def test_the_table_is_the_boards_json_cell_for_cell_whatever_the_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What was decided at the start holds, whatever wandb itself would read.
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path / "elsewhere"))
    labels = {"BP": "λ-Schärfe, größte 光", "PAT": "a/b.c " * 40, "NAT": "a/b.c " * 40 + "!"}
    records = [copy.deepcopy(record) for record in make_mesh_suite(list(labels))]
    for record in records:
        record["job"]["suite"] = "a_very_long_suite." * 9
        record["job"]["workload"] = "lab." + "deeply.nested." * 12 + "Mesh"
        record["job"]["method"]["label"] = labels[record["job"]["method"]["label"]]
    (table,) = tables = ranking.build(records)
    page = write_page(tmp_path / "page", tables)
    assert mirror.log_leaderboard(tables, page, folder=tmp_path / "mirror") is None
    assert not (tmp_path / "elsewhere").exists()
    (run,) = read_offline(tmp_path / "mirror")
    local = json.loads(page.with_name("leaderboard.json").read_text())
    media = next(line for line in run.history if "leaderboard/path" in line)
    logged = json.loads((run.folder / "files" / media["leaderboard/path"]).read_text())
    names, *paths = logged["columns"]
    assert names == mirror.KEY
    assert len(logged["data"]) == len(local["rows"]) == 3
    for (name, *cells), row in zip(logged["data"], local["rows"], strict=True):
        found = []
        for path, cell in zip(paths, cells, strict=True):
            stands = _at(row, path)
            if isinstance(stands, dict) and stands:  # its leaves have columns of their own
                assert cell is None
                continue
            same = json.loads(cell) if isinstance(stands, (list, dict)) else cell
            assert (type(same), same) == (type(stands), stands), path
            found += [] if stands is None else [stands]
        assert len(found) == len([leaf for leaf in _leaves(row) if leaf is not None])
        # Every number of the row is in the summary, under the name that the table gives.
        for path, cell in zip(paths, cells, strict=True):
            if type(cell) in (int, float):
                assert run.summary[f"{name}/{path}"] == cell
        assert f"{name}/lambda_max/mean" in run.summary
        assert "." not in name
    assert run.config["boards"] == [table.key]
    assert max(map(len, run.tags)) <= 64
    assert max(len(run.group), *map(len, run.artifacts)) <= 128


def test_a_board_has_its_lineage_from_the_records_of_its_jobs(tmp_path: Path) -> None:
    records = make_suite(["BP", "SAT"], (0, 1))
    paths = [write_job(tmp_path / "runs", record) for record in records]
    placed = read_placed(tmp_path / "runs")
    record = next(record for path, record in placed if path == paths[-1])
    assert mirror.log_job(record, paths[-1].parent) is None
    (job,) = read_offline(paths[-1].parent)
    tables = ranking.build([record for _, record in placed])
    page = write_page(tmp_path / "page", tables)
    arguments = {"folder": tmp_path / "mirror", "placed": placed}
    assert mirror.log_leaderboard(tables, page, **arguments) is None
    (board,) = read_offline(tmp_path / "mirror")
    used = {name: artifact for name, artifact in board.artifacts.items() if artifact["used"]}
    assert used.keys() == {f"record-{record['job']['hash']}" for record in records}
    # The same version as the one that the job's run logged: a server takes both for one.
    name = f"record-{record['job']['hash']}"
    logged = job.artifacts[name]
    assert (logged["used"], logged["digest"]) == (False, used[name]["digest"])
    assert logged["files"]["record.json"].read_bytes() == paths[-1].read_bytes()
    assert set(job.artifacts[f"parameters-{record['job']['hash']}"]["files"]) == {
        "parameters.safetensors"
    }
    metadata = board.artifacts["leaderboard-mrr_mnist"]["metadata"]
    assert metadata["declared"] is True
    origin = {entry["hash"]: entry for entry in metadata["records"]}
    assert origin.keys() == {record["job"]["hash"] for record in records}
    assert origin[record["job"]["hash"]]["run"] == job.run_id
    assert origin[record["job"]["hash"]]["checksum"] == record["checksum"]


def test_a_moved_folder_loses_nothing_and_is_mirrored_again_from_its_place(
    tmp_path: Path,
) -> None:
    path = write_job(tmp_path / "runs", make_record("BP"))
    placed = read_placed(tmp_path / "runs")
    tables = ranking.build([record for _, record in placed])
    page = write_page(path.parents[1] / "board", tables)
    assert mirror.log_leaderboard(tables, page, placed=placed) is None
    (before,) = read_offline(tmp_path)
    (tmp_path / "runs").rename(tmp_path / "moved")
    (after,) = read_offline(tmp_path)
    assert (after.summary, after.history, after.config) == (
        before.summary,
        before.history,
        before.config,
    )
    media = next(line for line in after.history if "leaderboard/path" in line)
    assert (after.folder / "files" / media["leaderboard/path"]).is_file()
    page = tmp_path / "moved" / page.relative_to(tmp_path / "runs")
    for _ in range(2):
        placed = read_placed(tmp_path / "moved")
        assert mirror.log_leaderboard(tables, page, placed=placed) is None
    first, second = read_offline(tmp_path)
    assert first.run_id == second.run_id
    newer = max(first, second, key=lambda run: run.folder.name)
    files = [file for a in newer.artifacts.values() for file in a["files"].values()]
    assert len(files) >= 3
    assert all(file.is_file() for file in files)


def test_rows_that_would_share_a_name_have_one_each(tmp_path: Path) -> None:
    (table,) = ranking.build(make_suite(["BP"], (0, 1)))
    other = replace(
        table, rows=tuple(replace(r, key={**r.key, "tier": "quick"}) for r in table.rows)
    )
    names = list(mirror.board_rows([table, other]))
    assert len(names) == 2
    assert all(name.startswith("mrr_mnist/mrr-mnist/BP ") for name in names)
    assert list(mirror.board_rows([table])) == ["mrr_mnist/mrr-mnist/BP"]


def test_figures_beside_the_metric_are_mirrored() -> None:
    record = make_record(sealed=False)
    record["also"] = {"psnr": 21.5}
    record["cells"][0]["also"] = {"psnr": 20.5}
    record["training_device"] = {"seed": 0, "severity": 1.0, "unit": "", "value": 0.5}
    record["training_device"]["also"] = {"psnr": 19.5}
    summary = mirror.job_summary(seal(record))
    assert summary["also/psnr"] == 21.5
    assert summary["training_device/also/psnr"] == 19.5
    assert summary["training_device/value"] == 0.5


def test_device_and_cost_are_mirrored(tmp_path: Path) -> None:
    fair = make_mesh_suite(["BP", "PAT"])
    tables = ranking.build([*fair, *make_mesh_suite(["BP", "PAT"], protocol="published")])
    page = write_page(tmp_path / "page", tables)
    assert mirror.log_leaderboard(tables, page, folder=tmp_path / "mirror") is None
    (run,) = read_offline(tmp_path / "mirror")
    row = next(row for row in tables[0].rows if row.method == "PAT")
    base = "mzi_mnist/mzi-mnist/PAT"
    for name in ("training_device", "fresh_devices", "transfer", "time_ratio"):
        figure = getattr(row, name)
        for end in ("mean", "low", "high"):
            assert run.summary[f"{base}/{name}/{end}"] == pytest.approx(getattr(figure, end))
    assert run.summary[f"{base}/cost/hardware_queries"] == 5620 * 60
    assert run.summary[f"{base}/cost/forward_evaluations"] == 5620
    # The published protocol has names of its own and neither rank nor robust score.
    theirs = {name for name in run.summary if name.startswith(f"published/{base}/")}
    assert f"published/{base}/training_device/mean" in theirs
    assert not any("rank" in name or "robust" in name for name in theirs)
    assert f"{base}/robust/mean" in run.summary
    media = next(line for line in run.history if "leaderboard/path" in line)
    table = json.loads((run.folder / "files" / media["leaderboard/path"]).read_text())
    lines = [dict(zip(table["columns"], line, strict=True)) for line in table["data"]]
    assert [line["protocol"] for line in lines] == ["pnnbench-2"] * 2 + ["published"] * 2
    mine = next(line for line in lines if line["method"] == "PAT")
    assert mine["transfer/mean"] == pytest.approx(row.transfer.mean)
    assert (mine["cost/hardware_queries"], mine["time_ratio/reference"]) == (5620 * 60, "BP")
    assert lines[2]["rank_low"] is None


def test_a_job_on_a_mesh_is_mirrored_with_its_training_device(tmp_path: Path) -> None:
    record = make_mesh_record("PAT", 1)
    assert "extra" not in record
    assert mirror.log_job(record, tmp_path) is None
    (run,) = read_offline(tmp_path)
    assert run.summary["training_device/value"] == record["training_device"]["value"]
    assert run.summary["training_device/severity"] == 0.15
    assert run.summary["cost/hardware_queries"] == 5620 * 60


def test_a_failure_of_wandb_is_a_warning_and_the_record_stands(tmp_path: Path) -> None:
    record = make_record()
    path = write_job(tmp_path / "runs", record)
    before = path.read_bytes()
    missing = {"curves": tmp_path / "not-there.png"}
    warning = mirror.log_job(record, tmp_path / "run", missing)
    assert warning is not None
    assert "wandb did not mirror job" in warning
    assert record["job"]["hash"] in warning
    # The run was closed all the same, and says that it failed.
    (run,) = read_offline(tmp_path / "run")
    assert run.exit_code == 1
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where the folder should be")
    assert "record stands" in (mirror.log_job(record, blocked) or "")
    assert path.read_bytes() == before
    # And the next job is mirrored as if nothing had been.
    assert mirror.log_job(record, tmp_path / "next") is None
    assert read_offline(tmp_path / "next")[0].exit_code == 0


def test_disabled_writes_nothing(tmp_path: Path) -> None:
    assert mirror.log_job(make_record(), tmp_path / "run", mode="disabled") is None
    tables = ranking.build(make_suite(["BP"], (0,)))
    page = write_page(tmp_path / "page", tables)
    assert mirror.log_leaderboard(tables, page, "disabled", folder=tmp_path / "run") is None
    assert not (tmp_path / "run").exists()


def test_a_page_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such page"):
        mirror.log_leaderboard([], tmp_path / "index.html")


def test_two_runs_at_once_do_not_mix(tmp_path: Path) -> None:
    """A user's own run stays open and untouched while a job is mirrored."""
    import wandb

    own = wandb.init(
        mode="offline", dir=str(tmp_path / "own"), settings=wandb.Settings(silent=True)
    )
    try:
        own.log({"mine": 1})
        assert mirror.log_job(make_record(), tmp_path / "run") is None
        own.log({"mine": 2})
        assert wandb.run is own
    finally:
        own.finish()
    (run,) = read_offline(tmp_path / "own")
    assert [line["mine"] for line in run.history] == [1, 2]
