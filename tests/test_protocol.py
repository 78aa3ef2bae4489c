"""The page of the protocol says what the code says, and the tests that it names exist."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

import pytest

from .scripts import load_script

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return load_script("scripts/protocol.py")


def test_the_page_is_what_the_code_says(script: ModuleType) -> None:
    assert script.PAGE.read_text(encoding="utf-8") == script.page()


def test_every_test_that_it_names_is_there(script: ModuleType) -> None:
    named = script.tests_named(script.page())
    assert len(named) > 60
    for file, name in named:
        text = (ROOT / file).read_text(encoding="utf-8")
        assert re.search(rf"^def {name}\(", text, re.MULTILINE), (file, name)
