"""Batch-norm statistics of all calibration images at once, whatever the batches are cut to.

In one pass over all images each norm meets the statistics of all of them, and those of a later norm
depend on those of the earlier ones. So there is one pass for each call of a norm, in the order in
which the network calls them: earlier calls normalise with the statistics found, the next one pools
its inputs, and the pass ends there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from pnnbench.errors import UserError, check_count, check_range
from pnnbench.platforms.base import calibrating_full_scale


class _Reached(Exception):  # noqa: N818 - no error: the rest of the pass is not needed
    """The norm whose inputs are being pooled has been reached."""


@dataclasses.dataclass
class _Moments:
    """Count, mean and sum of squared deviations per channel, in double precision.

    Batches are joined as by Chan, Golub and LeVeque, The American Statistician 37, 242 (1983).
    """

    count: int
    mean: Tensor
    square: Tensor

    @classmethod
    def of(cls, x: Tensor) -> _Moments:
        """Moments of inputs (B, channels, ...)."""
        dims = [d for d in range(x.dim()) if d != 1]
        count = x.numel() // x.shape[1]
        variance, mean = torch.var_mean(x.double(), dim=dims, correction=0)
        return cls(count, mean, variance * count)

    def join(self, other: _Moments) -> _Moments:
        """Moments of both together."""
        count = self.count + other.count
        step = other.mean - self.mean
        mean = self.mean + step * (other.count / count)
        square = self.square + other.square + step.square() * (self.count * other.count / count)
        return _Moments(count, mean, square)

    @property
    def variance(self) -> Tensor:
        """Mean squared deviation: what a norm in training divides by."""
        return self.square / self.count

    @property
    def unbiased(self) -> Tensor:
        """Unbiased variance: what a norm keeps for evaluation."""
        return self.square / max(self.count - 1, 1)


class _Calls:
    """What the calls of the norms in one pass normalise with; the hook before each of them.

    Args:
        found: Norm and moments of each call that is settled, in the order of the network.
    """

    def __init__(self, found: list[tuple[_BatchNorm, _Moments]]) -> None:
        self.found = found
        self.call = 0
        self.pooled: tuple[_BatchNorm, _Moments] | None = None

    def __call__(self, norm: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        assert isinstance(norm, _BatchNorm)  # noqa: S101 - for the type checker
        x: Tensor = args[0] if args else kwargs["input"]
        if self.call == len(self.found):
            moments = _Moments.of(x)
            if self.pooled is not None:
                self._same(norm, self.pooled[0])
                moments = self.pooled[1].join(moments)
            self.pooled = (norm, moments)
            raise _Reached
        known, moments = self.found[self.call]
        self._same(norm, known)
        # A norm without buffers of its own takes them as well, until `borrowed` puts them back.
        norm.running_mean, norm.running_var = moments.mean.to(x), moments.variance.to(x)
        self.call += 1

    def _same(self, norm: _BatchNorm, known: _BatchNorm) -> None:
        if norm is not known:
            raise _another_way()


def _another_way() -> UserError:
    return UserError(
        "the network calls its batch norms in another order for other images",
        allowed="one order for all images",
    )


@contextmanager
def _borrowed(norms: list[_BatchNorm]) -> Iterator[None]:
    """Context in which the norms' buffers may be replaced; they are put back afterwards."""
    buffers = [(norm, norm.running_mean, norm.running_var) for norm in norms]
    try:
        yield
    finally:
        for norm, mean, variance in buffers:
            norm.running_mean, norm.running_var = mean, variance


def _pass(
    network: nn.Module,
    norms: list[_BatchNorm],
    images: Tensor,
    batch_size: int,
    found: list[tuple[_BatchNorm, _Moments]],
) -> tuple[_BatchNorm, _Moments] | None:
    """Pools the inputs of the first call of a norm that is not settled; None if all are."""
    calls = _Calls(found)
    hooks = [norm.register_forward_pre_hook(calls, with_kwargs=True) for norm in norms]
    stopped = []
    try:
        for x in images.split(batch_size):
            calls.call = 0
            try:
                network(x)
                stopped.append(False)
            except _Reached:
                stopped.append(True)
            if stopped[-1] != stopped[0] or calls.call != len(found):
                raise _another_way()
    finally:
        for hook in hooks:
            hook.remove()
    return calls.pooled


@torch.no_grad()
def calibrate(network: nn.Module, images: Tensor, batch_size: int) -> None:
    """Sets batch-norm statistics and read-out full scales as one pass over all images would.

    Everything but the batch norms runs as in evaluation: nothing is dropped, nothing is drawn. A
    norm that is called twice keeps the mean of the statistics of both calls, one that is not called
    has none. The network is left in evaluation mode.

    Args:
        network: Module with batch norms, physical layers, or neither.
        images: Training images (N, ...), N at least 2.
        batch_size: Images per batch, at least 1; it changes nothing but the rounding.

    Raises:
        UserError: If there are fewer than two images or the batch size is no number of images; if
            the network takes another way for other images.
    """
    check_range("calibration images", len(images), low=2, high=1e9)
    check_count("batch_size of the calibration", batch_size)
    network.eval()
    norms = [m for m in network.modules() if isinstance(m, _BatchNorm)]
    found: list[tuple[_BatchNorm, _Moments]] = []
    with _borrowed(norms), calibrating_full_scale(network):
        while (pooled := _pass(network, norms, images, batch_size, found)) is not None:
            found.append(pooled)
    for norm in norms:
        norm.reset_running_stats()
        calls = [moments for called, moments in found if called is norm]
        if norm.running_mean is None or norm.running_var is None or not calls:
            continue
        norm.running_mean.copy_(torch.stack([m.mean for m in calls]).mean(0))
        norm.running_var.copy_(torch.stack([m.unbiased for m in calls]).mean(0))
        if norm.num_batches_tracked is not None:
            norm.num_batches_tracked.fill_(len(calls))
