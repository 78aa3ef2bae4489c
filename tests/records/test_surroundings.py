from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from pnnbench.errors import UserError
from pnnbench.records.doctor import examine
from pnnbench.records.findings import Finding
from pnnbench.records.folders import ASIDE
from pnnbench.records.index import Index, write_index
from pnnbench.records.store import canonical
from pnnbench.records.surroundings import set_aside

from ..record_factory import make_record, write_job

#: A number that no process has.
NOBODY = 2**31 - 1


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    write_job(tmp_path / "runs", make_record())
    return tmp_path / "runs"


def _only(runs: Path) -> Finding:
    (finding,) = examine(runs)[0]
    return finding


def test_links_that_leave_the_folder_are_told_and_not_followed(runs: Path, tmp_path: Path) -> None:
    outside = write_job(tmp_path / "outside", make_record("BP"))
    (runs / "inside").symlink_to(next(runs.iterdir()))
    assert examine(runs)[0] == []
    (runs / "record.json").symlink_to(outside)
    finding = _only(runs)
    assert finding.kind == "link"
    assert f"leads out of the folder, to {outside}" in finding.message
    (runs / "record.json").unlink()
    (runs / "suite").symlink_to(tmp_path / "outside", target_is_directory=True)
    assert _only(runs).kind == "link"


def test_special_files_are_told_and_not_opened(runs: Path) -> None:
    os.mkfifo(runs / "record.json")
    os.mkfifo(runs / "suite.json")
    assert [finding.kind for finding in examine(runs)[0]] == ["special", "special"]


@pytest.mark.parametrize(
    ("name", "kind", "fault"),
    [
        ("run_me.py", "code", True),
        ("weights.PT", "code", True),
        ("old.pkl", "code", True),
        ("notes.docx", "foreign", False),
        (f".record.json.{NOBODY}.tmp", "leftover", True),
        (".record.json.tmp", "leftover", True),
        ("curves.png", None, False),
    ],
)
def test_foreign_files_are_told(name: str, kind: str | None, fault: bool, runs: Path) -> None:
    (runs / name).write_text("x")
    os.utime(runs / name, (1000, 1000))
    found = examine(runs)[0]
    assert [finding.kind for finding in found] == ([] if kind is None else [kind])
    assert [finding.fault for finding in found] == ([] if kind is None else [fault])


@pytest.mark.parametrize("name", [".record.json.{}.tmp", ".publishing.{}.partial"])
def test_what_a_living_process_writes_is_left_to_it(name: str, runs: Path) -> None:
    mine, nobodys = (runs / name.format(process) for process in (os.getpid(), NOBODY))
    for path in (mine, nobodys):
        path.mkdir() if path.suffix == ".partial" else path.touch()
        assert examine(runs)[0] == []  # a process of another machine may be writing just now
        os.utime(path, (1000, 1000))
    (finding,) = examine(runs)[0]
    assert (finding.kind, finding.path) == ("leftover", nobodys)


@pytest.mark.parametrize(
    ("place", "step"),
    [
        ("some", "pnnbench run some.yaml --runs {runs}"),
        ("some/tuning", "pnnbench tune some.yaml --runs {runs}"),
        ("train", "pnnbench train mrr-digits my.Mine --tier smoke --seed 3 --runs {runs}"),
        (
            "with",
            "pnnbench train mrr-digits bp --tier smoke --seed 4 --data-set kmnist --runs {runs}, "
            "with the settings lr=0.3 rad bf16-mixed",
        ),
        ("none", "the same `pnnbench train` command, with --runs {runs}"),
    ],
)
def test_an_interrupted_job_says_what_goes_on_with_it(
    place: str, step: str, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    home = runs / (place if "some" in place else "train")
    (home / ("1" * 16) / "checkpoints").mkdir(parents=True)
    boards: dict[str, Index] = {
        "train": {("train", "pnnbench-2", "mrr-digits", "smoke"): {"my.Mine": {3: "1" * 16}}},
        "with": {
            ("train", "pnnbench-2", "mrr-digits on kmnist", "smoke"): {
                "bp": {4: "2" * 16},
                "bp lr=0.3 rad bf16-mixed": {4: "1" * 16},
            }
        },
    }
    if place in boards:
        write_index(home, "train", boards[place])
    assert _only(runs).next_step == step.format(runs=runs)


def test_a_job_that_is_running_is_no_finding_and_a_lock_that_nobody_has_is(runs: Path) -> None:
    begun, resumable = runs / ("1" * 16), runs / ("2" * 16)
    begun.mkdir()
    (resumable / "checkpoints").mkdir(parents=True)
    with FileLock(begun / ".lock"), FileLock(resumable / ".lock"):
        assert examine(runs)[0] == []
    kinds = {finding.path: finding.kind for finding in examine(runs)[0]}
    assert kinds == {begun: "lock", resumable: "incomplete"}
    assert (begun / ".lock").read_bytes() == b""


def test_what_is_mended_is_moved_and_nothing_is_lost(runs: Path) -> None:
    (runs / ("1" * 16)).mkdir()
    (runs / ("1" * 16) / ".lock").touch()
    (runs / "x.partial" / "deep").mkdir(parents=True)
    (runs / "x.partial" / "deep" / ".a.tmp").write_text("half")
    (runs / ".b.tmp").write_text("half")
    (runs / "gone").symlink_to(runs / "nowhere")
    (runs / ("2" * 16) / "checkpoints").mkdir(parents=True)
    (runs / "keep.py").write_text("print()")
    before = sorted(path.name for path in runs.rglob("*"))
    set_aside(runs, examine(runs)[0])
    assert [finding.kind for finding in examine(runs)[0]] == ["incomplete", "code"]
    aside = runs / ASIDE
    assert {path.name for path in aside.iterdir()} == {"1" * 16, "x.partial", ".b.tmp", "gone"}
    assert (aside / "x.partial" / "deep" / ".a.tmp").read_text() == "half"
    assert sorted(path.name for path in runs.rglob("*") if path != aside) == before
    # A second one of the same name stands beside the first.
    (runs / ".b.tmp").write_text("another")
    set_aside(runs, examine(runs)[0])
    assert {p.read_text() for p in aside.glob(".b.tmp*")} == {"half", "another"}


@pytest.mark.parametrize("inside", [False, True])
def test_nothing_is_moved_out_of_the_folder(inside: bool, runs: Path, tmp_path: Path) -> None:
    """A link in a received folder says where things are moved to."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (runs / "a" / "x.partial").mkdir(parents=True)
    if inside:
        (runs / ASIDE).mkdir()
    (runs / ASIDE / "a" if inside else runs / ASIDE).symlink_to(outside)
    with pytest.raises(UserError, match="leads out of the folder"):
        set_aside(runs, examine(runs)[0])
    assert (runs / "a" / "x.partial").is_dir()
    assert list(outside.iterdir()) == []


def _sealed(content: dict[str, Any]) -> str:
    digest = hashlib.sha256(canonical(content)).hexdigest()
    return json.dumps({**content, "checksum": f"sha256:{digest}"})


_SEARCH = {
    "format": 1,
    **dict.fromkeys(("suite", "protocol", "workload", "tier", "metric", "budget", "like")),
}


@pytest.mark.parametrize("name", ["suite.json", "tuning.json", "parameters/index.json"])
@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "[" * 10**5,
        '{"checksum": 1e999, "n": 1e999}',
        '{"checksum": "", "n": "\\ud800"}',
        '{"rows": [[]], "boards": [[]], "suite": "x"}',
        _sealed({**_SEARCH, "rows": [1]}),
        _sealed({**_SEARCH, "rows": {"a": {}}}),
    ],
)
def test_an_index_or_a_search_that_is_none_is_one_finding(name: str, text: str, runs: Path) -> None:
    path = runs / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    finding = _only(runs)
    assert (finding.kind, finding.path) == ("corrupt", path)
