"""Passes of the evaluation by faster operations, held against the plain ones.

The plain pass decides. A faster one (`pnnbench.platforms.fused`) differs from it by rounding, so
that for each group of cells the first batch is computed in both ways and must agree to `TOLERANCE`
of the largest output of its cell; and images whose two largest outputs are closer than that could
turn round in any cell, or whose outputs are not finite, are computed again in the plain way. An
accuracy is then the plain one to the image. ``PNNBENCH_COMPILE=0`` switches all of it off.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor

from pnnbench.accelerator import device_of, on_cpu
from pnnbench.evaluation.noise import DeviceNoise
from pnnbench.platforms import conv_op
from pnnbench.platforms.fused import fusing, has_blocks
from pnnbench.workloads.accuracy import Accuracy
from pnnbench.workloads.base import Workload
from pnnbench.workloads.classification import Classification

#: Largest difference of an output from that of the plain pass, in multiples of the largest output
#: of its cell in the batch. On microrings it is some 5e-7.
TOLERANCE = 4e-6
#: Outputs of one image that are closer than this many tolerances may be in another order: the error
#: of both, and as much again for images that were not compared.
_DOUBT = 2.0
#: Cells times images from which on faster operations are built, in a second or two, and used.
WORTHWHILE = 20_000


@dataclasses.dataclass
class Ways:
    """How the grids of a job were computed.

    Attributes:
        batches: Batches that faster operations computed.
        compared: Batches that were computed in both ways, all their images or those in doubt.
        again: Batches of which images in doubt were computed again in the plain way.
        largest: Largest difference found, in multiples of the largest output.
        reasons: Why groups of cells were computed in the plain way, each once.
    """

    batches: int = 0
    compared: int = 0
    again: int = 0
    largest: float = 0.0
    reasons: list[str] = dataclasses.field(default_factory=list)

    def refuse(self, reason: str) -> None:
        """Notes why something was computed in the plain way."""
        if reason not in self.reasons:
            self.reasons.append(reason)

    def as_dict(self) -> dict[str, Any]:
        """The note in a record; empty where there was nothing to choose."""
        plain = {"plain_because": list(self.reasons)} if self.reasons else {}
        if not self.batches:
            return plain
        return {
            "fused_batches": self.batches,
            "compared_batches": self.compared,
            "repeated_batches": self.again,
            "largest_difference": self.largest,
            "tolerance": TOLERANCE,
            **plain,
        }


_WAYS: ContextVar[Ways | None] = ContextVar("ways", default=None)


@contextmanager
def noted() -> Iterator[Ways]:
    """Context in which it is noted how grids are computed."""
    ways = Ways()
    token = _WAYS.set(ways)
    try:
        yield ways
    finally:
        _WAYS.reset(token)


def worthwhile(workload: Workload, work: int) -> bool:
    """Whether a grid is computed by faster operations.

    Args:
        workload: The workload.
        work: Cells times images.

    Returns:
        Whether there are such operations for its network, its metric counts right images, the
        grid is large enough, and they can be had here; where only the last fails, that is noted.
    """
    counts = type(workload).outcomes is Classification.outcomes
    if not (has_blocks(workload.network) and counts and work >= WORTHWHILE):
        return False
    if type(workload.metric()) is not Accuracy or not on_cpu(device_of(workload.network)):
        return False
    reason = conv_op.missing()
    if reason:
        (_WAYS.get() or Ways()).refuse(reason)
    return not reason


class QuickPass:
    """Outputs of one group of cells by faster operations, as long as they agree.

    Args:
        workload: The workload, operated on the conditions of the group.
        count: Number of cells in the group.
        noise: The shot noise with which it is operated.
    """

    def __init__(self, workload: Workload, count: int, noise: DeviceNoise) -> None:
        self.network = workload.network
        self.count = count
        self._noise = noise
        self._ways = _WAYS.get() or Ways()
        self._compared = False
        self._on = True

    def outputs(self, once: Tensor, h: Tensor) -> Tensor:
        """Outputs of all cells; the shot noise must be the same when it is asked for twice.

        Args:
            once: Inputs of the first physical layer (B, ...).
            h: The same for each cell (cells * B, ...).

        Returns:
            (cells * B, classes).
        """
        if not self._on:
            return self.network.physical(h)
        try:
            with fusing(once, h) as fused:
                quick = self.network.physical(h)
        except Exception as error:
            return self._refused(h, f"{type(error).__name__}: {error}")
        if not fused:  # a network of other blocks: this was the plain pass
            self._on = False
            return quick
        self._ways.batches += 1
        if not self._compared:
            return self._checked(quick, self.network.physical(h))
        doubtful = self._doubtful(quick)
        if not doubtful.any():
            return quick
        self._ways.again += 1
        chosen = doubtful.nonzero()[:, 0]
        with self._noise.only(chosen, len(once)):
            plain = self.network.physical(self._cells(h)[:, chosen].flatten(0, 1))
        mended = self._cells(quick).clone()
        mended[:, chosen] = self._cells(plain)
        outputs = self._checked(quick, mended.flatten(0, 1))
        return outputs if self._on else self.network.physical(h)

    def _checked(self, quick: Tensor, plain: Tensor) -> Tensor:
        """Holds outputs against the plain ones, some or all of them, and returns these."""
        if not (torch.isfinite(quick).all() and torch.isfinite(plain).all()):
            return plain
        self._compared = True
        self._ways.compared += 1
        scale = self._scale(plain).clamp(min=1e-30)
        off = float((self._cells((quick - plain).abs()).flatten(1) / scale).max())
        self._ways.largest = max(self._ways.largest, off)
        if off > TOLERANCE:
            self._on = False
            self._ways.refuse(f"outputs differ by {off:.1e} of the largest, {TOLERANCE:g} allowed")
        return plain

    def _refused(self, h: Tensor, reason: str) -> Tensor:
        outputs = self.network.physical(h)  # an error that is no fault of the operation comes here
        self._on = False
        self._ways.refuse(" ".join(reason.split())[:300])
        return outputs

    def _cells(self, h: Tensor) -> Tensor:
        """What is there for each image of each cell (cells, B, ...)."""
        return h.unflatten(0, (self.count, -1))

    def _scale(self, outputs: Tensor) -> Tensor:
        """Largest output of each cell (cells, 1)."""
        return self._cells(outputs.abs()).flatten(1).amax(1, keepdim=True)

    def _doubtful(self, outputs: Tensor) -> Tensor:
        """Which images' class rounding may decide, or have outputs that are not finite (B,)."""
        if outputs.shape[1] < 2:
            return torch.ones(len(outputs) // self.count, dtype=torch.bool)
        first, second = outputs.topk(2, dim=1).values.unbind(1)
        sure = self._cells(first - second) > _DOUBT * TOLERANCE * self._scale(outputs)
        return ~(sure & self._cells(torch.isfinite(outputs).all(1))).all(0)
