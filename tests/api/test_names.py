"""Names with one line each, read from the sources."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from pnnbench.api import names
from pnnbench.registry import SUITES, registered

from ..test_registry import install

READERS = {
    "methods": names.list_methods,
    "platforms": names.list_platforms,
    "workloads": names.list_workloads,
}


@pytest.mark.parametrize("kind", sorted(READERS))
def test_the_lines_are_those_of_the_classes(kind: str) -> None:
    found = READERS[kind]()
    assert list(found) == list(registered(kind))
    for name, point in registered(kind).items():
        assert found[name] == point.load().__doc__.strip().splitlines()[0]
        assert found[name]


def test_suites_have_what_they_are_for() -> None:
    found = names.list_suites()
    assert set(found) == {path.stem for path in SUITES.glob("*.yaml")}
    assert found["quickstart"] == "Embedded digits on a microring network"


def test_data_sets_are_those_that_can_be_loaded() -> None:
    assert {"digits", "mnist"} <= set(names.list_data())


def test_another_packages_class_is_described_without_importing_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "otherlab_names"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('imported')\n")
    (package / "method.py").write_text('class Mine:\n    """Does mine.\n\n    More.\n    """\n')
    install(tmp_path, "otherlab", "pnnbench.methods", "mine = otherlab_names.method:Mine")
    monkeypatch.syspath_prepend(tmp_path)
    assert names.list_methods()["mine"] == "Does mine."
    assert "otherlab_names" not in sys.modules


def point(value: str) -> EntryPoint:
    return EntryPoint("x", value, "pnnbench.methods")


def test_a_class_that_stands_elsewhere_is_asked_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "names_made.py").write_text('Made = type("Made", (), {"__doc__": "Was made."})\n')
    (tmp_path / "names_broken.py").write_text("1 / 0\n")
    (tmp_path / "names_syntax.py").write_text("class (\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert names.summary(point("names_made:Made")) == "Was made."
    for broken in ("names_broken:X", "names_syntax:X", "no.such.module:X"):
        assert names.summary(point(broken)) == ""
