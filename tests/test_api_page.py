"""The page on the Python interface runs, block after block, and uses nothing but that interface."""

from __future__ import annotations

import ast
import importlib.util
import re
from pathlib import Path

import pytest

import pnnbench

PAGE = Path(__file__).resolve().parents[1] / "docs" / "api.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S)
HAS_PANDAS = importlib.util.find_spec("pandas") is not None


def test_it_uses_the_public_names_only() -> None:
    used = set()
    for node in ast.walk(ast.parse("\n".join(BLOCKS))):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            assert ast.unparse(node) == "import pnnbench"
        if isinstance(node, ast.Attribute):
            assert not node.attr.startswith("_")
            if isinstance(node.value, ast.Name) and node.value.id == "pnnbench":
                used.add(node.attr)
    assert used <= set(pnnbench.__all__)
    assert {"train", "evaluate", "load", "load_leaderboard", "load_network", "run"} <= used


def test_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in BLOCKS:
        if "to_pandas" in block and not HAS_PANDAS:
            continue
        exec(compile(block, str(PAGE), "exec"), names)  # noqa: S102
    shown = capsys.readouterr().out
    assert "sat-environment" in shown
    assert "robust %" in shown
    assert "[1/1] mrr-digits  BP  seed 0: start" in shown
    assert {path.name for path in tmp_path.iterdir()} == {"degradation.svg", "runs"}
    assert "<svg" in (tmp_path / "degradation.svg").read_text(encoding="utf-8")
