from __future__ import annotations

import pytest
import torch

from pnnbench.data.arrays import ImageArrays, digest_arrays
from pnnbench.errors import UserError


def parts(seed: int = 0) -> dict[str, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    return {
        "train_images": torch.randint(0, 256, (6, 1, 3, 2), generator=g, dtype=torch.uint8),
        "train_labels": torch.tensor([0, 1, 2, 0, 1, 2]),
        "test_images": torch.randint(0, 256, (2, 1, 3, 2), generator=g, dtype=torch.uint8),
        "test_labels": torch.tensor([2, 0]),
    }


def test_fingerprint_is_pinned_and_ignores_name_and_strides():
    a = parts()
    reference = ImageArrays("a", **a, n_classes=3)
    strided = {
        key: value.repeat_interleave(2, dim=0)[::2] for key, value in a.items()
    }  # same values, other memory layout
    assert not strided["train_images"].is_contiguous()
    assert ImageArrays("b", **strided, n_classes=3).fingerprint == reference.fingerprint
    assert reference.image_shape == (1, 3, 2)
    # Written out by hand from the documented layout: "name dtype shape\n" and the bytes.
    import hashlib

    blob = b"x int64 (2,)\n" + (1).to_bytes(8, "little") + (258).to_bytes(8, "little")
    expected = "sha256:" + hashlib.sha256(blob).hexdigest()
    assert digest_arrays([("x", torch.tensor([1, 258]))]) == expected


@pytest.mark.parametrize("part", ["train_images", "train_labels", "test_images", "test_labels"])
def test_fingerprint_follows_every_array(part: str):
    a = parts()
    before = ImageArrays("a", **a, n_classes=3).fingerprint
    a[part] = a[part].clone()
    a[part].view(-1)[-1] = (a[part].view(-1)[-1] + 1) % 3
    assert ImageArrays("a", **a, n_classes=3).fingerprint != before


def test_fingerprint_follows_the_shape():
    a = parts()
    before = ImageArrays("a", **a, n_classes=3).fingerprint
    for part in ("train_images", "test_images"):
        a[part] = a[part].reshape(-1, 1, 2, 3)
    assert ImageArrays("a", **a, n_classes=3).fingerprint != before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_images": torch.zeros(6, 1, 3, 2)}, r"train images are torch.float32"),
        ({"test_images": torch.zeros(2, 3, 2, dtype=torch.uint8)}, r"shape \(2, 3, 2\)"),
        ({"train_labels": torch.zeros(6, dtype=torch.int32)}, r"train labels are torch.int32"),
        ({"test_labels": torch.zeros(3, dtype=torch.int64)}, r"shape \(3,\)"),
        ({"test_labels": torch.tensor([0, 3])}, r"test labels run from 0 to 3"),
        ({"train_labels": torch.tensor([0, 1, 2, 0, 1, -1])}, r"labels run from -1"),
        ({"test_images": torch.zeros(2, 1, 2, 2, dtype=torch.uint8)}, r"\(1, 2, 2\)"),
        ({"train_images": torch.zeros(0, 1, 3, 2, dtype=torch.uint8)}, r"not empty"),
        ({"n_classes": 1}, r"n_classes is 1"),
    ],
)
def test_bad_arrays_are_refused(changes: dict, message: str):
    given = {"name": "bad", **parts(), "n_classes": 3} | changes
    with pytest.raises(UserError, match=message):
        ImageArrays(**given)
