"""Labels of rows that strangers choose."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pnnbench.errors import UserError
from pnnbench.registry import registered
from pnnbench.running.labels import check_owner, strange_character

GOOD = ["BP", "SAT, equation 4 as printed", "DFA (λ = 0.3 ± 0.1)", "Müller's, ×2", "a–b", "σ-NAT"]
LOOK_ALIKE = {
    "Cyrillic": "\u0412\u0420", "Greek capitals": "\u0392\u03a1", "wide": "\uff22\uff30",
    "a mark over a letter": "B\u0332P", "a blank that is no space": "BP\u00a0",
    "Braille": "BP\u2800", "a filler": "B\u3164P",
    "small capitals": "\u0299\u1d18", "a space at the end": "BP ",
    "a space before": " BP", "two spaces": "SAT,  adaptive", "a variation": "BP\ufe0f",
    "mathematical": "\U0001d401\U0001d40f", "an accent apart": "Mu\u0308ller",
    "a hyphen that is none": "SAT\u2011a", "Lisu": "\ua4d0\ua4d1",
}  # fmt: skip


@pytest.mark.parametrize("label", GOOD)
def test_labels_of_plain_letters_are_taken(label: str) -> None:
    assert strange_character(label) is None


@pytest.mark.parametrize("label", LOOK_ALIKE.values(), ids=LOOK_ALIKE)
def test_labels_that_look_like_others_are_told(label: str) -> None:
    assert strange_character(label) is not None


@given(st.text(min_size=1, max_size=8))
def test_what_is_taken_is_seen(label: str) -> None:
    if strange_character(label) is None:
        assert label.isprintable()
        assert label == " ".join(label.split())


@pytest.mark.parametrize(
    ("label", "method"),
    [
        *(
            (label, "mine.Evil")
            for label in ("BP", "bp", "B-P", "SAT, adaptive", "BP on weights", "SAT in situ")
        ),
        ("Optical pruning", "mine.Evil"),
        ("SAT", "bp"),
        ("BP on weights", "bp"),
    ],
)
def test_the_name_of_another_method_is_refused(label: str, method: str) -> None:
    with pytest.raises(UserError, match="the name of the method"):
        check_owner(label, method)


@pytest.mark.parametrize(
    ("label", "method"),
    [
        ("Mine", "mine.Evil"), ("BPX", "mine.Evil"), ("Mine, like BP", "mine.Evil"), ("BP", "bp"),
        ("SAT, misalignment", "sat-environment"), ("SAT, adaptive", "sat"),
        ("DAT, internal", "dat-internal"),
    ],
)  # fmt: skip
def test_a_name_of_ones_own_is_taken(label: str, method: str) -> None:
    check_owner(label, method)


def test_methods_may_bear_their_own_names() -> None:
    for name in registered("methods"):
        check_owner(name, name)


def test_the_message_says_where_the_label_stands() -> None:
    with pytest.raises(UserError, match=r"my\.yaml: methods\[1\]\.label is 'SAT'"):
        check_owner("SAT", "bp", "my.yaml: methods[1].label")
