"""What a network draws in a training pass, such as dropout: the same in several passes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from pnnbench.accelerator import device_of
from pnnbench.workloads.base import Workload


class Draws:
    """What a network draws in a pass, such as dropout, to be drawn once more.

    Values of one function are compared, and a measured value takes the place of a simulated one,
    only where both passes draw the same.

    Args:
        workload: Says where the network is.
    """

    def __init__(self, workload: Workload) -> None:
        device = device_of(workload.network)
        self._gpus = [device] if device.type == "cuda" else []
        self._states = [torch.get_rng_state(), *map(torch.cuda.get_rng_state, self._gpus)]

    @contextmanager
    def again(self) -> Iterator[None]:
        """Context in which the same is drawn as from when this was made; none of it is used up."""
        with torch.random.fork_rng(devices=self._gpus):
            torch.set_rng_state(self._states[0])
            for gpu, state in zip(self._gpus, self._states[1:], strict=True):
                torch.cuda.set_rng_state(state, gpu)
            yield
