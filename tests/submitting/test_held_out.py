"""Held-out devices: their draw from a secret, their scores, and when they tell a memoriser."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pnnbench.errors import UserError
from pnnbench.seeds import FIRST_TEST_DEVICE
from pnnbench.submitting.held_out import (
    FIRST_SECRET,
    compare,
    scores_by_device,
    secret_cells,
    secret_devices,
)
from pnnbench.submitting.keys import new_key, read_key
from pnnbench.workloads.mrr import MRRDigits


def test_devices_follow_from_key_and_protocol_alone() -> None:
    found = secret_devices(b"a" * 32, "pnnbench-2", 50)
    assert found == secret_devices(b"a" * 32, "pnnbench-2", 50)
    assert found[:10] == secret_devices(b"a" * 32, "pnnbench-2", 10)
    assert len(set(found)) == 50
    assert min(found) >= FIRST_SECRET > 1_000 * FIRST_TEST_DEVICE
    assert not set(found) & set(secret_devices(b"b" * 32, "pnnbench-2", 50))
    assert not set(found) & set(secret_devices(b"a" * 32, "pnnbench-3", 50))


def test_held_out_devices_meet_what_the_public_ones_meet() -> None:
    cells = [cell for cell in MRRDigits().cells("smoke") if cell.counts]
    public = sorted({c.device_seed for c in cells if c.device_seed is not None})
    again = secret_cells(cells, public)
    assert sorted(map(repr, again)) == sorted(map(repr, cells))
    other = secret_cells(cells, [7, 8, 9])
    assert {c.device_seed for c in other} <= {None, 7, 8, 9}
    assert len(other) == len(cells) // 2 * 3


def test_axes_weigh_equally_in_the_score_of_a_device() -> None:
    cells = [cell for cell in MRRDigits().cells("smoke") if cell.counts]
    generator = np.random.default_rng(0)
    values = [float(v) for v in generator.uniform(size=len(cells))]
    found = scores_by_device(cells, values, "frozen")
    assert found is not None
    axes: dict[str, list[float]] = {}
    for cell, value in zip(cells, values, strict=True):
        axes.setdefault(cell.axis, []).append(value)
    assert found.mean() == pytest.approx(np.mean([np.mean(v) for v in axes.values()]))
    assert scores_by_device(cells, [None, *values[1:]], "frozen") is None
    assert scores_by_device([], [], "frozen") is None


@given(st.integers(0, 2**32 - 1), st.floats(0.01, 0.2), st.booleans())
def test_more_of_the_same_draw_is_seldom_told(seed: int, spread: float, higher: bool) -> None:
    """At 99 % in both directions, one in 200 is told; what is told here is far off."""
    generator = np.random.default_rng(seed)
    public, fresh = generator.normal(0.5, spread, (3, 10)), generator.normal(0.5, spread, (3, 20))
    told = compare(list(public), list(fresh), higher)
    assert told["low"] < told["held_out"] < told["high"]
    better = 10.0 * spread * (1 if higher else -1)
    assert compare(list(public + better), list(fresh), higher)["memorised"]
    worse = compare(list(public - better), list(fresh), higher)
    assert worse["differs"]
    assert not worse["memorised"]


def test_one_in_two_hundred_honest_rows_is_told() -> None:
    generator = np.random.default_rng(1)
    told = [
        compare([generator.normal(size=10)], [generator.normal(size=20)], True)["memorised"]
        for _ in range(2_000)
    ]
    assert 1 <= sum(told) <= 25


def test_a_key_is_read_by_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "key"
    new_key(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(read_key(path)) == 32
    with pytest.raises(UserError, match="cannot be made"):
        new_key(path)
    path.chmod(0o640)
    with pytest.raises(UserError, match="others can read it") as caught:
        read_key(path)
    assert "another name" in caught.value.next_step  # nothing is overwritten
    short = tmp_path / "short"
    short.touch(mode=0o600)
    short.write_text("00ff")
    short.chmod(0o600)
    with pytest.raises(UserError, match="is no key"):
        read_key(short)
    (tmp_path / "link").symlink_to(path)
    for name in ("link", "nowhere"):
        with pytest.raises(UserError, match="cannot be read"):
            read_key(tmp_path / name)
