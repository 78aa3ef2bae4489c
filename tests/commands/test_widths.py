"""What commands print fits the terminal."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ..command import Done

pty = pytest.importorskip("pty", reason="needs pseudo-terminals")


def shown(columns: int, *words: str, cwd: Path) -> list[str]:
    """The lines that a command shows on a terminal so wide."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "pnnbench", *words],
        cwd=cwd,
        stdout=slave,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "COLUMNS": str(columns), "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    os.close(slave)
    read = b""
    try:
        while part := os.read(master, 65536):
            read += part
    except OSError:  # the other end is closed
        pass
    os.close(master)
    assert process.wait() == 0
    return read.decode().replace("\r", "").splitlines()


@pytest.mark.parametrize(
    "columns",
    [40, pytest.param(60, marks=pytest.mark.slow), pytest.param(80, marks=pytest.mark.slow)],
)
@pytest.mark.parametrize(
    "words",
    [
        ("list",),
        ("list", "runs"),
        ("leaderboard",),
        ("sharpness", "tiny/BP/0"),
        pytest.param(("run", "tiny.yaml", "--dry-run"), marks=pytest.mark.slow),
    ],
    ids=" ".join,
)
def test_lines_fit_the_terminal(ran: tuple[Path, Done], columns: int, words: tuple[str]) -> None:
    lines = shown(columns, *words, cwd=ran[0])
    assert len(lines) > 2
    long = [line for line in lines if len(line) > columns and " " in line.strip()]
    assert long == []
