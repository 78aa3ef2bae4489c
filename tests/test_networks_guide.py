"""The guide to one's own networks does what it says."""

from __future__ import annotations

import re
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pnnbench.platforms.rings import RingCalibration
from pnnbench.records.folders import read_records

from .command import command

GUIDE = Path(__file__).resolve().parents[1] / "docs" / "networks.md"
TEXT = GUIDE.read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", TEXT, re.DOTALL)
FILES = {
    body.removeprefix("# ").partition("\n")[0]: body
    for kind, body in BLOCKS
    if kind in ("python", "yaml")
}
COMMANDS = [
    line.removeprefix("$ ").split()
    for kind, body in BLOCKS
    if kind == "console"
    for line in body.splitlines()
]
QUIET = ("--pictures", "false")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with all files of the guide, as the present one."""
    for name, body in FILES.items():
        (tmp_path / name).write_text(body, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in FILES:
        sys.modules.pop(name.partition(".")[0], None)


def script(name: str) -> dict[str, Any]:
    return runpy.run_path(name)


def test_every_block_names_its_file() -> None:
    assert all(re.fullmatch(r"\w+\.(py|yaml)", name) for name in FILES)
    assert len(FILES) == sum(kind in ("python", "yaml") for kind, _ in BLOCKS)
    typed = {word for words in COMMANDS for word in words if word in FILES}
    assert typed == {"measure.py", "mynet.yaml", "with_lightning.py"}


def test_its_scripts_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(script("measure.py")["workload"].report) == 3
    shown = capsys.readouterr().out
    assert "conv: Conv2d -> MRRConv2d" in shown
    assert re.search(r"^ +1 +sat ", shown, re.MULTILINE)
    script("with_lightning.py")
    assert re.search(r"^ +1 +SAT ", capsys.readouterr().out, re.MULTILINE)


def test_layers_are_chosen_and_scaled_as_it_says(folder: Path) -> None:
    names = script("layers.py")
    assert [str(line).partition(":")[0] for line in names["some"].report if line.became] == ["conv"]
    assert names["also"].layers()["model.fc"].inputs == 32
    assert names["scaled"].network.model.fc.gain > 1.0


def test_settings_are_written(folder: Path) -> None:
    assert script("settings.py")["exported"].report == ()
    assert (folder / "settings.csv").stat().st_size > 10_000


@pytest.mark.slow
def test_its_commands_run(folder: Path) -> None:
    for program, *words in COMMANDS:
        if program == "pnnbench":
            more = () if words[0] == "check" else QUIET
            assert "failed" not in command(*words, *more, cwd=folder).out.replace("0 failed", "")
    records = read_records(folder / "runs")
    assert [record["status"] for record in records] == ["ok"] * 3
    assert {record["job"]["workload"] for record in records} == {"mynet.MyNet", "by_hand.ByHand"}


def test_the_range_of_the_rings_is_the_stated_one() -> None:
    low, high = RingCalibration().weight_range()
    assert f"from {low:.3f} to {high:.3f}" in TEXT
