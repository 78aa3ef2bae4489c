"""What of a board goes into the repository."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pnnbench.records.doctor import examine
from pnnbench.records.folders import read_placed, read_records
from pnnbench.records.placing import place
from pnnbench.records.published import Placed, record_files, with_tensors
from pnnbench.records.store import file_sha256, read_record, write_record

from ..record_factory import changed, make_failure, make_record, write_job


def publish(placed: list[Placed], board: Path, **limits: Any) -> list[str]:
    part, left_out = record_files(placed, board, **limits)
    place(board, part)
    return left_out


def files(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}


def test_records_of_all_seeds_and_tensors_of_the_smallest_that_finished(tmp_path: Path) -> None:
    records = [make_record("SAT", s) for s in (2, 1)] + [make_record("BP", s) for s in (0, 1)]
    records += [make_failure("SAT", 0)]
    for record in records:
        write_job(tmp_path / "runs", record)
    placed = read_placed(tmp_path / "runs")
    assert [record for _, record in placed] == read_records(tmp_path / "runs")
    chosen = {(r["job"]["method"]["label"], r["job"]["seed"]) for _, r in with_tensors(placed)}
    assert chosen == {("SAT", 1), ("BP", 0)}
    board = tmp_path / "board" / "records"
    publish(placed, board.parent)
    names = [record["job"]["hash"] for record in records]
    with_files = {f"{names[i]}/parameters.safetensors" for i in (1, 2)}
    assert files(board) == {f"{name}.json" for name in names} | with_files
    assert read_records(board) == read_records(tmp_path / "runs")
    assert {finding.kind for finding in examine(board)[0]} == {"failed"}
    # From where it stands, with nothing to change.
    publish(read_placed(board), board.parent)
    assert files(board) == {f"{name}.json" for name in names} | with_files
    # Another seed and another row: what is no longer of the board goes.
    write_job(tmp_path / "runs", make_record("SAT", 0))
    sat = [p for p in read_placed(tmp_path / "runs") if p[1]["job"]["method"]["label"] == "SAT"]
    sat = [p for p in sat if p[1]["status"] == "ok"]
    publish(sat, board.parent)
    first = make_record("SAT", 0)["job"]["hash"]
    assert files(board) == {f"{n}.json" for n in (*names[:2], first)} | {
        f"{first}/parameters.safetensors"
    }
    assert not (board / names[1]).exists()


def test_tensors_that_are_not_the_records_stay_out(tmp_path: Path) -> None:
    path = write_job(tmp_path / "runs", make_record("SAT", 0))
    (path.parent / "parameters.safetensors").write_bytes(b"other")
    board = tmp_path / "board" / "records"
    publish(read_placed(tmp_path / "runs"), board.parent)
    assert files(board) == {f"{path.parent.name}.json"}
    assert examine(board)[0] == []
    # A published file that is changed is found.
    (board / path.parent.name).mkdir()
    (board / path.parent.name / "parameters.safetensors").write_bytes(b"changed")
    assert [finding.kind for finding in examine(board)[0]] == ["parameters"]


def test_a_row_of_another_workload_is_another_row(tmp_path: Path) -> None:
    one = make_record("SAT", 0)
    other = changed(one, "job.workload", "mrr-digits")
    placed = [(tmp_path / "a" / "record.json", one), (tmp_path / "b" / "record.json", other)]
    assert len(with_tensors(placed)) == 2


def test_tensors_take_no_more_than_the_room_and_rows_of_the_claims_come_first(
    tmp_path: Path,
) -> None:
    labels = ["BP", "NAT", "SAT"]
    paths = [write_job(tmp_path / "runs", make_record(label, 0)) for label in labels]
    size = (paths[0].parent / "parameters.safetensors").stat().st_size
    placed = read_placed(tmp_path / "runs")
    board = tmp_path / "records"
    for room, there in (
        (2 * size, {"SAT", "BP"}),
        (2 * size - 1, {"SAT"}),
        (3 * size, set(labels)),
    ):
        left_out = publish(placed, board.parent, room=room, first=["SAT", "BP", "SAT"])
        assert set(left_out) == set(labels) - there
        names = {make_record(label, 0)["job"]["hash"] for label in there}
        assert {path.name for path in board.iterdir() if path.is_dir()} == names
        assert read_records(board) == read_records(tmp_path / "runs")
        assert examine(board)[0] == []


def test_measured_devices_stand_with_every_record(tmp_path: Path) -> None:
    for seed in (0, 1):
        path = write_job(tmp_path / "runs", make_record("SAT", seed))
        file = path.parent / "devices.csv"
        file.write_text("device,bias\na,0.1\n")
        record = {k: v for k, v in read_record(path).items() if k != "checksum"}
        record["devices"] = {"file": file.name, "sha256": file_sha256(file)}
        write_record(path, record)
    board = tmp_path / "board" / "records"
    placed = read_placed(tmp_path / "runs")
    publish(placed, board.parent)
    names = [record["job"]["hash"] for _, record in placed]
    for name in names:
        assert (board / name / "devices.csv").read_text() == "device,bias\na,0.1\n"
    publish(read_placed(board), board.parent)  # from where it stands
    assert all((board / name / "devices.csv").is_file() for name in names)
    publish(placed[:1], board.parent)
    assert not (board / names[1]).exists()
