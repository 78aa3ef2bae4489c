"""The temperature-and-device grid: the harness against one Trainer.test per cell.

Run: python benchmarks/speed/grid.py [--rounds 3]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

import lightning.pytorch as pl
import torch
import torch.nn.functional as F
import torchmetrics
from common import interleaved, report
from torch.utils.data import DataLoader, TensorDataset

from pnnbench.data import DataModule, load
from pnnbench.evaluation.harness import evaluate_grid
from pnnbench.platforms.base import Condition, operate
from pnnbench.registry import workload_class
from pnnbench.running.training import quiet
from pnnbench.script import run_script
from pnnbench.workloads import networks
from pnnbench.workloads.base import Workload
from pnnbench.workloads.grid import Cell


class OneCell(pl.LightningModule):
    """A workload on one device in one environment, as one would write it for Trainer.test."""

    def __init__(self, workload: Workload, cell: Cell) -> None:
        super().__init__()
        self.workload = workload
        self.condition = Condition(
            workload.draw_device(cell.severity, cell.device_seed), cell.environment
        )
        self.accuracy = torchmetrics.classification.MulticlassAccuracy(10, average="micro")

    def test_step(self, batch: Any, batch_idx: int) -> None:
        """Measures one batch with shot noise."""
        x, y = batch
        with operate(
            self.workload.network, [self.condition], lambda layer, shape: torch.randn(shape)
        ):
            self.accuracy.update(self.workload(x), y)
        self.log("accuracy", self.accuracy, on_epoch=True)


def cell_by_cell(workload: Workload, x: torch.Tensor, y: torch.Tensor, cells: list[Cell]) -> None:
    """One Trainer.test per cell."""
    loader = DataLoader(TensorDataset(x, y), batch_size=250)
    with quiet():
        for cell in cells:
            trainer = pl.Trainer(
                accelerator="cpu",
                logger=False,
                enable_progress_bar=False,
                enable_checkpointing=False,
                enable_model_summary=False,
            )
            trainer.test(OneCell(workload, cell), loader, verbose=False)


def with_library_pooling(run: Callable[[], None]) -> None:
    """The same with the library's pooling in place of the project's, as one would write it."""
    fast, networks.max_pool_2x2 = networks.max_pool_2x2, lambda x: F.max_pool2d(x, 2)
    try:
        run()
    finally:
        networks.max_pool_2x2 = fast


def main() -> None:
    """Times and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--devices", type=int, default=2)
    args = parser.parse_args()
    tiers = {"mrr-digits": "quick", "mrr-mnist": "standard"}
    sets = {name: DataModule(load(workload_class(name).data)) for name in tiers}
    for name, tier in tiers.items():
        workload, data = workload_class(name)(0), sets[name]
        workload.calibrate(data.train_tensors()[0][:1000])
        x, y = data.test_tensors()
        grid = workload.perturbation_grid(tier)
        # Whole devices, as the harness meets them.
        seeds = sorted({c.device_seed for c in grid})[: args.devices]
        cells = [c for c in grid if c.device_seed in seeds]
        one_by_one = partial(cell_by_cell, workload, x, y, cells)
        times = interleaved(
            {
                "Trainer.test per cell": partial(with_library_pooling, one_by_one),
                "the same, our pooling": one_by_one,
                "harness": partial(evaluate_grid, workload, x, y, cells),
            },
            args.rounds,
        )
        report(
            f"{name}: {len(cells)} of {len(grid)} cells, {len(x)} images",
            times,
            "Trainer.test per cell",
            {"harness": "<= 0.33"},
        )


if __name__ == "__main__":
    run_script(main)
