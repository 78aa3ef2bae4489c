from __future__ import annotations

import pytest
import sklearn.datasets
import torch
from hypothesis import given
from hypothesis import strategies as st

from pnnbench.data import load
from pnnbench.data.digits import N_TEST, SPLIT_SEED, stratified_split
from pnnbench.errors import UserError

FINGERPRINT = "sha256:c2ad990ce927f93a96f385381f37217115b1eb3f63abc66231c370cb37fd2be8"


def raw() -> tuple[torch.Tensor, torch.Tensor]:
    pixels, target = sklearn.datasets.load_digits(return_X_y=True)
    return torch.from_numpy(pixels), torch.from_numpy(target)


def test_fingerprint_and_shapes_are_pinned():
    digits = load("digits")
    assert digits.fingerprint == FINGERPRINT
    assert digits.train_inputs.shape == (1437, 1, 8, 8)
    assert digits.test_inputs.shape == (360, 1, 8, 8)
    assert digits.n_classes == 10
    assert digits.seen == 0


def test_pixels_are_the_stored_ones_rescaled():
    pixels, labels = raw()
    train, test = stratified_split(labels, N_TEST, SPLIT_SEED)
    digits = load("digits")
    for part, index in (("train", train), ("test", test)):
        images = getattr(digits, f"{part}_inputs").reshape(-1, 64).double()
        exact = pixels[index] * 255 / 16
        assert (images - exact).abs().max() <= 0.5
        assert torch.equal(getattr(digits, f"{part}_targets"), labels[index])
    assert int(digits.train_inputs.max()) == 255


def test_split_of_the_digits_is_stratified_and_disjoint():
    _, labels = raw()
    train, test = stratified_split(labels, N_TEST, SPLIT_SEED)
    assert sorted(torch.cat([train, test]).tolist()) == list(range(1797))
    share = torch.bincount(labels) * (360 / 1797)
    assert (torch.bincount(labels[test]) - share).abs().max() < 1


@given(
    labels=st.lists(st.integers(0, 5), min_size=1, max_size=80),
    fraction=st.floats(0, 1),
    seed=st.integers(0, 2**40),
)
def test_any_split_is_stratified_and_disjoint(labels: list[int], fraction: float, seed: int):
    given_labels = torch.tensor(labels)
    n_test = int(fraction * len(labels))
    train, test = stratified_split(given_labels, n_test, seed)
    assert len(test) == n_test
    assert sorted(torch.cat([train, test]).tolist()) == list(range(len(labels)))
    counts = torch.bincount(given_labels, minlength=6).double()
    in_test = torch.bincount(given_labels[test], minlength=6).double()
    assert (in_test - counts * n_test / len(labels)).abs().max() < 1 + 1e-9


def test_parts_are_mixed_so_that_a_slice_is_a_sample():
    # The stored order is by writer; 100 images from either end must hold every class.
    digits = load("digits")
    for labels in (
        digits.train_targets[:100],
        digits.train_targets[-100:],
        digits.test_targets[:100],
    ):
        assert torch.bincount(labels, minlength=10).min() >= 2


def test_other_digits_are_refused(monkeypatch: pytest.MonkeyPatch):
    pixels, target = sklearn.datasets.load_digits(return_X_y=True)
    pixels[700, 20] += 1
    monkeypatch.setattr(sklearn.datasets, "load_digits", lambda return_X_y: (pixels, target))
    with pytest.raises(UserError, match=r"digits inside scikit-learn: the contents are sha256:"):
        load("digits")
