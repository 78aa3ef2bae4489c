"""Progress on a terminal and elsewhere; words for signs; durations."""

from __future__ import annotations

import io
import os
import re
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pnnbench.console import Console, duration, hush, shortened, speak_plainly
from tests.conftest import terminal

LINE = "[1/4] mrr-digits  SAT, adaptive  seed 0: epoch 3/20  loss 0.1234"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"), (89.4, "89 s"), (90, "2 min"), (600, "10 min"), (7199, "2 h"),
        (7200, "2 h"), (7260, "2 h 1 min"), (12_000, "3 h 20 min"),
    ],
)  # fmt: skip
def test_durations_are_for_people(seconds, text):
    assert duration(seconds) == text


@given(st.floats(0, 1e6))
def test_beside_hours_stand_less_than_sixty_minutes(seconds):
    minutes = re.search(r" h (\d+) min", duration(seconds))
    assert minutes is None or 0 < int(minutes[1]) < 60


def test_a_line_is_shortened_to_what_it_says():
    assert shortened(LINE, 100) == LINE
    assert shortened(LINE, 40) == "epoch 3/20  loss 0.1234"
    assert shortened(LINE, 10) == "epoch 3/2…"
    assert shortened(LINE, 1) == shortened(LINE, 0) == shortened(LINE, -5) == ""


@given(st.text(max_size=80), st.integers(-3, 100))
def test_a_shortened_line_has_room(line, room):
    short = shortened(line, room)
    assert len(short) <= max(room, 0)
    assert short.removesuffix("…") in line


def test_elsewhere_each_line_has_its_time_and_jobs_tell_what_is_left(capsys):
    with Console(3, 1) as console:
        console.say(LINE)
        console.share(0.5)
        console.advance()
        console.advance()
    lines = capsys.readouterr().err.splitlines()
    assert re.fullmatch(rf" +\d+:\d\d  {re.escape(LINE)}", lines[0])
    assert re.fullmatch(r" +\d+:\d\d  2 of 3 jobs, about \d+ s left", lines[1])
    assert len(lines) == 2


def test_a_closed_stream_is_left_alone(monkeypatch):
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as gone:
        monkeypatch.setattr(sys, "stderr", gone)
        console = Console()
        console.say("nobody reads")
        console.say("nor this")
        monkeypatch.undo()


def test_a_stream_without_a_file_is_hushed_too():
    hush(io.StringIO())


def shown(columns, monkeypatch, lines=(LINE,)):
    """What the bar showed, one text for each time it was drawn."""
    with terminal(columns) as (stream, written), monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", stream)
        with Console(4, 1) as console:
            for line in lines:
                console.say(line)
            console.share(0.5)
            console.share(0.25)  # never back
            console.advance()
    return re.split(r"[\r\n]+", written[0])


@pytest.mark.parametrize("columns", [40, 60, 80, 120])
def test_the_bar_moves_within_a_job_and_fits_the_terminal(columns, monkeypatch):
    states = shown(columns, monkeypatch)
    assert max(map(len, states)) <= columns
    shares = [float(n) for n in re.findall(r"([\d.]+)/4 jobs", "\n".join(states))]
    assert shares[0] == 1.0
    assert shares[-1] == 2.0
    assert shares == sorted(shares)
    assert all(" left" in state for state in states if "jobs" in state)


@pytest.mark.parametrize(("columns", "text"), [(60, "epoch 3/20  loss 0.1234"), (150, LINE)])
def test_beside_the_bar_stands_what_goes_on(columns, text, monkeypatch):
    assert any(state.rstrip().endswith(f", {text}") for state in shown(columns, monkeypatch))


def test_what_has_several_lines_stays_on_the_terminal(monkeypatch):
    states = shown(80, monkeypatch, ["error: RuntimeError\n  my.py, line 3, in loss: x"])
    assert "  my.py, line 3, in loss: x" in [state.rstrip() for state in states]


def test_nothing_to_do_shows_no_bar(monkeypatch):
    with terminal(80) as (stream, written), monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", stream)
        with Console(2, 2):
            pass
    assert written[0] == ""


@pytest.mark.parametrize(
    ("text", "plain"),
    [("71 ±2 °C", "71 +-2 degC"), ("λmax · −3 × µ", "lambda_max . -3 x u"), ("漢", "?")],
)
def test_signs_become_words(text, plain):
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    speak_plainly(stream)
    stream.write(text)
    stream.flush()
    assert raw.getvalue() == plain.encode()


def test_an_encoding_that_has_the_signs_keeps_them():
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="utf-8")
    speak_plainly(stream, io.StringIO())
    stream.write("±λ°")
    stream.flush()
    assert raw.getvalue().decode() == "±λ°"
