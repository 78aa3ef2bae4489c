"""Packing a row: what goes in, what is refused, and that nothing else is touched."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pnnbench.errors import UserError
from pnnbench.records.searches import NAME, read_search, write_sealed
from pnnbench.records.store import read_record, write_record
from pnnbench.submitting.bundle import Bundle
from pnnbench.submitting.packing import _zip, check_place, pack_row, read_card
from pnnbench.submitting.rows import find_row
from pnnbench.submitting.submission import Card, read_submission

from .packed import fail

CARD = Card("Backpropagation", ("A. Author",), None, None, "MIT", "in_silico", "As is.")


@pytest.fixture
def home(runs: list[Path], tmp_path: Path) -> Path:
    """A copy of the runs of the suite, two finished seeds of BP."""
    return shutil.copytree(runs[0].parent, tmp_path / "runs" / "tiny")


def change(home: Path, seed: int, change: Callable[[dict[str, Any]], object]) -> Path:
    """Changes the record of a seed and seals it again, as a forger does; returns its folder."""
    for path in sorted(home.glob("*/record.json")):
        record = read_record(path)
        if record["job"]["seed"] == seed:
            record.pop("checksum")
            change(record)
            path.unlink()  # a failure does not replace a finished record
            write_record(path, record)
            return path.parent
    raise AssertionError(f"no seed {seed}")


def searched(home: Path, **changes: Any) -> None:
    """Puts the record of a search of five settings beside the runs: a trial each, two of one."""
    shipped = Path(__file__).resolve().parents[2] / "benchmarks" / "search" / "quickstart.json"
    search = read_search(shipped)
    row = search["rows"]["BP"]
    row["trials"] = [t for t in row["trials"] if t["point"] in (0, 1, 2)][:4]
    row["tried_before"] = 2
    search |= {"suite": "tiny", "tier": "smoke", "rows": {"BP": row}, "like": {}, **changes}
    write_sealed(home / NAME, search)


def test_a_row_travels_with_its_failures_and_its_search(home: Path, tmp_path: Path) -> None:
    change(home, 2, fail)
    searched(home)
    before = {path: path.read_bytes() for path in home.rglob("*") if path.is_file()}
    out = tmp_path / "out"
    out.mkdir()
    said: list[str] = []
    shares: list[float] = []
    made = pack_row(
        find_row("BP", home), CARD, out, zipped=True, say=said.append, share=shares.append
    )
    assert made.path == out / "tiny-mrr-digits-bp.zip"
    assert [path.name for path in out.iterdir()] == [made.path.name]
    assert {path: path.read_bytes() for path in home.rglob("*") if path.is_file()} == before
    told, bundle = read_submission(made.path)
    assert told == made.submission
    assert set(bundle.sizes) == {
        "submission.json", "search.json", "seed-1/record.json",
        "seed-1/parameters.safetensors", "seed-2/record.json",
    }  # fmt: skip
    assert made.failed_seeds == (2,)
    assert told.settings_tried == 5  # three points of this search, two of an earlier one
    assert (told.check.failed, told.check.passed) == (0, len(told.check.checks))
    assert told.check.passed > 20
    record = next(read_record(p) for p in home.glob("*/record.json") if b'"ok"' in p.read_bytes())
    assert made.remeasured[1]["clean"] == record["clean"]
    assert sorted(shares) == shares
    assert any("checks passed" in line for line in said)
    assert json.loads(json.dumps(made.as_dict()))["failed_seeds"] == [2]
    with pytest.raises(UserError, match="is there already"):
        pack_row(find_row("BP", home), CARD, out, zipped=True)


def test_figures_that_are_not_measured_again_are_refused(home: Path, tmp_path: Path) -> None:
    def better(record: dict[str, Any]) -> None:
        for cell in record["cells"]:
            cell["value"] = 0.99

    change(home, 1, better)
    change(home, 2, fail)
    with pytest.raises(UserError, match=r"seed 1: cells.* is 0\.99 in the record"):
        pack_row(find_row("BP", home), CARD, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


def test_a_method_that_keeps_no_rule_has_no_row(home: Path, tmp_path: Path) -> None:
    (tmp_path / "lawless.py").write_text(
        "from pnnbench.methods.bp import BP\nclass Lawless(BP):\n    pass\n"
    )

    def own(record: dict[str, Any]) -> None:
        record["job"]["method"]["name"] = "lawless.Lawless"

    for seed in (1, 2):
        change(home, seed, own)
    row = find_row("BP", home)
    here = Path.cwd()
    os.chdir(tmp_path)
    try:
        with pytest.raises(UserError, match="is code of its author") as refused:
            pack_row(row, CARD, tmp_path)
        assert "--trust" in str(refused.value)
        with pytest.raises(UserError, match="1 of 1 checks fail, the first: class: The class has"):
            pack_row(row, CARD, tmp_path, trust=True)
    finally:
        os.chdir(here)
    assert not (tmp_path / "tiny-mrr-digits-bp").exists()


def _named(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    """A change of what stands at a dotted path of a record."""

    def change(record: dict[str, Any]) -> None:
        *parts, last = path.split(".")
        for part in parts:
            record = record[part]
        record[last] = value

    return change


HOSTILE = {
    "a suite that is a path": (_named("job.suite", "../../away"), "suite is '../../away'"),
    "an absolute suite": (_named("job.suite", "/away"), "suite is '/away'"),
    "a suite that is the folder above": (_named("job.suite", ".."), "suite is '..'"),
    "a suite of another script": (_named("job.suite", "tіny"), "suite is"),
    "a suite written backwards": (_named("job.suite", "\u202eynit"), r"character U\+202E"),
    "a suite with a null": (_named("job.suite", "ti\0ny"), r"character U\+0000"),
    "a label of two lines": (_named("job.method.label", "a\nb"), "label is"),
    "a label written backwards": (_named("job.method.label", "\u202epb"), r"character U\+202E"),
    "a label that is too long": (_named("job.method.label", "b" * 101), "label is"),
    "another protocol": (_named("protocol", "published"), "protocol is 'published'"),
    "a workload of a file": (_named("job.workload", "mine.Net"), "is not one of pnnbench"),
    "a workload that is a path": (_named("job.workload", "../mine"), "is not one of pnnbench"),
    "a data set of a file": (
        _named("job.data", {"name": "mine", "set": "mine.Mine"}),
        "the data set 'mine.Mine', which is not one of pnnbench",
    ),
    "a method that is not installed": (_named("job.method.name", "best"), "unknown method 'best'"),
    "tensors in another file": (
        _named("parameters.file", "record.json"),
        "it is not the file of its record",
    ),
    "tensors in a file of its own": (
        _named("parameters.file", "tensors.pt"),
        "a submission has no such file",
    ),
    "a seed of searches": (_named("job.seed", 90_000), "a seed of the row is 90000"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_records_say_leads_nowhere(kind: str, home: Path, tmp_path: Path) -> None:
    how, words = HOSTILE[kind]
    folder = change(home, 1, how)
    shared = not any(word in kind for word in ("tensors", "seed"))
    change(home, 2, how if shared else fail)
    (tmp_path / "out").mkdir()
    (tmp_path / "away").write_text("stays")
    before = sorted(path for path in tmp_path.rglob("*"))
    with pytest.raises(UserError, match=words):
        pack_row(find_row(str(folder), home), CARD, tmp_path / "out")
    assert sorted(path for path in tmp_path.rglob("*")) == before
    assert (tmp_path / "away").read_text() == "stays"


def test_labels_with_slashes_stay_in_the_folder(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # from where no such file is found
    (tmp_path / "out" / "tiny-mrr-digits-etc-passwd").mkdir(parents=True)
    for seed in (1, 2):
        change(home, seed, _named("job.method.label", "../../etc/passwd"))
    row = find_row("../../etc/passwd", home)
    with pytest.raises(UserError, match="out/tiny-mrr-digits-etc-passwd is there already"):
        pack_row(row, CARD, tmp_path / "out")


@pytest.mark.parametrize("what", ["folder", "file", "link", "zip"])
def test_what_is_there_is_not_touched(what: str, home: Path, tmp_path: Path) -> None:
    target = tmp_path / f"tiny-mrr-digits-bp{'.zip' if what == 'zip' else ''}"
    if what == "folder":
        target.mkdir()
    elif what == "link":
        target.symlink_to(tmp_path / "nowhere")
    else:
        target.write_text("mine")
    with pytest.raises(UserError, match="is there already, and nothing is overwritten"):
        pack_row(find_row("BP", home), CARD, tmp_path, zipped=what == "zip")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["runs", target.name]
    assert target.is_symlink() == (what == "link")


def test_tensors_that_are_missing_changed_or_no_file_are_refused(
    home: Path, tmp_path: Path
) -> None:
    file = sorted(home.glob("*/parameters.safetensors"))[0]
    content = file.read_bytes()
    for spoil, words in {
        "changed": "is not the file of its record",
        "missing": "is missing",
        "lost": "is missing",
        "folder": "is no plain file",
        "pipe": "is no plain file",
    }.items():
        file.rmdir() if file.is_dir() else file.unlink(missing_ok=True)
        if spoil == "changed":
            file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        elif spoil == "lost":
            file.symlink_to(tmp_path / "nowhere")
        elif spoil == "folder":
            file.mkdir()
        elif spoil == "pipe":
            os.mkfifo(file)
        with pytest.raises(UserError, match=words):
            pack_row(find_row("BP", home), CARD, tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == ["runs"]


def test_nothing_is_packed_among_the_runs(home: Path) -> None:
    for out in (home, home / "packed"):
        out.mkdir(exist_ok=True)
        with pytest.raises(UserError, match="is in the folder of the runs"):
            pack_row(find_row("BP", home), CARD, out)


def test_a_row_without_a_finished_seed_is_refused(home: Path, tmp_path: Path) -> None:
    for seed in (1, 2):
        change(home, seed, fail)
    with pytest.raises(UserError, match="no seed of 'BP' finished; the first: diverged"):
        pack_row(find_row("BP", home), CARD, tmp_path)


def test_the_access_is_that_of_the_class(home: Path, tmp_path: Path) -> None:
    card = Card("B", ("A",), None, None, "MIT", "in_situ", "As is.")
    with pytest.raises(UserError, match="the card says access 'in_situ'"):
        pack_row(find_row("BP", home), card, tmp_path)


def test_the_search_of_another_board_stays_at_home(home: Path, tmp_path: Path) -> None:
    from pnnbench.submitting.packing import _search_of

    assert _search_of(find_row("BP", home)) is None
    searched(home)
    for tier in ("smoke", "quick"):  # a long suite is searched at a shorter tier
        searched(home, tier=tier)
        assert _search_of(find_row("BP", home)) == home / NAME
    for changes in ({"workload": "mzi-digits"}, {"rows": {}}):
        searched(home, **changes)
        assert _search_of(find_row("BP", home)) is None


def test_the_same_files_give_the_same_zip(submission: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(submission, tmp_path / "copy")
    for path in copy.rglob("*"):
        os.utime(path, (1, 1))
    first, again = (_zip(f, tmp_path / f"{i}.zip") for i, f in enumerate((submission, copy)))
    assert first.read_bytes() == again.read_bytes()
    assert Bundle(first).sizes == Bundle(submission).sizes
    read_submission(first)


GOOD = {
    "name": "B", "authors": ["A"], "paper": None, "code": None, "licence": "MIT",
    "access": "in_silico", "description": "As is.",
}  # fmt: skip


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (json.dumps([GOOD]), "is no JSON object"),
        (json.dumps({**GOOD, "score": 1.0}), "has the unknown key 'score'"),
        (json.dumps({k: v for k, v in GOOD.items() if k != "licence"}), "lacks licence"),
        (json.dumps({**GOOD, "authors": ["Your Name"]}), "put your names into"),
        (json.dumps({**GOOD, "authors": "A"}), "a list of names"),
        (json.dumps({**GOOD, "authors": []}), r"the card \S+card\.json: authors is \[\]"),
        (json.dumps({**GOOD, "paper": "10.1000/1"}), r"card\.json: paper is '10\.1000/1'"),
        (json.dumps({**GOOD, "description": "x" * 30_000}), "20000 at most"),
        (json.dumps({**GOOD, "name": "\u202eB"}), r"U\+202E"),
        ('{"name": "A", "name": "B"}', "twice"),
        ("{", "is not JSON"),
    ],
)
def test_cards_are_read_strictly(content: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "card.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=words):
        read_card(path)


def test_a_good_card_is_read_and_a_missing_one_told(tmp_path: Path) -> None:
    path = tmp_path / "card.json"
    with pytest.raises(UserError, match="pnnbench new-method makes one"):
        read_card(path)
    path.write_text(json.dumps(GOOD))
    assert read_card(path).authors == ("A",)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("licence", ""),
        ("licence", "my own\nlicence"),
        ("paper", "javascript:alert(1)"),
        ("code", "../../code"),
        ("authors", ()),
        ("authors", (3,)),
        ("name", ""),
    ],
)
def test_a_card_of_wrong_values_is_refused_before_anything_is_measured(
    field: str, value: Any, home: Path, tmp_path: Path
) -> None:
    content = {**GOOD, "authors": ("A",), field: value}
    said: list[str] = []
    with pytest.raises(UserError, match=f"card.{field}"):
        pack_row(find_row("BP", home), Card(**content), tmp_path, say=said.append)
    assert said == []
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


def test_what_is_packed_goes_nowhere_among_the_runs(home: Path, tmp_path: Path) -> None:
    row = find_row("BP", home.parent)
    for out in (home, home / "inner", home.parent, home.parent / "submissions"):
        with pytest.raises(UserError, match="in the folder of the runs"):
            check_place(row, out)
    check_place(row, tmp_path / "submissions")


def test_a_seed_that_was_stopped_is_not_handed_in(home: Path, tmp_path: Path) -> None:
    change(home, 2, lambda record: fail(record, "killed"))
    with pytest.raises(UserError, match="seed 2 of 'BP' was stopped before its end"):
        pack_row(find_row("BP", home), CARD, tmp_path)
