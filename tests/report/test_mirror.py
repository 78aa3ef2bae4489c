from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from pnnbench.errors import UserError
from pnnbench.leaderboard import ranking
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


def test_the_mode_is_offline_unless_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    assert mirror.resolve_mode() == "offline"
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    assert mirror.resolve_mode() == "offline"
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert mirror.resolve_mode() == "disabled"
    assert mirror.resolve_mode("offline") == "offline"
    assert mirror.resolve_mode("online") == "online"


def test_online_without_a_key_is_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no key"):
        mirror.log_job(make_record(), tmp_path / "run", mode="online")
    assert not (tmp_path / "run").exists()
    (tmp_path / "netrc").write_text("machine api.wandb.ai login user password " + "0" * 40)
    assert mirror.resolve_mode("online") == "online"


def test_an_unknown_mode_suggests_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'offline'"):
        mirror.resolve_mode("ofline")


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
    assert run.summary[f"{base}/superiority"] == best.superiority.share
    assert run.summary[f"{base}/robust/mean"] == pytest.approx(best.robust.mean)
    assert run.summary[f"{base}/robust/low"] == pytest.approx(best.robust.low)
    media = next(line for line in run.history if "leaderboard/path" in line)
    table = json.loads((run.folder / "files" / media["leaderboard/path"]).read_text())
    at = table["columns"].index("method")
    assert [line[at] for line in table["data"]] == [row.method for row in tables[0].rows]
    artifact = run.artifacts["leaderboard"]
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
    assert mine["transfer_mean"] == pytest.approx(row.transfer.mean)
    assert (mine["hardware_queries"], mine["time_ratio_reference"]) == (5620 * 60, "BP")
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
    assert read_offline(tmp_path / "run") == []


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
