"""The results in the README are what records say."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from types import ModuleType

import pytest

from pnnbench.commands.declared import DECLARED
from pnnbench.errors import UserError
from pnnbench.records.store import seal, write_record

from .record_factory import RECALIBRATED, make_later_suite, make_mesh_suite
from .scripts import ROOT, load_script


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
    assert "All 3 rows" in text
    assert any("| baseline |" in row for row in rows)
    assert all("| not searched |" in row for row in rows[2:])  # there is no search beside it
    assert "Accuracy, higher is better; guessing has 10.00 %" in text
    assert "leaderboards/mzi_mnist/pictures/degradation.png" in text
    (said,) = (line for line in text.splitlines() if line.startswith("Sharpness against score"))
    entry = script.board(folder / "mzi_mnist")[0].correlations["lambda_max"]
    for part in ("rows", "within"):
        assert f"{entry[part]['rho']:+.2f}".replace("-", "−") in said
    assert "These boards are still to be run under `pnnbench-2`" in text
    assert "`pnnbench run mrr_mnist`" in text
    assert "`pnnbench run mzi_mnist`" not in text


def test_a_long_board_has_its_best_rows_the_baseline_and_those_of_the_claims(
    script: ModuleType,
) -> None:
    table = script.headline(script.LEADERBOARDS / "freespace_mnist")
    labels = [row.method for row in table.rows]
    found = [row.method for row in script.shown(table, {labels[8]})]
    assert found == [*labels[: script.BEST], labels[8], "BP"]
    text = script.section(script.LEADERBOARDS, "freespace_mnist")
    assert f"of {len(labels)} rows" in text
    assert "| SAT, in turns |" in text  # of claim 15
    assert "| PAT |" not in text


def test_an_error_is_named_with_its_direction_and_what_guessing_has(script: ModuleType) -> None:
    text = script.section(script.LEADERBOARDS, "cifar10_reconstruct")
    assert "MSE, lower is better; guessing has 0.06121;" in text
    assert "%" not in text.partition("| rank")[2].partition("\n")[0]


def test_the_settings_of_a_row_are_told(script: ModuleType) -> None:
    table = script.headline(script.LEADERBOARDS / "cifar10_reconstruct")
    told = {row.method: script._settings(table, row) for row in table.rows}
    assert told["BP"] == "searched at tier `search`"
    assert told["BP, equal gradients"] == "as BP"
    table = script.headline(script.LEADERBOARDS / "freespace_mnist")
    told = {row.method: script._settings(table, row) for row in table.rows}
    assert told["NAT"] == "searched"
    assert told["SAT, published code"] == "not searched"


def test_everything_that_is_registered_is_named(script: ModuleType) -> None:
    named = re.findall(r"`([\w-]+)`", script.names(Path()))
    own = [name for kind in ("platforms", "workloads", "methods") for name in script.own(kind)]
    assert sorted(named) == sorted(own)
    assert {"mrr-cifar10-gan-w16", "pruning-weights", "sat-outward", "dat-internal"} <= set(named)


def test_its_commands_are_those_that_there_are() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Commands")[2]
    block = text.partition("```\n")[2].partition("```")[0]
    assert set(re.findall(r"pnnbench ([a-z-]+)", block)) == {command.name for command in DECLARED}


def test_its_speed_is_that_of_the_page() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Speed")[2]
    rows = re.findall(r"^\| (?!---).+ \| (.+) \|$", text.partition("\n## ")[0], re.MULTILINE)
    page = (ROOT / "docs" / "speed.md").read_text(encoding="utf-8")
    figures = [number for row in rows for number in re.findall(r"\d+(?:\.\d+)?", row)]
    assert len(figures) >= 12
    assert set(figures) <= set(re.findall(r"\d+(?:\.\d+)?", page))


def test_its_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    block = text.partition("## From Python")[2].partition("```python\n")[2].partition("```")[0]
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(compile(block, "README.md", "exec"), names)  # noqa: S102 - our own text
    assert (tmp_path / "degradation.svg").is_file()


def test_claims_that_are_decided_stand_in_a_table(script: ModuleType, folder: Path) -> None:
    text = script.claims(folder)
    numbers = [int(n) for n in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)]
    assert 13 in numbers
    assert 9 not in numbers  # rows are missing
    assert "[mzi_mnist](leaderboards/mzi_mnist/README.md) |" in text
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


def test_a_board_says_what_twice_its_length_changes(script: ModuleType, folder: Path) -> None:
    told = script.boards(folder)
    assert "Is the run long enough? [From once to twice the epochs, of 3 pairs" in told
    assert "](benchmarks/lengths/mzi_mnist/README.md), at settings from before the search" in told
    (folder / "mzi_mnist").rename(folder / "a_board_without")
    script.board.cache_clear()
    assert "long enough" not in script.boards(folder)
