"""Right or wrong of each image: what is written comes back, and other files are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as hs
from safetensors.numpy import load_file, save

from pnnbench.errors import UserError
from pnnbench.records.outcomes import FILE, TENSOR, read_outcomes, write_outcomes
from pnnbench.records.store import file_sha256


def record_of(cells: int, images: int, entry: dict[str, str]) -> dict[str, Any]:
    return {"cells": [{}] * cells, "data": {"n_test": images}, "outcomes": entry}


@settings(max_examples=60, deadline=None, derandomize=True)
@given(cells=hs.integers(0, 9), images=hs.integers(1, 67), seed=hs.integers(0, 99))
def test_what_is_written_comes_back(
    cells: int, images: int, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("job")
    right = np.random.default_rng(seed).random((cells + 1, images)) < 0.5
    entry = write_outcomes(folder, right)
    assert entry == {"file": FILE, "sha256": file_sha256(folder / FILE)}
    record = record_of(cells, images, entry)
    found = read_outcomes(folder / "record.json", record)
    assert found.dtype == np.bool_
    assert (found == right).all()
    stored = load_file(folder / FILE)[TENSOR]
    assert (stored.dtype, stored.shape) == (np.uint8, (cells + 1, -(-images // 8)))


def test_a_published_record_has_them_in_a_folder_of_its_name(tmp_path: Path) -> None:
    right = np.eye(3, dtype=bool)
    record = record_of(2, 3, write_outcomes(tmp_path / "0123456789abcdef", right))
    assert (read_outcomes(tmp_path / "0123456789abcdef.json", record) == right).all()


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    entry = write_outcomes(tmp_path, np.ones((3, 9), dtype=bool))
    with pytest.raises(UserError, match="has no outcomes"):
        read_outcomes(path, {"cells": []})
    with pytest.raises(UserError, match=r"uint8 of shape \(4, 2\)"):
        read_outcomes(path, record_of(3, 9, entry))
    with pytest.raises(UserError, match=r"uint8 of shape \(3, 3\)"):
        read_outcomes(path, record_of(2, 17, entry))
    with pytest.raises(UserError, match="outcomes of shape"):
        write_outcomes(tmp_path, np.ones(3, dtype=bool))
    for data, words in ((b"junk", "holds no outcomes"), (save({"x": np.ones(3)}), "holds no")):
        (tmp_path / FILE).write_bytes(data)
        with pytest.raises(UserError, match="is not the file of the record"):
            read_outcomes(path, record_of(2, 9, entry))
        mine = {"file": FILE, "sha256": file_sha256(tmp_path / FILE)}
        with pytest.raises(UserError, match=words):
            read_outcomes(path, record_of(2, 9, mine))
    (tmp_path / FILE).unlink()
    with pytest.raises(UserError, match="cannot be read"):
        read_outcomes(path, record_of(2, 9, entry))
