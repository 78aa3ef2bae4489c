"""The evaluation loop: a workload measured on every cell of a perturbation grid.

A plain loop, no Trainer and no callback: nothing of a training method runs here. Many devices are
measured at once. The figures do not depend on the batch size or on how many devices share a batch:
static errors are drawn per device, shot noise per (cell, layer, block of images).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from pnnbench.errors import check_range
from pnnbench.platforms.base import (
    Condition,
    Device,
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


class CellNoise:
    """Standard-normal shot noise for some cells, the same whatever the batches are cut to.

    Args:
        cells: The cells that are measured at once.

    Attributes:
        start: Index in the test set of the first image of the present batch.
    """

    def __init__(self, cells: Sequence[Cell]) -> None:
        self.cells = cells
        self.start = 0
        self._generator = torch.Generator()

    def __call__(self, layer: str, shape: tuple[int, ...]) -> Tensor:
        """Draws for one layer; shape is (cells, images, ...)."""
        _, images, *rest = shape
        out = torch.empty(shape)
        for cell, target in zip(self.cells, out, strict=True):
            done = 0
            while done < images:
                block, offset = divmod(self.start + done, NOISE_BLOCK)
                n = min(NOISE_BLOCK - offset, images - done)
                self._generator.manual_seed(derive_seed("shot", *cell.noise_seed, layer, block))
                if n == NOISE_BLOCK:
                    target[done : done + n].normal_(generator=self._generator)
                else:
                    whole = torch.empty(NOISE_BLOCK, *rest).normal_(generator=self._generator)
                    target[done : done + n] = whole[offset : offset + n]
                done += n
        return out


def _assert_changed(
    cells: Sequence[Cell], ideal: Mapping[str, Tensor], held: Mapping[str, Tensor]
) -> None:
    for layer, transfer in held.items():
        for i, cell in enumerate(cells):
            one = transfer[i] if len(cells) > 1 else transfer
            if torch.equal(one, ideal[layer]):
                raise RuntimeError(f"{cell} leaves the transfer of layer {layer!r} unchanged")


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
    cells_per_batch: int = 5,
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
    devices: dict[tuple[float, int], Device] = {}
    values: list[float] = []
    for first in range(0, len(cells), cells_per_batch):
        group = cells[first : first + cells_per_batch]
        conditions = []
        for cell in group:
            key = (cell.severity, cell.device_seed)
            if key not in devices:
                devices[key] = workload.draw_device(*key)
            conditions.append(Condition(devices[key], cell.environment))
        metrics = [workload.metric() for _ in group]
        noise = CellNoise(group)
        with operate(network, conditions, noise), hold_transfer(network) as held:
            _assert_changed(group, ideal, held)
            for start in range(0, len(images), batch_size):
                h = features[start : start + batch_size]
                noise.start = start
                outputs = network.physical(h.repeat(len(group), *[1] * (h.dim() - 1)))
                for metric, out in zip(
                    metrics, outputs.unflatten(0, (len(group), -1)), strict=True
                ):
                    metric.update(out, labels[start : start + batch_size])
        values.extend(float(metric.compute()) for metric in metrics)
        if progress is not None:
            progress(len(values), len(cells))
    return values
