"""Shot noise of a grid: of each device, layer and block of images, however they are batched."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch
from torch import Tensor

from pnnbench.accelerator import on_cpu
from pnnbench.platforms.base import derive_seed

#: Images that share one stream of shot noise; part of the protocol.
NOISE_BLOCK = 50


@dataclasses.dataclass(frozen=True)
class _Piece:
    """Noise of some images of a block, from the block's own seed."""

    seed: int
    offset: int
    out: Tensor

    def draw(self, generator: torch.Generator) -> None:
        generator.manual_seed(self.seed)
        if len(self.out) == NOISE_BLOCK:
            self.out.normal_(generator=generator)
        else:
            whole = torch.empty(NOISE_BLOCK, *self.out.shape[1:], dtype=self.out.dtype)
            whole.normal_(generator=generator)
            self.out[:] = whole[self.offset : self.offset + len(self.out)]


@contextmanager
def drawing(device: torch.device) -> Iterator[ThreadPoolExecutor | None]:
    """Threads that draw noise for a device; none for the CPU, which has work of its own."""
    if on_cpu(device):
        yield None
        return
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield pool


class DeviceNoise:
    """Standard-normal shot noise of the devices in a batch, whatever the batches are cut to.

    Args:
        devices: Seed of the device of each condition, None for the ideal one.
        pool: Threads that draw side by side, for a GPU that would wait for one; None for none.

    Attributes:
        start: Index in the test set of the first image of the present batch.
        stream: What is measured: test images, or those of a calibration.
    """

    def __init__(
        self, devices: Sequence[int | None], pool: ThreadPoolExecutor | None = None
    ) -> None:
        self.devices = devices
        self.start = 0
        self.stream = "shot"
        self._pool = pool
        self._generator = torch.Generator()
        self._only: tuple[Tensor, int] | None = None

    @contextmanager
    def only(self, chosen: Tensor, images: int) -> Iterator[None]:
        """Context in which some images of the present batch are measured, with their own noise.

        Args:
            chosen: Their places in the batch (n,).
            images: Images in the batch.
        """
        self._only = chosen, images
        try:
            yield
        finally:
            self._only = None

    def _pieces(self, device: int | None, layer: str, out: Tensor) -> Iterator[_Piece]:
        done = 0
        while done < len(out):
            block, offset = divmod(self.start + done, NOISE_BLOCK)
            n = min(NOISE_BLOCK - offset, len(out) - done)
            seed = derive_seed(self.stream, device, layer, block)
            yield _Piece(seed, offset, out[done : done + n])
            done += n

    def __call__(self, layer: str, shape: tuple[int, ...]) -> Tensor:
        """Draws for one layer; shape is (conditions, images, ...).

        Returns:
            Of that shape; with 1 in the place of the conditions if all are of one device.
        """
        distinct = list(dict.fromkeys(self.devices))
        images = shape[1] if self._only is None else self._only[1]
        drawn = torch.empty(len(distinct), images, *shape[2:], dtype=torch.float32)
        pairs = zip(distinct, drawn, strict=True)
        pieces = [piece for pair in pairs for piece in self._pieces(pair[0], layer, pair[1])]
        if self._pool is None:
            for piece in pieces:
                piece.draw(self._generator)
        else:
            list(self._pool.map(lambda piece: piece.draw(torch.Generator()), pieces))
        if self._only is not None:
            drawn = drawn[:, self._only[0]]
        if len(distinct) == 1:
            return drawn
        return drawn[[distinct.index(device) for device in self.devices]]
