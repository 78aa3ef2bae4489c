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

import pnnbench
from pnnbench.errors import UserError
from pnnbench.methods.base import TrainingMethod
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


def test_every_attribute_that_a_class_may_declare_stands_there() -> None:
    declared = {
        name
        for name, kind in vars(TrainingMethod)["__annotations__"].items()
        if "ClassVar" in str(kind)
    }
    part = TEXT.partition("| attribute of the class |")[2].partition("\n\n")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", part, re.MULTILINE)) == declared
    rows = dict(re.findall(r"^\| `(\w+)` \| `([^`]*)` \|", part, re.MULTILINE))
    assert len(rows) == 6  # laws are told in words
    for name, default in rows.items():
        assert getattr(TrainingMethod, name) == eval(default), name  # noqa: S307 - our own text


def test_what_a_method_may_call_is_there() -> None:
    workload = pnnbench.workload("mrr-digits")
    called = set(re.findall(r"`workload\.(\w+)", TEXT))
    assert {"controls", "outputs_at", "extra_pass", "ball_scale"} <= called
    assert [name for name in sorted(called) if not hasattr(workload, name)] == []
    part = TEXT.partition("| on the method |")[2].partition("\n\n")[0]
    own = re.findall(r"^\| `(?:self\.)?(\w+)", part, re.MULTILINE)
    method = TrainingMethod(0.1)
    known = {*dir(TrainingMethod), *vars(method)}
    assert set(own) <= known


def test_the_multiple_of_a_radius_is_the_stated_one() -> None:
    workload = pnnbench.workload("mrr-digits")
    multiple, control = re.search(r"`rho` is ([\d.]+) mA, ([\d.]+) mA times", TEXT).groups()
    assert f"{workload.ball_scale.value:.2f}" == multiple
    assert f"{workload.control_scale.value:.2f}" == control
    with pytest.raises(UserError, match=f"multiples of {multiple} mA"):
        pnnbench.method("sat", rho="0.3 rad").check(workload)
