"""Records below a folder: which are found, in which order, which of two is kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from pnnbench.errors import UserError
from pnnbench.records.folders import find_records, read_records
from pnnbench.records.store import seal, write_record

from ..record_factory import changed, make_failure, make_record, make_suite, write_job


def test_read_records_finds_both_layouts_in_a_fixed_order(tmp_path: Path) -> None:
    suite = make_suite(("SAT", "BP"), (1, 0))
    for record in suite[:2]:
        write_job(tmp_path / "runs", record)
    for record in suite[2:]:
        write_record(tmp_path / "board" / "records" / f"{record['job']['hash']}.json", record)
    write_record(tmp_path / "runs" / "wandb" / "record.json", make_record("NAT"))
    (tmp_path / "board" / "leaderboard.json").write_text("{}")
    found = read_records(tmp_path)
    order = [(r["job"]["method"]["label"], r["job"]["seed"]) for r in found]
    assert order == [("BP", 0), ("BP", 1), ("SAT", 0), ("SAT", 1)]
    assert read_records(reversed(find_records(tmp_path))) == found


def test_read_records_prefers_the_finished_one_and_refuses_two_that_differ(tmp_path: Path) -> None:
    record = make_record()
    failure = make_failure()
    failure = seal(changed(failure, "job", record["job"]))
    write_record(tmp_path / "a" / "record.json", failure)
    write_record(tmp_path / "b" / "record.json", record)
    write_record(tmp_path / "c" / "record.json", record)
    assert read_records(tmp_path) == [record]
    write_record(tmp_path / "d" / "record.json", changed(record, "clean", 0.5))
    with pytest.raises(UserError, match="two finished records that differ"):
        read_records(tmp_path)


def test_read_records_names_a_path_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file or folder"):
        read_records(tmp_path / "none")
