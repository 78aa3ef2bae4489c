"""The results in the README are what records say."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from types import ModuleType

import pytest

from pnnbench.errors import UserError
from pnnbench.records.store import seal, write_record

from .record_factory import RECALIBRATED, make_later_suite, make_mesh_suite
from .scripts import load_script


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return load_script("scripts/readme.py")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a board of meshes and a quickstart."""
    mesh = make_mesh_suite(["SAT", "BP", "DAT"], range(3))
    quick = make_later_suite(seeds=(0, 1, 2), headline=RECALIBRATED, suite="quickstart")
    for name, records in (("mzi_mnist", mesh), ("quickstart", quick)):
        for record in records:
            write_record(tmp_path / name / "records" / f"{record['job']['hash']}.json", record)
    (tmp_path / "mzi_mnist" / "pictures").mkdir()
    (tmp_path / "mzi_mnist" / "pictures" / "degradation.png").write_bytes(b"")
    (tmp_path / "pnnbench-1").mkdir()
    return tmp_path


def test_the_readme_is_what_the_records_say(script: ModuleType) -> None:
    text = script.README.read_text(encoding="utf-8")
    assert script.written(text) == text, "python scripts/readme.py"


def test_it_is_written_twice_the_same_and_leaves_the_rest_alone(
    script: ModuleType, folder: Path
) -> None:
    text = script.README.read_text(encoding="utf-8")
    made = script.written(text, folder)
    assert made != text
    assert script.written(made, folder) == made
    outside = re.compile(r"(<!-- results: \S+ -->).*?(<!-- end -->)", re.DOTALL)
    assert outside.sub(r"\1\2", made) == outside.sub(r"\1\2", text)


def test_a_board_has_its_rows_picture_and_verdicts(script: ModuleType, folder: Path) -> None:
    text = script.boards(folder)
    assert "### Interferometer meshes" in text
    assert "quickstart" not in text
    assert "3 seeds x 20 fresh devices" in text
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(rows) == 2 + 3
    assert any("| baseline |" in row for row in rows)
    assert "leaderboards/mzi_mnist/pictures/degradation.png" in text
    assert "(claim 13)" in text
    (said,) = (line for line in text.splitlines() if line.startswith("Does sharpness predict"))
    entry = script.board(folder / "mzi_mnist")[0].correlations["lambda_max"]
    for part in ("rows", "within"):
        assert f"{entry[part]['rho']:+.2f}".replace("-", "−") in said
    assert "These boards on MNIST are still to be run" in text
    assert "`pnnbench run mrr_mnist`" in text
    assert "`pnnbench run mzi_mnist`" not in text


def test_claims_that_are_decided_stand_in_a_table(script: ModuleType, folder: Path) -> None:
    text = script.claims(folder)
    numbers = [int(n) for n in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)]
    assert 13 in numbers
    assert 9 not in numbers  # rows are missing
    none = script.claims(folder / "pnnbench-1")
    assert "20 not measured yet" in none
    assert "|" not in none


def test_the_quickstart_shows_its_headline_table(script: ModuleType, folder: Path) -> None:
    text = script.quickstart(folder)
    assert text.startswith("```\nquickstart · ")
    assert f"{RECALIBRATED} (headline)" in text
    assert "SAT" in text
    assert "No run of it is committed yet" in script.quickstart(folder / "pnnbench-1")


def test_counts_are_those_of_the_values_that_were_found(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = script.read_reproduced()
    counts = {"mrr": {"compared": 7, "within": 5, "checkpoints": 2}}
    monkeypatch.setattr(
        script, "read_reproduced", lambda: dataclasses.replace(found, counts=counts)
    )
    assert "5 of 7 on the microring files (2 checkpoints)" in script.reproduced(Path())
    assert "mesh" not in script.reproduced(Path())


@pytest.mark.parametrize("text", ["", "<!-- results: claims -->\n<!-- end -->\n"])
def test_a_readme_without_its_parts_is_refused(script: ModuleType, text: str) -> None:
    with pytest.raises(UserError, match="the README has the parts"):
        script.written(text)


def test_a_changed_record_changes_the_text(script: ModuleType, folder: Path) -> None:
    before = script.boards(folder)
    path = next((folder / "mzi_mnist" / "records").glob("*.json"))
    record = script.tables_of([folder / "mzi_mnist"])[0].chosen.finished["SAT"][0]
    changed = {k: v for k, v in record.items() if k != "checksum"}
    changed["clean"] = 0.5
    write_record(path.with_name(f"{record['job']['hash']}.json"), seal(changed))
    script.board.cache_clear()
    script.verdicts.cache_clear()
    assert script.boards(folder) != before
