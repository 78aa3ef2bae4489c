"""The examples of docs/methods.md, run as a reader would run them."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from pnnbench.running.training import quiet
from pnnbench.submitting.conformance import check_method

from ..conftest import REPO_ROOT

TEXT = (REPO_ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
*CLASSES, SCRIPT = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


@pytest.fixture
def guide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The file that the page says to write, in the present folder."""
    (tmp_path / "my_methods.py").write_text("\n\n".join(CLASSES))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("my_methods")
    sys.modules.pop("my_methods")


@pytest.mark.parametrize("name", ["Shrinking", "TwoOptimizers", "OnePlusOne", "RandomSearch"])
def test_the_methods_of_the_page_pass_every_check(guide: ModuleType, name: str) -> None:
    results = check_method(getattr(guide, name))
    assert [r.message for r in results if not r.passed] == []


def test_the_script_of_the_page_runs(guide: ModuleType, tmp_path: Path) -> None:
    found: dict[str, Any] = {"__name__": "script"}
    with quiet():
        exec(compile(SCRIPT, "docs/methods.md", "exec"), found)  # noqa: S102
    assert sum(len(part) for part in found["outputs"]) == 360
    assert list((tmp_path / "checkpoints").glob("*.ckpt"))
