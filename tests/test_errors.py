"""What a user sees of a mistake: the words, the hint, the place."""

from __future__ import annotations

import errno
import runpy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pnnbench.errors import (
    DiskFullError,
    UserError,
    check_count,
    check_pair,
    check_range,
    counted,
    did_you_mean,
    disk_full,
    failure_text,
    fold,
    kind_word,
    outcome_text,
    own_frames,
    unknown_name,
    writing,
)
from pnnbench.running.training import DivergedError


def test_a_mistake_is_up_to_three_lines():
    assert str(UserError("x is 3")) == "x is 3"
    assert str(UserError("x is 3", allowed="1, 2", next_step="pnnbench list")) == (
        "x is 3\n  allowed: 1, 2\n  next:    pnnbench list"
    )


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("satt", "; did you mean 'sat'?"),
        ("BP_Weihts", "; did you mean 'bp-weights'?"),
        ("NAT", "; did you mean 'nat'?"),
        ("zzzzzz", ""),
    ],
)
def test_the_closest_name_is_a_hint(name, hint):
    assert did_you_mean(name, ["sat", "bp-weights", "nat"]) == hint


@given(st.lists(st.text("abc-_", min_size=1), min_size=1), st.data())
def test_a_name_in_another_spelling_is_always_meant(names, data):
    name = data.draw(st.sampled_from(names))
    hint = did_you_mean(name.upper().replace("-", "_"), names)
    meant = hint.removeprefix("; did you mean '").removesuffix("'?")
    assert fold(meant) == fold(name)


def test_an_unknown_name_lists_what_there_is():
    error = unknown_name("method", "satt", {"sat": 1, "bp": 2}, where="--add", next_step="look")
    assert error.what == "--add: unknown method 'satt'; did you mean 'sat'?"
    assert (error.allowed, error.next_step) == ("bp, sat", "look")
    many = unknown_name("row", "x", [f"row{i:02d}" for i in range(40)])
    assert many.allowed.startswith("row00, row01")
    assert many.allowed.endswith("row23 and 16 more")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (1.5, "a number"), (True, "a truth value (true, false)"), ("x", "a text"),
        ([1], "a list"), ((1,), "a list"), ({}, "a mapping"), (None, "nothing"),
        (int, "an integer"),
    ],
)  # fmt: skip
def test_kinds_have_plain_words(value, words):
    assert kind_word(value) == words


@pytest.mark.parametrize(("count", "words"), [(0, "0 jobs"), (1, "1 job"), (2, "2 jobs")])
def test_one_is_no_plural(count, words):
    assert counted(count, "job") == words


@pytest.mark.parametrize(
    ("status", "kind", "message", "text"),
    [
        ("error", "KeyError", "'loss'", "error: KeyError: 'loss'"),
        ("error", "UserError", "x is 3\n  allowed: 1", "error: x is 3\n  allowed: 1"),
        ("diverged", "DivergedError", "the loss is nan", "diverged: the loss is nan"),
        ("timeout", "JobTimeoutError", "too long", "timeout: too long"),
        ("killed", "KeyboardInterrupt", "", "killed"),
    ],
)
def test_an_outcome_says_each_thing_once(status, kind, message, text):
    assert outcome_text(status, {"type": kind, "message": message}) == text


def raised(path, code):
    """What running a user's file raises."""
    path.write_text(code)
    with pytest.raises(BaseException) as caught:  # noqa: PT011 - whatever it is
        runpy.run_path(str(path))
    return caught.value


def test_the_last_places_in_the_users_file_are_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    error = raised(
        tmp_path / "mine.py",
        "import torch\n\n"
        "def outer():\n    middle()\n\n"
        "def middle():\n    inner()\n\n"
        "def inner():\n    torch.zeros(2) @ torch.zeros(3)\n\n"
        "outer()\n",
    )
    places = [
        "mine.py, line 7, in middle: inner()",
        "mine.py, line 10, in inner: torch.zeros(2) @ torch.zeros(3)",
    ]
    assert own_frames(error) == places
    assert own_frames(error, 1) == places[1:]
    first, *rest = failure_text(error).splitlines()
    assert "size" in first
    assert rest == [f"  {place}" for place in places]


def test_frames_of_the_libraries_are_left_out(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    error = raised(tmp_path / "mine.py", "import json\n\njson.loads('{')\n")
    assert own_frames(error, 5)[-1] == "mine.py, line 3, in <module>: json.loads('{')"


def test_a_syntax_error_has_its_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    error = raised(tmp_path / "mine.py", "x = 1\nif x = 2:\n    pass\n")
    assert own_frames(error)[-1] == "mine.py, line 2: if x = 2:"
    text = failure_text(error)
    assert text.startswith("invalid syntax")
    assert "(mine.py, line 2)" not in text.splitlines()[0]


def test_an_error_without_words_is_told_by_its_class(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    error = raised(tmp_path / "mine.py", "x = 1\nassert x == 2\n")
    first, *_, last = failure_text(error).splitlines()
    assert (first, last) == (
        "Assertion failed.",
        "  mine.py, line 2, in <module>: assert x == 2",
    )
    assert failure_text(KeyboardInterrupt()) == "Program interrupted by user."


def test_errors_of_this_package_need_no_place_in_it():
    with pytest.raises(UserError) as wrong:
        check_count("n", 0)
    assert failure_text(wrong.value) == str(wrong.value)
    inside = compile("raise error", "/pnnbench/inside.py", "exec")
    for error, text in (
        (DivergedError("the loss is nan"), "the loss is nan"),
        (ValueError("no"), "no\n  /pnnbench/inside.py, line 1, in <module>:"),
    ):
        with pytest.raises(type(error)) as caught:
            exec(inside, {"__name__": "pnnbench.inside", "error": error})  # noqa: S102
        frame = caught.value.__traceback__
        assert frame is not None  # of this test: not what a user would have
        assert failure_text(error.with_traceback(frame.tb_next)).strip() == text


def test_long_messages_are_cut():
    assert len(failure_text(ValueError("x" * 5000))) == 1000


def test_a_full_disk_is_known_wherever_it_stands(tmp_path):
    full = OSError(errno.ENOSPC, "No space left on device")
    outer = RuntimeError("could not save")
    outer.__cause__ = full
    assert disk_full(full)
    assert disk_full(outer)
    assert not disk_full(OSError(errno.EACCES, "no"))
    with pytest.raises(DiskFullError, match=r"a\.bin could not be written"), writing("a.bin"):
        raise full
    with pytest.raises(PermissionError), writing("a.bin"):
        raise PermissionError(errno.EACCES, "no")


@given(st.floats(allow_nan=True))
def test_a_number_is_in_its_range_or_refused(value):
    if 0.0 < value <= 1.0:
        assert check_range("rho", value, low=0, high=1, low_open=True) == value
    else:
        with pytest.raises(UserError, match=r"allowed: a number in \(0, 1\] mA"):
            check_range("rho", value, low=0, high=1, low_open=True, unit="mA")


@pytest.mark.parametrize("value", [True, "1", None, [1]])
def test_what_is_no_number_is_refused(value):
    with pytest.raises(UserError, match="which is not a number"):
        check_range("rho", value)
    with pytest.raises(UserError, match="an integer from 1 to"):
        check_count("n", value)


@pytest.mark.parametrize("value", [(1,), (1, 2, 3), [1, 2], 3, (0, 1), (1, 2.0)])
def test_a_pair_is_two_integers(value):
    check_pair("size", (1, 2))
    with pytest.raises(UserError, match="size is"):
        check_pair("size", value)
