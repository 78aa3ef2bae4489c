"""The order in which training images are met: a pure function of a seed and an epoch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Sampler

from pnnbench.errors import UserError


def permutation(n: int, seed: int, stream: int) -> Tensor:
    """Draws a permutation that is the same on every machine and library version.

    The indices are sorted by the raw output of a PCG64 generator. NumPy guarantees that raw
    output and the seeding (NEP 19); it does not guarantee ``Generator.permutation``, and PyTorch
    does not guarantee ``randperm``. No global generator is read or moved.

    Args:
        n: Number of indices, at least 0.
        seed: Seed, any integer >= 0.
        stream: Number of the draw under this seed, such as the epoch, >= 0.

    Returns:
        int64 tensor of shape (n,) with each of 0 to n-1 once.

    Raises:
        UserError: If the seed or the stream is negative.
    """
    if seed < 0 or stream < 0:
        raise UserError(f"data order: seed {seed}, stream {stream}", allowed="integers >= 0")
    sequence = np.random.SeedSequence(entropy=seed, spawn_key=(stream,))
    keys = np.random.PCG64(sequence).random_raw(n)
    return torch.from_numpy(np.argsort(keys, kind="stable").astype(np.int64, copy=False))


def numbers(n: int, seed: int, epoch: int) -> Tensor:
    """Draws one number for each training image of an epoch, the same on every machine.

    They are the raw output of a PCG64 generator, as in `permutation`, and independent of the order
    of the epoch. The number of an image depends neither on how many images there are nor on when it
    is met. No global generator is read or moved.

    Args:
        n: Number of images, at least 0.
        seed: Seed of the data order, >= 0.
        epoch: Number of the epoch, from 0.

    Returns:
        int64 tensor of shape (n,), each uniform from 0 to 2**63 - 1.
    """
    sequence = np.random.SeedSequence(entropy=seed, spawn_key=(epoch, 1))
    raw = np.random.PCG64(sequence).random_raw(n)
    return torch.from_numpy((raw >> np.uint64(1)).astype(np.int64))


class Drawn(NamedTuple):
    """The images of a batch, each with a random number.

    Attributes:
        images: Their indices, int64 (B,).
        numbers: What `numbers` gives for them in this epoch, int64 (B,).
    """

    images: Tensor
    numbers: Tensor


class EpochBatches(Sampler[Any]):
    """Yields the batches of one epoch as index tensors, or as `Drawn`.

    The last batch may be smaller than the others. It is left out when it would hold a single
    image although the batch size is larger, because batch norm cannot train on one value per
    channel.

    Args:
        n: Number of training images, at least 1.
        batch_size: Images per batch, at least 1.
        seed: Seed of the data order, >= 0.
        draws: Whether each batch comes with a random number for each of its images.

    Raises:
        UserError: If a number is out of range or the images make no batch.
    """

    def __init__(self, n: int, batch_size: int, seed: int, *, draws: bool = False) -> None:
        if batch_size < 1:
            raise UserError(f"batch_size is {batch_size}", allowed="an integer >= 1")
        if n < min(2, batch_size):
            raise UserError(
                f"{n} training image(s) make no batch of {batch_size}",
                allowed="at least 2 training images",
                next_step="raise limit_train or lower holdout",
            )
        self.n = n
        self.batch_size = batch_size
        self.seed = seed
        self.draws = draws
        self.epoch = 0
        self.first_batch = 0
        rest = n % batch_size
        self._n_batches = n // batch_size + (1 if rest > 1 else 0)

    def set_epoch(self, epoch: int) -> None:
        """Chooses the epoch that the next iteration goes through; Lightning's loops call it.

        Args:
            epoch: Number of the epoch, from 0.
        """
        self.epoch = epoch

    def batches(self, epoch: int) -> list[Tensor]:
        """Cuts one epoch into batches.

        Args:
            epoch: Number of the epoch, from 0.

        Returns:
            Index tensors, int64, each of shape (batch_size,), the last one possibly shorter.
        """
        order = permutation(self.n, self.seed, epoch)
        return list(order.split(self.batch_size)[: self._n_batches])

    def __iter__(self) -> Iterator[Tensor | Drawn]:
        """Goes through the batches of the chosen epoch, from ``first_batch`` on."""
        batches = self.batches(self.epoch)[self.first_batch :]
        if not self.draws:
            yield from batches
            return
        drawn = numbers(self.n, self.seed, self.epoch)
        yield from (Drawn(index, drawn[index]) for index in batches)

    def __len__(self) -> int:
        """Returns the number of batches in a whole epoch."""
        return self._n_batches
