"""Parts of a data set that are cut into batches, with pixels as floats from there on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, SequentialSampler

from pnnbench.data.augmentation import Augmentation
from pnnbench.data.order import Drawn

Batch = tuple[Tensor, Tensor]


def to_float(inputs: Tensor) -> Tensor:
    """Converts uint8 pixels to float32 in [0, 1] by division by 255, without normalisation.

    Args:
        inputs: Tensor of any shape.

    Returns:
        float32 tensor of the same shape; what is not uint8 as it is.
    """
    return inputs.to(torch.float32).div_(255.0) if inputs.dtype == torch.uint8 else inputs


class IndexedArrays(Dataset[Batch]):
    """Inputs and targets that are cut into batches by index tensors.

    Args:
        inputs: Shape (N, ...); pixels as uint8, or as float32 when already converted.
        targets: Shape (N, ...).
    """

    def __init__(self, inputs: Tensor, targets: Tensor) -> None:
        self.inputs = inputs
        self.targets = targets

    def __getitem__(self, index: Any) -> Batch:
        """Returns inputs and targets (B, ...), pixels as float32 in [0, 1]."""
        return to_float(self.inputs[index]), to_float(self.targets[index])

    def __len__(self) -> int:
        """Returns the number of inputs."""
        return len(self.targets)


class AugmentedArrays(Dataset[Batch]):
    """A part whose images are changed each time that they are met.

    Args:
        part: Images (N, C, H, W) with their targets.
        augmentation: How they are changed.
    """

    def __init__(self, part: IndexedArrays, augmentation: Augmentation) -> None:
        self.part = part
        self.augmentation = augmentation

    def __getitem__(self, drawn: Drawn) -> Batch:
        """Returns changed images (B, C, H, W), pixels as float32 in [0, 1], and their targets."""
        images = self.augmentation.apply(self.part.inputs[drawn.images], drawn.numbers)
        return to_float(images), to_float(self.part.targets[drawn.images])

    def __len__(self) -> int:
        """Returns the number of images."""
        return len(self.part)


class FixedBatches(SequentialSampler):
    """Consecutive slices in a fixed order, for validation and test.

    To Lightning it is the sequential sampler that ``overfit_batches`` asks for.

    Args:
        n: Number of images.
        batch_size: Images per batch, the last batch may be smaller.
    """

    def __init__(self, n: int, batch_size: int) -> None:
        self.starts = range(0, n, batch_size)

    def __iter__(self) -> Iterator[slice]:  # type: ignore[override]
        """Goes through the slices."""
        for start in self.starts:
            yield slice(start, start + self.starts.step)

    def __len__(self) -> int:
        """Returns the number of batches."""
        return len(self.starts)
