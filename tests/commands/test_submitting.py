"""``pnnbench new-method``, ``submit`` and ``retrain``."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from ..command import Done, command

Ran = tuple[Path, Done]
CARD = {
    "name": "BP", "authors": ["A. Author"], "paper": None, "code": None, "licence": "MIT",
    "access": "in_silico", "description": "As is.",
}  # fmt: skip


@pytest.fixture
def card(tmp_path: Path) -> Path:
    """A card that is filled in."""
    path = tmp_path / "card.json"
    path.write_text(json.dumps(CARD))
    return path


def test_a_row_is_packed_verified_and_trained_again(ran: Ran, card: Path, tmp_path: Path) -> None:
    folder, out = ran[0], tmp_path / "out"
    words = ("submit", "BP", "--card", card, "--out", out)
    done = command(*words, cwd=folder)
    made = out / "tiny-mzi-digits-bp"
    assert "seeds: 0, 1\n" in done.out
    assert "card: BP, by A. Author, MIT\n" in done.out
    assert "checks: 27 passed" in done.out
    assert command("doctor", out, cwd=folder).out == "0 findings\n"
    assert "measured again: 2 seeds, as the records say" in done.out
    assert "no search record has this row, so 1 is claimed" in done.out
    assert f"next: pnnbench verify {made}" in done.out
    assert "seed 1" in done.err  # progress
    assert (
        "is there already, and nothing is overwritten" in command(*words, cwd=folder, status=2).err
    )
    moved = shutil.move(made, tmp_path / "moved")
    assert "BP: confirmed" in command("verify", moved, cwd=tmp_path).out
    badge = tmp_path / "badge.json"
    again = ("retrain", moved, "--seed", "1", "--out", badge)
    done = command(*again, cwd=tmp_path)
    assert "seed 1: same bits" in done.out
    assert "badge: retrained" in done.out
    assert json.loads(badge.read_text())["badges"] == ["claimed", "retrained"]
    assert "which is there already" in command(*again, cwd=tmp_path, status=2).err
    found = json.loads(command(*again[:4], "--format", "json", cwd=tmp_path).out)
    assert found["tensors"]["same"] == found["tensors"]["of"] > 0


def test_mistakes_of_submit_are_told_before_work_starts(
    ran: Ran, card: Path, tmp_path: Path
) -> None:
    folder = ran[0]

    def refused(*words: object) -> str:
        done = command("submit", *words, cwd=folder, status=2)
        assert "epoch" not in done.err
        assert "grid" not in done.err
        return done.err

    assert "did you mean 'BP'?" in refused("BPP", "--card", card)
    assert "the card nowhere.json: No such file" in refused("BP", "--card", "nowhere.json")
    assert "no runs in" in refused("BP", "--card", card, "--runs", tmp_path)
    assert "--out is" in refused("BP", "--card", card, "--out", card)
    assert "in the folder of the runs" in refused("BP", "--card", card, "--out", "runs/tiny/x")
    card.write_text("{}")
    assert "lacks access" in refused("BP", "--card", card)
    assert not (folder / "runs" / "tiny" / "x").exists()
    assert not (folder / "submissions").exists()


def test_mistakes_of_retrain_are_told(ran: Ran, tmp_path: Path) -> None:
    told = command("retrain", "nowhere", cwd=tmp_path, status=2).err
    assert "nowhere: there is no such submission" in told
    told = command("retrain", ran[0], cwd=tmp_path, status=2).err
    assert "is no submission: there is no submission.json in it" in told
    assert "pnnbench submit ROW makes one" in told
    assert "--seed is 'one'" in command("retrain", "x", "--seed", "one", cwd=tmp_path, status=2).err


def test_a_package_is_made_where_it_is_wanted(tmp_path: Path) -> None:
    done = command("new-method", "Tilted", "--author", "A", "--author", "B", cwd=tmp_path)
    assert "next: pip install -e tilted && pnnbench check tilted" in done.out
    assert json.loads((tmp_path / "tilted" / "card.json").read_text())["authors"] == ["A", "B"]
    words = ("new-method", "other", "--out", "there", "--format", "json")
    found = json.loads(command(*words, cwd=tmp_path).out)
    assert found["package"] == str(Path("there") / "other")
    for name in found["files"]:
        assert (tmp_path / "there" / "other" / name).is_file()
    assert "is there already" in command(*words, cwd=tmp_path, status=2).err
    told = command("new-method", "../up", "--out", "nowhere", cwd=tmp_path, status=2).err
    assert "cannot be that of a package" in told
    assert not (tmp_path / "nowhere").exists()
