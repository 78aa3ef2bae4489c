"""Scale-aware companions of the largest Hessian eigenvalue.

The eigenvalue follows the scale of the loss. These say in physical units what a flat minimum is
worth: the worst loss inside a ball of controls, and the loss on fabricated devices.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from pnnbench.errors import UserError, check_range
from pnnbench.evaluation.gaps import NotFiniteError
from pnnbench.evaluation.hessian import ControlHessian
from pnnbench.evaluation.task_loss import task_loss
from pnnbench.platforms.base import Condition, Device, Environment, operate
from pnnbench.workloads.base import Workload


class _Ball:
    """The L2 ball around the present controls, cut to what the hardware allows."""

    def __init__(self, objective: ControlHessian, radius: float) -> None:
        self.objective = objective
        self.radius = radius

    @torch.no_grad()
    def project(self, delta: Tensor) -> Tensor:
        """Nearest allowed displacement, up to the order of the two projections."""
        o = self.objective
        delta = delta * min(1.0, self.radius / max(float(delta.norm()), 1e-300))
        parameters = list(o.controls.values())
        kept = [p.detach().clone() for p in parameters]
        try:
            for p, value in zip(parameters, o.unflatten(o.at + delta).values(), strict=True):
                p.copy_(value)
            o.workload.project_controls()
            # Clamping to a range that holds the centre only shrinks the displacement.
            delta = torch.cat([p.detach().flatten().double() for p in parameters]) - o.at
        finally:
            for p, value in zip(parameters, kept, strict=True):
                p.copy_(value)
        return delta * min(1.0, self.radius / max(float(delta.norm()), 1e-300))


def ball_increase(
    objective: ControlHessian,
    radius: float,
    *,
    direction: Tensor | None = None,
    steps: int = 10,
) -> float:
    """Worst increase of the mean loss inside an L2 ball around the present controls.

    Projected gradient ascent from the best of three points on the sphere: along the gradient and
    along plus and minus a given direction. The step length halves when a step fails. The result is
    what was reached: a lower bound of the true worst case.

    Args:
        objective: Loss over the controls, inside `deployed`.
        radius: Radius of the ball in units of the controls, > 0.
        direction: Direction to start from (size,), such as the top Hessian eigenvector.
        steps: Ascent steps, at least 0.

    Returns:
        Loss increase, at least 0, in units of the loss.

    Raises:
        NotFiniteError: If the loss or its gradient is not finite at a point of the ascent.
        UserError: If an argument is out of range.
    """
    check_range("radius", radius, low=0.0, high=1e12, low_open=True)
    check_range("steps", steps, low=0, high=1e6)
    ball = _Ball(objective, radius)
    centre, gradient = _finite_at(objective, objective.at)
    starts = [gradient]
    if direction is not None:
        unit = direction.to(objective.at) * (radius / float(direction.norm()))
        starts += [unit, -unit]
    best, at, slope = centre, torch.zeros_like(objective.at), gradient
    for start in starts:
        length = float(start.norm())
        if length == 0.0:
            continue
        delta = ball.project(start * (radius / length))
        value, g = _finite_at(objective, objective.at + delta)
        if value > best:
            best, at, slope = value, delta, g
    stride = 1.0
    for _ in range(steps):
        length = float(slope.norm())
        if length == 0.0:
            break
        delta = ball.project(at + slope * (stride * radius / length))
        value, g = _finite_at(objective, objective.at + delta)
        if value > best:
            best, at, slope = value, delta, g
            stride *= 1.5
        else:
            stride *= 0.5
    return best - centre


def _finite_at(objective: ControlHessian, at: Tensor) -> tuple[float, Tensor]:
    value, gradient = objective.value_and_gradient(at)
    if not (math.isfinite(value) and bool(torch.isfinite(gradient).all())):
        raise NotFiniteError(f"the loss or its gradient is not finite in the ball: {value}")
    return value, gradient


def common_direction(workload: Workload) -> Tensor | None:
    """Direction in which the controls that share a drift of the hardware shift together.

    Args:
        workload: The workload; its layers say which controls those are.

    Returns:
        Ones and zeros (size,) in the order of `Workload.controls`, float64; None if no control
        shares a drift.
    """
    parts = [
        torch.full((getattr(layer, name).numel(),), float(name in layer.common_controls))
        for layer in workload.layers().values()
        for name in layer.control_names
    ]
    direction = torch.cat(parts).double()
    return direction if bool(direction.any()) else None


@torch.no_grad()
def device_increases(
    workload: Workload,
    images: Tensor,
    labels: Tensor,
    devices: Sequence[Device],
    environment: Environment | None = None,
    *,
    chunk: int = 250,
    device_batch: int = 5,
) -> list[float]:
    """Increase of the mean loss on each device over that where the workload is operated.

    Args:
        workload: Inside `deployed`, which says on which device it is operated.
        images: Images (N, ...).
        labels: Targets (N, ...).
        devices: At least one device.
        environment: Conditions for the devices; None is nominal.
        chunk: Images per pass.
        device_batch: Devices per pass.

    Returns:
        Loss increase per device, in units of the loss; negative where the device does better, not
        finite where the loss is not.

    Raises:
        NotFiniteError: If the loss is not finite where the workload is operated.
        UserError: If there is no device.
    """
    if not devices:
        raise UserError("no device to measure on", allowed="at least one Device")
    hardware = next(iter(workload.controls().values())).device
    here = 0.0
    totals = [0.0] * len(devices)
    for x, y in zip(images.split(chunk), labels.split(chunk), strict=True):
        batch = (x.to(hardware), y.to(hardware))
        hidden = workload.network.prefix(batch[0])
        here += len(x) * float(task_loss(workload, workload.network.physical(hidden), batch))
        for first in range(0, len(devices), device_batch):
            group = [Condition(d, environment) for d in devices[first : first + device_batch]]
            with operate(workload.network, group):
                repeated = hidden.repeat(len(group), *[1] * (hidden.dim() - 1))
                outputs = workload.network.physical(repeated)
            for i, block in enumerate(outputs.chunk(len(group))):
                totals[first + i] += len(x) * float(task_loss(workload, block, batch))
    if not math.isfinite(here):
        raise NotFiniteError(f"the loss where the workload is operated is {here}")
    return [(total - here) / len(images) for total in totals]
