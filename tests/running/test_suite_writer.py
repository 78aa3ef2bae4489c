from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pnnbench.errors import UserError
from pnnbench.registry import SUITES
from pnnbench.running.entries import method_entries
from pnnbench.running.suite_writer import with_tuned, write_tuned

TEXT = """# head
suite: s   # name
methods:
  - {method: bp, label: BP, tune: true}   # first
  # between
  - {method: sat, label: "SAT, one", params: {adaptive: true}, tune: [rho],
     tuned: {rho: 0.5}}
  - method: nat  # block
    label: NAT
    params:
      sigma: 0.5
    tune:
      - lr
  - method: pruning
    label: Pruning
    tune: true
    tuned:
      lr: 0.1
      strength: 0.2
  - bp-weights
"""


def test_only_the_settings_change(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(TEXT)
    chosen = {
        "BP": {"lr": 0.012},
        "SAT, one": {"rho": 0.03},
        "NAT": {"lr": 1e-05},
        "Pruning": {"lr": 0.3, "strength": 2.0},
    }
    assert write_tuned(path, chosen)
    new = path.read_text()
    loaded = {row["label"]: row["tuned"] for row in yaml.safe_load(new)["methods"][:4]}
    assert loaded == chosen
    for kept in ("# head", "suite: s   # name", "}   # first", "# between", "nat  # block"):
        assert kept in new
    assert "tune: true, tuned: {lr: 0.012}}" in new
    assert not write_tuned(path, chosen)  # the same again is nothing new
    assert path.read_text() == new


def test_a_link_stays_one(tmp_path: Path) -> None:
    (real := tmp_path / "real.yaml").write_text(TEXT)
    (link := tmp_path / "s.yaml").symlink_to(real)
    assert write_tuned(link, {"BP": {"lr": 0.012}})
    assert link.is_symlink()
    assert "tuned: {lr: 0.012}" in real.read_text()


def test_the_ends_of_lines_stay(tmp_path: Path) -> None:
    chosen = {"BP": {"lr": 0.012}, "NAT": {"lr": 1e-05}, "Pruning": {"lr": 0.3, "strength": 2.0}}
    for ending in ("\n", "\r\n"):
        path = tmp_path / "s.yaml"
        path.write_bytes(TEXT.replace("\n", ending).encode())
        assert write_tuned(path, chosen)
        assert path.read_bytes().decode() == with_tuned(TEXT, chosen).replace("\n", ending)


@pytest.mark.parametrize("spelling", ["BP", "bp", "BP_WEIGHTS", "pnnbench.methods.bp.BP"])
def test_a_row_without_a_label_is_found_by_any_spelling_of_its_method(
    spelling: str, tmp_path: Path
) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(f"methods:\n- {{method: {spelling}, tune: true}}\n")
    (entry,) = method_entries("s.yaml", yaml.safe_load(path.read_text())["methods"])
    assert write_tuned(path, {entry.label: {"lr": 0.25}})
    (entry,) = method_entries("s.yaml", yaml.safe_load(path.read_text())["methods"])
    assert entry.params["lr"] == 0.25


@pytest.mark.parametrize("rows", ["[bp]", "[{method: nat, tune: true}]"])
def test_settings_without_a_row_to_write_them_into_are_told(rows: str, tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(f"methods: {rows}\n")
    with pytest.raises(UserError, match=r"by hand: bp: tuned: \{lr: 0.5\}"):
        write_tuned(path, {"bp": {"lr": 0.5}})
    assert path.read_text() == f"methods: {rows}\n"


@given(st.floats(1e-12, 1e12))
def test_every_number_is_read_back_as_it_was(value: float) -> None:
    new = with_tuned("methods: [{method: bp, tune: true}]", {"bp": {"lr": value}})
    assert yaml.safe_load(new)["methods"][0]["tuned"] == {"lr": value}


def test_a_file_that_cannot_be_changed_safely_is_left(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    first = " - {method: bp, label: BP, tune: true, tuned: &one {lr: 0.1}}\n"
    before = f"methods:\n{first} - {{method: bp, label: B, tune: true, tuned: *one}}\n"
    path.write_text(before)
    for chosen in ({"BP": {"lr": 0.5}}, {"BP": {"lr": 0.5}, "B": {"lr": 0.2}}):
        with pytest.raises(UserError, match=r"by hand: BP: tuned: \{lr: 0.5\}"):
            write_tuned(path, chosen)
        assert path.read_text() == before


@pytest.mark.parametrize("path", sorted(SUITES.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_suites_that_ship_can_be_written(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / path.name
    copy.write_text(path.read_text())
    rows = yaml.safe_load(copy.read_text())["methods"]
    labels = [row["label"] for row in rows if isinstance(row, dict)]
    write_tuned(copy, {label: {"lr": 0.5} for label in labels})
    for row in yaml.safe_load(copy.read_text())["methods"]:
        assert row["tuned"] == {"lr": 0.5}
