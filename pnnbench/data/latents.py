"""Latent vectors as inputs and the images of another set as targets, for generation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pnnbench.data.arrays import Arrays
from pnnbench.data.base import DataSet
from pnnbench.data.sets import resolve_data
from pnnbench.errors import UserError

#: Seed of the latent vectors; another value would be another data set.
LATENT_SEED = 20260101


def latent_vectors(count: int, size: int, stream: int) -> Tensor:
    """Standard-normal vectors, the same on every machine.

    Args:
        count: Number of vectors.
        size: Length of each.
        stream: Number of the draw.

    Returns:
        float32 (count, size).
    """
    sequence = np.random.SeedSequence(entropy=LATENT_SEED, spawn_key=(size, stream))
    # Uniform numbers from the raw output, which NumPy guarantees, by the inverse of the normal law.
    raw = np.random.PCG64(sequence).random_raw(count * size)
    uniform = torch.from_numpy(((raw >> np.uint64(11)).astype(np.float64) + 0.5) / 2.0**53)
    return torch.special.ndtri(uniform).float().view(count, size)


class Latents(DataSet):
    """Latent vectors as inputs, and as targets the images of another set: latents:SET,NUMBER.

    The vectors are standard normal and always the same. Targets are pixels in [0, 1], as 8 bits.

    Args:
        argument: The other set, as it is named there, a comma, and the length of a vector, at least
            1: ``"digits,16"``.
    """

    takes = "SET,NUMBER"
    n_classes = None

    def __init__(self, argument: str = "") -> None:
        self.argument = argument
        inner, comma, number = argument.rpartition(",")
        if argument and not (comma and inner and number.isdecimal() and int(number) > 0):
            raise UserError(
                f"latents of {argument!r}", allowed="a data set, a comma and a number: digits,16"
            )
        self.size = int(number) if argument else 0
        self.images = resolve_data(inner) if argument else None
        self.copies = self.images is not None and self.images.copies
        self.mixed = self.images is not None and not self.images.ordered  # as they are read
        self.name = f"latents-{self.size}-{self.images.name}" if self.images else "latents"
        self.input_shape = (self.size,)

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Channels, height and width of an image."""
        return self._images().input_shape

    def source(self) -> type:
        """The class of the images: what is drawn here is fixed by its seed."""
        return self._images().source()

    def maker(self) -> type:
        """This class: the argument is its own."""
        return type(self)

    def fetch(self, root: str | Path | None = None) -> Path | None:
        """Downloads the images."""
        return self._images().fetch(root)

    def load(self, root: str | Path | None = None, download: bool = False) -> Arrays:
        """Reads the images and draws a vector for each.

        Args:
            root: As for the images.
            download: As for the images.

        Returns:
            The set, inputs float32 (N, size), targets uint8 (N, C, H, W).

        Raises:
            UserError: If the inputs of the other set are no 8-bit images.
        """
        given = self._images()
        images = given.read(root, download) if download else given.arrays(root)
        if images.train_inputs.dtype is not torch.uint8 or images.train_inputs.dim() != 4:
            raise UserError(
                f"{images.name} has {images.train_inputs.dtype} of shape "
                f"{tuple(images.train_inputs.shape)}",
                allowed="uint8 images (N, C, H, W)",
            )
        parts = [images.train_inputs, images.test_inputs]
        if images.validation_inputs is not None:
            parts.append(images.validation_inputs)
        drawn = [latent_vectors(len(part), self.size, i) for i, part in enumerate(parts)]
        pairs = list(zip(drawn, parts, strict=True))
        held_out = pairs[2] if len(pairs) > 2 else (None, None)
        return Arrays(self.name, *pairs[0], *pairs[1], None, *held_out, own=True)

    def originals(self, root: str | Path | None = None) -> Arrays:
        """The images: vectors are never the same."""
        return self._images().arrays(root)

    def _images(self) -> DataSet:
        if self.images is None:
            raise UserError("latents has no images", allowed="latents:SET,NUMBER")
        return self.images
