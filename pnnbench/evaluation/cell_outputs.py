"""What a trained network gives in single cells of its grid, as the harness measures it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor
from torchmetrics.classification import MulticlassConfusionMatrix

from pnnbench.errors import UserError
from pnnbench.evaluation.gaps import LeftOutError
from pnnbench.evaluation.harness import NOISE_BLOCK, DeviceNoise
from pnnbench.evaluation.hessian import deployed
from pnnbench.evaluation.outputs import require_class_labels
from pnnbench.platforms.base import FABRICATION, Condition, hold_transfer, operate
from pnnbench.workloads.base import Workload
from pnnbench.workloads.calibration import calibrated_apart
from pnnbench.workloads.grid import OFFSET_CALIBRATED, SHOT_AXIS, Cell, Deployment
from pnnbench.workloads.handing import needs_of

#: Channels of what can be looked at: grey or coloured.
_CHANNELS = (1, 3)


@torch.no_grad()
def cell_outputs(
    workload: Workload, inputs: Tensor, cell: Cell, calibration: Tensor | None = None
) -> Tensor:
    """Outputs of a trained network on the device and in the environment of a cell.

    Args:
        workload: A trained workload; afterwards it is what it was, to the bit.
        inputs: The first inputs of the test set (N, ...); shot noise is that of the grid.
        cell: Device and environment.
        calibration: Inputs (M, ...), without labels, from which the device takes its batch-norm
            statistics again; None leaves those there are.

    Returns:
        Outputs (N, ...), on the workload's device.
    """
    network = workload.network
    law = () if cell.law == FABRICATION else (cell.law,)
    device = workload.draw_device(cell.severity, cell.device_seed, *law)
    noise = DeviceNoise([cell.device_seed])
    outputs: list[Tensor] = []
    with ExitStack() as state:
        state.enter_context(deployed(workload))
        state.enter_context(operate(network, [Condition(device, cell.environment)], noise))
        state.enter_context(hold_transfer(network))
        if calibration is not None:
            noise.stream = "calibration"
            state.enter_context(calibrated_apart(network, network.prefix(calibration), 1))
            noise.stream = "shot"
        for start in range(0, len(inputs), NOISE_BLOCK):
            noise.start = start
            part = inputs[start : start + NOISE_BLOCK]
            outputs.append(network.physical(network.prefix(part)))
    return torch.cat(outputs)


def calibration_inputs(
    workload: Workload, train: Tensor, deployment: Deployment | str
) -> Tensor | None:
    """The inputs of which a device measures its batch-norm statistics in a deployment.

    Args:
        workload: The workload.
        train: Training inputs (N, ...).
        deployment: Name of the deployment.

    Returns:
        The first of them, as many as the workload says; None where nothing is calibrated.
    """
    if deployment != OFFSET_CALIBRATED or not workload.offset_calibration_images:
        return None
    return train[: workload.offset_calibration_images]


def swept_cells(cells: Sequence[Cell], deployment: Deployment) -> tuple[Cell, ...]:
    """Both ends of what counts along the first axis of environments, and the middle.

    Args:
        cells: A perturbation grid.
        deployment: Which cells count.

    Returns:
        Cells of one device, by level: the lowest that counts, the nominal environment, the highest.
        On an axis to one side, nominal and the highest; where no environment varies, the largest
        severity of the first device that counts.

    Raises:
        UserError: If the grid is empty.
    """
    if not cells:
        raise UserError("the perturbation grid is empty", allowed="at least one cell")
    counted = [c for c in cells if c.counts_when(deployment) and c.axis != SHOT_AXIS] or cells
    varied = [c for c in counted if c.environment != type(c.environment)()]
    if not varied:
        first = [c for c in counted if c.device_seed == counted[0].device_seed]
        return (max(first, key=lambda c: c.severity),)
    one = varied[0]
    mine = [
        c
        for c in varied
        if (c.axis, c.severity, c.device_seed) == (one.axis, one.severity, one.device_seed)
    ]
    nominal = dataclasses.replace(one, level=one.nominal, environment=type(one.environment)())
    lowest, highest = min(mine, key=_level), max(mine, key=_level)
    below = [lowest] if lowest.level < nominal.level else []
    above = [highest] if highest.level > nominal.level else []
    return (*below, nominal, *above)


def shifted_cell(cells: Sequence[Cell]) -> Cell:
    """Chooses the cell of the confusion picture: a mild change of the environment.

    Args:
        cells: A perturbation grid.

    Returns:
        The first cell of smallest non-zero level on the first axis that varies the environment, the
        positive one of two; the first cell where none does. Levels of two axes have two units.

    Raises:
        UserError: If the grid is empty.
    """
    if not cells:
        raise UserError("the perturbation grid is empty", allowed="at least one cell")
    varied = [c for c in cells if c.environment != type(c.environment)() and c.level != 0]
    if not varied:
        return cells[0]
    first = [c for c in varied if c.axis == varied[0].axis]
    return min(first, key=lambda c: (abs(c.level), c.level < 0))


def _level(cell: Cell) -> float:
    return cell.level


def confusion_matrix(
    workload: Workload,
    images: Tensor,
    labels: Tensor,
    cell: Cell,
    calibration: Tensor | None = None,
) -> Tensor:
    """Counts the test images by true and predicted class in one cell.

    Args:
        workload: A trained classifier; afterwards it is what it was, to the bit.
        images: Test images (N, ...).
        labels: Class indices (N,).
        cell: Device and environment.
        calibration: As for `cell_outputs`.

    Returns:
        Counts (classes, classes), int64; rows are true classes.

    Raises:
        LeftOutError: If the workload does not classify, or by other classes than the labels.
        NotFiniteError: If an output is not finite.
    """
    every = cell_outputs(workload, images, cell, calibration)
    require_class_labels(workload, every, labels, images)
    matrix = MulticlassConfusionMatrix(every.shape[1], validate_args=False).to(every.device)
    matrix.update(every, labels)
    counts: Tensor = matrix.compute()
    return counts.cpu()


def originals(workload: Workload, inputs: Tensor, targets: Tensor) -> Tensor:
    """The images that a workload's outputs are held against: what went in, or the real ones.

    Args:
        workload: The workload.
        inputs: Test inputs (N, ...).
        targets: Test targets (N, ...).

    Returns:
        Images (N, C, H, W), one or three channels.

    Raises:
        LeftOutError: If its outputs are no images, or are held against none.
    """
    with torch.no_grad(), deployed(workload):
        made = workload(inputs[:1])
    if made.dim() == 4 and made.shape[1] in _CHANNELS:
        held = inputs if "inputs" in needs_of(workload.metric()) else targets
        if held.shape[1:] == made.shape[1:]:
            return held
    name = type(workload).__name__
    raise LeftOutError(f"the outputs of {name} are no images like those it is scored by")


def feature_network(workload: Workload) -> Callable[[Tensor], Tensor]:
    """The features in which a workload's images are compared.

    Args:
        workload: A workload whose metric has an extractor.

    Returns:
        What takes images (N, C, H, W) to features (N, d).

    Raises:
        LeftOutError: If its metric has none.
    """
    network: Any = getattr(workload.metric(), "extractor", None)
    if network is None:
        raise LeftOutError(f"the metric of {type(workload).__name__} takes no features")
    features: Callable[[Tensor], Tensor] = network.features
    return features
