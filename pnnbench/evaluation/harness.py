"""The evaluation loop: a workload measured on every cell of a perturbation grid.

A plain loop, no Trainer and no callback: nothing of a training method runs here. Many cells are
measured at once. The figures do not depend on the batch size or on which cells share a batch:
static errors are drawn per device, shot noise per (device, layer, block of images). All cells of
one device see the same shot noise (common random numbers): differences between conditions are then
due to the conditions, and the noise is drawn once for all of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from pnnbench.errors import check_range
from pnnbench.platforms.base import (
    Condition,
    derive_seed,
    hold_transfer,
    operate,
)
from pnnbench.workloads.base import Workload
from pnnbench.workloads.grid import Cell

#: Images that share one stream of shot noise; part of the protocol.
NOISE_BLOCK = 50

#: Called with (cells done, cells in all).
Progress = Callable[[int, int], None]


class DeviceNoise:
    """Standard-normal shot noise of the devices in a batch, whatever the batches are cut to.

    Args:
        devices: Seed of the device of each condition, None for the ideal one.

    Attributes:
        start: Index in the test set of the first image of the present batch.
    """

    def __init__(self, devices: Sequence[int | None]) -> None:
        self.devices = devices
        self.start = 0
        self._generator = torch.Generator()

    def _draw(self, device: int | None, layer: str, out: Tensor) -> None:
        images, rest = out.shape[0], out.shape[1:]
        done = 0
        while done < images:
            block, offset = divmod(self.start + done, NOISE_BLOCK)
            n = min(NOISE_BLOCK - offset, images - done)
            self._generator.manual_seed(derive_seed("shot", device, layer, block))
            if n == NOISE_BLOCK:
                out[done : done + n].normal_(generator=self._generator)
            else:
                whole = torch.empty(NOISE_BLOCK, *rest).normal_(generator=self._generator)
                out[done : done + n] = whole[offset : offset + n]
            done += n

    def __call__(self, layer: str, shape: tuple[int, ...]) -> Tensor:
        """Draws for one layer; shape is (conditions, images, ...).

        Returns:
            Of that shape; with 1 in the place of the conditions if all are of one device.
        """
        distinct = list(dict.fromkeys(self.devices))
        drawn = torch.empty(len(distinct), *shape[1:])
        for device, out in zip(distinct, drawn, strict=True):
            self._draw(device, layer, out)
        if len(distinct) == 1:
            return drawn
        return drawn[[distinct.index(device) for device in self.devices]]


def _assert_changed(
    workload: Workload,
    cells: Sequence[Cell],
    ideal: Mapping[str, Tensor],
    held: Mapping[str, Tensor],
) -> None:
    for name, layer in workload.layers().items():
        for i, cell in enumerate(cells):
            off_nominal = cell.environment != layer.environment_class()
            if cell.severity == 0.0 and off_nominal and not layer.answers(cell.environment):
                continue
            one = held[name][i] if len(cells) > 1 else held[name]
            if torch.equal(one, ideal[name]):
                raise RuntimeError(f"{cell} leaves the transfer of layer {name!r} unchanged")


@torch.no_grad()
def evaluate_clean(
    workload: Workload, images: Tensor, labels: Tensor, batch_size: int = 500
) -> float:
    """Metric on the ideal device at the nominal operating point, without noise.

    Args:
        workload: A trained workload.
        images: Inputs (N, ...).
        labels: Targets (N, ...).
        batch_size: Images per pass; the result does not depend on it.

    Returns:
        The metric.
    """
    workload.eval()
    metric = workload.metric()
    for x, y in zip(images.split(batch_size), labels.split(batch_size), strict=True):
        metric.update(workload(x), y)
    return float(metric.compute())


@torch.no_grad()
def evaluate_grid(
    workload: Workload,
    images: Tensor,
    labels: Tensor,
    cells: Sequence[Cell],
    *,
    batch_size: int = NOISE_BLOCK,
    cells_per_batch: int = 10,
    progress: Progress | None = None,
) -> list[float]:
    """Metric of a workload on every cell of a grid.

    What lies before the first physical layer is computed once per image for the whole grid.

    Args:
        workload: A trained workload, with frozen batch-norm statistics.
        images: Inputs (N, ...).
        labels: Targets (N, ...).
        cells: The grid.
        batch_size: Images per pass; multiples of the noise block are fastest.
        cells_per_batch: Cells measured in one pass.
        progress: Called after each group of cells.

    Returns:
        One value per cell, in order.

    Raises:
        RuntimeError: If a cell that should perturb leaves a layer's transfer as it was.
    """
    check_range("batch_size", batch_size, low=1, high=1e9)
    check_range("cells_per_batch", cells_per_batch, low=1, high=1e9)
    workload.eval()
    network = workload.network
    features = torch.cat([network.prefix(x) for x in images.split(2000)])
    ideal = {name: layer.transfer() for name, layer in workload.layers().items()}
    values = [math.nan] * len(cells)
    # Device by device, so that the cells of a batch share their shot noise.
    order = sorted(range(len(cells)), key=lambda i: cells[i].device_seed or 0)
    for first in range(0, len(cells), cells_per_batch):
        chosen = order[first : first + cells_per_batch]
        group = [cells[i] for i in chosen]
        conditions = [
            Condition(workload.draw_device(c.severity, c.device_seed), c.environment) for c in group
        ]
        metrics = [workload.metric() for _ in group]
        noise = DeviceNoise([c.device_seed for c in group])
        with operate(network, conditions, noise), hold_transfer(network) as held:
            _assert_changed(workload, group, ideal, held)
            for start in range(0, len(images), batch_size):
                h = features[start : start + batch_size]
                noise.start = start
                outputs = network.physical(h.repeat(len(group), *[1] * (h.dim() - 1)))
                parts = outputs.unflatten(0, (len(group), -1))
                for metric, out in zip(metrics, parts, strict=True):
                    metric.update(out, labels[start : start + batch_size])
        for i, metric in zip(chosen, metrics, strict=True):
            values[i] = float(metric.compute())
        if progress is not None:
            progress(min(first + cells_per_batch, len(cells)), len(cells))
    return values
