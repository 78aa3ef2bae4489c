from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pnnbench.errors import UserError
from pnnbench.published.checkpoints import find_checkpoints, read_checkpoint, read_model

SHAPES = {"a": (2, 3), "b": (3,), "steps": ()}


def good() -> dict[str, np.ndarray]:
    return {"a": np.ones((2, 3), np.float32), "b": np.arange(3.0), "steps": np.array(5)}


def test_reads_what_was_written(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "m.npz", **good())
    arrays = read_checkpoint(tmp_path / "m.npz", SHAPES)
    assert set(arrays) == set(SHAPES)
    for name, array in good().items():
        np.testing.assert_array_equal(arrays[name], array)
        assert arrays[name].dtype == array.dtype


def test_optional_names_may_be_absent_and_only_those(tmp_path: Path) -> None:
    model = good()
    del model["steps"]
    np.savez(tmp_path / "m.npz", **model)
    assert set(read_checkpoint(tmp_path / "m.npz", SHAPES, ["steps"])) == {"a", "b"}
    with pytest.raises(UserError, match="no steps"):
        read_checkpoint(tmp_path / "m.npz", SHAPES)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"a": None}, "no a"),
        ({"c": np.ones(2)}, "unknown c"),
        ({"a": np.ones((3, 2))}, r"a has shape \(3, 2\)"),
        ({"b": np.array([1.0, np.nan, 2.0])}, "b holds values that are not finite"),
        ({"b": np.array([1.0, np.inf, 2.0])}, "b holds values that are not finite"),
        ({"b": np.array(["x", "y", "z"])}, "b holds <U1"),
        ({"b": np.ones(3, complex)}, "b holds complex128"),
        ({"b": np.array([{}, [], None], object)}, "not a readable npz"),
    ],
)
def test_wrong_contents_are_user_errors(
    tmp_path: Path, change: dict[str, np.ndarray | None], message: str
) -> None:
    model = {k: v for k, v in (good() | change).items() if v is not None}
    np.savez(tmp_path / "m.npz", **model)
    with pytest.raises(UserError, match=message) as raised:
        read_checkpoint(tmp_path / "m.npz", SHAPES)
    assert "m.npz" in raised.value.what


def test_unreadable_files_are_user_errors(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "whole.npz", a=np.random.default_rng(0).random((2, 3)), b=[1])
    whole = (tmp_path / "whole.npz").read_bytes()
    damaged = bytearray(whole)
    damaged[60:90] = bytes(30)
    method = bytearray(whole)
    method[whole.index(b"PK\x01\x02") + 10] = 99
    contents = {
        "method": bytes(method),
        "empty": b"",
        "text": b"hello",
        "cut": whole[:-40],
        "damaged": bytes(damaged),
    }
    for name, content in contents.items():
        (tmp_path / f"{name}.npz").write_bytes(content)
        with pytest.raises(UserError, match=f"{name}.npz is not a readable npz"):
            read_checkpoint(tmp_path / f"{name}.npz", {"a": (2, 3), "b": (1,)})
    with (tmp_path / "single.npz").open("wb") as file:
        np.save(file, np.ones(3))
    with pytest.raises(UserError, match="single array"):
        read_checkpoint(tmp_path / "single.npz", SHAPES)


def test_finds_npz_files_by_name(tmp_path: Path) -> None:
    for name in ("b.npz", "a.npz", "notes.txt", "c.npz.part"):
        (tmp_path / name).touch()
    (tmp_path / "folder.npz").mkdir()
    assert [p.name for p in find_checkpoints(tmp_path)] == ["a.npz", "b.npz"]
    assert find_checkpoints(tmp_path / "b.npz") == [tmp_path / "b.npz"]


def test_nothing_to_find_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no npz file"):
        find_checkpoints(tmp_path)
    with pytest.raises(UserError, match="no folder"):
        find_checkpoints(tmp_path / "absent")


def test_a_model_may_lack_batch_counts_and_has_no_negative_variance(tmp_path: Path) -> None:
    shapes = {"n.running_mean": (2,), "n.running_var": (2,), "n.num_batches_tracked": ()}
    model = {"n.running_mean": -np.ones(2), "n.running_var": np.zeros(2)}
    np.savez(tmp_path / "m.npz", **model)
    assert set(read_model(tmp_path / "m.npz", shapes)) == set(model)
    np.savez(tmp_path / "m.npz", **model | {"n.running_var": np.array([1.0, -1e-9])})
    with pytest.raises(UserError, match=r"m\.npz: n\.running_var has negative variances"):
        read_model(tmp_path / "m.npz", shapes)
    np.savez(tmp_path / "m.npz", **{"n.running_mean": np.ones(2)})
    with pytest.raises(UserError, match=r"no n\.running_var"):
        read_model(tmp_path / "m.npz", shapes)
