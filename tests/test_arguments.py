from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as hs

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
    text,
    yes_or_no,
)
from pnnbench.errors import UserError

COMMANDS = (
    Command(
        "train",
        "Train.",
        (
            Argument("workload", "Workload.", text("a name", "NAME")),
            Argument("--params", "Parameters.", mapping(), many=True),
            Argument("--tier", "Tier.", choice("smoke", "quick"), "quick"),
            Argument("--epochs-factor", "Epochs.", factor(10), 1.0),
            Argument("--seed", "Seed.", integer(0, 9), 0),
            Argument("--seeds", "Seeds.", integers(0, 9)),
            Argument("--pictures", "Pictures.", yes_or_no(), True),
            Argument("--dry-run", "Dry."),
        ),
    ),
    Command("show", "Show.", (Argument("names", "Names.", text("names", "N"), [], many=True),)),
)


def parsed(*words: str):
    options = parse(build("prog", "A program.", "1.0", COMMANDS), COMMANDS, words)
    return options[str(options.command)]


def test_flags_in_any_spelling() -> None:
    found = parsed("Train", "x", "--Epochs_Factor", "2", "--dry_run", "--tier=QUICK")
    assert (found.workload, found.epochs_factor, found.dry_run, found.tier) == (
        "x",
        2.0,
        True,
        "quick",
    )
    assert parsed("train", "--seed", "3", "--", "-x").workload == "-x"
    assert parsed("show").names == []
    assert parsed("show", "a", "b").names == ["a", "b"]


def test_hyper_parameters_one_by_one_or_together() -> None:
    found = parsed("train", "x", "--params", "{rho: 1}", "--params.lr", "0.3 rad")
    assert found.params == [{"rho": 1}, {"lr": "0.3 rad"}]
    for value, read in (
        ("rotation_deg,shift_x_px", "rotation_deg,shift_x_px"),
        ("{a: 1, b: 2}", {"a": 1, "b": 2}),
        ("[1, 2]", [1, 2]),
        ("true", True),
        ("'1'", "1"),
        ("0.5", 0.5),
    ):
        assert parsed("train", "x", "--params.kind", value).params == [{"kind": read}]


@given(first=hs.integers(0, 9), last=hs.integers(0, 9))
def test_ranges_of_integers(first: int, last: int) -> None:
    word = f"{first}-{last}"
    if first <= last:
        assert parsed("train", "x", "--seeds", word).seeds == list(range(first, last + 1))
    else:
        with pytest.raises(UserError, match="--seeds is"):
            parsed("train", "x", "--seeds", word)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "no command given"),
        (["trian", "x"], "did you mean 'train'"),
        (["train"], "WORKLOAD is missing"),
        (["train", ""], "WORKLOAD is empty"),
        (["train", "x", "--sede", "1"], "did you mean '--seed'"),
        (["train", "x", "-s", "1"], "unknown flag '-s'"),
        (["train", "x", "--seed"], "--seed needs a value"),
        (["train", "x", "--seed", "--dry-run"], "--seed needs a value"),
        (["train", "x", "--seed", "-1"], "--seed is -1"),
        (["train", "x", "--seed", "1.5"], "--seed is '1.5'"),
        (["train", "x", "--seeds", "1,1"], "a number is there twice"),
        (["train", "x", "--seeds", "0-"], "--seeds is '0-'"),
        (["train", "x", "--epochs-factor", "inf"], "--epochs-factor is 'inf'"),
        (["train", "x", "--epochs-factor", "0"], "--epochs-factor is '0'"),
        (["train", "x", "--tier", "quik"], "did you mean 'quick'"),
        (["train", "x", "--pictures", "maybe"], "--pictures is 'maybe'"),
        (["train", "x", "--dry-run=1"], "--dry-run takes no value"),
        (["train", "x", "--params", "[1]"], "--params is"),
        (["train", "x", "--params", "a: ["], "--params is"),
        (["train", "x", "--params", 3000 * "["], "not YAML, or not of plain values"),
        (["train", "x", "--params.rho", "0x_"], "not YAML, or not of plain values"),
        (["train", "x", "--seed.x", "1"], "unknown flag '--seed.x'"),
        (["train", "x", "y"], "nothing takes the argument 'y'"),
    ],
)
def test_mistakes_read_and_name_no_types(words: list[str], message: str) -> None:
    with pytest.raises(UserError) as caught:
        parsed(*words)
    assert message in str(caught.value)
    assert not {"str", "int", "float", "NoneType"} & set(str(caught.value).split())
