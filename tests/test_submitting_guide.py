"""The page on submissions: its commands, typed as they stand into an empty folder."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pnnbench.records.verifications import read_verification
from pnnbench.submitting.scaffold import new_method
from pnnbench.submitting.submission import read_submission

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "docs" / "submitting.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
COMMANDS = [line for kind, block in BLOCKS if not kind for line in block.splitlines()]
PYTHON = [block for kind, block in BLOCKS if kind == "python"]


def test_the_loss_of_the_page_is_that_of_the_package(tmp_path: Path) -> None:
    made = new_method("tilted", tmp_path)
    (loss,) = PYTHON
    assert loss in (made / "tilted" / "method.py").read_text(encoding="utf-8")


def test_the_page_names_every_file_of_a_submission() -> None:
    from pnnbench.submitting.bundle import LIMITS

    named = {name for name in LIMITS if f"{name}`" in TEXT}
    assert LIMITS.keys() - named == {"devices.csv", "devices.npz"}


@pytest.mark.slow
def test_its_commands_lead_to_a_verified_submission(tmp_path: Path) -> None:
    """In a folder that holds nothing, with the package installed offline beside it."""
    home, tools, site = (tmp_path / name for name in ("home", "tools", "site"))
    home.mkdir()
    tools.mkdir()
    python = sys.executable
    install = (
        f'cp -r "$3" "{tmp_path}/source" && "{python}" -m pip install --quiet --no-deps --no-index '
        f'--no-build-isolation --disable-pip-version-check --target "{site}" "{tmp_path}/source"'
    )
    for name, what in {
        "pnnbench": f'exec "{python}" -m pnnbench "$@"',
        "pytest": f'exec "{python}" -m pytest "$@"',
        "pip": install,
    }.items():
        (tools / name).write_text(f"#!/bin/sh\nset -e\n{what}\n", encoding="utf-8")
        (tools / name).chmod(0o755)
    settings = {
        **os.environ,
        "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": f"{site}{os.pathsep}{ROOT}",
        "OMP_NUM_THREADS": "1",
        "WANDB_MODE": "disabled",
    }
    assert [line.split()[0] for line in COMMANDS].count("pnnbench") == 7
    shown = []
    for line in COMMANDS:
        done = subprocess.run(
            ["/bin/sh", "-c", line],
            cwd=home,
            env=settings,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        shown.append(done.stdout)
    told, _ = read_submission(home / "received")
    assert told.card.authors == ("Your Full Name",)
    assert told.row.method == "tilted"
    assert len(told.seeds) == 3
    assert told.settings_tried >= 4
    assert told.check.failed == 0
    assert "Tilted: confirmed; badges: claimed, recomputed" in shown[-2]
    assert read_verification(home / "retrained.json")["badges"] == ["claimed", "retrained"]
    assert "same bits" in shown[-1]
    search = json.loads((home / "received" / "search.json").read_text(encoding="utf-8"))
    assert search["suite"] == "tilted"
