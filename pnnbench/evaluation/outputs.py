"""The task loss as a function of a network's outputs: their best scale, the loss of guessing."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from scipy.optimize import brentq
from torch import Tensor

from pnnbench.errors import UserError
from pnnbench.evaluation.gaps import LeftOutError, NotFiniteError
from pnnbench.evaluation.task_loss import task_loss
from pnnbench.workloads.accuracy import top1
from pnnbench.workloads.base import Workload
from pnnbench.workloads.handing import Handing

#: Scales outside are not looked for. A separable sample would drive the scale to infinity.
SCALE_RANGE = (0.05, 20.0)
#: Scales, evenly spaced in their logarithm, among which the valley of the loss is looked for.
_SCALES = 25
#: Images whose loss is taken at once.
_TOGETHER = 2_000
#: A loss that has fallen by more than this when it overflows has no least value.
_FALL = 1e6
#: A network that explains less than this share of the loss of guessing is at guessing.
GUESSING_SHARE = 0.01


class OutputLoss:
    """The mean task loss over a sample for changed outputs of the network.

    The network runs once. The loss is the workload's own, taken part by part and weighted by
    size, so that no figure depends on the chunk beyond rounding.

    Args:
        workload: Inside `deployed`.
        images: Images (N, ...), on the workload's device.
        labels: Targets (N, ...), on the workload's device.
        chunk: Images per pass.
    """

    def __init__(self, workload: Workload, images: Tensor, labels: Tensor, chunk: int) -> None:
        self.workload = workload
        self.labels = labels
        with torch.no_grad():
            outputs = torch.cat([workload.network(x) for x in images.split(chunk)])
        # The loss is taken some hundred times, and of so few numbers that calls decide its time.
        together = max(chunk, _TOGETHER)
        self.chunks = outputs.split(together)
        self.parts = list(zip(images.split(together), labels.split(together), strict=True))
        self.size = len(images)

    def mean(self, change: Callable[[Tensor], Tensor]) -> Tensor:
        """Mean loss (a scalar, float64) of outputs that a function changed, chunk by chunk."""
        losses = [
            len(x) * task_loss(self.workload, change(outputs), (x, y))
            for outputs, (x, y) in zip(self.chunks, self.parts, strict=True)
        ]
        return torch.stack(losses).sum() / self.size

    def scaled(self, scale: float) -> float:
        """Mean loss of the outputs times a number."""
        with torch.no_grad():
            return float(self.mean(lambda outputs: outputs * scale))

    def slope(self, log_scale: float) -> float:
        """Derivative of the mean loss with respect to the logarithm of the scale."""
        with torch.enable_grad():
            at = self.chunks[0].new_tensor(math.exp(log_scale)).requires_grad_()
            (slope,) = torch.autograd.grad(self.mean(lambda outputs: outputs * at), at)
        return float(slope) * math.exp(log_scale)

    def metric(self, scale: float) -> float:
        """The workload's metric of the outputs times a number."""
        metric = Handing(self.workload.metric(), self.workload.metric_name)
        for outputs, (x, y) in zip(self.chunks, self.parts, strict=True):
            metric.update((outputs * scale).cpu(), y.cpu(), x.cpu())
        return metric.compute()


def require_free_scale(loss: OutputLoss, name: str) -> None:
    """Refuses outputs whose scale enters the metric: there the scale is part of the answer.

    The scale of logits is free: accuracy does not change with it. Powers of two are exact in
    floating point, so that the comparison is exact.

    Args:
        loss: The loss over the outputs.
        name: Name of the metric.

    Raises:
        LeftOutError: If the metric changes with the scale of the outputs, or cannot be had of so
            few images.
    """
    try:
        here = loss.metric(1.0)
    except UserError as error:
        raise LeftOutError(f"no scale of the outputs can be looked for: {error.what}") from error
    for scale in (0.5, 2.0):
        there = loss.metric(scale)
        if there != here and not (math.isnan(there) and math.isnan(here)):
            raise LeftOutError(
                f"{name} changes with the scale of the outputs, so that there is none to calibrate"
            )


def classifies(outputs: Tensor, labels: Tensor) -> bool:
    """Whether outputs and labels look like those of a classifier.

    Args:
        outputs: Outputs (N, ...).
        labels: Labels (N, ...).
    """
    return outputs.dim() == 2 and labels.dim() == 1 and not labels.is_floating_point()


def require_class_labels(
    workload: Workload, outputs: Tensor, labels: Tensor, images: Tensor
) -> None:
    """Refuses labels that are not the classes a workload scores its outputs by.

    Labels are classes where top-1 accuracy against them is what the workload's metric says. A
    workload with targets of its own, made from the labels, is not drawn by the labels.

    Args:
        workload: The workload.
        outputs: Its outputs (N, ...).
        labels: Labels (N, ...), as its metric takes them.
        images: Images (N, ...).

    Raises:
        LeftOutError: If the labels are not its classes.
        NotFiniteError: If an output is not finite: it belongs to no class.
    """
    if not classifies(outputs, labels):
        raise LeftOutError(f"{type(workload).__name__} does not classify")
    metric = Handing(workload.metric(), workload.metric_name)
    metric.update(outputs, labels, images)
    lost = int((~torch.isfinite(outputs).all(1)).sum())
    if lost:
        raise NotFiniteError(f"the outputs of {lost} of {len(outputs)} images are not finite")
    inside = int(labels.min()) >= 0 and int(labels.max()) < outputs.shape[1]
    share = float(top1(outputs, labels).double().mean())
    if not inside or abs(metric.compute() - share) > 0.5 / len(labels):
        raise LeftOutError(
            f"the labels are not the classes by which {type(workload).__name__} is scored"
        )


def fit_scale(loss: OutputLoss) -> float:
    """Finds the scale of the outputs that minimises the mean task loss, whatever the loss.

    For cross-entropy this is the inverse of the softmax temperature of Guo et al., On Calibration
    of Modern Neural Networks, ICML 2017. The valley is looked for on a grid of `SCALE_RANGE`; in
    it the derivative is brought to zero. A convex loss has one valley.

    Args:
        loss: The loss over the outputs.

    Returns:
        The scale, dimensionless, in `SCALE_RANGE`; an end of the range if the optimum lies outside,
        1 where the loss does not depend on the scale.

    Raises:
        NotFiniteError: If the loss is not finite at any scale.
    """
    low, high = (math.log(scale) for scale in SCALE_RANGE)
    logs = [low + (high - low) * i / (_SCALES - 1) for i in range(_SCALES)]
    values = [loss.scaled(math.exp(at)) for at in logs]
    finite = {i: value for i, value in enumerate(values) if math.isfinite(value)}
    if not finite:
        raise NotFiniteError("the loss is not finite at any scale of the outputs")
    least, most = min(finite.values()), max(finite.values())
    if len(finite) == _SCALES and most - least <= 1e-6 * abs(most):
        return 1.0
    at = min(finite, key=lambda i: finite[i])
    left, right = logs[max(at - 1, 0)], logs[min(at + 1, _SCALES - 1)]
    if at == 0 and loss.slope(low) >= 0.0:
        return SCALE_RANGE[0]
    if at == _SCALES - 1 and loss.slope(high) <= 0.0:
        return SCALE_RANGE[1]
    if not loss.slope(left) < 0.0 < loss.slope(right):
        return math.exp(logs[at])
    return math.exp(brentq(loss.slope, left, right, xtol=1e-10))


def guessing_loss(loss: OutputLoss, steps: int = 100) -> float:
    """The least mean loss of one output for all images: what guessing costs.

    For cross-entropy the entropy of the shares of the classes (the logarithm of their number where
    they are balanced), for the mean square the variance of the targets. Found by L-BFGS from the
    mean output, so that any loss of the workload's own will do.

    Args:
        loss: The loss over the outputs.
        steps: Most iterations.

    Returns:
        The least finite loss that was met.

    Raises:
        LeftOutError: If the loss falls without end, as a score does that a network gives.
        NotFiniteError: If none was finite.
    """
    mean = torch.stack([len(o) * o.mean(0) for o in loss.chunks]).sum(0) / loss.size
    output = mean.clone().requires_grad_()
    optimizer = torch.optim.LBFGS(
        [output], max_iter=steps, tolerance_grad=1e-6, line_search_fn="strong_wolfe"
    )
    first, best = None, math.inf

    def closure() -> float:
        nonlocal first, best
        optimizer.zero_grad()
        with torch.enable_grad():
            value = loss.mean(lambda outputs: output.expand_as(outputs))
            value.backward()
        met = float(value.detach())
        if math.isfinite(met):
            first, best = met if first is None else first, min(best, met)
        elif first is not None and best < first - _FALL:
            raise LeftOutError("the loss of one output for all images falls without end")
        return met

    optimizer.step(closure)
    if not math.isfinite(best):
        raise NotFiniteError("no constant output has a finite loss")
    return best


def at_guessing(least_loss: float, guess: float) -> bool:
    """Whether a network has learned next to nothing: its loss is that of guessing.

    Such a network is flat for want of an answer, so that its sharpness says nothing about training
    for flatness. With ten balanced classes the bar is 0.023 of 2.303 nats, which a classifier
    passes at an accuracy of some 15 %.

    Args:
        least_loss: Mean loss of the network, at the best scale of its outputs where that is free.
        guess: What `guessing_loss` gives.

    Returns:
        Whether less than `GUESSING_SHARE` of the loss of guessing is explained.

    Raises:
        LeftOutError: If guessing has no positive loss, of which there is no share.
    """
    if not guess > 0.0:
        raise LeftOutError(f"the loss of guessing is {guess:.6g}: there is no share of it")
    return bool(least_loss > (1.0 - GUESSING_SHARE) * guess)
