"""Published verdicts are those that the boards beside them give."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from pnnbench.api.tables import tables_of
from pnnbench.leaderboard.claims import Claims, read_claims, read_reproduced
from pnnbench.leaderboard.model import Table
from pnnbench.leaderboard.verdicts import decide
from pnnbench.records.findings import Finding
from pnnbench.report.claims_check import check_claims
from pnnbench.report.claims_page import write_claims

ROOT = Path(__file__).resolve().parents[2] / "leaderboards"
#: A board of the claims whose tables are made quickly.
ONE = "mzi_mnist"


@pytest.fixture(scope="module")
def tables() -> list[Table]:
    return tables_of([ROOT / ONE])


@pytest.fixture
def root(tables: list[Table], tmp_path: Path) -> Path:
    """A folder with the verdicts that this one board gives."""
    write_claims(tmp_path, read_claims(), decide(read_claims(), tables, read_reproduced()))
    return tmp_path


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The claims are on this board alone, so that all their boards are there."""
    monkeypatch.setattr(Claims, "boards", (ONE,))


def found(root: Path, tables: list[Table]) -> list[Finding]:
    return list(check_claims(root, {root / ONE: tables}))


def forge(root: Path, old: str, new: str, name: str = "claims.json") -> None:
    text = (root / name).read_text(encoding="utf-8")
    assert old in text
    (root / name).write_text(text.replace(old, new), encoding="utf-8")


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("name", ["claims.json", "claims.md", "claims.html"])
def test_a_changed_verdict_is_one_finding(name: str, root: Path, tables: list[Table]) -> None:
    assert found(root, tables) == []
    forge(root, "not measured yet", "holds", name)
    (finding,) = found(root, tables)
    assert (finding.kind, finding.path) == ("board", root / name)
    assert finding.next_step == f"pnnbench claims {root / ONE} --publish {root}"


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("key", ["verdicts", "counts", "claims"])
def test_what_is_taken_out_is_found(key: str, root: Path, tables: list[Table]) -> None:
    content = json.loads((root / "claims.json").read_text())
    del content[key]
    (root / "claims.json").write_text(json.dumps(content))
    (finding,) = found(root, tables)
    assert f"{key} is 'missing'" in finding.message


def test_verdicts_that_need_other_boards_are_left_alone(root: Path, tables: list[Table]) -> None:
    content: dict[str, Any] = json.loads((root / "claims.json").read_text())
    mine = {c.number for c in read_claims().claims if {t.board for t in c.tests} == {ONE}}
    assert mine
    other, own = (
        next(c for c in content["claims"] if (c["number"] in mine) is known)
        for known in (False, True)
    )
    other["verdict"] = "of another board"
    (root / "claims.json").write_text(json.dumps(content))
    (root / "claims.md").write_text("of other boards")
    assert found(root, tables) == []
    own["verdict"] = "shown for good"
    (root / "claims.json").write_text(json.dumps(content))
    (finding,) = found(root, tables)
    assert "verdict is 'shown for good'" in finding.message
    assert list(check_claims(root, {root / "another": tables})) == []


@pytest.mark.parametrize("text", ["{", "[]", "1", '{"claims": 1}', "[" * 10**5])
def test_what_holds_no_verdicts_is_one_finding(text: str, root: Path, tables: list[Table]) -> None:
    (root / "claims.json").write_text(text)
    assert [finding.path.name for finding in found(root, tables)] == ["claims.json"]


def test_the_committed_verdicts_are_read_where_they_lie(tmp_path: Path) -> None:
    shutil.copy(ROOT / "claims.json", tmp_path)
    assert list(check_claims(tmp_path, {})) == []
