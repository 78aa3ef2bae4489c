from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios

import pytest

from pnnbench.console import Console, duration, speak_plainly


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (40.2, "40 s"), (90, "2 min"), (7199, "2 h"), (12_000, "3 h 20 min")],
)
def test_durations_read(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_signs_that_an_encoding_lacks_become_words() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    speak_plainly(stream)
    stream.write("λmax ±1 ─ ü")
    stream.flush()
    assert raw.getvalue() == b"lambda_max +-1 - ?"


def test_elsewhere_than_on_a_terminal_lines_are_plain(capsys: pytest.CaptureFixture[str]) -> None:
    with Console(2) as console:
        console.say("epoch 1/2")
        console.share(0.5)
        console.advance()
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].endswith("epoch 1/2")
    assert "1 of 2 jobs" in lines[1]
    assert "left" in lines[1]


def test_where_nobody_reads_any_more_work_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as gone, monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", gone)
        console = Console()
        console.say("nobody reads")
        console.say("nor this")


def on_terminal(code: str, lines: int) -> str:
    """Standard error of a program whose standard error is a terminal."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, 100, 0, 0))
    with subprocess.Popen(
        [sys.executable, "-c", code], stderr=slave, stdout=subprocess.DEVNULL
    ) as run:
        os.close(slave)
        shown = b""
        try:
            while part := os.read(master, 65536):
                shown += part
        except OSError:  # the other end is closed
            pass
        os.close(master)
        assert run.wait() == 0
    return shown.decode()


CODE = """
import time
from pnnbench.console import Console
with Console(2) as console:
    console.say("epoch 1/2")
    for share in (0.25, 0.5, 0.4):
        time.sleep(0.15)
        console.share(share)
    console.say("first line\\nsecond line")
    console.advance()
    time.sleep(0.15)
    console.advance()
"""


def test_the_bar_moves_within_a_job_and_never_back() -> None:
    shown = on_terminal(CODE, 30)
    done = [float(n) for n in re.findall(r"(\d\.\d)/2 jobs", shown)]
    assert done == sorted(done)
    assert {0.0, 1.0, 2.0} < set(done), "it stops between jobs too"
    assert "left, epoch 1/2" in shown
    assert "first line" in shown
    assert "second line" in shown


def test_a_terminal_without_a_size_gets_lines() -> None:
    shown = on_terminal(CODE, 0)
    assert "1 of 2 jobs, about" in shown
    assert "%" not in shown
