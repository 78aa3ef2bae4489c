"""One image classification set in memory, checked once and named by a fingerprint."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from pnnbench.errors import UserError


def digest_arrays(arrays: Iterable[tuple[str, Tensor]]) -> str:
    """Hashes tensors with their names, data types and shapes.

    The bytes are those of the row-major array in little-endian order, so the digest does not
    depend on the strides or on the machine.

    Args:
        arrays: Pairs of a name and a CPU tensor of any shape.

    Returns:
        ``"sha256:"`` and 64 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for name, array in arrays:
        values = array.detach().cpu().contiguous().numpy()
        values = values.astype(values.dtype.newbyteorder("<"), copy=False)
        digest.update(f"{name} {values.dtype.name} {tuple(values.shape)}\n".encode())
        digest.update(values.data)
    return f"sha256:{digest.hexdigest()}"


@dataclass(frozen=True, eq=False)
class ImageArrays:
    """A training set and a test set of labelled images.

    Nothing is normalised: the pixels are the stored bytes, and no mean or standard deviation has
    been applied.

    Attributes:
        name: Name of the set, such as ``"mnist"``.
        train_images: uint8, shape (N, C, H, W), 0 to 255.
        train_labels: int64, shape (N,), 0 to ``n_classes - 1``.
        test_images: uint8, shape (M, C, H, W), with the same C, H, W.
        test_labels: int64, shape (M,).
        n_classes: Number of classes, at least 2.
        fingerprint: ``"sha256:..."`` over the four arrays with their shapes and data types.

    Raises:
        UserError: If a shape, a data type or a label does not fit.
    """

    name: str
    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    n_classes: int
    fingerprint: str = field(init=False)

    def __post_init__(self) -> None:
        if self.n_classes < 2:
            raise UserError(f"data {self.name!r}: n_classes is {self.n_classes}", allowed=">= 2")
        self._check_part("train", self.train_images, self.train_labels)
        self._check_part("test", self.test_images, self.test_labels)
        if self.train_images.shape[1:] != self.test_images.shape[1:]:
            raise UserError(
                f"data {self.name!r}: training images are {tuple(self.train_images.shape[1:])} "
                f"and test images are {tuple(self.test_images.shape[1:])}",
                allowed="one image shape (C, H, W) for both",
            )
        digest = digest_arrays(
            (part, getattr(self, part))
            for part in ("train_images", "train_labels", "test_images", "test_labels")
        )
        object.__setattr__(self, "fingerprint", digest)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of one image."""
        channels, height, width = self.train_images.shape[1:]
        return channels, height, width

    def _check_part(self, part: str, images: Tensor, labels: Tensor) -> None:
        """Checks one set of images with its labels; raises UserError."""
        where = f"data {self.name!r}: {part}"
        if images.dtype != torch.uint8 or images.ndim != 4 or images.numel() == 0:
            raise UserError(
                f"{where} images are {images.dtype} of shape {tuple(images.shape)}",
                allowed="torch.uint8 of shape (N, C, H, W), not empty",
            )
        if labels.dtype != torch.int64 or labels.shape != images.shape[:1]:
            raise UserError(
                f"{where} labels are {labels.dtype} of shape {tuple(labels.shape)}",
                allowed=f"torch.int64 of shape ({len(images)},), one label for each image",
            )
        low, high = int(labels.min()), int(labels.max())
        if low < 0 or high >= self.n_classes:
            raise UserError(
                f"{where} labels run from {low} to {high}", allowed=f"0 to {self.n_classes - 1}"
            )
