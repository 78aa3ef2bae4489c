from __future__ import annotations

from pathlib import Path

import pytest

from pnnbench.errors import UserError
from pnnbench.running.suite_text import read_yaml


def test_plain_values_come_through_merged_ones_too(tmp_path: Path) -> None:
    path = tmp_path / "suite.yaml"
    path.write_text("a: &a {x: 1, y: [2, 3]}\nb: {<<: *a, x: 4}\n")
    assert read_yaml(path) == {"a": {"x": 1, "y": [2, 3]}, "b": {"x": 4, "y": [2, 3]}}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("seeds: [0]\nmethods: []\nseeds: [1]\n", "line 3: the key 'seeds' stands there twice"),
        ("methods:\n  - {method: sat, rho: 1, rho: 2}\n", "line 2: the key 'rho' stands"),
        ("a: [1\n", "is not YAML"),
        ("a: " + 3000 * "[", "too deep in one another"),
        ("[1, 2]: 3\n", "line 1"),
        ("description: 2024-13-45", "no plain value: ValueError: month must be in 1..12"),
        ("a: 0x_", "no plain value: ValueError"),
        ("a: !!int ''", "no plain value: IndexError"),
        ("a: !!bool maybe", "no plain value: KeyError"),
        ("a: !!timestamp foo", "no plain value: AttributeError"),
        ("a: " + 5000 * "9", "no plain value: ValueError"),
        ("a: !!python/object/apply:os.system [ls]\n", "line 1"),
    ],
)
def test_what_would_be_lost_or_is_none_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "suite.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=f"suite.yaml.*{said}"):
        read_yaml(path)
    with pytest.raises(UserError, match="cannot be read"):
        read_yaml(tmp_path / "none.yaml")
