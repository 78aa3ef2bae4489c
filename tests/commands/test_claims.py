"""``pnnbench claims``: from folders of records to verdicts, and the committed page."""

from __future__ import annotations

import json
from pathlib import Path

from pnnbench.leaderboard.claims import read_claims

from ..command import command
from ..record_factory import make_mesh_suite, write_job

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("claims.json", "claims.md", "claims.html")


def verdicts(text: str) -> dict[int, str]:
    return {claim["number"]: claim["verdict"] for claim in json.loads(text)["claims"]}


def test_without_boards_nothing_is_measured(tmp_path: Path) -> None:
    (tmp_path / "leaderboards").mkdir()
    done = command("claims", "--format", "json", cwd=tmp_path)
    assert set(verdicts(done.out).values()) == {"not measured yet"}
    plain = command("claims", cwd=tmp_path).out
    assert "no board mzi_mnist of pnnbench-2: pnnbench run mzi_mnist" in plain
    assert "20 claims: 20 not measured yet" in plain


def test_a_board_decides_as_soon_as_it_is_there(tmp_path: Path) -> None:
    board = tmp_path / "leaderboards" / "mzi_mnist" / "records"
    for record in make_mesh_suite(["SAT", "BP", "DAT"], range(3)):
        write_job(board, record)
    found = verdicts(command("claims", "--format", "json", cwd=tmp_path).out)
    assert found[13] != "not measured yet"
    assert found[9] == "not measured yet"  # NAT, PAT and SAT in situ are not there
    named = verdicts(command("claims", str(board), "--format", "json", cwd=tmp_path).out)
    assert named == found


def test_it_is_published_and_printed_in_every_form(tmp_path: Path) -> None:
    board = ROOT / "leaderboards" / "cifar10_reconstruct"
    done = command("claims", board, "--publish", "out", "--format", "markdown", cwd=tmp_path)
    assert done.out.startswith("# The published claims")
    assert "published: out/claims.html" in done.err
    assert all((tmp_path / "out" / name).is_file() for name in NAMES)
    html = command("claims", board, "--format", "html", cwd=tmp_path).out
    assert html == (tmp_path / "out" / "claims.html").read_text(encoding="utf-8")


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    done = command("claims", "nowhere", cwd=tmp_path, status=2)
    assert "nowhere: there is no such file or folder" in done.err


def test_the_committed_page_is_what_the_records_say(tmp_path: Path) -> None:
    done = command("claims", "--publish", str(tmp_path), "--format", "json", cwd=ROOT)
    for name in NAMES:
        committed = (ROOT / "leaderboards" / name).read_text(encoding="utf-8")
        assert committed == (tmp_path / name).read_text(encoding="utf-8"), (
            f"{name}: pnnbench claims --publish leaderboards"
        )
    assert len(verdicts(done.out)) == len(read_claims().claims)


def test_a_board_may_be_named_as_its_suite(tmp_path: Path) -> None:
    shown = command("claims", "mzi_mnist", cwd=tmp_path).out
    assert "mzi_mnist" in shown
