"""Grids of microrings: the fused convolution against the plain pass, which is its oracle.

Run: python benchmarks/speed/fused.py [--images 3000] [--rounds 5]
"""

from __future__ import annotations

import argparse
from functools import partial

from common import interleaved, report
from torch import Tensor

from pnnbench.data import DataModule, load
from pnnbench.evaluation import quick
from pnnbench.evaluation.harness import measure_grid
from pnnbench.methods.bp import BP
from pnnbench.registry import workload_class
from pnnbench.running.resources import keep_memory
from pnnbench.running.training import fit
from pnnbench.script import run_script
from pnnbench.workloads.base import Workload
from pnnbench.workloads.grid import Cell


def grid(
    worthwhile: int,
    workload: Workload,
    images: Tensor,
    labels: Tensor,
    cells: list[Cell],
    calibration: Tensor | None,
) -> list[float | None]:
    """Values of the cells, by fused operations from so much work on."""
    kept, quick.WORTHWHILE = quick.WORTHWHILE, worthwhile
    try:
        readings = measure_grid(workload, images, labels, cells, calibration=calibration)
    finally:
        quick.WORTHWHILE = kept
    return [reading.value for reading in readings]


def main() -> None:
    """Times and prints; stops if a value differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    keep_memory()
    for name, tier, rate in (("mrr-mnist", "standard", "0.043 mA"), ("mrr-digits", "quick", 0.1)):
        cls = workload_class(name)
        data = DataModule(load(cls.data), limit_train=10_000, limit_test=args.images)
        workload = cls(0)
        fit(workload, BP(lr=rate), data, epochs=1 if name == "mrr-mnist" else 10)
        train, test = data.train_tensors()[0], data.test_tensors()
        workload.calibrate(train[:1000])
        cells = workload.perturbation_grid(tier)
        cells = [cell for cell in cells if cell.device_seed == cells[0].device_seed]
        for title, images in (
            ("frozen", None),
            ("offset-calibrated", train[: cls.offset_calibration_images]),
        ):
            ways = {"plain": 10**12, "fused": 1}
            found = {k: grid(least, workload, *test, cells, images) for k, least in ways.items()}
            if found["plain"] != found["fused"]:
                raise SystemExit(f"{name}, {title}: the values differ")
            times = interleaved(
                {
                    k: partial(grid, least, workload, *test, cells, images)
                    for k, least in ways.items()
                },
                args.rounds,
            )
            report(f"{name}, {title}: {len(cells)} cells, {len(test[1])} images", times, "plain")


if __name__ == "__main__":
    run_script(main)
