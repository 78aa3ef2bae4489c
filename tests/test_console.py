from __future__ import annotations

import io
import os
import sys

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
