"""The page on suite files has every key that is read, and what it shows runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from pnnbench.accelerator import PRECISIONS
from pnnbench.commands.declared import DECLARED
from pnnbench.errors import UserError
from pnnbench.running import entries, suites
from pnnbench.running.job_specs import PROTOCOLS
from pnnbench.running.suites import load_suite
from pnnbench.workloads.axes import AXES

from .command import command
from .scripts import ROOT

PAGE = (ROOT / "docs" / "suites.md").read_text(encoding="utf-8")
((FILE, SUITE),) = re.findall(r"```yaml\n# (\S+)\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = re.findall(r"^\$ pnnbench (.*)$", PAGE, re.MULTILINE)
QUIET = ("--pictures", "false")


def table(title: str) -> dict[str, list[str]]:
    """The rows of the table below a heading: key to the other cells."""
    part = PAGE.partition(f"## {title}\n")[2].partition("\n## ")[0]
    rows = [line.strip("|").split(" | ") for line in part.splitlines() if line.startswith("| `")]
    return {cells[0].strip(" `"): [c.strip() for c in cells[1:]] for cells in rows}


SUITE_KEYS, ROW_KEYS = table("Keys of a suite"), table("Keys of a row")


def test_every_key_that_is_read_stands_there_and_no_other() -> None:
    assert SUITE_KEYS.keys() == suites._KEYS
    assert ROW_KEYS.keys() == entries._KEYS
    assert {len(cells) for cells in [*SUITE_KEYS.values(), *ROW_KEYS.values()]} == {3}


def test_what_is_needed_is_said_to_be(tmp_path: Path) -> None:
    needed = {key for key, cells in SUITE_KEYS.items() if cells[1] == "needed"}
    suite = {key: value for key, value in yaml.safe_load(SUITE).items() if key in needed}
    path = tmp_path / FILE
    path.write_text(yaml.safe_dump(suite), encoding="utf-8")
    assert len(load_suite(path).jobs) == 8
    for key in needed:
        path.write_text(yaml.safe_dump({k: v for k, v in suite.items() if k != key}))
        with pytest.raises(UserError, match=f"the key '{key}' is missing"):
            load_suite(path)
    path.write_text(yaml.safe_dump({**suite, "methods": [{"label": "BP"}]}))
    with pytest.raises(UserError, match="the key 'method' is missing"):
        load_suite(path)
    assert [key for key, cells in ROW_KEYS.items() if cells[1] == "needed"] == ["method"]


def test_the_values_are_those_that_there_are() -> None:
    def named(key: str) -> set[str]:
        return set(re.findall(r"`([\w-]+)`", SUITE_KEYS[key][0]))

    assert named("protocol") == set(PROTOCOLS)
    assert named("precision") == set(PRECISIONS)
    assert named("axes") == set(AXES)


def test_the_flags_are_those_of_run() -> None:
    flags = re.findall(r"^\| `(--[a-z-]+)", PAGE, re.MULTILINE)
    (run,) = (command for command in DECLARED if command.name == "run")
    assert len(flags) == 5
    assert set(flags) <= {argument.name for argument in run.arguments}


def test_its_commands_run(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(SUITE, encoding="utf-8")
    lines = [line.split() for line in COMMANDS]
    lines = [[*words, *QUIET] if words[0] == "run" else words for words in lines]
    planned, _, board = (command(*words, cwd=tmp_path).out for words in lines)
    assert "8 of 8 jobs would run" in planned
    assert "mine · mrr-digits · smoke" in board
    suite = load_suite(tmp_path / FILE)
    assert {job.method.label: job.epochs for job in suite.jobs}["BP, equal gradients"] == 2
