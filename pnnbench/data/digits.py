"""The handwritten digits that ship inside scikit-learn, with a fixed split."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from pnnbench.data.arrays import Arrays, digest_arrays
from pnnbench.data.base import DataSet
from pnnbench.data.manifest import manifest
from pnnbench.data.order import permutation
from pnnbench.errors import UserError

N_TEST = 360
SPLIT_SEED = 20250101
"""Seed of the one split of the project; another value would be another data set."""


def stratified_split(labels: Tensor, n_test: int, seed: int) -> tuple[Tensor, Tensor]:
    """Splits indices so that every class has its share of the test set.

    The shares are rounded down, and the classes with the largest remainders get one image more
    (the lower class first in a tie). One permutation chooses, and a second, independent one orders
    both results, so that the first or last images of either part are a random sample of it. (In
    the order of the first one, the head of the training part would hold only classes whose test
    share is full.)

    Args:
        labels: int64, shape (N,).
        n_test: Size of the test set, 0 to N.
        seed: Seed of the permutations, >= 0.

    Returns:
        Training and test indices, int64, shapes (N - n_test,) and (n_test,).
    """
    n = len(labels)
    counts = torch.bincount(labels).tolist()
    take = [n_test * count // n for count in counts]
    by_remainder = sorted(range(len(counts)), key=lambda c: (-(n_test * counts[c] % n), c))
    for label in by_remainder[: n_test - sum(take)]:
        take[label] += 1
    order = permutation(n, seed, 0)
    is_test = torch.zeros(n, dtype=torch.bool)
    for label, share in enumerate(take):
        is_test[order[labels[order] == label][:share]] = True
    order = permutation(n, seed, 1)
    chosen = is_test[order]
    return order[~chosen], order[chosen]


class Digits(DataSet):
    """The 1797 digits of 8 x 8 pixels: 1437 for training, 360 for the test.

    Source: Alpaydin and Kaynak, Optical Recognition of Handwritten Digits (UCI), test part, as
    shipped by ``sklearn.datasets.load_digits``. The stored grey values 0 to 16 become
    ``value * 255 / 16`` rounded to the nearest integer (127.5 becomes 128), so that division by
    255 gives [0, 1]. The split is stratified and the same on every machine and with every
    version of scikit-learn.
    """

    name = "digits"
    input_shape = (1, 8, 8)
    n_classes = 10
    balanced = True
    mixed = True

    def load(self, root: str | Path | None = None, download: bool = False) -> Arrays:
        """Reads the set; there are no files to look for.

        Args:
            root: Not used.
            download: Not used.

        Returns:
            The set with images of shape (N, 1, 8, 8).

        Raises:
            UserError: If scikit-learn ships other digits than the ones that the results rest on.
        """
        from sklearn import datasets

        pixels, target = datasets.load_digits(return_X_y=True)
        values = torch.from_numpy(pixels).reshape(-1, 1, 8, 8).to(torch.uint8)
        labels = torch.from_numpy(target).to(torch.int64)
        expected = manifest(self.name)
        found = digest_arrays([("images", values), ("labels", labels)])
        if found != expected["source"]:
            _refuse("the digits inside scikit-learn", found, expected["source"])
        images = ((values.to(torch.int32) * 255 + 8) // 16).to(torch.uint8)
        train, test = stratified_split(labels, N_TEST, SPLIT_SEED)
        parts = images[train], labels[train], images[test], labels[test]
        arrays = Arrays(self.name, *parts, 10, own=True)
        if arrays.fingerprint != expected["fingerprint"]:
            _refuse("the split of the digits", arrays.fingerprint, expected["fingerprint"])
        return arrays


def _refuse(what: str, found: str, expected: str) -> None:
    """Raises the UserError for digits that are not the known ones."""
    raise UserError(
        f"{what}: the contents are {found}",
        allowed=expected,
        next_step="install the versions in scripts/constraints.txt and report this",
    )
