"""``python -m pnnbench`` in a folder that was received."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import pnnbench


@pytest.mark.slow
def test_files_of_the_present_folder_take_the_place_of_no_library(tmp_path: Path) -> None:
    for name in ("yaml", "numpy", "torch"):
        (tmp_path / f"{name}.py").write_text("open('ran', 'w').close()\n")
    home = str(Path(pnnbench.__file__).resolve().parents[1])
    command = [sys.executable, "-m", "pnnbench", "list", "methods"]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": home},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "bp" in done.stdout
    assert not (tmp_path / "ran").exists()
