"""A text is that of the records, but for what another machine rounds otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest

from pnnbench.report.text_check import compare, first_difference

SAME = [
    ("", ""),
    ("robust 97.32 ±0.10", "robust 97.33 ±0.09"),
    ("mean 0.973251234567891", "mean 0.973251234567893"),
    ("p 1.2e-05", "p 1.20000000001e-05"),
    ("p 1.2e-05", "p 1.2e-5"),
]
DIFFERENT = [
    ("robust 97.32", "robust 97.34", 7),
    ("robust 97.32", "robust 97.3", 7),
    ("rank 1", "rank 2", 5),
    ("2000000 updates", "2000001 updates", 0),
    ("rank 1", "rank 1.5", 5),
    ("−1.00", "+1.00", 0),
    ("BP, Adam", "BP, SGD", 4),
    ("a", "ab", 1),
    ("a 1", "a 1 b", 3),
    ("a 1 b", "a 1", 3),
    ("1e300", "1e299", 0),
]


@pytest.mark.parametrize(("stored", "made"), SAME)
def test_rounding_is_no_difference(stored: str, made: str) -> None:
    assert first_difference(stored, made) is None


@pytest.mark.parametrize(("stored", "made", "place"), DIFFERENT)
def test_what_differs_is_found(stored: str, made: str, place: int) -> None:
    found = first_difference(stored, made)
    assert found is not None
    assert found[0] == place


def test_a_finding_shows_both_sides_and_the_line(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text("one\n" + "x" * 500 + " BP 97.3 %\nend\n")
    found = compare(path, "one\n" + "x" * 500 + " NAT 97.3 %\nend\n", "write it")
    assert found is not None
    assert (found.kind, found.path, found.next_step) == ("board", path, "write it")
    assert "line 2 has" in found.message
    assert "BP 97.3 %'" in found.message
    assert "NAT 97.3 %'" in found.message
    assert len(found.message) < 200
    assert compare(path, path.read_text(), "") is None


@pytest.mark.parametrize(("data", "words"), [(None, "is missing"), (b"\xff", "cannot be read")])
def test_what_is_no_text_is_a_finding(tmp_path: Path, data: bytes | None, words: str) -> None:
    if data is not None:
        (tmp_path / "page").write_bytes(data)
    found = compare(tmp_path / "page", "x", "write it")
    assert found is not None
    assert words in found.message
