"""The public surface: which names, with which texts, and what importing them imports."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

import pnnbench

ROOT = Path(__file__).resolve().parents[1]
NAMES = [
    "DataSet", "Leaderboard", "PhysicalLayer", "Results", "TrainedNetwork", "TrainingMethod",
    "UserError", "Workload", "__version__", "evaluate", "list_data", "list_methods",
    "list_platforms", "list_suites", "list_workloads", "load", "load_data", "load_leaderboard",
    "load_network", "method", "physical", "run", "train", "tune", "workload",
]  # fmt: skip
HEAVY = ["torch", "lightning", "numpy", "matplotlib", "scipy", "pandas", "torchmetrics"]


def found(name: str) -> object:
    """A public name, which its module has under the same one."""
    assert hasattr(importlib.import_module(pnnbench._HOMES[name]), name)
    return getattr(pnnbench, name)


def test_the_names_are_these() -> None:
    assert sorted(pnnbench.__all__) == sorted(NAMES)
    assert set(NAMES) <= set(dir(pnnbench))


def test_no_name_is_that_of_a_part_of_the_package() -> None:
    """Importing a part would put itself in the name's place."""
    parts = {path.stem for path in (ROOT / "pnnbench").iterdir()}
    assert not parts & (set(NAMES) - {"__version__"})


@pytest.mark.parametrize("name", [n for n in NAMES if n != "__version__"])
def test_each_has_a_text_that_names_its_arguments(name: str) -> None:
    what = found(name)
    text = inspect.getdoc(what)
    assert text
    if inspect.isfunction(what):
        assert what.__module__.startswith("pnnbench.")
        for argument in inspect.signature(what).parameters:
            assert re.search(rf"^ +\**{argument}: ", text, re.M), argument


def test_another_name_is_no_name() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'trian'"):
        pnnbench.trian  # noqa: B018


def test_editors_and_type_checkers_see_the_same_names() -> None:
    tree = ast.parse((ROOT / "pnnbench" / "__init__.py").read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {
        alias.name: node.module for node in block.body if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }  # fmt: skip
    assert seen == pnnbench._HOMES


@pytest.mark.parametrize(
    "code",
    [
        "import pnnbench",
        "import pnnbench; [getattr(pnnbench, f'list_{k}')() for k in "
        "('methods', 'platforms', 'workloads', 'data', 'suites')]",
        "from pnnbench.cli import main; main(['list'])",
    ],
)
def test_nothing_heavy_is_imported_before_it_is_used(code: str, tmp_path: Path) -> None:
    asked = f"{code}\nimport sys\nprint('loaded', sorted(set({HEAVY}) & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", asked], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert done.stdout.splitlines()[-1] == "loaded []"


def test_the_version_stands_in_one_place() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["dynamic"] == ["version"]
    assert "version" not in project["project"]
    attribute = project["tool"]["setuptools"]["dynamic"]["version"]
    assert attribute == {"attr": "pnnbench.__version__"}
    assert version("pnnbench") == pnnbench.__version__
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.findall(r"^version: (\S+)$", citation, re.M) == [pnnbench.__version__]
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (\S+)", changes, re.M)[0] == pnnbench.__version__
