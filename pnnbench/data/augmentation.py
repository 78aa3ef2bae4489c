"""Random crops and flips of training images: a pure function of seed, epoch and image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pnnbench.errors import UserError

#: Bits of a random number from which each of the two offsets is taken.
_BITS = 24


@dataclass(frozen=True)
class Augmentation:
    """How training images are changed each time that they are met.

    Each image is padded with zeros, a window of its own size is cut out at a place drawn uniformly
    from all, and every other one, on average, is turned left to right.

    Source: He et al., Deep Residual Learning for Image Recognition (2016), section 4.2: 4 pixels on
    each side of the images of CIFAR-10.

    Attributes:
        crop_padding: Width of the padding on each side in pixels, 0 to 255; 0 for no crops.
        flip: Whether images are flipped.

    Raises:
        UserError: If a value is none of these, or nothing is changed.
    """

    crop_padding: int = 4
    flip: bool = True

    def __post_init__(self) -> None:
        width = self.crop_padding
        if isinstance(width, bool) or not isinstance(width, int) or not 0 <= width <= 255:
            raise UserError(f"crop_padding is {width!r}", allowed="an integer, 0 to 255")
        if not isinstance(self.flip, bool):
            raise UserError(f"flip is {self.flip!r}", allowed="true or false")
        if not (width or self.flip):
            raise UserError(
                "an augmentation neither crops nor flips", allowed="None for no changes"
            )

    def check(self, shape: tuple[int, ...], name: str) -> None:
        """Refuses inputs that are no images.

        Args:
            shape: Shape of one input.
            name: Name of the data set, for the message.

        Raises:
            UserError: If the shape is not (C, H, W).
        """
        if len(shape) != 3:
            raise UserError(
                f"inputs of the data set {name!r} are {shape}, and only images are augmented",
                allowed="inputs (C, H, W)",
                next_step="take a workload without augmentation for this data set",
            )

    def places(self, numbers: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Makes places and flips of random numbers.

        Args:
            numbers: A number for each image, int64 (B,) on the CPU; see
                `pnnbench.data.order.numbers`.

        Returns:
            Rows and columns by which the window lies below and right of the image's own place,
            int64 (B,) from ``-crop_padding`` to ``crop_padding``; whether each image is flipped,
            bool (B,).
        """
        mask, width = (1 << _BITS) - 1, 2 * self.crop_padding + 1
        down = ((numbers & mask) * width >> _BITS) - self.crop_padding
        right = ((numbers >> _BITS & mask) * width >> _BITS) - self.crop_padding
        flipped = (numbers >> 2 * _BITS & 1).bool() & self.flip
        return down, right, flipped

    def apply(self, images: Tensor, numbers: Tensor) -> Tensor:
        """Changes a batch of images.

        Args:
            images: Shape (B, C, H, W), of any data type and on any device.
            numbers: As for `places`.

        Returns:
            New images of the same shape and data type, on the same device.
        """
        height, width = images.shape[-2:]
        down, right, flipped = (drawn[:, None] for drawn in self.places(numbers))
        rows = torch.arange(height) + down  # (B, H), in pixels of the image
        across = torch.arange(width).expand(len(numbers), width)
        columns = torch.where(flipped, across.flip(1), across) + right
        in_row, in_column = (rows >= 0) & (rows < height), (columns >= 0) & (columns < width)
        inside = in_row[:, :, None] & in_column[:, None]
        place = rows.clamp(0, height - 1)[:, :, None] * width + columns.clamp(0, width - 1)[:, None]
        flat = images.flatten(2)
        index = place.flatten(1).to(images.device)[:, None].expand(-1, flat.shape[1], -1)
        found = flat.gather(2, index).view(images.shape)
        return found * inside[:, None].to(images.device, images.dtype)


def check_augmentation(given: Any, where: str) -> None:
    """Refuses what is declared as an augmentation and is none; None is allowed.

    Args:
        given: What is declared.
        where: Where, for the message.

    Raises:
        UserError: If it is something else.
    """
    if given is not None and not isinstance(given, Augmentation):
        raise UserError(
            f"{where}: augmentation is {given!r}",
            allowed="a pnnbench.data.augmentation.Augmentation, or None",
        )
