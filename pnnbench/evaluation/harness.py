"""The evaluation loop: a workload measured on every cell of a perturbation grid.

A plain loop, no Trainer and no callback: nothing of a training method runs here. Many cells are
measured at once. The figures do not depend on the batch size or on which cells share a batch:
static errors are drawn per device, shot noise per (device, layer, block of images). All cells of
one device see the same shot noise (common random numbers): differences between conditions are then
due to the conditions, and the noise is drawn once for all of them, since the cells of a device are
measured together.

A cell that cannot be measured takes no other with it. Images whose outputs are not finite are
counted; what they mean for the value the metric must say, or there is no value.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress

import torch
from torch import Tensor

from pnnbench.accelerator import device_of, on_cpu
from pnnbench.errors import check_range
from pnnbench.evaluation.gaps import NotFiniteError
from pnnbench.evaluation.noise import NOISE_BLOCK as NOISE_BLOCK
from pnnbench.evaluation.noise import DeviceNoise as DeviceNoise
from pnnbench.evaluation.noise import drawing
from pnnbench.evaluation.quick import QuickPass, worthwhile
from pnnbench.evaluation.readings import Meter, Outcomes, Reading
from pnnbench.platforms.base import (
    FABRICATION,
    Condition,
    Device,
    hold_transfer,
    operate,
)
from pnnbench.workloads.base import Workload
from pnnbench.workloads.calibration import calibrated_apart
from pnnbench.workloads.grid import FROZEN, OFFSET_CALIBRATED, SHOT_AXIS, Cell, Law, shot_cell

#: Cells measured in one pass.
CELLS_PER_BATCH = 10
#: Cells from which on a device has a pass of its own where faster operations are used: they compute
#: cells with the same noise side by side.
OWN_PASS = 6
#: Images of each cell in one pass on a GPU, whose passes take as long with few images as with many;
#: half of them where they do not fit, down to a block.
GPU_IMAGES = 10 * NOISE_BLOCK
#: Multiple of the machine precision by which one transfer may differ when computed in two ways.
_ROUNDING = 8.0
#: Called with (cells done, cells in all).
Progress = Callable[[int, int], None]


def _same(one: Tensor, other: Tensor) -> bool:
    """Whether two transfers are equal but for rounding, which follows how they were computed."""
    rounding = _ROUNDING * torch.finfo(other.dtype).eps
    return bool((one - other).abs().max() <= rounding * other.abs().max())


def _assert_changed(
    workload: Workload,
    cells: Sequence[Cell],
    ideal: Mapping[str, Tensor],
    held: Mapping[str, Tensor],
) -> None:
    for name, layer in workload.layers().items():
        for i, cell in enumerate(cells):
            if cell.axis == SHOT_AXIS:  # noise only
                continue
            off_nominal = cell.environment != layer.environment_class()
            silent = not any(map(cell.counts_when, (FROZEN, OFFSET_CALIBRATED)))
            if silent and not off_nominal and (cell.severity, cell.level) == (0.0, cell.nominal):
                continue  # the point of an axis at which nothing is off, without weight
            if cell.severity == 0.0 and off_nominal and not layer.answers(cell.environment):
                continue
            one = held[name][i] if len(cells) > 1 else held[name]
            if _same(one, ideal[name]):
                raise RuntimeError(f"{cell} leaves the transfer of layer {name!r} unchanged")


@torch.no_grad()
def measure_clean(
    workload: Workload, images: Tensor, labels: Tensor, batch_size: int = 500
) -> Reading:
    """Measures the metric on the ideal device at the nominal operating point, without noise.

    Args:
        workload: A trained workload.
        images: Inputs (N, ...).
        labels: Targets (N, ...).
        batch_size: Images per pass; the result does not depend on it.

    Returns:
        The reading.
    """
    workload.eval()
    device = device_of(workload.network)
    try:
        meter, outcomes = Meter(workload), Outcomes(workload, 1)
        for part in zip(images.split(batch_size), labels.split(batch_size), strict=True):
            x, y = (tensor.to(device) for tensor in part)
            outputs = workload(x)
            meter.update(outputs, y, x)
            outcomes.update(outputs, y)
    except Exception as error:
        return Reading(None, 0, error)
    return outcomes.of([meter.reading()])[0]


@torch.no_grad()
def measure_grid(
    workload: Workload,
    images: Tensor,
    labels: Tensor,
    cells: Sequence[Cell],
    *,
    batch_size: int | None = None,
    cells_per_batch: int | None = None,
    calibration: Tensor | None = None,
    progress: Progress | None = None,
) -> list[Reading]:
    """Measures the metric of a workload on every cell of a grid.

    What lies before the first physical layer is computed once per image for the whole grid. Where
    cells that share a batch fail together, each is measured by itself.

    Args:
        workload: A trained workload, with frozen batch-norm statistics.
        images: Inputs (N, ...).
        labels: Targets (N, ...).
        cells: The grid.
        batch_size: Images of each cell per pass; multiples of the noise block are fastest. None
            takes a block, on a GPU `GPU_IMAGES`. It bounds the memory together with the cells.
        cells_per_batch: Cells measured in one pass, at most; None takes `CELLS_PER_BATCH`, and
            twice as many, a whole device of microrings, where faster operations are used.
        calibration: Images (M, ...), without labels, that every cell measures first to take the
            batch-norm statistics again, with noise of their own; None leaves those there are.
        progress: Called after each group of cells.

    Returns:
        One reading per cell, in order. A cell that should perturb and leaves a layer's transfer as
        it was has no value but a RuntimeError.

    Raises:
        UserError: If a size is out of range, or devices would change nothing of what a physical
            layer does; see `Workload.check_reached`.
    """
    device = device_of(workload.network)
    if batch_size is None:
        batch_size = NOISE_BLOCK if on_cpu(device) else GPU_IMAGES
    check_range("batch_size", batch_size, low=1, high=1e9)
    if cells_per_batch is not None:
        check_range("cells_per_batch", cells_per_batch, low=1, high=1e9)
    workload.eval()
    images, labels = images.to(device), labels.to(device)
    workload.check_reached(images)
    features = torch.cat([workload.prefix(x) for x in images.split(2000)])
    ideal = {name: layer.transfer() for name, layer in workload.layers().items()}
    known = None if calibration is None else workload.prefix(calibration)
    quick = worthwhile(workload, len(cells) * len(features))
    size = cells_per_batch or CELLS_PER_BATCH * (2 if quick else 1)

    readings: list[Reading] = [Reading(None)] * len(cells)
    done = 0
    with drawing(device) as pool:

        def measure(group: Sequence[Cell], images_at_once: int) -> list[Reading]:
            try:
                return _measure_group(
                    *(workload, images, features, labels, group, ideal, images_at_once),
                    *(known, quick, pool),
                )
            except torch.cuda.OutOfMemoryError as error:
                if images_at_once <= NOISE_BLOCK and len(group) == 1:
                    return [Reading(None, 0, error)]
            except Exception as error:
                if len(group) == 1:
                    return [Reading(None, 0, error)]
                return [reading for cell in group for reading in measure([cell], images_at_once)]
            torch.cuda.empty_cache()
            if images_at_once > NOISE_BLOCK:
                return measure(group, max(NOISE_BLOCK, images_at_once // 2))
            return [reading for cell in group for reading in measure([cell], images_at_once)]

        for chosen in _by_device(cells, size, OWN_PASS if quick else size):
            found = measure([cells[i] for i in chosen], int(batch_size))
            for i, reading in zip(chosen, found, strict=True):
                readings[i] = reading
            done += len(chosen)
            if progress is not None:
                progress(done, len(cells))
    return readings


def _drawn(workload: Workload, severity: float, seed: int | None, law: Law) -> Device:
    """A device. A workload that knows one law only may leave the argument out."""
    if law == FABRICATION:
        return workload.draw_device(severity, seed)
    return workload.draw_device(severity, seed, law)


def _by_device(cells: Sequence[Cell], size: int, own: int) -> list[list[int]]:
    """Shares cells out into groups to be measured in one pass.

    A device's cells are in one group, so that its shot noise is drawn once; if they are more than
    ``size``, in as few as there can be. Devices share a group where all their cells fit.

    Args:
        cells: The grid.
        size: Cells in a group, at most.
        own: Cells from which on a device shares its groups with no other.

    Returns:
        Indices of the cells of each group.
    """
    members: dict[int | None, list[int]] = {}
    for i, cell in enumerate(cells):
        members.setdefault(cell.device_seed, []).append(i)
    groups: list[list[int]] = []
    room = 0
    for mine in members.values():
        for first in range(0, len(mine), size):
            part = mine[first : first + size]
            if len(part) <= room and len(mine) < own:
                groups[-1] += part
            else:
                groups.append(part)
            room = size - len(groups[-1]) if len(mine) < own else 0
    return groups


def draws_shot_noise(workload: Workload, images: Tensor) -> bool:
    """Whether any read-out of a workload's network draws shot noise.

    Args:
        workload: The workload.
        images: Inputs (N, ...), of which the first is passed through.
    """
    asked: list[str] = []

    def listen(layer: str, shape: tuple[int, ...]) -> Tensor:
        asked.append(layer)
        return torch.zeros(shape)

    workload.eval()
    # What fails here fails in every cell, and is told there.
    ideal = operate(workload.network, [Condition(Device.ideal())], listen)
    with suppress(Exception), torch.no_grad(), ideal:
        workload(images[:1])
    return bool(asked)


def job_cells(workload: Workload, tier: str, images: Tensor) -> list[Cell]:
    """What a job measures: the grid, then a cell of read-out noise alone where there is noise.

    Args:
        workload: The workload.
        tier: Name of the tier.
        images: Test images (N, ...).

    Returns:
        The cells in the order of the record.
    """
    cells = workload.cells(tier)
    if draws_shot_noise(workload, images):
        cells = [*cells, shot_cell(workload.nominal_environment())]
    return cells


def _measure_group(
    workload: Workload,
    images: Tensor,
    features: Tensor,
    labels: Tensor,
    group: Sequence[Cell],
    ideal: Mapping[str, Tensor],
    batch_size: int,
    calibration: Tensor | None,
    quick: bool,
    pool: ThreadPoolExecutor | None,
) -> list[Reading]:
    """Measures some cells in one pass over the inputs of the first physical layer (N, ...)."""
    network = workload.network
    places = [(c.severity, c.device_seed, c.law) for c in group]
    devices = {place: _drawn(workload, *place) for place in dict.fromkeys(places)}
    conditions = [
        Condition(devices[place], c.environment) for place, c in zip(places, group, strict=True)
    ]
    meters, outcomes = [Meter(workload) for _ in group], Outcomes(workload, len(group))
    noise = DeviceNoise([c.device_seed for c in group], pool)
    with ExitStack() as deployed:
        deployed.enter_context(operate(network, conditions, noise))
        held = deployed.enter_context(hold_transfer(network))
        _assert_changed(workload, group, ideal, held)
        queries = 0
        if calibration is not None:
            noise.start, noise.stream = 0, "calibration"
            queries = deployed.enter_context(calibrated_apart(network, calibration, len(group)))
            noise.stream = "shot"
        passing = QuickPass(workload, len(group), noise) if quick else None
        for start in range(0, len(features), batch_size):
            h = features[start : start + batch_size]
            noise.start = start
            shown = h.repeat(len(group), *[1] * (h.dim() - 1))
            outputs = network.physical(shown) if passing is None else passing.outputs(h, shown)
            parts = outputs.unflatten(0, (len(group), -1))
            x, targets = (part[start : start + batch_size] for part in (images, labels))
            for meter, out in zip(meters, parts, strict=True):
                meter.update(out, targets, x)
            outcomes.update(outputs, targets)
    readings = outcomes.of([meter.reading() for meter in meters])
    return [dataclasses.replace(reading, queries=queries) for reading in readings]


def _number(reading: Reading) -> float:
    if reading.error is not None and not isinstance(reading.error, NotFiniteError):
        raise reading.error
    return math.nan if reading.value is None else reading.value


def evaluate_clean(
    workload: Workload, images: Tensor, labels: Tensor, batch_size: int = 500
) -> float:
    """The value of `measure_clean`, NaN where it is not finite; errors come through."""
    return _number(measure_clean(workload, images, labels, batch_size))


def evaluate_grid(
    workload: Workload,
    images: Tensor,
    labels: Tensor,
    cells: Sequence[Cell],
    *,
    batch_size: int | None = None,
    cells_per_batch: int | None = None,
    calibration: Tensor | None = None,
    progress: Progress | None = None,
) -> list[float]:
    """The values of `measure_grid`, NaN where they are not finite; errors come through."""
    readings = measure_grid(
        workload,
        images,
        labels,
        cells,
        batch_size=batch_size,
        cells_per_batch=cells_per_batch,
        calibration=calibration,
        progress=progress,
    )
    return [_number(reading) for reading in readings]
