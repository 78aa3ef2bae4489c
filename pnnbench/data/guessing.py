"""What one answer for all items reaches, a part of the set at a time in double precision."""

from __future__ import annotations

import torch
from torch import Tensor

#: Numbers that are held in double precision at once: 128 MiB.
_AT_ONCE = 2**24


def mean_item(values: Tensor) -> Tensor:
    """Mean of the items of a part.

    Args:
        values: Shape (N, ...).

    Returns:
        float64 (...), in the units of the values. Exact up to its last rounding for whole numbers.
    """
    total = torch.zeros(values.shape[1:], dtype=torch.float64)
    for chunk in _chunks(values):
        total += chunk.double().sum(0)
    return total / len(values)


def error_of_mean(train: Tensor, test: Tensor) -> float:
    """Mean square of a test part around the mean of a training part.

    Args:
        train: Shape (N, ...); uint8 are pixels.
        test: Shape (M, ...), of the same data type.

    Returns:
        The mean over items and their elements, of pixels in [0, 1].
    """
    unit = 255.0 if test.dtype == torch.uint8 else 1.0
    mean = mean_item(train)
    total = sum(float(((c.double() - mean) / unit).square().sum()) for c in _chunks(test))
    return total / test.numel()


def _chunks(values: Tensor) -> tuple[Tensor, ...]:
    items = max(1, _AT_ONCE * len(values) // max(1, values.numel()))
    return values.split(items)
