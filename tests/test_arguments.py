"""Kinds of values, the spelling of flags, and one readable error for each mistake."""

from __future__ import annotations

import contextlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pnnbench.arguments import (
    Argument,
    Command,
    build,
    choice,
    factor,
    integer,
    integers,
    mapping,
    parse,
    spelled,
    text,
    yes_or_no,
)
from pnnbench.errors import UserError

COMMANDS = (
    Command(
        "go",
        "Go.",
        (
            Argument("where", "Place.", text("a place", "PLACE")),
            Argument("rest", "Others.", text("a place", "PLACE"), default=[], many=True),
            Argument("--how-far", "Distance.", integer(0, 9), 0),
            Argument("--params", "Settings.", mapping(), many=True),
            Argument("--dry-run", "Do not."),
            Argument("--mood", "Mood.", choice("well", "badly", "in-between"), "well"),
        ),
    ),
    Command("stay", "Stay.", (Argument("here", "Place.", choice("a", "b"), optional=True),)),
)


def parsed(*words):
    found = parse(build("trip", "Trips.", "1", COMMANDS), COMMANDS, words)
    return found[found.command]


def refused(*words):
    with pytest.raises(UserError) as caught:
        parsed(*words)
    return caught.value


@given(st.integers(-100, 100))
def test_an_integer_is_in_its_range_or_refused(number):
    kind = integer(0, 9)
    if 0 <= number <= 9:
        assert kind.read("--n", str(number)) == number
    else:
        with pytest.raises(UserError, match=f"--n is {number}\n  allowed: an integer from 0 to 9"):
            kind.read("--n", str(number))


@pytest.mark.parametrize("given_text", ["", "1.5", "one", "1e3", "0x1", "nan", "1,2"])
def test_what_is_no_integer_is_refused(given_text):
    with pytest.raises(UserError, match="allowed: an integer from 0 to 9"):
        integer(0, 9).read("--n", given_text)


@pytest.mark.parametrize("given_text", ["0", "-1", "nan", "inf", "1001", "much", ""])
def test_a_factor_is_above_zero_and_finite(given_text):
    with pytest.raises(UserError, match="allowed: a number above 0, up to 1000"):
        factor(1000).read("--x", given_text)
    assert factor(1000).read("--x", "1e-3") == 0.001


@given(st.lists(st.integers(0, 99), min_size=1, unique=True))
def test_integers_come_back_as_they_were_given(numbers):
    assert integers(0, 99).read("--seeds", ",".join(map(str, numbers))) == numbers


@given(st.integers(0, 99), st.integers(0, 99))
def test_a_range_of_integers(first, last):
    if first <= last:
        assert integers(0, 99).read("--s", f"{first}-{last}") == [*range(first, last + 1)]
    else:
        with pytest.raises(UserError):
            integers(0, 99).read("--s", f"{first}-{last}")


@pytest.mark.parametrize(
    "given_text", ["", "-1", "0-", "-", "a", "1,,2", "0,100", "0-100", "1,1", "0-2,1", "1.5"]
)
def test_wrong_integers_are_refused(given_text):
    with pytest.raises(UserError, match="such as 0,1,2 or 0-4"):
        integers(0, 99).read("--seeds", given_text)


def test_a_choice_in_any_spelling():
    kind = choice("well", "in-between")
    assert [kind.read("--m", t) for t in ("WELL", "in_between")] == ["well", "in-between"]
    with pytest.raises(UserError, match=r"--m is 'wel'; did you mean 'well'\?"):
        kind.read("--m", "wel")


@pytest.mark.parametrize(
    ("given_text", "value"),
    [("true", True), ("NO", False), ("1", True), ("0", False), ("yes", True), ("False", False)],
)
def test_yes_or_no(given_text, value):
    assert yes_or_no().read("--p", given_text) is value
    with pytest.raises(UserError, match="allowed: true, false"):
        yes_or_no().read("--p", "maybe")


@pytest.mark.parametrize(
    ("given_text", "value"),
    [
        ("{rho: 0.3, adaptive: true}", {"rho": 0.3, "adaptive": True}),
        ('{"rho": 1}', {"rho": 1}),
        ("{lr: 1e-3, also: [2E4, -1.e+2]}", {"lr": 1e-3, "also": [2e4, -100.0]}),
        ("{lr: 0.3 rad, name: 1e}", {"lr": "0.3 rad", "name": "1e"}),
    ],
)
def test_a_mapping_as_people_write_it(given_text, value):
    assert mapping().read("--params", given_text) == value


@pytest.mark.parametrize("given_text", ["{rho", "rho=3", "3", "", "[1]", "{1: 2}", "{: 3}", "!x"])
def test_what_is_no_mapping_is_refused(given_text):
    with pytest.raises(UserError, match=re.escape(f"--params is {given_text!r}")) as caught:
        mapping().read("--params", given_text)
    assert "names and values" in caught.value.allowed


def test_flags_in_every_spelling_and_place():
    for words in (
        ["go", "--how-far", "3", "there"],
        ["go", "there", "--how_far=3"],
        ["GO", "there", "--HOW-FAR", "3"],
        ["go", "--how_far", "3", "--", "there"],
    ):
        found = parsed(*words)
        assert (found.where, found.how_far, found.rest, found.dry_run) == ("there", 3, [], False)
    assert parsed("go", "there", "--dry_run").dry_run
    assert parsed("go", "there").how_far == 0
    assert parsed("stay").here is None
    assert parsed("stay", "B").here == "b"


def test_values_may_look_like_flags_or_numbers():
    assert parsed("go", "--", "--there").where == "--there"
    assert parsed("go", "-1", "-2.5").rest == ["-2.5"]


def test_settings_one_by_one_or_together():
    found = parsed("go", "x", "--params", "{a: 1}", "--params.b", "2e-1", "--params.c=d")
    assert found.params == [{"a": 1}, {"b": 0.2}, {"c": "d"}]


@pytest.mark.parametrize(
    ("words", "what", "allowed"),
    [
        ([], "no command given", "go, stay"),
        (["gone"], "unknown command 'gone'; did you mean 'go'?", "go, stay"),
        (["--vresion"], "unknown flag '--vresion'; did you mean '--version'?", "--help, --version"),
        (["--how-far", "3", "go"], "--how-far stands before the command", "behind the command"),
        (["go"], "WHERE is missing", "a place"),
        (["go", ""], "WHERE is empty", "a place"),
        (["go", "x", "--how"], "unknown flag '--how'; did you mean '--how-far'?", "--dry-run"),
        (["go", "x", "-f"], "unknown flag '-f'", "--how-far"),
        (["go", "x", "--how-far"], "--how-far needs a value", "from 0 to 9"),
        (["go", "x", "--how-far", "--dry-run"], "--how-far needs a value", "from 0 to 9"),
        (["go", "x", "--how-far", "-1"], "--how-far is -1", "from 0 to 9"),
        (["go", "x", "--how-far="], "--how-far is ''", "from 0 to 9"),
        (["go", "x", "--dry-run=1"], "--dry-run takes no value", ""),
        (["go", "x", "--dry-run.a", "1"], "unknown flag '--dry-run.a'", "--dry-run"),
        (["go", "x", "--params."], "--params. needs a value", "names and values"),
        (["stay", "c"], "HERE is 'c'", "a, b"),
        (["stay", "a", "b"], "nothing takes the argument 'b'", ""),
    ],
)
def test_a_mistake_says_what_and_what_is_allowed(words, what, allowed):
    error = refused(*words)
    assert error.what.startswith(what)
    assert allowed in error.allowed
    assert error.next_step or error.allowed
    assert not re.search(r"<class|Python|NoneType|ValueError|Traceback", str(error))


@given(st.lists(st.text(alphabet="-=.ab01_ {}:", max_size=6), max_size=5))
def test_any_command_line_is_parsed_or_refused(words):
    try:
        found = spelled(COMMANDS, ["go", *words])
    except UserError:
        return
    assert found[0] == "go"
    with contextlib.suppress(UserError, SystemExit):  # of a value, or --help
        assert parse(build("trip", "Trips.", "1", COMMANDS), COMMANDS, ["go", *words]).go.where


def test_help_shows_defaults_without_types(capsys):
    with pytest.raises(SystemExit):
        parsed("go", "--help")
    shown = " ".join(capsys.readouterr().out.split())
    assert "--how-far N Distance. Default: 0." in shown
    assert "Mood. Default: well." in shown
    assert "Do not. Default" not in shown
    assert "None" not in shown
