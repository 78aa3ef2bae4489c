"""Batch-norm statistics of all calibration images at once, whatever the batches are cut to.

In one pass over all images each norm meets the statistics of all of them, and those of a later norm
depend on those of the earlier ones. So there is one pass for each call of a norm, in the order in
which the network calls them: earlier calls normalise with the statistics found, the next one pools
its inputs, and the pass ends there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode

from pnnbench.errors import UserError, check_count, check_range
from pnnbench.platforms.base import calibrating_full_scale, physical_layers
from pnnbench.workloads.networks import PhysicalNetwork


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


class _Inside(TorchFunctionMode):
    """Tells of batch norms where they are computed, for norms that are more than that.

    A norm with a forward of its own, such as one that is followed by an activation in one class,
    and a norm whose buffers a network hands to `torch.nn.functional.batch_norm` by itself, are met
    here: the module is not called, or with something else than what is normalised.

    Args:
        norms: The norms.
        meet: Called with a norm and the inputs that it normalises; gives its outputs, or None where
            they are computed as they would be without.
    """

    def __init__(
        self, norms: Sequence[_BatchNorm], meet: Callable[[_BatchNorm, Tensor], Tensor | None]
    ) -> None:
        super().__init__()
        self.norms = norms
        self.meet = meet

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Meets a batch norm of one of the norms; leaves everything else as it is."""
        named = kwargs or {}
        if func in (F.batch_norm, torch.batch_norm):
            held = [value for value in (*args[1:], *named.values()) if isinstance(value, Tensor)]
            norm = _owner(self.norms, held)
            outputs = None
            if norm is not None:
                outputs = self.meet(norm, args[0] if args else named["input"])
            if outputs is not None:
                return outputs
        return func(*args, **named)


def _owner(norms: Sequence[_BatchNorm], held: Sequence[Tensor]) -> _BatchNorm | None:
    """The norm of which some tensors are: its mean is one of them, else its weight."""
    for name in ("running_mean", "weight"):  # several norms may share a weight
        for norm in norms:
            mine = getattr(norm, name)
            if mine is not None and any(value is mine for value in held):
                return norm
    return None


def _is_plain(norm: _BatchNorm) -> bool:
    """Whether a norm is a batch norm and nothing else, perhaps one of several conditions."""
    own = vars(norm).get("forward")
    ours = own is None or (isinstance(own, partial) and own.func is _apart)
    return ours and type(norm).forward is _BatchNorm.forward


class _Calls:
    """What the calls of the norms in one pass normalise with; the hook before each of them.

    Args:
        found: Norm and moments of each call that is settled, in the order of the network.
        conditions: Conditions that each input holds, one after another.
        whole: Whether one batch holds all images. Its call is settled as soon as it is reached, and
            the pass goes on.
        behind: Calls before the first of one of these modules are left as they are; empty for none.
    """

    def __init__(
        self,
        found: list[tuple[_BatchNorm, _Moments]],
        conditions: int,
        whole: bool,
        behind: Sequence[nn.Module],
    ) -> None:
        self.found = found
        self.conditions = conditions
        self.whole = whole
        self.behind = behind
        self.pooled: tuple[_BatchNorm, _Moments] | None = None
        self.inside = False
        self.start()

    def start(self) -> None:
        """Begins a pass."""
        self.call = 0
        self._announced: _BatchNorm | None = None
        self._counts = not self.behind

    def _reach(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        self._counts = True

    @contextmanager
    def hooked(self, norms: list[_BatchNorm]) -> Iterator[None]:
        """Context in which the norms are watched."""
        plain = [norm for norm in norms if _is_plain(norm)]
        hooks = [norm.register_forward_pre_hook(self, with_kwargs=True) for norm in plain]
        hooks += [module.register_forward_pre_hook(self._reach) for module in self.behind]
        try:
            with _Inside(norms, self._met):
                yield
        finally:
            for hook in hooks:
                hook.remove()

    def __call__(self, norm: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        assert isinstance(norm, _BatchNorm)  # noqa: S101 - for the type checker
        self._announced = norm
        self._settle(norm, args[0] if args else kwargs["input"])

    def _met(self, norm: _BatchNorm, x: Tensor) -> Tensor | None:
        """A norm where it is computed: of one that its hook has announced nothing is left to do."""
        if norm is self._announced:
            self._announced = None
            return None
        self.inside = True
        self._settle(norm, x)
        return _apart(norm, self.conditions, x)

    def _settle(self, norm: _BatchNorm, x: Tensor) -> None:
        """Pools the inputs of a call, or gives the norm what it normalises with."""
        if not self._counts:
            return
        if self.call == len(self.found):
            moments = _Moments.of(_folded(x, self.conditions))
            if self.whole:
                self.found.append((norm, moments))
        if self.call == len(self.found):
            if self.pooled is not None:
                self._same(norm, self.pooled[0])
                moments = self.pooled[1].join(moments)
            self.pooled = (norm, moments)
            raise _Reached
        known, moments = self.found[self.call]
        self._same(norm, known)
        # A norm without buffers of its own takes them as well, until `_borrowed` puts them back.
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


def _folded(x: Tensor, conditions: int) -> Tensor:
    """Conditions as channels: (C * B, channels, ...) -> (B, C * channels, ...)."""
    if conditions == 1:
        return x
    return x.unflatten(0, (conditions, -1)).transpose(0, 1).flatten(1, 2)


def _unfolded(y: Tensor, conditions: int) -> Tensor:
    """The inverse of `_folded`."""
    if conditions == 1:
        return y
    return y.unflatten(1, (conditions, -1)).transpose(0, 1).flatten(0, 1)


def _norms(network: nn.Module) -> list[_BatchNorm]:
    return [m for m in network.modules() if isinstance(m, _BatchNorm)]


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
    forward: Callable[[Tensor], Tensor],
    norms: list[_BatchNorm],
    batches: Sequence[Tensor],
    found: list[tuple[_BatchNorm, _Moments]],
    conditions: int,
    whole: bool,
    behind: Sequence[nn.Module],
) -> _Calls:
    """Pools the inputs of the first call of a norm that is not settled; nothing if all are."""
    calls = _Calls(found, conditions, whole, behind)
    stopped = []
    with calls.hooked(norms):
        for x in batches:
            calls.start()
            try:
                forward(x)
                stopped.append(False)
            except _Reached:
                stopped.append(True)
            if stopped[-1] != stopped[0] or calls.call != len(found):
                raise _another_way()
    return calls


def _measured(
    forward: Callable[[Tensor], Tensor],
    norms: list[_BatchNorm],
    batches: Sequence[Tensor],
    conditions: int = 1,
    *,
    whole: bool = False,
    behind: Sequence[nn.Module] = (),
) -> tuple[list[tuple[_BatchNorm, _Moments]], bool]:
    """Norm and moments of each call, in the order of the network; see `_Calls` for the rest.

    And whether one of them was met where it is computed and not where its module is called.
    """
    found: list[tuple[_BatchNorm, _Moments]] = []
    given = (forward, norms, batches, found, conditions, whole, behind)
    inside = False
    with _borrowed(norms):
        while True:
            calls = _pass(*given)
            inside = inside or calls.inside
            if calls.pooled is None:
                return found, inside
            found.append(calls.pooled)


def _statistics(norm: _BatchNorm, found: list[tuple[_BatchNorm, _Moments]]) -> tuple[Tensor, ...]:
    """Mean and unbiased variance that a norm keeps, those of all its calls; empty without any."""
    calls = [moments for called, moments in found if called is norm]
    if not calls:
        return ()
    return (
        torch.stack([m.mean for m in calls]).mean(0),
        torch.stack([m.unbiased for m in calls]).mean(0),
    )


@torch.no_grad()
def calibrate(network: nn.Module, images: Tensor, batch_size: int) -> int:
    """Sets batch-norm statistics and read-out full scales as one pass over all images would.

    Everything but the batch norms runs as in evaluation: nothing is dropped, nothing is drawn. A
    norm that is called twice keeps the mean of the statistics of both calls, one that is not called
    those that it has. The network is left in evaluation mode.

    Args:
        network: Module with batch norms, physical layers, or neither; inside `operate` on the
            device that is calibrated.
        images: Training images (N, ...), N at least 2.
        batch_size: Images per batch, at least 1; on the ideal device it changes nothing but the
            rounding. A device that is measured has other noise, and ranges its detectors to each
            batch.

    Returns:
        Inputs that went through the network: N for each call of a norm, and for the last pass.

    Raises:
        UserError: If there are fewer than two images or the batch size is no number of images; if
            the network takes another way for other images.
    """
    check_range("calibration images", len(images), low=2, high=1e9)
    check_count("batch_size of the calibration", batch_size)
    network.eval()
    norms = _norms(network)
    with calibrating_full_scale(network):
        found, _ = _measured(network, norms, images.split(batch_size))
    for norm in norms:
        statistics = _statistics(norm, found)
        if norm.running_mean is None or norm.running_var is None or not statistics:
            continue
        for buffer, value in zip((norm.running_mean, norm.running_var), statistics, strict=True):
            buffer.copy_(value)
        if norm.num_batches_tracked is not None:
            norm.num_batches_tracked.fill_(sum(called is norm for called, _ in found))
    return len(images) * (len(found) + 1)


@contextmanager
def calibrated_apart(network: PhysicalNetwork, features: Tensor, conditions: int) -> Iterator[int]:
    """Context in which each condition has batch-norm statistics of its own, measured there.

    Offset and gain of every channel are taken again from images without labels, norm by norm in the
    order of the network, on the devices that the network is operated on. Norms before the first
    physical layer, and read-out full scales, stay as they are.

    One pass does, since all images are in one batch: noise must follow its place in the network
    alone, as it does where several passes would draw it again.

    Args:
        network: A network in evaluation mode, inside `operate` with so many conditions.
        features: Inputs of the first physical layer (N, ...), N at least 2.
        conditions: Number of conditions, at least 1.

    Yields:
        Inputs that each condition has measured: N for each call of a norm behind a physical layer.

    Raises:
        UserError: If there are fewer than two images, or the network takes another way for others.
    """
    check_range("calibration images", len(features), low=2, high=1e9)
    norms, layers = _norms(network), list(physical_layers(network).values())
    plain = [norm for norm in norms if _is_plain(norm)]
    kept = [(norm, norm.running_mean, norm.running_var) for norm in norms]
    with ExitStack() as contexts:
        contexts.callback(_put_back, kept, plain)
        for norm in norms:
            if norm in plain:
                # An attribute of the object hides the method of its class until it is deleted.
                norm.forward = partial(_apart, norm, conditions)  # type: ignore[method-assign]
            else:  # a mark: images of several conditions are in one batch
                contexts.callback(norm.register_forward_pre_hook(_nothing).remove)
            if norm.running_mean is not None and norm.running_var is not None:
                norm.running_mean = norm.running_mean.repeat(conditions)
                norm.running_var = norm.running_var.repeat(conditions)
        inputs = features.repeat(conditions, *[1] * (features.dim() - 1))
        with torch.no_grad():
            found, inside = _measured(
                network.physical, norms, [inputs], conditions, whole=True, behind=layers
            )
        for norm in norms:
            statistics = _statistics(norm, found)
            if statistics:
                norm.running_mean, norm.running_var = (s.to(features) for s in statistics)
        if inside:
            meet = partial(_met_apart, conditions)
            contexts.enter_context(_Inside(norms, meet))
        yield len(features) * len(found)


def _put_back(
    kept: Sequence[tuple[_BatchNorm, Tensor | None, Tensor | None]], plain: Sequence[_BatchNorm]
) -> None:
    """Gives norms their own statistics and forwards again."""
    for norm, mean, variance in kept:
        norm.running_mean, norm.running_var = mean, variance
    for norm in plain:
        vars(norm).pop("forward", None)


def _nothing(module: nn.Module, args: Any) -> None:
    """A hook that does nothing."""


def _apart(norm: _BatchNorm, conditions: int, *args: Tensor, **kwargs: Tensor) -> Tensor:
    """What a norm in evaluation makes of inputs (C * B, ...), each condition with its own."""
    x = args[0] if args else kwargs["input"]
    weight, bias = (None if p is None else p.repeat(conditions) for p in (norm.weight, norm.bias))
    mean, variance = norm.running_mean, norm.running_var
    folded = _folded(x, conditions)
    without = mean is None or variance is None
    y = F.batch_norm(folded, mean, variance, weight, bias, training=without, eps=norm.eps)
    return _unfolded(y, conditions)


def _met_apart(conditions: int, norm: _BatchNorm, x: Tensor) -> Tensor | None:
    """The same for a norm that is met where it is computed; None for `_apart` itself."""
    folded = x.shape[1] != norm.num_features
    return None if folded else _apart(norm, conditions, x)
