from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pnnbench.data.arrays import Arrays, digest_arrays
from pnnbench.data.items import stacked
from pnnbench.errors import UserError


def parts(seed: int = 0) -> dict[str, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    return {
        "train_inputs": torch.randint(0, 256, (6, 1, 3, 2), generator=g, dtype=torch.uint8),
        "train_targets": torch.tensor([0, 1, 2, 0, 1, 2]),
        "test_inputs": torch.randint(0, 256, (2, 1, 3, 2), generator=g, dtype=torch.uint8),
        "test_targets": torch.tensor([2, 0]),
    }


def test_fingerprint_is_pinned_and_ignores_name_and_strides():
    a = parts()
    reference = Arrays("a", **a, n_classes=3)
    strided = {
        key: value.repeat_interleave(2, dim=0)[::2] for key, value in a.items()
    }  # same values, other memory layout
    assert not strided["train_inputs"].is_contiguous()
    assert Arrays("b", **strided, n_classes=3).fingerprint == reference.fingerprint
    assert reference.input_shape == (1, 3, 2)
    # Written out by hand from the documented layout: "name dtype shape\n" and the bytes.
    import hashlib

    blob = b"x int64 (2,)\n" + (1).to_bytes(8, "little") + (258).to_bytes(8, "little")
    expected = "sha256:" + hashlib.sha256(blob).hexdigest()
    assert digest_arrays([("x", torch.tensor([1, 258]))]) == expected


@pytest.mark.parametrize("part", ["train_inputs", "train_targets", "test_inputs", "test_targets"])
def test_fingerprint_follows_every_array(part: str):
    a = parts()
    before = Arrays("a", **a, n_classes=3).fingerprint
    a[part] = a[part].clone()
    a[part].view(-1)[-1] = (a[part].view(-1)[-1] + 1) % 3
    assert Arrays("a", **a, n_classes=3).fingerprint != before


def test_fingerprint_follows_the_shape():
    a = parts()
    before = Arrays("a", **a, n_classes=3).fingerprint
    for part in ("train_inputs", "test_inputs"):
        a[part] = a[part].reshape(-1, 1, 2, 3)
    assert Arrays("a", **a, n_classes=3).fingerprint != before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_inputs": torch.zeros(6, 1, 3, 2)}, r"torch.float32 of shape .* torch.uint8"),
        ({"test_inputs": torch.zeros(2, 3, 2, dtype=torch.uint8)}, r"shape \(3, 2\)"),
        ({"train_targets": torch.zeros(6)}, r"train targets are torch.float32"),
        ({"train_targets": torch.zeros(6, 3).long()}, r"are torch.int64 of shape \(6, 3\)"),
        ({"test_targets": torch.zeros(3, dtype=torch.int64)}, r"2 inputs and targets of shape \(3"),
        ({"test_targets": torch.tensor([0, 3])}, r"test targets run from 0 to 3"),
        ({"train_targets": torch.tensor([0, 1, 2, 0, 1, -1])}, r"targets run from -1"),
        ({"test_inputs": torch.zeros(2, 1, 2, 2, dtype=torch.uint8)}, r"\(1, 2, 2\)"),
        ({"train_inputs": torch.zeros(0, 1, 3, 2, dtype=torch.uint8)}, r"not empty"),
        ({"train_inputs": torch.zeros(6)}, r"at least one dimension behind N"),
        ({"train_inputs": [[1.0], [2.0, 3.0]]}, r"train_inputs are no array"),
        ({"n_classes": 1}, r"n_classes is 1"),
        ({"n_classes": None}, r"train targets are torch.int64 .* n_classes is None"),
        ({"validation_inputs": torch.zeros(1, 1, 3, 2)}, r"has inputs and targets"),
    ],
)
def test_bad_arrays_are_refused(changes: dict, message: str):
    given = {"name": "bad", **parts(), "n_classes": 3} | changes
    with pytest.raises(UserError, match=message):
        Arrays(**given)


@pytest.mark.parametrize("part", ["train", "test"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_is_counted_and_refused(part: str, bad: float):
    given = {**vectors(), "n_classes": None}
    for kind in ("inputs", "targets"):
        broken = given[f"{part}_{kind}"].copy()
        broken.reshape(-1)[1] = bad
        with pytest.raises(UserError, match=rf"{part} {kind}: 1 of {broken.size} numbers are not"):
            Arrays("bad", **{**given, f"{part}_{kind}": broken})


def vectors() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "train_inputs": rng.normal(size=(6, 5)),
        "train_targets": rng.normal(size=(6, 2)),
        "test_inputs": rng.normal(size=(3, 5)),
        "test_targets": rng.normal(size=(3, 2)),
    }


def test_numpy_floats_become_single_and_tensors_keep_their_precision():
    given = vectors()
    single = Arrays("v", **given, n_classes=None)
    assert single.train_inputs.dtype == single.test_targets.dtype == torch.float32
    assert (single.train_inputs.numpy() == given["train_inputs"].astype(np.float32)).all()
    double = Arrays("v", **{k: torch.from_numpy(v) for k, v in given.items()}, n_classes=None)
    assert double.train_inputs.dtype == torch.float64
    assert double.fingerprint != single.fingerprint
    assert (single.input_shape, single.n_classes) == ((5,), None)


@pytest.mark.parametrize("make", [torch.from_numpy, np.asarray], ids=["tensor", "array"])
def test_a_set_keeps_its_contents_when_what_it_was_made_of_changes(make: Callable[..., Any]):
    given = {k: make(v.astype(np.float32)) for k, v in vectors().items()}
    given["train_targets"], given["test_targets"] = make(np.arange(6) % 2), make(np.arange(3) % 2)
    held = {"validation_inputs": given["test_inputs"], "validation_targets": given["test_targets"]}
    found = Arrays("v", **given, n_classes=2, **held)
    kept = {name: getattr(found, name).clone() for name in (*given, *held)}
    for name, value in given.items():
        value *= 0
        assert not np.asarray(getattr(found, name) == torch.as_tensor(value)).all()
    again = Arrays("v", **kept, n_classes=2)
    assert again.fingerprint == found.fingerprint
    assert all(torch.equal(getattr(found, name), kept[name]) for name in kept)


def test_what_was_made_for_a_set_is_not_copied():
    given = parts()
    found = Arrays("a", **given, n_classes=3, own=True)
    assert all(getattr(found, name).data_ptr() == given[name].data_ptr() for name in given)
    assert found.fingerprint == Arrays("a", **given, n_classes=3).fingerprint


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64])
def test_classes_of_any_integers_are_one_set(dtype: type):
    labels = np.array([0, 1, 2, 0, 1, 2], dtype=dtype)
    given = {**vectors(), "train_targets": labels, "test_targets": labels[:3]}
    a = Arrays("v", **given, n_classes=3)
    assert a.train_targets.dtype == torch.int64
    wide = {"train_targets": labels.astype(np.int16), "test_targets": labels[:3].astype(np.int16)}
    assert Arrays("w", **{**given, **wide}, n_classes=3).fingerprint == a.fingerprint


def test_mixing_keeps_pairs_and_makes_heads_and_tails_fair():
    targets = torch.arange(3000) // 1000  # sorted by class
    inputs = torch.stack([torch.arange(3000.0), targets.float()], 1)
    found = Arrays("s", inputs, targets, inputs[::2], targets[::2], 3).mixed()
    assert torch.equal(found.train_inputs[:, 1].long(), found.train_targets)
    assert sorted(found.train_inputs[:, 0].tolist()) == list(range(3000))
    for part in (found.train_targets[:300], found.train_targets[-300:], found.test_targets[:300]):
        # Each class is expected 100 times, give or take 8; five times that is never met.
        assert (part.bincount(minlength=3) - 100).abs().max() < 40
    again = Arrays("s", inputs, targets, inputs[::2], targets[::2], 3).mixed()
    assert again.fingerprint == found.fingerprint


def test_a_validation_split_is_in_the_fingerprint_and_its_absence_is_not():
    a = parts()
    without = Arrays("a", **a, n_classes=3)
    own = Arrays(
        "a",
        **a,
        n_classes=3,
        validation_inputs=a["test_inputs"],
        validation_targets=a["test_targets"],
    )
    named = [(n.replace("inputs", "images").replace("targets", "labels"), v) for n, v in a.items()]
    assert without.fingerprint == digest_arrays(named)
    more = [("validation_images", a["test_inputs"]), ("validation_labels", a["test_targets"])]
    assert own.fingerprint == digest_arrays([*named, *more])


def test_test_inputs_that_were_trained_on_are_counted() -> None:
    images = torch.arange(60, dtype=torch.uint8).view(15, 1, 2, 2)
    labels = torch.arange(15) % 3

    def arrays(test: slice, **more: Tensor) -> Arrays:
        return Arrays("mine", images[:8], labels[:8], images[test], labels[test], 3, **more)

    apart = arrays(slice(8, 12))
    assert (apart.seen, apart.remarks()) == (0, [])
    assert arrays(slice(6, 12)).remarks() == [
        "data 'mine': 2 of 6 test inputs are training inputs too"
    ]
    held = {"validation_inputs": images[11:], "validation_targets": labels[11:]}
    assert arrays(slice(6, 12), **held).remarks() == [
        "data 'mine': 3 of 6 test inputs are training or validation inputs too"
    ]
    assert arrays(slice(0, 8)).mixed().seen == 8


def masked(mask: bool = True) -> np.ma.MaskedArray:
    return np.ma.MaskedArray(np.full((6, 5), 999.0), mask=np.eye(6, 5, dtype=bool) & mask)


@pytest.mark.parametrize("listed", [False, True])
def test_masked_numbers_are_refused_and_not_read(listed: bool) -> None:
    given = vectors() | {"train_inputs": list(masked()) if listed else masked()}
    with pytest.raises(UserError) as refused:
        Arrays("v", **given, n_classes=None)
    assert refused.value.what == "data 'v': train inputs: 5 of 30 numbers are masked"
    assert "x.filled(0.0)" in refused.value.next_step


def test_a_mask_that_hides_nothing_is_no_matter() -> None:
    given = vectors() | {"train_inputs": masked(False)}
    assert (Arrays("v", **given, n_classes=None).train_inputs == 999.0).all()


@pytest.mark.parametrize("part", ["train_inputs", "test_targets"])
def test_what_is_finite_beyond_single_precision_is_said_to_be_so(part: str) -> None:
    given = vectors()
    given[part][1, 1] = -3.5e38
    with pytest.raises(UserError) as refused:
        Arrays("v", **given, n_classes=None)
    size, name = given[part].size, part.replace("_", " ")
    assert refused.value.what.startswith(
        f"data 'v': {name}: 1 of {size} numbers are beyond single precision"
    )
    assert refused.value.allowed == "-3.403e+38 to 3.403e+38"
    assert "scale" in refused.value.next_step


def test_what_only_fits_in_single_precision_fits() -> None:
    given = vectors()
    given["train_inputs"][0, 0] = float(np.finfo(np.float32).max)
    assert float(Arrays("v", **given, n_classes=None).train_inputs.max()) > 3.4e38


def test_an_item_with_masked_numbers_is_named() -> None:
    items = [(np.zeros(3), 0.0), (np.ma.MaskedArray(np.zeros(3), mask=[0, 1, 0]), 1.0)]
    with pytest.raises(UserError, match=r"here: item 1 is no pair .* 1 of 3 numbers are masked"):
        stacked(items, "here")
